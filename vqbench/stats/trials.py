"""Scores of trials, several a row: pooled over all rows, each row counting whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vqbench.stats.columns import Array, Indices, Ragged
from vqbench.stats.weighted import SumStatistic, WeightedStatistic


@dataclass(frozen=True)
class Pool:
    """The scores of all rows in one array, (T,), ascending, with the row of each."""

    values: Array
    rows: Indices

    @classmethod
    def of_rows(cls, scores: Ragged) -> Pool:
        """Pools the scores of rows."""
        order = np.argsort(scores.values, kind="stable")
        return cls(scores.values[order].astype(np.float64), scores.row_of[order])

    def share_below(self, thresholds: Array, weights: Array) -> Array:
        """Share of the trials under each threshold, and under one above all: weights (R, rows) → (R, n + 1)."""
        reached = np.cumsum(np.pad(weights[:, self.rows], ((0, 0), (1, 0))), axis=1)
        places = np.append(np.searchsorted(self.values, thresholds, side="left"), len(self.values))
        shares: Array = reached[:, places] / reached[:, -1:]
        return shares


def pooled_mean(scores: Ragged) -> SumStatistic:
    """The mean of all trials."""
    return SumStatistic(_sums_and_counts(scores), np.divide)


def row_means(scores: Ragged) -> Array:
    """The mean of each row's own trials, (n,); it divides by 0 where a row has none."""
    sums, counts = _sums_and_counts(scores)
    return sums / counts


def _sums_and_counts(scores: Ragged) -> tuple[Array, Array]:
    sums = np.bincount(scores.row_of, weights=scores.values, minlength=len(scores))
    return sums.astype(np.float64), scores.lengths.astype(np.float64)


def pooled_quantile(scores: Ragged, level: float) -> WeightedStatistic:
    """The least score that at least this share of all trials does not exceed."""

    def prepare(scores: Ragged) -> Callable[[Array], Array]:
        pool = Pool.of_rows(scores)

        def of(weights: Array) -> Array:
            if len(pool.values) == 0:
                return np.full(len(weights), np.nan)
            reached = np.cumsum(weights[:, pool.rows], axis=1)
            found: Array = pool.values[np.argmax(reached >= level * reached[:, -1:] - _ROUNDING, axis=1)]
            return np.where(reached[:, -1] > 0, found, np.nan)

        return of

    return WeightedStatistic((scores,), prepare)


_ROUNDING = 1e-9
"""Counts this close are equal: a share of a count is rarely a whole number."""


def equal_error_rate(genuine: Ragged, impostors: Ragged) -> WeightedStatistic:
    """Where the share of genuine trials below a threshold is that of impostors' trials at or above it.

    Between two neighbouring thresholds both shares are taken to change along a straight line, as on a drawn ROC curve;
    a genuine and an impostor's trial of equal score cannot be told apart. NaN without trials of both kinds.

    Args:
        genuine: scores of what is what it claims to be.
        impostors: scores of what is not, of the same rows.
    """
    return WeightedStatistic((genuine, impostors), _crossing, is_share=True)


def _crossing(genuine: Ragged, impostors: Ragged) -> Callable[[Array], Array]:
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
        way = -gap[row, after - 1] / (gap[row, after] - gap[row, after - 1])
        rates: Array = rejected[row, after - 1] + way * (rejected[row, after] - rejected[row, after - 1])
        return rates

    return of
