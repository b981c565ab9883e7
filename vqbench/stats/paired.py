"""Whether a difference is more than chance: permutation tests, and Holm's correction for testing many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vqbench.stats.columns import Array
from vqbench.stats.units import Units
from vqbench.stats.weighted import Stack, SumStatistic, Weighted, WeightedStatistic, product

_CELLS_AT_A_TIME = 1 << 20
"""Swaps held at once: 8 MB."""

_ROUNDING = 1e-10
"""Differences this close, relative to the values, count as equal: sums round differently in another order."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """The question whether two samples could as well have been exchanged.

    Attributes:
        ours, theirs: the same statistic of either sample.
        units: of paired samples, whose rows of one unit are swapped together; None of independent ones, whose rows are
            pooled and dealt out anew.
    """

    ours: Weighted
    theirs: Weighted
    units: Units | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many units there are to swap, or how many rows to deal to each."""
        return (self.ours.n_rows, self.theirs.n_rows) if self.units is None else (self.units.n,)

    def moves(self, permutations: int, seed: int) -> Iterator[Array]:
        """Yields (1, units or rows), the move that leaves all as it is, and then blocks of random ones.

        A move is 1 where a unit is swapped, or where a row is dealt to the first sample.
        """
        if self.units is None:
            return _deals(self.ours.n_rows, self.theirs.n_rows, permutations, seed)
        return _swaps(self.units.n, permutations, seed)


def permutation_p_values(exchanges: Sequence[Exchange], permutations: int, seed: int) -> list[float]:
    """Tests that samples are exchangeable: p = (1 + #{|d*| >= |d|}) / (1 + permutations), two-sided.

    The one stands for the observed assignment, so that p is never 0, and A against itself gives exactly 1. Exchanges of
    equal sizes share the random permutations, and one matrix product: what they have in common is only the noise of the
    permutations.

    Args:
        exchanges: what is asked.
        permutations: how many random ones.
        seed: of the permutations.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, exchange in enumerate(exchanges):
        alike.setdefault(exchange.sizes, []).append(index)
    p_values = [1.0] * len(exchanges)
    for indices in alike.values():
        reached = _reached([exchanges[index] for index in indices], permutations, seed)
        for index, count in zip(indices, reached, strict=True):
            p_values[index] = (1 + count) / (1 + permutations)
    return p_values


def _reached(exchanges: Sequence[Exchange], permutations: int, seed: int) -> list[int]:
    """How many permutations make each difference at least as large as it is."""
    stack = Stack()
    figures = [_figure(exchange, stack) for exchange in exchanges]
    moves = exchanges[0].moves(permutations, seed)
    none = next(moves)
    matrix = stack.matrix(none.shape[1])
    bounds = []
    for figure in figures:
        first, second = figure(none, product(none, matrix))
        bounds.append(abs(first - second) - _ROUNDING * (abs(first) + abs(second)))
    counts = [0] * len(exchanges)
    for block in moves:
        sums = product(block, matrix)
        for index, (figure, bound) in enumerate(zip(figures, bounds, strict=True)):
            first, second = figure(block, sums)
            # Written with `not <` so that an undefined difference counts against a finding.
            counts[index] += int(np.count_nonzero(~(np.abs(first - second) < bound)))
    return counts


_Figure = Callable[[Array, Array], tuple[Array, Array]]
"""Moves (R, units or rows), and the sums of the stacked columns under them → the statistic of both samples, (R,)."""


def _figure(exchange: Exchange, stack: Stack) -> _Figure:
    ours, theirs = exchange.ours, exchange.theirs
    if isinstance(ours, SumStatistic) and isinstance(theirs, SumStatistic):
        return _of_sums(ours, theirs, exchange.units, stack)
    if isinstance(ours, WeightedStatistic) and isinstance(theirs, WeightedStatistic):
        return _of_weights(ours, theirs, exchange.units)
    raise TypeError("the same statistic is needed of both samples")


def _of_sums(ours: SumStatistic, theirs: SumStatistic, units: Units | None, stack: Stack) -> _Figure:
    """Only what the moves add is new: nothing, for columns in which the two samples agree."""
    columns = [*zip(ours.columns, theirs.columns, strict=True)]
    total = np.array([mine.sum() + other.sum() for mine, other in columns])
    if units is None:
        start = np.zeros(len(columns))
        places = stack.add(np.concatenate(pair) for pair in columns)
    else:
        start = np.array([mine.sum() for mine, _ in columns])
        places = stack.add(units.sums(other - mine) for mine, other in columns)

    def figure(moves: Array, sums: Array) -> tuple[Array, Array]:
        first = start + sums[:, places]
        return ours.of_sums(first), ours.of_sums(total - first)

    return figure


def _of_weights(ours: WeightedStatistic, theirs: WeightedStatistic, units: Units | None) -> _Figure:
    pooled = ours.pooled(theirs)

    def figure(moves: Array, sums: Array) -> tuple[Array, Array]:
        first = moves
        if units is not None:
            swapped = units.spread(moves)
            first = np.hstack([1 - swapped, swapped])
        return pooled.of(first), pooled.of(1 - first)

    return figure


def _swaps(n: int, permutations: int, seed: int) -> Iterator[Array]:
    """Each unit is swapped with probability one half."""
    yield np.zeros((1, n))
    generator = np.random.default_rng(seed)
    n_bytes = 4 * -(-n // 32)  # the generator gives four at a time
    for size in _blocks(permutations, n):
        drawn = np.frombuffer(generator.bytes(size * n_bytes), dtype=np.uint8).reshape(size, n_bytes)
        yield np.unpackbits(drawn, axis=1, count=n).astype(np.float64)


def _deals(n_first: int, n_second: int, permutations: int, seed: int) -> Iterator[Array]:
    """`n_first` of all rows are the first sample's."""
    yield (first := np.concatenate([np.ones(n_first), np.zeros(n_second)])[None])
    generator = np.random.default_rng(seed)
    for size in _blocks(permutations, n_first + n_second):
        yield generator.permuted(np.repeat(first, size, axis=0), axis=1)


def _blocks(permutations: int, width: int) -> Iterator[int]:
    """How many permutations are made at a time."""
    most = max(1, _CELLS_AT_A_TIME // width)
    for start in range(0, permutations, most):
        yield min(most, permutations - start)


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
