"""A figure with its sampling uncertainty: the value, its replicates on resampled data, and the interval they give.

Replicates of a difference are the differences of the replicates, so a paired difference or the margin of a gate rule
needs nothing but arithmetic: `ours - scale * theirs - offset`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from vqbench.stats.bootstrap import bootstrap
from vqbench.stats.columns import Array
from vqbench.stats.proportion import Share, interval_of_shares
from vqbench.stats.student import normal_cdf, normal_quantile, t_cdf, t_quantile
from vqbench.stats.units import Units, units_of
from vqbench.stats.usage import UsageStatistic, jackknife
from vqbench.stats.weighted import Weighted, WeightedStatistic

Statistic = Weighted | UsageStatistic
"""A reduction with its data. It has `n_rows`, a `value`, and says in `resampling` how its replicates are made."""

Resampling = Literal["bootstrap", "jackknife"]

Bootstrap = Literal["outer", "percentile", "bca"]
"""Which interval the bootstrap gives: the percentile one, the BCa one, or the outer end of the two on either side."""

_MANY = 1000
"""From so many units on, the BCa interval of a figure that is no function of sums is not worth leaving each out."""


class Draws(NamedTuple):
    """What the bootstrap draws: figures of the same draws are paired."""

    n_units: int
    resamples: int
    seed: int


@dataclass(frozen=True)
class Estimate:
    """A figure and its replicates.

    Attributes:
        value: the figure; NaN where it is undefined.
        replicates: (R,) the figure on each bootstrap resample, or (n_units,) with each unit left out.
        resampling: which of the two.
        n_units: how many independent units stand behind the value.
        pulls: draws → (n_units,) what each of the units adds to the value, to first order (its empirical influence
            over the number of units): a BCa interval needs them; without any, it is the percentile one.
        method: which interval the bootstrap gives.
        shares: where the figure is made of shares of rows, these, and it has an interval of shares, not a bootstrap's.
    """

    value: float
    replicates: Array
    resampling: Resampling
    n_units: int
    pulls: Mapping[Draws, Array] = field(default_factory=dict)
    method: Bootstrap = "percentile"
    shares: tuple[Share, ...] = ()

    def __sub__(self, other: Estimate | float) -> Estimate:
        """Value and replicates, each minus the other's; the smaller number of units stands behind the difference."""
        if isinstance(other, Estimate):
            joined = self._joined(np.subtract, other, 1.0, -1.0)
            shares = (*self.shares, *(share.times(-1.0) for share in other.shares))
            return replace(joined, shares=shares if self.shares and other.shares else ())
        return replace(self, value=self.value - other, replicates=self.replicates - other)

    def __rmul__(self, scale: float) -> Estimate:
        pulls = {draws: scale * pull for draws, pull in self.pulls.items()}
        shares = tuple(share.times(scale) for share in self.shares)
        return replace(self, value=scale * self.value, replicates=scale * self.replicates, pulls=pulls, shares=shares)

    def __mul__(self, other: Estimate) -> Estimate:
        """Value and replicates, each times the other's."""
        return self._joined(np.multiply, other, other.value, self.value)

    def __truediv__(self, other: Estimate) -> Estimate:
        """Value and replicates, each divided by the other's."""
        if other.value == 0:
            return replace(self, value=math.nan)
        return self._joined(np.divide, other, 1 / other.value, -self.value / other.value**2)

    def _joined(self, operation: np.ufunc, other: Estimate, slope: float, other_slope: float) -> Estimate:
        """The operation on values and on replicates; pulls add up, each times the slope of the value in its own."""
        n_units = min(self.n_units, other.n_units)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(operation(self.value, other.value))
            replicates = operation(self.replicates, other.replicates) if n_units >= 2 else np.empty(0)
        pulls = {draws: slope * pull for draws, pull in self.pulls.items()}
        for draws, pull in other.pulls.items():
            pulls[draws] = pulls.get(draws, np.zeros(len(pull))) + other_slope * pull
        return Estimate(value, replicates, self.resampling, n_units, pulls, self.method)

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """A two-sided confidence interval, or None where fewer than two units or undefined replicates leave none.

        Bootstrap: quantiles of the replicates. Percentile intervals take them at the two ends of the confidence, BCa
        ones (B. Efron, "Better Bootstrap Confidence Intervals", 1987) shift those levels by the bias of the replicates
        and by how much the spread changes with the value, both of which skewed rows bring. `outer` takes the further of
        the two on either side: of skewed rows percentile stops short of the long tail, and of nearly symmetric ones,
        as differences are, BCa takes noise for skewness. In any case the levels are first moved outwards so that the
        interval is as wide as a t interval is for few units (T. Hesterberg, "What Teachers Should Know About the
        Bootstrap", 2015, section 5.3).
        Shares of rows: by `interval_of_shares`. An equal error rate has the outer ends of that and of the bootstrap.
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
        ends = [interval_of_shares(self.value, self.shares, confidence)] if self.shares else []
        if not ends or any(share.hits is None for share in self.shares):
            z = t * math.sqrt(n / (n - 1))
            levels = [(normal_cdf(-z), normal_cdf(z))] if self.method != "bca" or not self.pulls else []
            levels += [(self._level(-z), self._level(z))] if self.method != "percentile" and self.pulls else []
            found = np.quantile(self.replicates, levels)
            ends += [(float(low), float(high)) for low, high in found]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _level(self, z: float) -> float:
        """Which quantile of the replicates stands for the end at z standard errors of a BCa interval."""
        # Ties count half, since a figure of few values has many; and no bias is taken for infinite.
        below = (np.count_nonzero(self.replicates < self.value) + np.count_nonzero(self.replicates <= self.value)) / 2
        half = 0.5 / len(self.replicates)
        bias = normal_quantile(min(max(below / len(self.replicates), half), 1 - half))
        shrinking = 1 - self.acceleration() * (bias + z)
        return normal_cdf(bias + (bias + z) / shrinking) if shrinking > 0 else float(z > 0)

    def acceleration(self) -> float:
        """How fast the standard error changes with the value: a sixth of the skewness of the units' pulls.

        Of independent samples the third moments add up as the variances do (DiCiccio & Efron, "Bootstrap Confidence
        Intervals", 1996).
        """
        if not self.pulls:
            return 0.0
        pulls = np.concatenate([*self.pulls.values()])
        spread = float(pulls @ pulls) ** 1.5
        return float((pulls**3).sum()) / (6 * spread) if spread > 0 else 0.0

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


@dataclass(frozen=True, eq=False)
class Sample:
    """What a figure is estimated from.

    Attributes:
        statistic: what to resample.
        units: what of its rows is drawn whole.
        resamples: bootstrap resamples; the jackknife has as many replicates as units.
        seed: of the bootstrap.
        method: which interval the bootstrap shall give.
    """

    statistic: Statistic
    units: Units
    resamples: int = 2000
    seed: int = 0
    method: Bootstrap = "percentile"


def estimate(
    statistic: Statistic,
    *,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    method: Bootstrap = "percentile",
) -> Estimate:
    """Resamples a statistic.

    Two statistics over the same clips in the same order, with the same seed, are resampled alike: they are paired.

    Args:
        statistic: what to resample.
        clusters: the cluster (speaker) of each row, drawn whole; None draws rows.
        resamples: bootstrap resamples; the jackknife has as many replicates as units.
        seed: of the bootstrap.
        method: which interval the bootstrap shall give.
    """
    sample = Sample(statistic, units_of(statistic.n_rows, clusters), resamples, seed, method)
    return estimate_all([sample])[sample]


def estimate_all(samples: Iterable[Sample]) -> dict[Sample, Estimate]:
    """Resamples many statistics, each sample once however often it is named.

    Those over as many units, with the same resamples and seed, share the draws and one matrix product; usage figures
    of the same codes share their histograms.
    """
    estimates: dict[Sample, Estimate] = {}
    counted: list[tuple[Sample, UsageStatistic]] = []
    drawn: dict[Draws, list[tuple[Sample, Weighted]]] = {}
    for sample in dict.fromkeys(samples):
        statistic, units = sample.statistic, sample.units
        if units.n < 2:
            estimates[sample] = Estimate(statistic.value, np.empty(0), statistic.resampling, units.n)
        elif isinstance(statistic, UsageStatistic):
            counted.append((sample, statistic))
        else:
            draws = Draws(units.n, sample.resamples, sample.seed)
            drawn.setdefault(draws, []).append((sample, statistic))
    found = jackknife([(statistic, sample.units) for sample, statistic in counted])
    for (sample, _), (value, left_out) in zip(counted, found, strict=True):
        estimates[sample] = Estimate(value, left_out, "jackknife", sample.units.n)
    for draws, alike in drawn.items():
        weighted = [(statistic, sample.units) for sample, statistic in alike]
        replicates = bootstrap(weighted, draws.resamples, draws.seed)
        for (sample, statistic), of_sample in zip(alike, replicates, strict=True):
            few = draws.n_units <= _MANY or not isinstance(statistic, WeightedStatistic)
            pull = _pull(statistic, sample.units) if sample.method != "percentile" and few else None
            estimates[sample] = Estimate(
                statistic.value,
                of_sample,
                "bootstrap",
                draws.n_units,
                {} if pull is None else {draws: pull},
                sample.method,
                _shares(statistic, sample.units, of_sample),
            )
    return estimates


def _pull(statistic: Weighted, units: Units) -> Array | None:
    """What each unit adds to the value: what it lacks without it, against the mean of that over all units.

    None where the value is undefined without one of them.
    """
    left_out = statistic.left_out(units)
    if not np.isfinite(left_out).all():
        return None
    pull: Array = (left_out.mean() - left_out) * (units.n - 1) / units.n
    return pull


def _shares(statistic: Weighted, units: Units, replicates: Array) -> tuple[Share, ...]:
    """The share of rows that the statistic is, or of something else, if it is one."""
    if isinstance(statistic, WeightedStatistic):
        variance = float(np.var(replicates)) * units.n / (units.n - 1)
        return (Share(statistic.value, units, variance=variance),) if statistic.is_share else ()
    hits = statistic.hits
    return () if hits is None else (Share(statistic.value, units, hits),)
