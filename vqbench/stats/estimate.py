"""A figure with its sampling uncertainty: the value, its replicates on resampled data, and the interval they give.

Replicates of a difference are the differences of the replicates, so a paired difference or the margin of a gate rule
needs nothing but arithmetic: `ours - scale * theirs - offset`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vqbench.stats.student import normal_cdf, t_cdf, t_quantile

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

Resampling = Literal["bootstrap", "jackknife"]


class Statistic(Protocol):
    """A reduction with its data: knows its value, and its replicates when whole units of rows are resampled."""

    @property
    def resampling(self) -> Resampling:
        """How its replicates are made."""
        ...

    @property
    def n_rows(self) -> int:
        """How many rows of data there are."""
        ...

    @property
    def value(self) -> float:
        """The statistic of all rows; NaN where it is undefined."""
        ...

    def replicates(self, units: Indices, resamples: int, seed: int) -> Array:
        """The statistic on resampled data. `units` (n_rows,) names the unit of each row, 0…n_units-1."""
        ...


def units_of(n_rows: int, clusters: Sequence[str] | None) -> Indices:
    """Numbers the units that are resampled whole: each row for itself, or the rows of one cluster together.

    >>> units_of(3, None).tolist(), units_of(3, ["b", "a", "b"]).tolist()
    ([0, 1, 2], [1, 0, 1])
    """
    if clusters is None:
        return np.arange(n_rows, dtype=np.int64)
    return np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Estimate:
    """A figure and its replicates.

    Attributes:
        value: the figure; NaN where it is undefined.
        replicates: (R,) the figure on each bootstrap resample, or (n_units,) with each unit left out.
        resampling: which of the two.
        n_units: how many independent units stand behind the value.
    """

    value: float
    replicates: Array
    resampling: Resampling
    n_units: int

    def __sub__(self, other: Estimate | float) -> Estimate:
        """Value and replicates, each minus the other's; the smaller number of units stands behind the difference."""
        if isinstance(other, Estimate):
            n_units = min(self.n_units, other.n_units)
            replicates = self.replicates - other.replicates if n_units >= 2 else np.empty(0)
            return Estimate(self.value - other.value, replicates, self.resampling, n_units)
        return Estimate(self.value - other, self.replicates - other, self.resampling, self.n_units)

    def __rmul__(self, scale: float) -> Estimate:
        return Estimate(scale * self.value, scale * self.replicates, self.resampling, self.n_units)

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """A two-sided confidence interval, or None where fewer than two units or undefined replicates leave none.

        Bootstrap: the percentile interval, its levels moved outwards so that it is as wide as a t interval is for few
        units (T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3).
        Jackknife: value ± t · standard error, with n_units - 1 degrees of freedom. By the Efron-Stein inequality the
        jackknife's variance is, on average, never too small.

        Args:
            confidence: e.g. 0.95.
        """
        n = self.n_units
        if n < 2 or not math.isfinite(self.value) or not np.isfinite(self.replicates).all():
            return None
        t = t_quantile(0.5 + confidence / 2, n - 1)
        if self.resampling == "jackknife":
            half_width = t * self.standard_error()
            return self.value - half_width, self.value + half_width
        level = normal_cdf(-t * math.sqrt(n / (n - 1)))
        low, high = np.quantile(self.replicates, [level, 1 - level])
        return float(low), float(high)

    def standard_error(self) -> float:
        """The standard deviation of the value over repeated sampling, as the replicates see it."""
        deviations = self.replicates - self.replicates.mean()
        if self.resampling == "jackknife":
            return math.sqrt(float(deviations @ deviations) * (self.n_units - 1) / self.n_units)
        return math.sqrt(float(deviations @ deviations) / (len(deviations) - 1))

    def t_test(self) -> float:
        """Two-sided p-value of "the true value is 0", by Student's t; 1 where it is 0, or undefined on a resample."""
        error = self.standard_error()
        if self.value == 0 or not math.isfinite(error):
            return 1.0
        return 2 * t_cdf(-abs(self.value) / error, self.n_units - 1) if error > 0 else 0.0


def estimate(
    statistic: Statistic, *, clusters: Sequence[str] | None = None, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Resamples a statistic.

    Two statistics over the same clips in the same order, with the same seed, are resampled alike: they are paired.

    Args:
        statistic: what to resample.
        clusters: the cluster (speaker) of each row, drawn whole; None draws rows.
        resamples: bootstrap resamples; the jackknife has as many replicates as units.
        seed: of the bootstrap.
    """
    units = units_of(statistic.n_rows, clusters)
    n_units = int(units.max()) + 1 if len(units) else 0
    replicates = statistic.replicates(units, resamples, seed) if n_units >= 2 else np.empty(0)
    return Estimate(statistic.value, replicates, statistic.resampling, n_units)
