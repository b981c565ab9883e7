"""Intervals and p-values over the rows of WER (errors, words), against plain loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vqbench.stats.estimate import Sample, estimate, estimate_all
from vqbench.stats.paired import Exchange, permutation_p_values
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.units import units_of

SMALL = (200, 500)
"""(clips, resamples)"""
MIDDLE = (1_000, 2_000)
LARGE = (10_000, 10_000)


@pytest.fixture(params=["middle", "large"])
def size(request: pytest.FixtureRequest, measured: bool) -> tuple[int, int]:
    if not measured:
        if request.param == "large":
            pytest.skip("10,000 clips only when measured")
        return SMALL
    return LARGE if request.param == "large" else MIDDLE


def rows(n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    words = generator.integers(5, 30, n).astype(float)
    return generator.binomial(words.astype(int), 0.1).astype(float), words


def plain_bootstrap(errors: np.ndarray, words: np.ndarray, resamples: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, len(words), len(words)) for _ in range(resamples))
    return np.array([errors[drawn].sum() / words[drawn].sum() for drawn in draws])


def scipys_bootstrap(errors: np.ndarray, words: np.ndarray, resamples: int) -> np.ndarray:
    found = stats.bootstrap(
        (errors, words), lambda x, y, axis: x.sum(axis) / y.sum(axis), paired=True, vectorized=True,
        n_resamples=resamples, batch=max(1, (1 << 18) // len(words)), method="percentile",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return np.asarray(found.bootstrap_distribution)


@pytest.mark.parametrize("contender", ["ours", "plain", "scipy"])
def test_bootstrap(benchmark, contender, size) -> None:
    n, resamples = size
    benchmark.group = f"bootstrap of WER, {n:,} clips, {resamples:,} resamples"
    errors, words = rows(n)
    contenders = {
        "ours": lambda: estimate(REDUCTIONS["ratio"].prepare([errors, words], {}), resamples=resamples).replicates,
        "plain": lambda: plain_bootstrap(errors, words, resamples),
        "scipy": lambda: scipys_bootstrap(errors, words, resamples),
    }
    replicates = benchmark(contenders[contender])
    # The plain loop draws the very same clips; SciPy draws others.
    if contender == "plain":
        np.testing.assert_allclose(replicates, contenders["ours"](), rtol=1e-12)
    assert replicates.mean() == pytest.approx(errors.sum() / words.sum(), rel=0.02)
    assert replicates.std() == pytest.approx(contenders["ours"]().std(), rel=0.15)


@pytest.mark.parametrize("contender", ["together", "one by one"])
def test_many_figures(benchmark, contender, measured) -> None:
    """What a comparison of 20 candidates by three metrics draws; each figure comes out as it does alone."""
    n, resamples = (10_000, 2_000) if measured else SMALL
    benchmark.group = "bootstrap of 60 figures, 10,000 clips, 2,000 resamples"
    _, words = rows(n)
    draw = np.random.default_rng(1)
    candidates = [draw.binomial(words.astype(int), 0.1).astype(float) for _ in range(60)]
    samples = [
        Sample(REDUCTIONS["ratio"].prepare([errors, words], {}), units_of(n, None), resamples) for errors in candidates
    ]
    contenders = {
        "together": lambda: estimate_all(samples),
        "one by one": lambda: {sample: estimate_all([sample])[sample] for sample in samples},
    }
    found = benchmark.pedantic(contenders[contender], rounds=3)
    np.testing.assert_allclose(found[samples[7]].replicates, estimate_all(samples[7:8])[samples[7]].replicates)


def plain_permutation(ours: np.ndarray, theirs: np.ndarray, words: np.ndarray, resamples: int) -> float:
    generator = np.random.default_rng(0)
    observed = abs(ours.sum() - theirs.sum()) / words.sum()
    reached = 0
    for _ in range(resamples):
        swapped = generator.integers(0, 2, len(words)).astype(bool)
        first, second = np.where(swapped, theirs, ours), np.where(swapped, ours, theirs)
        reached += abs(first.sum() - second.sum()) / words.sum() >= observed * (1 - 1e-9)
    return (1 + reached) / (1 + resamples)


def scipys_permutation(ours: np.ndarray, theirs: np.ndarray, words: np.ndarray, resamples: int) -> float:
    found = stats.permutation_test(
        (ours, theirs), lambda x, y, axis: (x.sum(axis) - y.sum(axis)) / words.sum(), permutation_type="samples",
        vectorized=True, n_resamples=resamples, batch=max(1, (1 << 18) // len(words)), rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue)


@pytest.mark.parametrize("contender", ["ours", "plain", "scipy"])
def test_permutation(benchmark, contender, size) -> None:
    n, resamples = size
    if contender == "scipy" and size == LARGE:
        pytest.skip("SciPy takes half a minute a round")
    benchmark.group = f"paired permutation test of WER, {n:,} clips, {resamples:,} swaps"
    ours, words = rows(n)
    # Equally good in truth, so that p lies well inside (0, 1).
    theirs = np.random.default_rng(1).binomial(words.astype(int), 0.1).astype(float)
    one, other = (REDUCTIONS["ratio"].prepare([errors, words], {}) for errors in (ours, theirs))
    exchange = Exchange(one, other, units_of(n, None))
    contenders = {
        "ours": lambda: permutation_p_values([exchange], resamples, seed=0)[0],
        "plain": lambda: plain_permutation(ours, theirs, words, resamples),
        "scipy": lambda: scipys_permutation(ours, theirs, words, resamples),
    }
    p = benchmark(contenders[contender])
    # Each draws swaps of its own.
    noise = 0.0 if contender == "ours" else 7 * np.sqrt(p * (1 - p) / resamples) + 1 / resamples
    assert p == pytest.approx(contenders["ours"](), abs=noise, rel=1e-12)
