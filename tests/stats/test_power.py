"""Whether as many units as are said to be needed do see the difference, with the interval that a comparison draws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.power import (
    FEWEST,
    MOST,
    detectable_difference,
    relative_error,
    unit_deviation,
    units_needed,
)
from vqbench.stats.reductions import REDUCTIONS

TRIALS = 600
"""At 80 % they leave a standard error of 1.6 %."""


def difference(columns, reduction="mean", *, clusters=None, resamples=300, seed=0) -> Estimate:
    """Of two candidates, each with its columns."""
    ours, theirs = (
        estimate(
            REDUCTIONS[reduction].prepare([np.asarray(column, dtype=float) for column in side], {}),
            clusters=clusters,
            resamples=resamples,
            seed=seed,
        )
        for side in columns
    )
    return ours - theirs


def normal(rng, n, apart=0.5):
    hardness = rng.normal(size=n)
    return [hardness + apart + rng.normal(size=n)], [hardness + rng.normal(size=n)]


def word_errors(rng, n):
    """Some sentences are far harder than others, for both."""
    words, hardness = rng.integers(5, 20, n), rng.lognormal(sigma=0.4, size=n)
    return [rng.poisson(0.08 * words * hardness), words], [rng.poisson(0.05 * words * hardness), words]


def skewed_word_errors(rng, n):
    """A few sentences make up most of the errors, and of the difference."""
    words, hardness = rng.integers(5, 20, n), rng.lognormal(sigma=0.8, size=n)
    return [rng.poisson(0.22 * words * hardness), words], [rng.poisson(0.15 * words * hardness), words]


def runaways(rng, n):
    hardness = rng.beta(0.5, 2, n)
    return [rng.random(n) < 0.3 + hardness / 2], [rng.random(n) < hardness]


@pytest.mark.parametrize(
    ("draw", "reduction", "low", "high"),
    [
        (normal, "mean", 0.74, 0.87),
        (word_errors, "ratio", 0.74, 0.87),
        (runaways, "mean", 0.74, 0.87),
        (normal, "p50", 0.7, 0.85),
        # Samples that miss the hard sentences show a small difference, but a small spread with it.
        (skewed_word_errors, "ratio", 0.78, 0.92),
    ],
)
def test_so_many_clips_see_the_difference_as_often_as_promised(draw, reduction, low, high):
    rng = np.random.default_rng(0)
    true = difference(draw(rng, 100_000), reduction, resamples=2).value
    n = units_needed(unit_deviation(difference(draw(rng, 2000), reduction, resamples=2000)), true)
    assert 30 <= n <= 200
    intervals = [difference(draw(rng, n), reduction, seed=trial).interval(0.95) for trial in range(TRIALS)]
    assert low <= np.mean([ends[0] > 0 for ends in intervals]) <= high


def test_so_many_speakers_see_the_difference_as_often_as_promised():
    def draw(rng, n):
        mood = np.repeat(rng.normal(size=n), 4)
        return [0.4 + mood / 2 + rng.normal(size=4 * n)], [-mood / 2 + rng.normal(size=4 * n)]

    def speakers(n):
        return [f"s{i}" for i in range(n) for _ in range(4)]

    rng = np.random.default_rng(0)
    pilot = difference(draw(rng, 800), clusters=speakers(800), resamples=2000)
    n = units_needed(unit_deviation(pilot), 0.4)
    assert 50 <= n <= 100
    seen = [difference(draw(rng, n), clusters=speakers(n), seed=i).interval(0.95)[0] > 0 for i in range(TRIALS)]
    assert 0.74 <= np.mean(seen) <= 0.87


def test_so_many_clips_keep_a_candidate_that_differs_in_nothing_within_the_margin():
    """The gate's rule `<= baseline + 0.5`: it passes where the upper end of the interval keeps it."""
    rng = np.random.default_rng(0)
    n = units_needed(unit_deviation(difference(normal(rng, 2000, apart=0), resamples=2000)), 0.5)
    passed = [difference(normal(rng, n, apart=0), seed=i).interval(0.95)[1] <= 0.5 for i in range(TRIALS)]
    assert 0.74 <= np.mean(passed) <= 0.87


def test_a_small_pilot_is_right_on_average_and_as_rough_as_it_says():
    rng = np.random.default_rng(0)
    needed = [units_needed(unit_deviation(difference(normal(rng, 20), seed=i)), 0.5) for i in range(300)]
    assert np.mean(needed) == pytest.approx(64, rel=0.06)
    assert np.std(needed) / np.mean(needed) == pytest.approx(relative_error(20), rel=0.2)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("effect", [0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 2.0, 5.0])
def test_it_is_the_noncentral_t_but_for_one(confidence, power, effect):
    """Of normal differences the power is known: that of the paired t-test."""

    def reached(n):
        return stats.nct.sf(stats.t.ppf((1 + confidence) / 2, n - 1), n - 1, effect * math.sqrt(n))

    n = units_needed(1.0, effect, confidence=confidence, power=power)
    exact = next(k for k in itertools.count(max(FEWEST, n - 3)) if reached(k) >= power)
    assert abs(n - exact) <= 1


def test_the_deviation_of_a_mean_is_that_of_the_paired_differences():
    ours, theirs = normal(np.random.default_rng(0), 30)
    found = unit_deviation(difference((ours, theirs), resamples=40_000))
    assert found == pytest.approx(np.std(ours[0] - theirs[0], ddof=1), rel=0.01)


sizes = st.floats(1e-3, 1e3)
powers = st.floats(0.5, 0.99)
confidences = st.floats(0.5, 0.999)


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.floats(0.1, 1.0), confidences, powers)
def test_a_smaller_difference_takes_no_fewer(deviation, size, share, confidence, power):
    options = {"confidence": confidence, "power": power}
    larger, smaller = (units_needed(deviation, d, **options) or MOST + 1 for d in (size, share * size))
    assert FEWEST <= larger <= smaller


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(-20, 20), confidences, powers)
def test_the_unit_of_measurement_does_not_matter(deviation, size, exponent, confidence, power):
    options = {"confidence": confidence, "power": power}
    scale = 2.0**exponent  # exact in floating point
    assert units_needed(deviation, size, **options) == units_needed(scale * deviation, -scale * size, **options)


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.tuples(confidences, confidences), st.tuples(powers, powers))
def test_more_certainty_takes_no_fewer(deviation, size, confidence, power):
    few = units_needed(deviation, size, confidence=min(confidence), power=min(power)) or MOST + 1
    assert few <= (units_needed(deviation, size, confidence=max(confidence), power=min(power)) or MOST + 1)
    assert few <= (units_needed(deviation, size, confidence=min(confidence), power=max(power)) or MOST + 1)


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(3, 200), confidences, powers)
def test_so_many_are_needed_for_what_so_many_detect(deviation, n, confidence, power):
    options = {"confidence": confidence, "power": power}
    least = detectable_difference(deviation, n, **options)
    assert units_needed(deviation, least * (1 + 1e-9), **options) <= n
    assert units_needed(deviation, least * (1 - 1e-9), **options) > n


@pytest.mark.parametrize(
    ("deviation", "size", "needed"),
    [
        (1.0, 0.0, None),
        (1.0, 1e-4, None),
        (1.0, 2.8016 / 1000, 999_934),
        (1.0, 5e-324, None),
        (1e308, 1e308, 10),
        (math.nan, 1.0, None),
        (0.0, 1.0, FEWEST),
    ],
)
def test_the_ends_of_the_range(deviation, size, needed):
    found = units_needed(deviation, size)
    assert found == (None if needed is None else pytest.approx(needed, rel=1e-4))
