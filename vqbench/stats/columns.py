"""Columns of sufficient statistics: one number a row, or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

Cell = float | tuple[int, ...] | tuple[float, ...]
"""One statistic of one row: a number, the codes of a clip, or the scores of its trials."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Any number of values a row, row after row: the codes of a clip, the scores of its trials, a vector.

    Attributes:
        values: (T,) all of them; whole numbers of any width, or float64.
        lengths: (n,) int64, how many of them are each row's.
    """

    values: NDArray[Any]
    lengths: Indices

    def __len__(self) -> int:
        return len(self.lengths)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ragged):
            return NotImplemented
        return np.array_equal(self.lengths, other.lengths) and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers, as codes are."""
        return bool(np.issubdtype(self.values.dtype, np.integer))

    @property
    def starts(self) -> Indices:
        """(n,) where in `values` each row begins."""
        ends: Indices = np.cumsum(self.lengths)
        return ends - self.lengths

    @property
    def row_of(self) -> Indices:
        """(T,) the row of each value."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int64), self.lengths)

    def rows(self) -> Iterator[NDArray[Any]]:
        """Yields the values of each row."""
        for start, length in zip(self.starts, self.lengths, strict=True):
            yield self.values[start : start + length]

    def take(self, rows: Indices) -> Ragged:
        """The rows at the given positions, in that order; a position may come again."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum(), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Ragged(self.values[np.repeat(self.starts[rows], lengths) + within], lengths)


Column: TypeAlias = Array | Ragged
"""(n,) numbers, or several values for each of n rows."""


def column_of(cells: Sequence[Cell]) -> Column:
    """Gathers cells of one kind: numbers into an array, tuples into `Ragged`; no cells at all are no numbers.

    >>> column_of([1.0, 2.5]).tolist(), column_of([(3, 4), ()]).values.tolist()
    ([1.0, 2.5], [3, 4])

    Raises:
        ValueError: numbers and tuples are mixed.
    """
    several = [isinstance(cell, tuple) for cell in cells]
    if any(several) and not all(several):
        raise ValueError("a column holds either one number a row or several")
    if not any(several):
        return np.array(cells, dtype=np.float64)
    rows = [cell for cell in cells if isinstance(cell, tuple)]
    values = [value for row in rows for value in row]
    kind = np.int64 if all(type(value) is int for value in values) else np.float64
    return Ragged(np.array(values, dtype=kind), np.array([len(row) for row in rows], dtype=np.int64))


def take(column: Column, rows: Indices) -> Column:
    """The rows of a column at the given positions, in that order."""
    return column.take(rows) if isinstance(column, Ragged) else column[rows]


def same(first: Column, second: Column) -> bool:
    """Whether two columns hold the same."""
    if isinstance(first, Ragged) or isinstance(second, Ragged):
        return isinstance(first, Ragged) and isinstance(second, Ragged) and first == second
    return np.array_equal(first, second)


def columns_of(cells: Mapping[str, Sequence[Cell]]) -> dict[str, Column]:
    """Gathers the cells of several columns, each by `column_of`."""
    return {name: column_of(column) for name, column in cells.items()}


def join(first: Column, second: Column) -> Column:
    """The rows of a column and then those of another of the same kind."""
    if isinstance(first, Ragged) and isinstance(second, Ragged):
        return Ragged(np.concatenate([first.values, second.values]), np.concatenate([first.lengths, second.lengths]))
    return np.concatenate([numbers(first), numbers(second)])


def numbers(column: Column) -> Array:
    """The column itself, which holds one number a row.

    Raises:
        TypeError: it holds several.
    """
    if isinstance(column, Ragged):
        raise TypeError("one number a row is needed, not several")
    return column


def several(column: Column) -> Ragged:
    """The column itself, which holds several values a row.

    A column without rows counts as one.

    Raises:
        TypeError: it holds one number a row.
    """
    if isinstance(column, Ragged):
        return column
    if len(column):
        raise TypeError("several values a row are needed, not one number")
    return Ragged(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def whole_rows(column: Column) -> list[Indices]:
    """The codes of each row, (L,) int64: as they are kept, they may be of a type in which sums overflow.

    Raises:
        TypeError: the column holds one number a row.
    """
    codes = several(column)
    return list(Ragged(codes.values.astype(np.int64), codes.lengths).rows())
