"""How far a sample of vectors lies from a fixed reference: the energy distance, without bias at any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vqbench.stats.columns import Array, Ragged
from vqbench.stats.weighted import WeightedStatistic


def energy_distance(points: Ragged, from_reference: Ragged) -> WeightedStatistic:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ of rows X and a reference Y: 0 where both are drawn alike, and only there.

    Pairs are those of different rows, so chance adds nothing: the value is right on average however few the rows are,
    and may lie below 0. A resample that holds a row several times has no pair of it with itself either, which would
    make it look closer together than any real sample. The reference is not resampled: an interval is for other rows
    against this very reference.

    Source: G. Székely and M. Rizzo, "Energy statistics: a class of statistics based on distances", 2013, there without
    the root that some take; the unbiased form is that of MMD (A. Gretton et al., "A kernel two-sample test", 2012,
    lemma 6) with the kernel −‖x − y‖.

    Args:
        points: (D,) of each row.
        from_reference: of each row one number, 2 mean ‖x − Y‖ − E‖Y − Y'‖; none where there is no such number.
    """
    return WeightedStatistic((points, from_reference), _distance)


def _distance(points: Ragged, from_reference: Ragged) -> Callable[[Array], Array]:
    if not from_reference.lengths.all():
        return lambda weights: np.full(len(weights), np.nan)
    apart = distances(points.values.reshape(len(points), -1).astype(np.float64))
    beyond = from_reference.values[from_reference.starts]

    def of(weights: Array) -> Array:
        total = weights.sum(axis=1)
        pairs = total**2 - (weights**2).sum(axis=1)
        values: Array = weights @ beyond / total - ((weights @ apart) * weights).sum(axis=1) / pairs
        return values

    return of


def distances(points: Array) -> Array:
    """Euclidean distances between rows, (n, D) → (n, n); 0 on the diagonal."""
    squares = (points**2).sum(axis=1)
    apart: Array = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    np.fill_diagonal(apart, 0)
    return apart
