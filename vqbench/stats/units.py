"""What is resampled whole: each row for itself, or all rows of a cluster (a speaker) together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vqbench.stats.columns import Array, Indices


@dataclass(frozen=True, eq=False)
class Units:
    """The unit that each row belongs to.

    Attributes:
        of_row: (n_rows,) the number of each row's unit, 0…n-1; 0…n_rows-1 in order where each row is one.
        n: how many units there are.
    """

    of_row: Indices
    n: int

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.of_row)

    @property
    def single(self) -> bool:
        """Whether each row is a unit of its own."""
        return self.n == self.n_rows

    def sums(self, column: Array) -> Array:
        """Sums a column within each unit, (n_rows,) → (n,)."""
        if self.single:
            return column
        return np.bincount(self.of_row, weights=column, minlength=self.n).astype(np.float64)

    def spread(self, weights: Array) -> Array:
        """Gives each row the weight of its unit, (R, n) → (R, n_rows)."""
        return weights if self.single else weights[:, self.of_row]


def units_of(n_rows: int, clusters: Sequence[str] | None) -> Units:
    """Numbers the units: each row for itself, or the clusters by their names' order.

    >>> units_of(3, None).of_row.tolist(), units_of(3, ["b", "a", "b"]).of_row.tolist()
    ([0, 1, 2], [1, 0, 1])
    """
    number = {} if clusters is None else {name: i for i, name in enumerate(sorted(set(clusters)))}
    if clusters is None or len(number) == n_rows:
        return Units(np.arange(n_rows, dtype=np.int64), n_rows)
    return Units(np.array([number[name] for name in clusters], dtype=np.int64), len(number))
