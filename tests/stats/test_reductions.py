import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqbench.stats.columns import column_of
from vqbench.stats.reductions import REDUCTIONS

CODES = [(0, 0, 1, 1), (), (2, 2, 3, 3)]
"""Four codes, two times each: 2 bits of a codebook of 8."""

CONSTANTS = {"codebook_size": 8.0, "token_rate_hz": 20.0}

OFFSETS = [[4.0 if offset == 3 else 1.0, 0.0] for offset in range(-4, 5)] + [[5.0, 3.0]]
"""Two rows, eight tokens at every offset; four match at the offset 3, one at the others."""


def prepare(name, columns, constants=CONSTANTS):
    return REDUCTIONS[name].prepare([column_of(column) for column in columns], constants)


NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("reduction", "columns", "value"),
    [
        ("mean", [[1.0, 2.0, 6.0]], 3.0),
        ("ratio", [[1.0, 0.0, 2.0], [10.0, 20.0, 20.0]], 0.06),
        ("root_ratio", [[8.0, 10.0], [1.0, 1.0]], 3.0),
        # (7/20 - 2/20) / (12/15 - 2/20)
        ("normalised_ratio", [[7.0, 0.0], [1.0, 1.0], [10.0, 10.0], [8.0, 4.0], [10.0, 5.0]], 0.25 / 0.7),
        ("best_offset_ratio", OFFSETS, 0.5),
        ("best_offset", OFFSETS, 3.0),
        ("p50", [[5.0, 1.0, 3.0]], 3.0),
        ("p50", [[1.0, 2.0, 3.0, 4.0]], 2.5),
        ("p90", [[float(i) for i in range(11)]], 9.0),
        ("maximum", [[-3.0, -1.0, -2.0]], -1.0),
        ("pooled_mean", [[(1.0, 2.0), (), (6.0,)]], 3.0),
        ("pooled_p95", [[(3.0,), tuple(float(i) for i in range(4, 22)), (1.0,)]], 20.0),
        # Of four own ones 0.4 alone lies below the threshold 0.5, and of four others 0.5 alone does not.
        ("equal_error_rate", [[(0.9,), (0.8,), (0.7,), (0.4,)], [(0.1,), (0.5,), (0.2,), (0.3,)]], 0.25),
        # Twice the mean to the reference less that within it, 2, less the mean of the three pairs' 5, 0 and 5.
        ("energy_distance", [[(0.0, 0.0), (3.0, 4.0), (0.0, 0.0)], [(1.0,), (2.0,), (3.0,)]], 2 - 10 / 3),
        ("entropy", [CODES], 2.0),
        ("perplexity", [CODES], 4.0),
        ("share_used", [CODES], 0.5),
        ("dead", [CODES], 0.5),
        ("dead_codes", [CODES], 4.0),
        ("bits_per_second", [CODES], 40.0),
        ("entropy_share", [CODES], 2 / 3),
        # Grassberger: ln 8 - G(2), G(2) = 2 - γ - ln 2
        ("entropy_corrected", [CODES], (math.log(8) - (2 - 0.5772156649015329 - math.log(2))) / math.log(2)),
        # Miller-Madow's entropy: 2 bits + (4 - 1) / (2 · 8 · ln 2)
        ("mutual_information", [CODES, CODES], 2 + 3 / (16 * math.log(2))),
        ("information_share", [CODES, CODES], 1.0),
    ],
)
def test_values_worked_out_by_hand(reduction, columns, value):
    assert prepare(reduction, columns).value == pytest.approx(value, abs=1e-12)


def test_every_reduction_is_worked_out_by_hand_above():
    marks = test_values_worked_out_by_hand.pytestmark[0].args[1]
    assert {case[0] for case in marks} == set(REDUCTIONS)


@given(data=st.data(), values=NUMBERS, name=st.sampled_from(["mean", "p50", "p90", "maximum"]))
def test_weights_are_repetitions_of_rows(data, values, name):
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)).filter(any))
    repeated = np.repeat(values, weights)
    independent = {
        "mean": np.mean,
        "p50": lambda x: np.quantile(x, 0.5),
        "p90": lambda x: np.quantile(x, 0.9),
        "maximum": np.max,
    }
    (weighted,) = prepare(name, [values]).of(np.array([weights], dtype=float))
    assert weighted == pytest.approx(independent[name](repeated), rel=1e-9, abs=1e-9)


@given(values=NUMBERS, name=st.sampled_from(["mean", "p50", "p90", "maximum"]))
def test_the_order_of_rows_does_not_matter(values, name):
    forwards, backwards = (prepare(name, [rows]).value for rows in (values, values[::-1]))
    assert forwards == pytest.approx(backwards, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("reduction", "columns"),
    [
        ("ratio", [[1.0, 0.0], [0.0, 0.0]]),
        ("root_ratio", [[-1.0], [1.0]]),
        ("mean", [[]]),
        ("p90", [[]]),
        ("entropy", [[(), ()]]),
        ("entropy_corrected", [[]]),
        ("share_used", [[()]]),
        ("dead", [[()]]),
        ("dead_codes", [[()]]),
        ("entropy_share", [[(3,)]]),  # one token can reach nothing
        ("normalised_ratio", [[1.0], [1.0], [4.0], [0.0], [0.0]]),  # no ceiling
        ("normalised_ratio", [[1.0], [2.0], [4.0], [2.0], [4.0]]),  # the ceiling on the floor
        ("best_offset_ratio", [[0.0]] * 10),
        ("best_offset", [[0.0]] * 10),
        ("best_offset", [[]] * 10),
        ("mutual_information", [[()], [()]]),
        ("information_share", [[], []]),
        ("information_share", [[(5, 5, 5)], [(1, 2, 3)]]),  # there is nothing to know
    ],
)
def test_an_undefined_figure_is_not_finite(reduction, columns):
    assert not math.isfinite(prepare(reduction, columns).value)


@pytest.mark.parametrize(
    ("reduction", "bounds"),
    [
        ("entropy", {"log2(codebook_size)": 10.0, "log2(min(codebook_size, n_tokens))": 3.0}),
        ("entropy_corrected", {"log2(codebook_size)": 10.0, "log2(min(codebook_size, n_tokens))": 3.0}),
        ("perplexity", {"codebook_size": 1024.0, "min(codebook_size, n_tokens)": 8.0}),
        ("share_used", {"min(1, n_tokens / codebook_size)": 8 / 1024}),
        ("dead", {"at least max(0, 1 - n_tokens / codebook_size)": 1016 / 1024}),
        ("dead_codes", {"codebook_size": 1024.0, "at least max(0, codebook_size - n_tokens)": 1016.0}),
        (
            "bits_per_second",
            {"token_rate_hz·log2(codebook_size)": 200.0, "token_rate_hz·log2(min(codebook_size, n_tokens))": 60.0},
        ),
        ("mutual_information", {"log2(codebook_size)": 10.0, "log2(min(codebook_size, n_tokens))": 3.0}),
        ("mean", {}),
    ],
)
def test_bounds_say_what_a_figure_is_out_of(reduction, bounds):
    column = column_of(CODES if REDUCTIONS[reduction].cell == "codes" else [1.0])
    columns = [column] * REDUCTIONS[reduction].n_columns
    assert REDUCTIONS[reduction].bounds(columns, {"codebook_size": 1024.0, "token_rate_hz": 20.0}) == bounds


def test_without_tokens_there_are_no_bounds():
    assert REDUCTIONS["entropy"].bounds([column_of([()])], CONSTANTS) == {}


@pytest.mark.parametrize(
    ("matches", "offset"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], 0.0),  # of equals the least
        ([2, 0, 0, 0, 1, 0, 0, 0, 2], -4.0),
        ([0, 0, 3, 0, 0, 3, 0, 0, 0], 1.0),
    ],
)
def test_of_equally_good_offsets_the_least_counts(matches, offset):
    columns = [[float(count)] for count in matches] + [[10.0]]
    assert prepare("best_offset", columns).value == offset
