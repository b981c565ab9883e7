"""How many units it takes to see a difference, from the spread that a smaller or larger sample of them shows.

A difference counts as seen where its two-sided interval leaves 0 out on its side. That interval reaches t · s/√n to
either side, so a true difference d is seen with the probability `power` where

    d = (t_{(1 + confidence) / 2} + t_power) · s / √n

with n - 1 degrees of freedom, the usual approximation to the noncentral t distribution (J. Cohen, "Statistical Power
Analysis for the Behavioral Sciences", 1988, chapter 2). The same d is the margin that a candidate that differs in
nothing keeps with that probability: there, too, one end of the interval has to stay on its side of a number d away.
"""

from __future__ import annotations

import math
from functools import lru_cache

from vqbench.stats.estimate import Estimate
from vqbench.stats.student import normal_quantile, t_quantile

POWER = 0.8
"""The probability, by custom, with which a difference that is there shall be seen."""

MOST = 1_000_000
"""More units than these are not counted."""

FEWEST = 2
"""Units without which there is no interval."""

_NORMAL_ABOVE = 10_000
"""Units above which t is taken for normal: that makes two or three units of so many."""


def unit_deviation(difference: Estimate) -> float:
    """The standard deviation that one unit brings in: a difference over n such units has the standard error it / √n.

    The bootstrap's standard error is that of n units around their own mean, too small by √((n - 1) / n).

    Args:
        difference: of two paired bootstrap estimates, of at least two units.

    Returns:
        At least 0; NaN where the difference is undefined on some resamples.
    """
    n = difference.n_units
    return difference.standard_error() * n / math.sqrt(n - 1)


def detectable_difference(deviation: float, n: int, *, confidence: float = 0.95, power: float = POWER) -> float:
    """The smallest true difference that n units show with this probability.

    Args:
        deviation: what one unit brings in, at least 0; see `unit_deviation`.
        n: units, at least `FEWEST`.
        confidence: of the two-sided interval, in (0, 1).
        power: probability of seeing it, in [0.5, 1).

    >>> round(detectable_difference(1.0, 34), 3)  # half a standard deviation takes 34 pairs
    0.495
    """
    return _reach(n, confidence, power) * deviation / math.sqrt(n)


def units_needed(deviation: float, difference: float, *, confidence: float = 0.95, power: float = POWER) -> int | None:
    """The fewest units that show a true difference with this probability, or None where they are more than `MOST`.

    Args:
        deviation: what one unit brings in, at least 0; see `unit_deviation`.
        difference: the true difference, of either sign, in the unit of the deviation.
        confidence: of the two-sided interval, in (0, 1).
        power: probability of seeing it, in [0.5, 1).

    >>> units_needed(1.0, 0.5), units_needed(1.0, -0.25), units_needed(1.0, 1e-9), units_needed(1.0, 0.0)
    (34, 128, None, None)
    """
    if difference == 0:
        return None
    reach = normal_quantile((1 + confidence) / 2) + normal_quantile(power)
    ratio = deviation / abs(difference)
    if not reach * ratio <= math.sqrt(MOST):
        return None
    # By the normal distribution they are too few by two or three, or, where they are very few, by some more.
    n = max(FEWEST, math.ceil((reach * ratio) ** 2))
    while _reach(n, confidence, power) * ratio > math.sqrt(n):
        n += 1
    return n if n <= MOST else None


def relative_error(n: int) -> float:
    """The standard error of a number of units needed, as a share of it, since the spread of n units is but a sample's.

    For normal data: that of their variance, √(2 / (n - 1)). Where a few units carry most of the spread it is about
    twice as large.

    >>> round(relative_error(40), 2)
    0.23
    """
    return math.sqrt(2 / (n - 1))


@lru_cache(maxsize=1024)
def _reach(n: int, confidence: float, power: float) -> float:
    """How many standard errors a difference has to measure."""
    levels = ((1 + confidence) / 2, power)
    return sum(normal_quantile(level) if n > _NORMAL_ABOVE else t_quantile(level, n - 1) for level in levels)
