import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow_commands import commands

from vqbench.errors import VqbenchError
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


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("a\x1b[31mb\u202ec", "a\ufffd[31mb\ufffdc"),
        ("a\r::error::pwn", "a\ufffd::error::pwn"),
        ("a\n::error::pwn", "a\n    \ufffd:error::pwn"),
        ("a\n \t ::error::pwn", "a\n     \t \ufffd:error::pwn"),
        ("a ##[error]pwn", "a \ufffd#[error]pwn"),
        ("a\n  fix: rm -r .", "a\n      fix: rm -r ."),
        ("a\nerror: b", "a\n    error: b"),
        ("a\n    x < 1\n      ^ expected <=", "a\n    x < 1\n      ^ expected <="),
    ],
)
def test_a_complaint_quotes_a_stranger_without_letting_him_speak(problem, said):
    assert fmt.complaint(VqbenchError(problem)) == said
    whole = fmt.complaint(VqbenchError("b", where=problem, expected=problem, fix=problem))
    assert whole == f"{said}: b\n  expected: {said}\n  fix: {said}"
    assert commands(f"error: {whole}") == []


@given(st.text(alphabet=st.sampled_from("#[]:\n\r\t error\u2028\x1b\x0b")))
def test_no_complaint_is_a_command(text):
    assert commands(f"error: {fmt.complaint(VqbenchError(text, where=text, expected=text, fix=text))}") == []


def test_complaining_imports_nothing_heavy():
    code = "import sys, vqbench.report.format; print(*{'numpy', 'rich', 'pydantic'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
