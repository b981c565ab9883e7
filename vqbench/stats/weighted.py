"""Statistics of rows that may count any number of times, as a resample or a permutation has it.

Most are functions of the sums of columns: a mean, a ratio, a ratio of ratios. Whatever many of them need under the same
weights is one matrix product, of the weights and all distinct columns side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from vqbench.stats.columns import Array, Column, join
from vqbench.stats.units import Units

_CELLS_AT_A_TIME = 1 << 16
"""Weights that a statistic other than sums reads at once: 512 kB, which stay in a core's cache meanwhile."""


@dataclass(frozen=True, eq=False)
class SumStatistic:
    """A function of the sums of columns.

    Attributes:
        columns: of (n_rows,) numbers each.
        finish: one (R,) sum a column → (R,) values; NaN or infinity where undefined, and it may divide by 0 for it.
    """

    columns: tuple[Array, ...]
    finish: Callable[..., Array]
    resampling: Literal["bootstrap"] = "bootstrap"

    @property
    def n_rows(self) -> int:
        """Rows of data."""
        return len(self.columns[0])

    @property
    def value(self) -> float:
        """The statistic with every row counted once; NaN without rows."""
        return float(self.of_sums(np.array([[column.sum() for column in self.columns]]))[0])

    @property
    def hits(self) -> Array | None:
        """(n_rows,) zeros and ones, where the statistic is the share of the ones; else None."""
        if self.finish is not np.divide or not self.n_rows:
            return None
        over, under = self.columns
        is_share = under[0] == 1 and (under == 1).all() and ((over == 0) | (over == 1)).all()
        return over if is_share else None

    def of_sums(self, sums: Array) -> Array:
        """The statistic of sums that are known, (R, columns) → (R,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.finish(*sums.T)

    def of(self, weights: Array) -> Array:
        """The statistic when rows count so often: weights (R, n_rows) → (R,)."""
        return self.of_sums(weights @ np.stack(self.columns, axis=1))

    def left_out(self, units: Units) -> Array:
        """The statistic without each of the units in turn, (units.n,)."""
        return self.of_sums(np.stack([column.sum() - units.sums(column) for column in self.columns], axis=1))


@dataclass(frozen=True, eq=False)
class WeightedStatistic:
    """Any statistic of rows and of how often they count.

    Attributes:
        columns: the data, of one length.
        prepare: the columns → a function of weights (R, n_rows), how often each row counts, to (R,) values; NaN or
            infinity where undefined. It is only asked where there are rows.
        is_share: whether it is a share, of no more than one in each row.
    """

    columns: tuple[Column, ...]
    prepare: Callable[..., Callable[[Array], Array]]
    is_share: bool = False
    resampling: Literal["bootstrap"] = "bootstrap"

    @property
    def n_rows(self) -> int:
        """Rows of data."""
        return len(self.columns[0])

    @property
    def value(self) -> float:
        """The statistic with every row counted once; NaN without rows."""
        return float(self.of(np.ones((1, self.n_rows)))[0]) if self.n_rows else float("nan")

    def of(self, weights: Array) -> Array:
        """The statistic when rows count so often: weights (R, n_rows) → (R,)."""
        step = max(1, _CELLS_AT_A_TIME // self.n_rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [self._of(weights[start : start + step]) for start in range(0, len(weights), step)]
        return np.concatenate(parts)

    @cached_property
    def _of(self) -> Callable[[Array], Array]:
        return self.prepare(*self.columns)

    def left_out(self, units: Units) -> Array:
        """The statistic without each of the units in turn, (units.n,)."""
        return np.concatenate([self.of(units.spread(block)) for block in _all_but_one(units.n)])

    def pooled(self, other: WeightedStatistic) -> WeightedStatistic:
        """The same statistic over the rows of this one and then those of the other."""
        both = zip(self.columns, other.columns, strict=True)
        return WeightedStatistic(tuple(join(*pair) for pair in both), self.prepare, self.is_share)


def _all_but_one(n: int) -> Iterator[Array]:
    step = max(1, _CELLS_AT_A_TIME // n)
    for start in range(0, n, step):
        rows = np.arange(min(step, n - start))
        block = np.ones((len(rows), n))
        block[rows, start + rows] = 0.0
        yield block


Weighted = SumStatistic | WeightedStatistic
"""A statistic that the bootstrap and permutations can weigh."""


class Stack:
    """Distinct columns side by side, so that one matrix product sums all of them.

    Equal columns are one: their sums are then equal to the last bit, whatever order the product adds in.
    """

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}

    def add(self, columns: Iterable[Array]) -> list[int]:
        """Puts columns of one length beside those that are there, and tells the place of each."""
        return [self._places.setdefault(column.tobytes(), len(self._places)) for column in columns]

    def matrix(self, n: int) -> Array:
        """All of them, (n, distinct columns)."""
        return np.frombuffer(b"".join(self._places), dtype=np.float64).reshape(len(self._places), n).T.copy()


_OPERATIONS = 1 << 18
"""Multiplications of one matrix product: up to so many OpenBLAS keeps to one thread."""

_DEPTH, _WIDTH = 128, 64
"""How many rows and columns of the second factor it takes at most."""


def product(weights: Array, matrix: Array) -> Array:
    """weights @ matrix, (R, n) @ (n, K) → (R, K), on one thread.

    One core does in a tenth of a second what is needed here; waiting for threads that another process keeps from their
    core took several seconds.
    """
    n, n_columns = matrix.shape
    n_slices = n // _DEPTH
    sliced = n_slices * _DEPTH
    rows = _OPERATIONS // (_DEPTH * min(max(n_columns, 1), _WIDTH))
    sums = np.empty((len(weights), n_columns))
    for top in range(0, len(weights), rows):
        some = weights[top : top + rows]
        slices = some[:, :sliced].reshape(len(some), n_slices, _DEPTH).swapaxes(0, 1)
        for left in range(0, n_columns, _WIDTH):
            part = matrix[:, left : left + _WIDTH]
            tile = some[:, sliced:] @ part[sliced:]
            tile += np.matmul(slices, part[:sliced].reshape(n_slices, _DEPTH, part.shape[1])).sum(axis=0)
            sums[top : top + rows, left : left + _WIDTH] = tile
    return sums
