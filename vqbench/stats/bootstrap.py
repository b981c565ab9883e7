"""The bootstrap: a statistic under resampled row weights, in blocks that never hold all resamples at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vqbench.stats.estimate import Array, Indices, Resampling

_DRAWS_AT_A_TIME = 1 << 16
"""Resampled rows held at once: 512 kB of weights, which stay in a core's cache while a statistic reads them."""


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


@dataclass(frozen=True)
class WeightedStatistic:
    """A statistic of rows that may count any number of times.

    Attributes:
        n_rows: rows of data.
        of: weights (R, n_rows), how often each row counts → (R,) values; NaN or infinity where undefined.
    """

    n_rows: int
    of: Callable[[Array], Array]
    resampling: Resampling = "bootstrap"

    @property
    def value(self) -> float:
        """The statistic with every row counted once; NaN without rows."""
        return float(self.of(np.ones((1, self.n_rows)))[0]) if self.n_rows else float("nan")

    def replicates(self, units: Indices, resamples: int, seed: int) -> Array:
        """The statistic on each bootstrap resample of whole units, (resamples,)."""
        n_units = int(units.max()) + 1
        clustered = n_units < self.n_rows
        blocks = resample_counts(n_units, resamples, seed)
        return np.concatenate([self.of(block[:, units] if clustered else block) for block in blocks])
