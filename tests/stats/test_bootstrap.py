import math

import numpy as np
import pytest
from scipy import stats

from vqbench.stats.bootstrap import resample_counts
from vqbench.stats.columns import column_of
from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.reductions import REDUCTIONS


def bootstrap_of(name, *columns, **options):
    return estimate(REDUCTIONS[name].prepare([column_of(column) for column in columns], {}), **options)


def test_counts_draw_as_many_as_there_are_in_blocks_of_any_size():
    blocks = list(resample_counts(1000, resamples=1000, seed=0))
    assert len(blocks) > 1
    counts = np.concatenate(blocks)
    assert counts.shape == (1000, 1000)
    assert (counts.sum(axis=1) == 1000).all()
    # Each count is binomial(n, 1/n).
    np.testing.assert_allclose([counts.mean(), counts.var()], [1, 0.999], atol=0.01)


def test_the_same_seed_draws_the_same():
    first, again, other = (np.concatenate(list(resample_counts(30, 50, seed))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", ["mean", "ratio", "p50"])
def test_intervals_agree_with_scipys_percentile_bootstrap(name):
    generator = np.random.default_rng(0)
    over, under = generator.poisson(3, 400).astype(float), generator.integers(5, 30, 400).astype(float)
    columns = (over, under) if name == "ratio" else (generator.gamma(2.0, size=400),)
    statistic = {
        "mean": lambda x, axis: x.mean(axis),
        "ratio": lambda x, y, axis: x.sum(axis) / y.sum(axis),
        "p50": lambda x, axis: np.median(x, axis),
    }[name]
    theirs = stats.bootstrap(
        columns, statistic, paired=True, vectorized=True, n_resamples=5000, method="percentile", rng=generator
    ).confidence_interval
    ours = bootstrap_of(name, *columns, resamples=5000).interval(0.95)
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


def test_few_units_widen_the_interval_to_that_of_a_t_interval():
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        sample = generator.normal(size=6)
        low, high = bootstrap_of("mean", sample).interval(0.95)
        ratios.append((high - low) / (2 * stats.t.ppf(0.975, 5) * sample.std(ddof=1) / math.sqrt(6)))
    # The plain percentile interval would come to 0.70: 1.96 / 2.57 and the missing n / (n - 1).
    assert 0.9 < np.mean(ratios) < 1.05


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("name", ["mean", "ratio"])
def test_the_interval_covers_the_truth_nineteen_times_in_twenty(name, n):
    generator = np.random.default_rng(7)
    covered = []
    for _ in range(600):
        words = generator.integers(4, 20, n)
        errors = generator.binomial(words, generator.beta(1.0, 9.0, n))
        columns = (errors, words) if name == "ratio" else (generator.gamma(4.0, size=n),)
        truth = 0.1 if name == "ratio" else 4.0
        low, high = bootstrap_of(name, *columns, resamples=800).interval(0.95)
        covered.append(low <= truth <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_clips_of_one_speaker_are_not_independent_evidence():
    generator = np.random.default_rng(3)
    clusters = [f"speaker{i // 5}" for i in range(250)]
    clustered, naive = [], []
    for _ in range(500):
        values = np.repeat(generator.normal(size=50), 5) + generator.normal(scale=0.5, size=250)
        clustered.append(covers(bootstrap_of("mean", values, clusters=clusters, resamples=600), 0.0))
        naive.append(covers(bootstrap_of("mean", values, resamples=600), 0.0))
    assert 0.93 <= np.mean(clustered) <= 0.97
    assert np.mean(naive) < 0.75


def test_an_interval_needs_two_units():
    assert bootstrap_of("mean", [1.0]).interval(0.95) is None
    assert bootstrap_of("mean", []).interval(0.95) is None
    assert bootstrap_of("mean", [1.0, 2.0], clusters=["a", "a"]).interval(0.95) is None
    assert bootstrap_of("mean", [1.0, 2.0]).interval(0.95) is not None


def test_an_interval_needs_figures_that_are_defined_on_every_resample():
    # Every fourth resample of two draws only the clip without words.
    assert bootstrap_of("ratio", [0.0, 1.0], [0.0, 5.0]).interval(0.95) is None


def test_a_constant_has_an_interval_without_width():
    assert bootstrap_of("mean", [0.5] * 7).interval(0.95) == (0.5, 0.5)


def test_more_confidence_is_a_wider_interval():
    figure = bootstrap_of("mean", np.random.default_rng(0).normal(size=40))
    (low_90, high_90), (low_99, high_99) = figure.interval(0.9), figure.interval(0.99)
    assert low_99 < low_90 < high_90 < high_99


def test_the_same_rows_and_seed_are_resampled_alike():
    values = np.random.default_rng(0).normal(size=30)
    ours, theirs = bootstrap_of("mean", values + 0.25), bootstrap_of("mean", values)
    difference = ours - theirs
    assert difference.interval(0.95) == pytest.approx((0.25, 0.25))
    low, high = (ours - 2.0 * theirs - 0.25).interval(0.95)
    assert low < -values.mean() < high


def test_pairing_narrows_the_interval_of_a_difference():
    generator = np.random.default_rng(0)
    hardness = generator.lognormal(size=60)
    ours, theirs = (hardness * generator.normal(mean, 0.05, 60) for mean in (1.1, 1.0))
    paired = (bootstrap_of("mean", ours) - bootstrap_of("mean", theirs)).interval(0.95)
    unpaired = (bootstrap_of("mean", ours) - bootstrap_of("mean", theirs, seed=1)).interval(0.95)
    assert 0 < paired[0] < paired[1]
    assert unpaired[0] < 0 < unpaired[1]


def test_the_paired_interval_covers_the_true_difference():
    generator = np.random.default_rng(5)
    covered = []
    for _ in range(500):
        hardness = generator.lognormal(size=60)
        ours, theirs = (hardness * generator.lognormal(mean, 0.2, 60) for mean in (0.1, 0.0))
        truth = math.exp(0.5 + 0.02) * (math.exp(0.1) - 1)
        covered.append(
            covers(bootstrap_of("mean", ours, resamples=600) - bootstrap_of("mean", theirs, resamples=600), truth)
        )
    assert 0.92 <= np.mean(covered) <= 0.97


def covers(figure: Estimate, truth: float) -> bool:
    low, high = figure.interval(0.95)
    return low <= truth <= high
