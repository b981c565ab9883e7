"""BCa intervals against SciPy's, and what they are made of against their definitions."""

import numpy as np
import pytest
from scipy import stats

from vqbench.stats.columns import column_of
from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.student import normal_cdf, normal_quantile
from vqbench.stats.units import units_of

NUMBERS = [name for name, reduction in REDUCTIONS.items() if reduction.cell == "number"]


def bca(name, *columns, **options):
    statistic = REDUCTIONS[name].prepare([column_of(column) for column in columns], {})
    return estimate(statistic, method="bca", **options)


def skewed(n, seed=0):
    return np.random.default_rng(seed).lognormal(sigma=0.8, size=n)


@pytest.mark.parametrize("name", ["mean", "ratio", "p90"])
def test_intervals_agree_with_scipys(name):
    generator = np.random.default_rng(0)
    columns = (skewed(400), generator.integers(5, 30, 400).astype(float)) if name == "ratio" else (skewed(400),)
    statistic = {
        "mean": lambda x, axis: x.mean(axis),
        "ratio": lambda x, y, axis: x.sum(axis) / y.sum(axis),
        "p90": lambda x, axis: np.quantile(x, 0.9, axis=axis),
    }[name]
    theirs = stats.bootstrap(
        columns, statistic, paired=True, vectorized=True, n_resamples=5000, method="BCa", rng=generator
    ).confidence_interval
    ours = bca(name, *columns, resamples=5000).interval(0.95)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.08 * (theirs.high - theirs.low))


def test_a_difference_of_independent_samples_agrees_with_scipys():
    ours, theirs = skewed(300), skewed(200, seed=1)
    generator = np.random.default_rng(0)
    expected = stats.bootstrap(
        (ours, theirs), lambda x, y, axis: x.mean(axis) - y.mean(axis), vectorized=True, n_resamples=5000,
        method="BCa", rng=generator,
    ).confidence_interval  # fmt: skip
    found = (bca("mean", ours, resamples=5000) - bca("mean", theirs, resamples=5000, seed=1)).interval(0.95)
    assert found == pytest.approx((expected.low, expected.high), abs=0.08 * (expected.high - expected.low))


def test_skewed_rows_move_both_ends_towards_the_long_tail():
    percentile = estimate(REDUCTIONS["mean"].prepare([skewed(60)], {})).interval(0.95)
    corrected = bca("mean", skewed(60)).interval(0.95)
    assert corrected[0] > percentile[0]
    assert corrected[1] > percentile[1]
    mirrored = bca("mean", -skewed(60)).interval(0.95)
    assert mirrored == pytest.approx((-corrected[1], -corrected[0]))


def test_the_acceleration_of_a_mean_is_a_sixth_of_its_skewness():
    rows = skewed(50)
    assert bca("mean", rows).acceleration() == pytest.approx(stats.skew(rows) / (6 * np.sqrt(50)))


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_leaving_a_unit_out_is_computing_without_it(name, clustered):
    n = 15
    clusters = [str(i // 2) for i in range(n)] if clustered else None
    columns = [skewed(n, seed) for seed in range(REDUCTIONS[name].n_columns)]
    units = units_of(n, clusters)
    without = [
        REDUCTIONS[name].prepare([column[units.of_row != unit] for column in columns], {}).value
        for unit in range(units.n)
    ]
    np.testing.assert_allclose(REDUCTIONS[name].prepare(columns, {}).left_out(units), without, rtol=1e-9)


def test_arithmetic_of_estimates_is_arithmetic_of_what_they_were_made_of():
    ours, theirs = skewed(40), skewed(40, seed=1)
    together = bca("mean", ours - 2 * theirs - 0.25)
    apart = bca("mean", ours) - 2.0 * bca("mean", theirs) - 0.25
    assert apart.acceleration() == pytest.approx(together.acceleration())
    assert apart.interval(0.95) == pytest.approx(together.interval(0.95))


def test_a_against_itself_differs_in_nothing():
    assert (bca("mean", skewed(30)) - bca("mean", skewed(30))).interval(0.95) == (0.0, 0.0)


def test_replicates_that_equal_the_value_count_half():
    """Else a figure of few values would look biased: here 0 or 1, and mostly what it is."""
    replicates = np.repeat([0.0, 1.0], [300, 700])
    plain = Estimate(1.0, replicates, "bootstrap", 50)
    corrected = Estimate(1.0, replicates, "bootstrap", 50, bca("mean", np.arange(50.0)).pulls)
    assert plain.interval(0.95) == corrected.interval(0.95) == (0.0, 1.0)


def test_a_value_outside_its_replicates_still_has_an_interval():
    pulls = bca("mean", skewed(50)).pulls
    for value in (-1.0, 2.0):
        low, high = Estimate(value, np.linspace(0, 1, 1000), "bootstrap", 50, pulls).interval(0.95)
        assert 0 <= low <= high <= 1


def test_the_normal_quantile_is_scipys_and_the_inverse_of_the_distribution():
    for p in (1e-6, 0.025, 0.5, 0.9, 1 - 1e-9):
        assert normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-12)
        assert normal_cdf(normal_quantile(p)) == pytest.approx(p)
