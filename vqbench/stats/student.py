"""Student's t and the normal distribution, in closed form: importing scipy for them would double the start-up time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


def normal_cdf(x: float) -> float:
    """P(Z <= x) for a standard normal Z.

    >>> round(normal_cdf(1.959964), 6)
    0.975
    """
    return 0.5 * math.erfc(-x / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """The x with P(Z <= x) = p, for 0 < p < 1 and a standard normal Z.

    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    from statistics import NormalDist  # only where BCa intervals are asked for

    return NormalDist().inv_cdf(p)


def t_cdf(x: float, df: int) -> float:
    """P(T <= x) for Student's t with a whole number of degrees of freedom.

    Source: Abramowitz & Stegun, 26.7.3 and 26.7.4, finite sums that are exact for whole `df`.

    Args:
        x: any finite number.
        df: degrees of freedom, at least 1.

    >>> round(t_cdf(12.706205, 1), 6), round(t_cdf(-2.228139, 10), 6)
    (0.975, 0.025)
    """
    theta = math.atan(x / math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    if df % 2:
        k = np.arange(1, (df - 1) // 2)
        terms = cosine * np.cumprod(np.concatenate(([1.0], cosine**2 * (2 * k) / (2 * k + 1))))
        central = (theta + (sine * terms.sum() if df > 1 else 0.0)) * 2 / math.pi
    else:
        k = np.arange(1, df // 2)
        central = sine * np.cumprod(np.concatenate(([1.0], cosine**2 * (2 * k - 1) / (2 * k)))).sum()
    return 0.5 + 0.5 * float(central)


@lru_cache(maxsize=256)
def t_quantile(p: float, df: int) -> float:
    """The x with P(T <= x) = p, for 0 < p < 1 and a whole number of degrees of freedom.

    >>> round(t_quantile(0.975, 9), 4)
    2.2622
    """
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return high


def t_interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """The confidence interval of the mean that normal values were drawn around, by Student's t: mean ± t·s/√n.

    Args:
        values: at least two.
        confidence: share of such intervals that hold the true mean, in (0, 1).

    >>> [round(end, 4) for end in t_interval([1.0, 2.0, 3.0], 0.95)]
    [-0.4841, 4.4841]
    """
    n = len(values)
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = t_quantile((1 + confidence) / 2, n - 1) * deviation / math.sqrt(n)
    return mean - half, mean + half
