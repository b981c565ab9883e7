"""Trials pooled over rows: the equal error rate against two independent ways, its interval against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.special import ndtr
from sklearn.metrics import roc_curve

from vqbench.stats.columns import Ragged, column_of, several
from vqbench.stats.estimate import estimate
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.trials import equal_error_rate, pooled_mean, pooled_quantile

Rows = list[tuple[float, ...]]

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=4).map(tuple)
ROWS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=8)


def drawn(n: int, others: int, distance: float, seed: int) -> tuple[Rows, Rows]:
    draw = np.random.default_rng(seed)
    return (
        [(float(score),) for score in draw.normal(distance, 1, n)],
        [tuple(map(float, scores)) for scores in draw.normal(0, 1, (n, others))],
    )


def column(rows: Rows) -> Ragged:
    return several(column_of(rows))


def eer(own: Rows, others: Rows) -> float:
    return equal_error_rate(column(own), column(others)).value


def read_off_the_curve(own: Rows, others: Rows) -> float:
    """The usual recipe: where the ROC curve, drawn with straight lines, crosses the other diagonal."""
    scores, kinds = [*np.concatenate(own), *np.concatenate(others)], [1] * sum(map(len, own))
    accepted, found, _ = roc_curve(kinds + [0] * (len(scores) - len(kinds)), scores, drop_intermediate=False)
    return float(brentq(lambda rate: 1 - rate - interp1d(accepted, found)(rate), 0, 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_equal_error_rate_is_that_of_the_roc_curve(seed: int) -> None:
    own, others = drawn(n=23, others=3, distance=1.5, seed=seed)
    assert eer(own, others) == pytest.approx(read_off_the_curve(own, others), abs=1e-9)


@given(rows=ROWS)
def test_with_equal_scores_too(rows: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    own, others = [row[0] for row in rows], [row[1] for row in rows]
    assert eer(own, others) == pytest.approx(read_off_the_curve(own, others), abs=1e-9)


@pytest.mark.parametrize(
    ("own", "others", "rate"),
    [
        ([(1.0,)], [(0.0,)], 0.0),
        ([(0.0,)], [(1.0,)], 1.0),
        ([(1.0,)], [(1.0,)], 0.5),
        ([(1.0,), ()], [(), (0.0, 0.5)], 0.0),
    ],
)
def test_the_ends_of_the_scale(own: Rows, others: Rows, rate: float) -> None:
    assert eer(own, others) == pytest.approx(rate)


@pytest.mark.parametrize(("own", "others"), [([], []), ([(1.0,)], [()]), ([()], [(1.0,)])])
def test_without_trials_of_both_kinds_there_is_no_rate(own: Rows, others: Rows) -> None:
    assert np.isnan(eer(own, others))


def test_without_trials_there_is_no_mean_and_no_quantile() -> None:
    for statistic in (pooled_mean(column([(), ()])), pooled_quantile(column([(), ()]), 0.95)):
        assert np.isnan(statistic.value)


@given(rows=ROWS, data=st.data(), name=st.sampled_from(["pooled_mean", "pooled_p95", "equal_error_rate"]))
def test_weights_are_repetitions_of_rows(
    rows: list[tuple[tuple[float, ...], tuple[float, ...]]], data: st.DataObject, name: str
) -> None:
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any))
    repeated = [row for row, times in zip(rows, weights, strict=True) for _ in range(times)]
    n_columns = REDUCTIONS[name].n_columns
    prepare = lambda some: REDUCTIONS[name].prepare([column([row[i] for row in some]) for i in range(n_columns)], {})  # noqa: E731
    (weighted,) = prepare(rows).of(np.array([weights], dtype=float))  # type: ignore[attr-defined]
    assert weighted == pytest.approx(prepare(repeated).value, abs=1e-9)


def test_scores_moved_and_stretched_alike_are_told_apart_alike() -> None:
    own, others = drawn(n=20, others=3, distance=1.0, seed=0)
    moved = [[tuple(3 * score - 7 for score in row) for row in rows] for rows in (own, others)]
    assert eer(*moved) == pytest.approx(eer(own, others), abs=1e-12)


def test_its_interval_holds_the_true_rate_as_often_as_it_says() -> None:
    """Own scores N(2, 1), others' N(0, 1): the rate is P(N(0, 1) < -1). 500 draws of 50 utterances and 3 others."""
    truth, n = float(ndtr(-1.0)), 500
    held = 0
    for seed in range(n):
        figure = estimate(
            equal_error_rate(*map(column, drawn(n=50, others=3, distance=2.0, seed=seed))), resamples=400, seed=seed
        )
        low, high = figure.interval(0.95) or (np.nan, np.nan)
        held += low <= truth <= high
    assert 0.92 <= held / n <= 0.975, held / n
