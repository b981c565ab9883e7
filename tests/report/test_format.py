import math

import pytest

from vqbench.report import format as fmt


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.12345, 3, "0.123"),
        (-0.12345, 3, "-0.123"),
        (1234567.8, 1, "1,234,567.8"),
        (-0.0004, 3, "0.000"),
        (-0.0, 0, "0"),
        (0, 2, "0.00"),
        (12.0, 0, "12"),
        (None, 3, "—"),
        (math.nan, 3, "NaN"),
        (math.inf, 3, "∞"),
        (-math.inf, 3, "-∞"),
    ],
)
def test_numbers(value, decimals, text):
    assert fmt.number(value, decimals) == text


@pytest.mark.parametrize(("value", "text"), [(0.5, "+0.50"), (-0.5, "-0.50"), (0.0, "0.00"), (0.001, "0.00")])
def test_signed_numbers_never_sign_a_zero(value, text):
    assert fmt.number(value, 2, signed=True) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.1, 0.2, "0.10–0.20"),
        (-0.1, 0.2, "[-0.10, 0.20]"),
        (-0.2, -0.1, "[-0.20, -0.10]"),
        (-0.001, 0.2, "0.00–0.20"),
        (None, None, ""),
        (0.1, None, ""),
    ],
)
def test_an_interval_never_mixes_dash_and_minus(low, high, text):
    assert fmt.interval(low, high, 2) == text


@pytest.mark.parametrize(("p", "text"), [(1.0, "1.000"), (0.05, "0.050"), (0.001, "0.001"), (0.0009, "<0.001")])
def test_p_values(p, text):
    assert fmt.p_value(p) == text


@pytest.mark.parametrize("name", ["speech.wer", "a_b-c.d:e/f", "..", "", "plain", "run:candidate.with_many-joints"])
@pytest.mark.parametrize("width", [1, 5, 18])
def test_wrapping_a_name_loses_nothing(name, width):
    assert "".join(fmt.wrap_name(name, width)) == name


def test_the_same_reason_gets_the_same_note():
    notes = fmt.Notes()
    assert [notes.mark(reason) for reason in ("a", "b", "a", None, "")] == ["[1]", "[2]", "[1]", "", ""]
    assert notes.lines() == ("[1] a", "[2] b")
