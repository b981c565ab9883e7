"""Intervals of shares, which must not leave [0, 1] nor shrink to a point where all agree.

The bootstrap knows nothing of what did not happen: where none of 40 clips ran away, none of any resample's does, and
its interval would be 0 to 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vqbench.stats.columns import Array, Indices
from vqbench.stats.student import normal_quantile, t_quantile
from vqbench.stats.units import Units


def wilson_interval(shares: Array, n: Array | Indices, confidence: float) -> tuple[Array, Array]:
    """The two ends of Wilson's score interval of shares.

    It also holds for the mean of n independent values anywhere in [0, 1], since none of these varies more than a trial
    that succeeds or fails with the same mean: there it is too wide rather than too narrow.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        shares: (K,) in [0, 1].
        n: (K,) how many trials are behind each, at least 1.
        confidence: in (0, 1).

    >>> low, high = wilson_interval(np.array([0.0, 0.5]), np.array([10, 10]), 0.95)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.0, 0.237], [0.278, 0.763])
    """
    z = normal_quantile(0.5 + confidence / 2)
    middle = (shares + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(shares * (1 - shares) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


@lru_cache(maxsize=4096)
def clopper_pearson(share: float, n: float, confidence: float) -> tuple[float, float]:
    """The two ends of the exact interval of a share: either misses in at most half of 1 - confidence, whatever is true.

    Source: C. J. Clopper & E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934), by
    quantiles of the beta distribution, so that `n` need not be whole.

    Args:
        share: in [0, 1].
        n: trials behind it, above 0.
        confidence: in (0, 1).

    >>> [round(end, 4) for end in clopper_pearson(0.0, 40, 0.95)]
    [0.0, 0.0881]
    """
    tail, hits = (1 - confidence) / 2, share * n
    low = beta_quantile(tail, hits, n - hits + 1) if share > 0 else 0.0
    high = beta_quantile(1 - tail, hits + 1, n - hits) if share < 1 else 1.0
    return low, high


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) of the beta distribution: the regularised incomplete beta function.

    Source: the continued fraction of DLMF 8.17.22, evaluated from the front by Lentz's method.

    >>> round(beta_cdf(0.3, 2.0, 5.0), 6)
    0.579825
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # there the fraction converges fast
        return 1 - beta_cdf(1 - x, b, a)
    front = math.exp(
        a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    fraction = d
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + step * d) or tiny)
            c = (1 + step / c) or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with P(X <= x) = p of the beta distribution, for 0 < p < 1, by bisection."""
    low, high = 0.0, 1.0
    while high - low > 1e-13:
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < p else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True, eq=False)
class Share:
    """A share that is part of a figure, `scale` times.

    Attributes:
        value: in [0, 1].
        units: what its rows were drawn in.
        hits: (n_rows,) 1 where it happened, else 0; None of a share of something else than rows (an equal error rate).
        scale: how often it counts.
        variance: of the value, where `hits` does not tell it.
    """

    value: float
    units: Units
    hits: Array | None = None
    scale: float = 1.0
    variance: float = 0.0

    def times(self, scale: float) -> Share:
        """The same share, counted that many times more."""
        return replace(self, scale=scale * self.scale)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Clopper and Pearson's interval of the share alone, without its scale.

        Rows of one unit (a speaker) are alike, and stand for fewer trials than they are: as many as would vary so
        much, with Student's t for so few units (E. L. Korn & B. I. Graubard, "Confidence intervals for proportions with
        small expected number of positive counts", 1998). Where nothing varies, each unit is one trial.
        """
        n, units, level = self.units.n_rows, self.units, 0.5 + confidence / 2
        if units.single and self.hits is not None:
            return clopper_pearson(self.value, n, confidence)
        sizes = units.sums(np.ones(n))
        trials = n**2 / float(sizes @ sizes)  # L. Kish's number of units, were they of one size
        if variance := self._variance():
            trials = max(self.value * (1 - self.value) / variance, trials)
        if self.hits is not None:
            trials = min(trials, n)
        few = t_quantile(level, n - 1) / t_quantile(level, units.n - 1)
        return clopper_pearson(self.value, trials * few**2, confidence)

    def _variance(self) -> float:
        if self.hits is None:
            return self.variance
        spread, n = _deviations(self.hits, self.units), self.units.n
        return float(spread @ spread) * n / (n - 1) / self.units.n_rows**2


def interval_of_shares(value: float, shares: Sequence[Share], confidence: float) -> tuple[float, float]:
    """The interval of a figure that is a sum of scaled shares and of what is known for sure.

    Each share has its own interval, and what they leave open adds up as variances do (R. G. Newcombe, "Interval
    estimation for the difference between independent proportions", 1998, method 10; G. Y. Zou & A. Donner,
    "Construction of confidence limits about effect measures", 2008). Of two shares of the same rows only those rows
    count that differ: `a - b` is the share of rows with a alone less that of rows with b alone.

    Args:
        value: the figure.
        shares: at least one.
        confidence: in (0, 1).
    """
    parts = _discordant(*shares) if len(shares) == 2 else tuple(shares)
    below, above = [], []
    for part in parts:
        low, high = part.interval(confidence)
        reach = abs(part.scale) * (part.value - low), abs(part.scale) * (high - part.value)
        below.append(reach[0] if part.scale > 0 else reach[1])
        above.append(reach[1] if part.scale > 0 else reach[0])
    related = np.array([[_correlation(one, other) for other in parts] for one in parts])
    half = [math.sqrt(max(0.0, float(np.array(reach) @ related @ np.array(reach)))) for reach in (below, above)]
    return value - half[0], value + half[1]


def _discordant(first: Share, second: Share) -> tuple[Share, ...]:
    """Two shares of the same rows, the one less the other, by the rows that differ; else as they are."""
    a, b = first.hits, second.hits
    same_rows = a is not None and b is not None and np.array_equal(first.units.of_row, second.units.of_row)
    if not same_rows or first.scale * second.scale >= 0:
        return first, second
    assert a is not None and b is not None
    only = [Share(float(one.mean()), first.units, one) for one in (a * (1 - b), b * (1 - a))]
    rest = second.times((first.scale + second.scale) / second.scale)
    parts = only[0].times(first.scale), only[1].times(-first.scale)
    return parts if abs(rest.scale) < 1e-12 else (*parts, rest)


def _deviations(hits: Array, units: Units) -> Array:
    """(n,) how much of each unit's hits is more than its share of all."""
    deviations: Array = units.sums(hits - hits.mean())
    return np.where(np.abs(deviations) > 1e-9, deviations, 0.0)


def _correlation(one: Share, other: Share) -> float:
    """Of two scaled shares; 0 where nothing is known."""
    if one is other:
        return 1.0
    if one.hits is None or other.hits is None:
        return 0.0
    x, y = _deviations(one.hits, one.units), _deviations(other.hits, other.units)
    size = math.sqrt(float(x @ x) * float(y @ y)) if len(x) == len(y) else 0.0
    return math.copysign(1.0, one.scale * other.scale) * float(x @ y) / size if size > 0 else 0.0
