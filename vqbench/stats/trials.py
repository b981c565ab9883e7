"""Scores of trials, several a row: pooled over all rows, each row counting whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vqbench.stats.bootstrap import WeightedStatistic
from vqbench.stats.estimate import Array, Indices

Scores = Sequence[Sequence[float]]
"""Of each row its trials' scores, any number of them."""


@dataclass(frozen=True)
class Pool:
    """The scores of all rows in one array, (T,), ascending, with the row of each."""

    values: Array
    rows: Indices

    @classmethod
    def of_rows(cls, scores: Scores) -> Pool:
        """Pools the scores of rows."""
        values = np.array([value for row in scores for value in row], dtype=np.float64)
        rows = np.repeat(np.arange(len(scores)), [len(row) for row in scores]).astype(np.int64)
        order = np.argsort(values, kind="stable")
        return cls(values[order], rows[order])

    def share_below(self, thresholds: Array, weights: Array) -> Array:
        """Share of the trials under each threshold, and under one above all: weights (R, rows) → (R, n + 1)."""
        reached = np.cumsum(np.pad(weights[:, self.rows], ((0, 0), (1, 0))), axis=1)
        places = np.append(np.searchsorted(self.values, thresholds, side="left"), len(self.values))
        with np.errstate(divide="ignore", invalid="ignore"):
            shares: Array = reached[:, places] / reached[:, -1:]
        return shares


def pooled_mean(scores: Scores) -> WeightedStatistic:
    """The mean of all trials."""
    sums = np.array([sum(row) for row in scores], dtype=np.float64)
    counts = np.array([len(row) for row in scores], dtype=np.float64)

    def of(weights: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            means: Array = (weights @ sums) / (weights @ counts)
        return means

    return WeightedStatistic(len(scores), of)


def pooled_quantile(scores: Scores, level: float) -> WeightedStatistic:
    """The least score that at least this share of all trials does not exceed."""
    pool = Pool.of_rows(scores)

    def of(weights: Array) -> Array:
        if len(pool.values) == 0:
            return np.full(len(weights), np.nan)
        reached = np.cumsum(weights[:, pool.rows], axis=1)
        found: Array = pool.values[np.argmax(reached >= level * reached[:, -1:] - _ROUNDING, axis=1)]
        return np.where(reached[:, -1] > 0, found, np.nan)

    return WeightedStatistic(len(scores), of)


_ROUNDING = 1e-9
"""Counts this close are equal: a share of a count is rarely a whole number."""


def equal_error_rate(genuine: Scores, impostors: Scores) -> WeightedStatistic:
    """Where the share of genuine trials below a threshold is that of impostors' trials at or above it.

    Between two neighbouring thresholds both shares are taken to change along a straight line, as on a drawn ROC curve;
    a genuine and an impostor's trial of equal score cannot be told apart. NaN without trials of both kinds.

    Args:
        genuine: scores of what is what it claims to be.
        impostors: scores of what is not, of the same rows.
    """
    own, others = Pool.of_rows(genuine), Pool.of_rows(impostors)
    thresholds = np.unique(np.concatenate([own.values, others.values]))

    def of(weights: Array) -> Array:
        if len(own.values) == 0 or len(others.values) == 0:
            return np.full(len(weights), np.nan)
        rejected, accepted = own.share_below(thresholds, weights), 1 - others.share_below(thresholds, weights)
        # From -1, where everybody is accepted, up to 1, where nobody is.
        gap = rejected - accepted
        after = np.argmax(gap >= 0, axis=1)
        row = np.arange(len(weights))
        step = gap[row, after] - gap[row, after - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            way = -gap[row, after - 1] / step
        rates: Array = rejected[row, after - 1] + way * (rejected[row, after] - rejected[row, after - 1])
        return rates

    return WeightedStatistic(len(genuine), of)
