"""Whether a difference is more than chance: permutation tests, and Holm's correction for testing many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vqbench.stats.bootstrap import WeightedStatistic
from vqbench.stats.estimate import Array, Indices

_CELLS_AT_A_TIME = 1 << 16
"""Weights held at once: 512 kB, as in the bootstrap."""

_ROUNDING = 1e-10
"""Differences this close, relative to the values, count as equal: sums round differently in another order."""


def paired_permutation_p(statistic: WeightedStatistic, units: Indices, resamples: int, seed: int) -> float:
    """Tests that A and B are exchangeable by swapping the rows of whole units between them.

    p = (1 + #{|d*| >= |d|}) / (1 + resamples), two-sided; the one stands for the observed assignment, so that p is
    never 0, and A against itself gives exactly 1.

    Args:
        statistic: over 2n rows, those of A and then, in the same order, those of B.
        units: (n,) the unit of each pair, swapped as one.
        resamples: how many random swaps.
        seed: of the swaps.
    """
    n = len(units)
    n_units = int(units.max()) + 1
    generator = np.random.default_rng(seed)

    def swaps(size: int) -> tuple[Array, Array]:
        swapped = generator.integers(0, 2, size=(size, n_units)).astype(np.float64)[:, units]
        return np.hstack([1 - swapped, swapped]), np.hstack([swapped, 1 - swapped])

    whole = np.concatenate([np.ones(n), np.zeros(n)])[None]
    return _permutation_p(statistic, whole, 1 - whole, swaps, resamples)


def unpaired_permutation_p(statistic: WeightedStatistic, n_first: int, resamples: int, seed: int) -> float:
    """Tests that two independent samples come from one source, by dealing the pooled rows out anew.

    Args:
        statistic: over the rows of the first sample and then those of the second.
        n_first: size of the first sample.
        resamples: how many random deals.
        seed: of the deals.
    """
    first = (np.arange(statistic.n_rows) < n_first).astype(np.float64)[None]
    generator = np.random.default_rng(seed)

    def deals(size: int) -> tuple[Array, Array]:
        dealt = generator.permuted(np.repeat(first, size, axis=0), axis=1)
        return dealt, 1 - dealt

    return _permutation_p(statistic, first, 1 - first, deals, resamples)


def _permutation_p(
    statistic: WeightedStatistic,
    first: Array,
    second: Array,
    permute: Callable[[int], tuple[Array, Array]],
    resamples: int,
) -> float:
    of_first, of_second = statistic.of(first)[0], statistic.of(second)[0]
    observed = abs(of_first - of_second) - _ROUNDING * (abs(of_first) + abs(of_second))
    # Written with `not <` so that an undefined difference counts against a finding.
    reached = sum(
        int((~(np.abs(difference) < observed)).sum())
        for difference in _differences(statistic, permute, resamples, max(1, _CELLS_AT_A_TIME // statistic.n_rows))
    )
    return (1 + reached) / (1 + resamples)


def _differences(
    statistic: WeightedStatistic, permute: Callable[[int], tuple[Array, Array]], resamples: int, block: int
) -> Iterator[NDArray[np.float64]]:
    for start in range(0, resamples, block):
        first, second = permute(min(block, resamples - start))
        yield statistic.of(first) - statistic.of(second)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for being tested together, by S. Holm's step-down procedure (1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    corrected = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected
