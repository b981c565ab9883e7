"""Intervals of shares, which must not leave [0, 1] nor shrink to a point where all agree."""

from __future__ import annotations

import numpy as np

from vqbench.stats.columns import Array, Indices
from vqbench.stats.student import normal_quantile


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
