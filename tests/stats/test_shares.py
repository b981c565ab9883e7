"""Intervals of shares: exact, wide where nothing happened, and right about how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vqbench.stats.estimate import estimate
from vqbench.stats.proportion import Share, beta_cdf, beta_quantile, clopper_pearson, interval_of_shares
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.units import units_of


def share_of(hits, clusters=None, **options):
    columns = [np.asarray(hits, dtype=float), np.ones(len(hits))]
    return estimate(REDUCTIONS["ratio"].prepare(columns, {}), clusters=clusters, **options)


@pytest.mark.parametrize("a", [0.3, 1.0, 5.0, 40.0, 2000.0])
@pytest.mark.parametrize("b", [0.5, 3.0, 41.0, 10_000.0])
def test_the_beta_distribution_is_scipys(a, b):
    for p in (0.001, 0.025, 0.5, 0.975):
        assert beta_quantile(p, a, b) == pytest.approx(stats.beta.ppf(p, a, b), rel=1e-9, abs=1e-12)
    for x in (1e-6, 0.2, 0.9):
        assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("n", [1, 17, 40, 200])
def test_clopper_and_pearsons_interval_is_scipys(n):
    for hits in {0, 1, n // 2, n}:
        expected = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
        assert clopper_pearson(hits / n, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_share_of_clips_has_the_exact_interval_and_other_ratios_do_not():
    hits = [1.0] * 3 + [0.0] * 37
    assert share_of(hits).interval(0.95) == clopper_pearson(3 / 40, 40, 0.95)
    mean = estimate(REDUCTIONS["mean"].prepare([np.array(hits)], {}))
    assert mean.interval(0.95) == share_of(hits).interval(0.95)
    words = estimate(REDUCTIONS["ratio"].prepare([np.array(hits), np.full(40, 2.0)], {}))
    assert words.shares == ()


@pytest.mark.parametrize("hits", [0.0, 1.0])
def test_what_never_or_always_happened_leaves_room(hits):
    low, high = share_of([hits] * 40).interval(0.95)
    assert high - low == pytest.approx(1 - 0.025 ** (1 / 40))
    few = share_of([hits] * 40, clusters=[str(i // 8) for i in range(40)]).interval(0.95)
    assert few[1] - few[0] > 0.5  # five speakers are hardly more than five trials


@pytest.mark.parametrize("n", [40, 200])
@pytest.mark.parametrize("truth", [0.0, 0.01, 0.03, 0.1])
def test_it_misses_on_either_side_at_most_one_time_in_forty(truth, n):
    """Not simulated, but counted: every number of hits with its probability."""
    missed = np.zeros(2)
    for hits, probability in enumerate(stats.binom.pmf(np.arange(n + 1), n, truth)):
        if probability > 1e-9:
            low, high = share_of(np.arange(n) < hits, resamples=100).interval(0.95)
            missed += probability * np.array([low > truth + 1e-12, high < truth - 1e-12])
    assert (missed <= 0.025).all(), missed


def differences(n, cells, scale, trials=600):
    """How often the interval of `a - scale * b` is above, and below, the truth; cells: a alone, b alone, both."""
    drawn = np.random.default_rng(n).multinomial(n, [*cells, 1 - sum(cells)], trials)
    truth = cells[0] + cells[2] - scale * (cells[1] + cells[2])
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    missed = np.zeros(2)
    for of_cell, count in zip(found, counts, strict=True):
        a, b = np.repeat([1.0, 0.0, 1.0, 0.0], of_cell), np.repeat([0.0, 1.0, 1.0, 0.0], of_cell)
        units = units_of(n, None)
        shares = Share(float(a.mean()), units, a), Share(float(b.mean()), units, b, -scale)
        low, high = interval_of_shares(a.mean() - scale * b.mean(), shares, 0.95)
        missed += count / trials * np.array([low > truth + 1e-12, high < truth - 1e-12])
    return missed


@pytest.mark.parametrize("scale", [1.0, 1.1])
@pytest.mark.parametrize("cells", [(0, 0, 0.1), (0.01, 0.01, 0.02), (0.03, 0, 0.1), (0.1, 0, 0), (0.1, 0.05, 0.2)])
@pytest.mark.parametrize("n", [40, 200])
def test_so_does_that_of_a_paired_difference(n, cells, scale):
    assert (differences(n, cells, scale) <= stats.binom.ppf(0.999, 600, 0.025) / 600).all()


def test_of_a_difference_only_those_rows_count_that_differ():
    half = [1.0] * 20 + [0.0] * 20
    alike = (share_of(half) - share_of(half)).interval(0.95)
    assert alike == pytest.approx((-0.0881, 0.0881), abs=1e-4)  # what 0 of 40 leaves open
    other = (share_of(half) - share_of([0.0, *half[1:]])).interval(0.95)
    assert other[0] < 0 < 1 / 40 < other[1]
    assert (share_of([0.0] * 40) - 0.2).interval(0.95)[1] == pytest.approx(0.0881 - 0.2, abs=1e-4)


def test_speakers_who_differ_stand_for_fewer_trials():
    """Korn and Graubard's: of 20 speakers with 5 clips each it misses no more often than it may."""
    draw, missed = np.random.default_rng(0), np.zeros(2)
    speakers = units_of(100, [f"{i // 5:02d}" for i in range(100)])
    for _ in range(400):
        hits = draw.binomial(1, np.repeat(draw.beta(0.4, 3.6, 20), 5)).astype(float)
        low, high = Share(float(hits.mean()), speakers, hits).interval(0.95)
        missed += (low > 0.1) / 400, (high < 0.1) / 400
    assert (missed <= stats.binom.ppf(0.999, 400, 0.025) / 400).all(), missed
