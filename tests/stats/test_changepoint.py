import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqbench.stats.changepoint import fewest_values, find_changes, search_all, varies


def indices(values, **options) -> list[int]:
    return [change.index for change in find_changes(values, **options).changes]


def step(n: int, at: int, by: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n) + by * (np.arange(n) >= at)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.125], []),
        ([0.125] * 20, []),
        ([0.1 + 0.2, 0.3] * 10, []),  # the same but for rounding
        ([0.125] * 10 + [0.130] * 10, [10]),
        ([0.130] * 10 + [0.125] * 10, [10]),
        ([0.125] * 18 + [0.130] * 2, [18]),
        ([0.125] * 2 + [0.130] * 18, [2]),
        ([0.125] * 19 + [0.130], []),  # one run is no level
        ([0.125] * 10 + [9.0] + [0.125] * 9, []),
        ([0.125] * 10 + [9.0] + [0.130] * 9, [10]),  # and hides none
        ([0.1] * 5 + [0.2] * 5 + [0.1] * 5, [5, 10]),  # a fault that was mended
        ([0.1] * 10 + [0.2] * 10 + [0.3] * 10, [10, 20]),
        ([0.1, 0.2] * 10, []),
    ],
)
def test_values_that_repeat_exactly(values, expected):
    assert indices(values) == expected


def test_a_change_has_its_levels_and_its_p():
    (change,) = find_changes([0.125] * 10 + [9.0] + [0.130] * 9).changes
    assert (change.before, change.after) == (0.125, 0.130)
    assert 0 < change.p_value <= 0.05
    first, second = find_changes([0.125] * 10 + [0.130] * 10).stretches
    assert (first.start, first.stop, first.first, first.last) == (0, 10, 0.125, 0.125)
    assert (second.start, second.stop, second.first, second.last) == (10, 20, 0.130, 0.130)


@pytest.mark.parametrize("n", [9, 12, 30, 200])
def test_a_straight_line_is_a_drift_and_blames_no_run(n):
    course = find_changes(np.linspace(0.1, 0.2, n))
    assert course.found
    assert not course.changes
    (drift,) = course.stretches
    assert drift.drift_p <= 0.05
    assert (drift.first, drift.last) == pytest.approx((0.1, 0.2), abs=0.02)


def test_a_noisy_drift_is_rarely_taken_for_steps():
    courses = [find_changes(np.linspace(0, 10, 40) + step(40, 40, 0, seed)) for seed in range(40)]
    assert all(course.found for course in courses)
    assert sum(not course.changes for course in courses) >= 32


def test_a_drift_may_begin_late():
    course = find_changes(np.concatenate([np.zeros(20), np.linspace(0, 1, 20)]))
    assert [stretch.drift_p is None for stretch in course.stretches] == [True, False]
    assert 17 <= course.changes[0].index <= 23


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("noise", ["normal", "lognormal", "standard_cauchy"])
def test_where_nothing_changed_the_level_is_kept(level, noise):
    generator = np.random.default_rng(7)
    n = 300
    false = sum(find_changes(getattr(generator, noise)(size=16), level=level).found for _ in range(n))
    assert level / 4 <= false / n <= level + 3 * math.sqrt(level * (1 - level) / n)


def test_finds_a_shift_of_two_deviations_in_twenty_runs_most_times():
    courses = [find_changes(step(20, 10, 2.0, seed)) for seed in range(200)]
    assert sum(course.found for course in courses) >= 160


@pytest.mark.parametrize(("n", "at", "by"), [(20, 10, 4.0), (20, 16, 5.0), (50, 30, 3.0)])
def test_finds_the_run_within_one(n, at, by):
    found = [indices(step(n, at, by, seed)) for seed in range(60)]
    assert sum(any(abs(index - at) <= 1 for index in one) for one in found) >= 54
    assert sum(len(one) == 1 for one in found) >= 50


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-100, 100))
def test_units_do_not_matter(seed, factor, offset):
    values = step(18, 11, 4.0, seed)
    ours, theirs = find_changes(values), find_changes(factor * values + offset)
    assert [(c.index, c.p_value) for c in ours.changes] == [(c.index, c.p_value) for c in theirs.changes]
    for our, their in zip(ours.changes, theirs.changes, strict=True):
        assert their.before == pytest.approx(factor * our.before + offset, rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_time_backwards_mirrors_what_is_found(seed):
    values = step(24, 9, 4.0, seed)
    ours, theirs = find_changes(values).changes, find_changes(values[::-1]).changes
    assert [c.index for c in ours] == [24 - c.index for c in reversed(theirs)]
    assert sorted(c.p_value for c in ours) == sorted(c.p_value for c in theirs)


def test_the_fewest_values_are_the_fewest():
    for n_series in (1, 5, 36):
        n = fewest_values(n_series)
        for length, found in ((n - 1, False), (n, True)):
            values = [0.0] * (length // 2) + [1.0] * (length - length // 2)
            assert find_changes(values, n_series=n_series).found == found


def test_the_same_values_give_the_same_p():
    values = step(20, 10, 2.0, 3)
    assert find_changes(values) == find_changes(list(values))


@pytest.mark.parametrize("values", [[], [math.nan] * 10, [0.1] * 10 + [math.inf]])
def test_what_is_no_series(values):
    with pytest.raises(ValueError, match="values"):
        find_changes(values)


def test_series_that_changed_leave_the_level_to_the_others():
    late = [0.1] * 10 + [0.2] * 4
    clear = [[0.1] * 12 + [0.2] * 12] * 17
    noise = [step(20, 20, 0, seed) for seed in range(17)]
    assert search_all([late]).courses[0].found
    assert all(course.found for course in search_all([late, *clear]).courses)
    assert not any(course.found for course in search_all([late, *noise]).courses)


def test_only_series_that_can_change_share_the_level():
    late = [0.1] * 10 + [0.2] * 4
    search = search_all([late, *[[0.7] * 14] * 20, *[[0.1, 0.2, 0.3]] * 20])
    assert search.courses[0].found
    assert (search.n_tested, search.needed) == (1, fewest_values())
    assert search_all([]).n_tested == 0


def test_in_many_series_together_a_false_find_is_as_rare_as_in_one():
    generator = np.random.default_rng(11)
    n = 100
    false = sum(any(course.found for course in search_all(generator.normal(size=(8, 14))).courses) for _ in range(n))
    assert false / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)


def test_varies_asks_for_two_values_beyond_the_rest():
    assert not varies([1.0, 1.0, 1.0])
    assert not varies([1.0] * 8 + [2.0])
    assert varies([1.0] * 7 + [2.0] * 2)
