"""The energy distance against SciPy and NumPy, its lack of bias, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from vqbench.stats.columns import Ragged, column_of
from vqbench.stats.energy import distances, energy_distance
from vqbench.stats.estimate import estimate
from vqbench.stats.paired import Exchange, permutation_p_values
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.units import units_of
from vqbench.stats.weighted import WeightedStatistic

Points = NDArray[np.float64]


def drawn(n: int, seed: int, shift: float = 0.0, scale: float = 1.0, width: int = 5) -> Points:
    return np.random.default_rng(seed).normal(shift, scale, (n, width))


def against(points: Points, reference: Points) -> WeightedStatistic:
    n = len(reference)
    between = cdist(reference, reference).sum() / (n * (n - 1))
    beyond = 2 * cdist(points, reference).mean(axis=1, keepdims=True) - between
    return energy_distance(*(Ragged(rows.ravel(), np.full(len(rows), rows.shape[1])) for rows in (points, beyond)))


def test_the_value_is_that_of_all_pairs_counted_out() -> None:
    points, reference = drawn(7, 0, 0.5), drawn(11, 1)
    across = [np.linalg.norm(x - y) for x in points for y in reference]
    within = [np.linalg.norm(x - other) for i, x in enumerate(points) for j, other in enumerate(points) if i != j]
    between = [
        np.linalg.norm(y - other) for i, y in enumerate(reference) for j, other in enumerate(reference) if i != j
    ]
    expected = 2 * np.mean(across) - np.mean(within) - np.mean(between)
    assert against(points, reference).value == pytest.approx(expected)


def test_with_pairs_of_rows_with_themselves_it_is_scipys_squared() -> None:
    points, reference = drawn(30, 0, 1.0, width=1), drawn(40, 1, width=1)
    with_themselves = [
        cdist(sample, sample).mean() - cdist(sample, sample).sum() / (len(sample) * (len(sample) - 1))
        for sample in (points, reference)
    ]
    theirs = scipy.stats.energy_distance(points[:, 0], reference[:, 0]) ** 2
    assert against(points, reference).value - sum(with_themselves) == pytest.approx(theirs)


def test_distances_are_scipys() -> None:
    points = drawn(9, 3, 100.0, 0.01)
    np.testing.assert_allclose(distances(points), cdist(points, points), atol=1e-6)


@pytest.mark.parametrize("n", [3, 10, 60])
def test_chance_alone_adds_nothing_however_few_the_rows(n: int) -> None:
    values = [against(drawn(n, 2 * seed), drawn(30, 2 * seed + 1)).value for seed in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize(("shift", "scale"), [(0.6, 1.0), (0.0, 0.3), (0.0, 2.0)], ids=["moved", "collapsed", "spread"])
def test_a_shift_and_another_spread_are_seen(shift: float, scale: float) -> None:
    found = estimate(against(drawn(40, 1, shift, scale), drawn(60, 2)), seed=0)
    ends = found.interval(0.95)
    assert ends is not None and ends[0] > 0


def test_nine_intervals_in_ten_hold_the_distance_to_the_reference() -> None:
    reference = drawn(40, 99)
    true = np.mean([against(drawn(2000, 1000 + seed, 0.3), reference).value for seed in range(5)])
    held, centres = 0, []
    for seed in range(200):
        found = estimate(against(drawn(25, seed, 0.3), reference), resamples=300, seed=seed)
        ends = found.interval(0.9)
        assert ends is not None
        held += ends[0] <= true <= ends[1]
        centres.append(found.replicates.mean() - found.value)
    assert 0.84 * 200 <= held <= 0.96 * 200
    # A resample's copies count as no pair, else it would look closer together and so farther off.
    assert abs(np.mean(centres)) < 0.005


def test_weights_are_copies() -> None:
    points, reference = drawn(4, 0), drawn(6, 1)
    twice = against(np.repeat(points, 2, axis=0), reference)
    (value,) = against(points, reference).of(np.full((1, 4), 2.0))
    assert value == pytest.approx(against(points, reference).value)
    assert twice.value > value + 0.1, "else copies were no different from rows of their own"


def test_two_samples_of_one_source_are_not_told_apart_and_others_are() -> None:
    reference, ours = drawn(30, 1), drawn(25, 2)

    def p(theirs: Points) -> float:
        exchange = Exchange(against(ours, reference), against(theirs, reference), units_of(25, None))
        return permutation_p_values([exchange], 999, 0)[0]

    assert p(ours) == 1
    assert p(drawn(25, 3)) > 0.05
    assert p(drawn(25, 4, 1.0)) < 0.01


@pytest.mark.parametrize(
    ("points", "beyond"),
    [([], []), ([(0.0, 1.0)], [(1.0,)]), ([(0.0, 1.0), (1.0, 1.0)], [(), ()])],
    ids=["no rows", "one row", "no reference"],
)
def test_what_cannot_be_had_is_nan(points: list[tuple[float, ...]], beyond: list[tuple[float, ...]]) -> None:
    assert np.isnan(REDUCTIONS["energy_distance"].prepare([column_of(points), column_of(beyond)], {}).value)
