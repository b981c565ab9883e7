"""The bootstrap: units drawn with replacement, in blocks that never hold all resamples at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vqbench.stats.columns import Array
from vqbench.stats.units import Units
from vqbench.stats.weighted import Stack, SumStatistic, Weighted, product

_DRAWS_AT_A_TIME = 1 << 17
"""Units drawn at once: 1 MB of counts, which stay in a cache and are enough to be worth a matrix product."""


def resample_counts(n: int, resamples: int, seed: int) -> Iterator[Array]:
    """Draws `n` of `n` units with replacement, `resamples` times.

    Args:
        n: number of units, at least 1.
        resamples: how many resamples in all.
        seed: the same seed, n and resamples give the same counts.

    Yields:
        Blocks (R', n) float64 of how often each unit was drawn; each row sums to n, the R' add up to `resamples`.

    >>> [block.sum(axis=1).tolist() for block in resample_counts(4, resamples=3, seed=0)]
    [[4.0, 4.0, 4.0]]
    """
    generator = np.random.default_rng(seed)
    per_block = max(1, _DRAWS_AT_A_TIME // n)
    for start in range(0, resamples, per_block):
        rows = min(per_block, resamples - start)
        drawn = generator.integers(0, n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def bootstrap(samples: Sequence[tuple[Weighted, Units]], resamples: int, seed: int) -> list[Array]:
    """Statistics on bootstrap resamples of whole units, drawn once for all of them.

    Args:
        samples: statistics, each with the units of its rows; all of them have as many units.
        resamples: how many.
        seed: of the draws.

    Returns:
        (resamples,) replicates of each statistic.
    """
    n = samples[0][1].n
    stack = Stack()
    of_sums, of_weights = [], []
    for index, (statistic, units) in enumerate(samples):
        if isinstance(statistic, SumStatistic):
            of_sums.append((index, statistic, stack.add(units.sums(column) for column in statistic.columns)))
        else:
            of_weights.append((index, statistic, units))
    matrix = stack.matrix(n)
    sums = []
    parts: list[list[Array]] = [[] for _ in samples]
    for counts in resample_counts(n, resamples, seed):
        sums.append(product(counts, matrix))
        for index, statistic, units in of_weights:
            parts[index].append(statistic.of(units.spread(counts)))
    all_sums = np.concatenate(sums)
    for index, statistic, places in of_sums:
        parts[index].append(statistic.of_sums(all_sums[:, places]))
    return [np.concatenate(values) for values in parts]
