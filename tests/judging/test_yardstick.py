"""Speeds of two machines are judged by their ratio to a candidate that was timed on both."""

from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, table_of

from vqbench.judging.compare import compare_runs
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import GateRule
from vqbench.stats.columns import columns_of
from vqbench.stats.estimate import estimate
from vqbench.stats.reductions import REDUCTIONS

SPEED = "throughput.encode.b8.audio_s_per_s"
LATENCY = "throughput.encode.latency_p90"
STICK = "fair"
BASE = make_run(machine="runner A")


def elsewhere(slowdown=3.0, **others):
    """The same suite on another machine, `slowdown` times as slow; some candidates are slower still by a factor."""
    run = make_run(machine="runner B", slowdown=slowdown)
    for name, factor in others.items():
        for group in ("throughput.encode.b8", "throughput.encode.latency"):
            table = table_of(run, name, group)
            columns = {c: cells * factor if c.startswith("wall") else cells for c, cells in table.columns.items()}
            run = replace_table(run, replace(table, columns=columns))
    return run


def judged(run, rule, candidate="good", stick=STICK, baseline=BASE):
    suite = replace(run.suite, gate=(GateRule(rule, (candidate,)),), yardstick=stick)
    (outcome,) = gate(replace(run, suite=suite), Selection("main", baseline)).outcomes
    return outcome


@pytest.mark.parametrize(
    ("run", "rule", "status"),
    [
        (elsewhere(), f"{SPEED} >= 0.8 * baseline", "pass"),
        (elsewhere(0.2), f"{SPEED} >= 0.8 * baseline", "pass"),
        (elsewhere(good=2.0), f"{SPEED} >= 0.8 * baseline", "fail"),
        (elsewhere(fair=2.0), f"{SPEED} >= 1.5 * baseline", "pass"),
        (elsewhere(good=1.25), f"{SPEED} >= 0.8 * baseline", "inconclusive"),
        (elsewhere(), f"{LATENCY} <= baseline * 1.3", "pass"),
        (elsewhere(good=2.0), f"{LATENCY} <= baseline * 1.3", "fail"),
    ],
)
def test_it_is_the_ratio_to_the_yardstick_that_counts(run, rule, status):
    outcome = judged(run, rule)
    assert outcome.status == status, outcome.reason
    assert "by the yardstick fair" in outcome.reason


def test_the_figure_is_what_the_other_machine_would_have_had():
    run = elsewhere(good=1.5)

    def speed(run, name):
        table = table_of(run, name, "throughput.encode.b8")
        return table.columns["audio_s"].sum() / table.columns["wall_s"].sum()

    outcome = judged(run, f"{SPEED} >= 0.1 * baseline")
    assert outcome.value == pytest.approx(speed(run, "good") * speed(BASE, STICK) / speed(run, STICK))
    assert outcome.limit == pytest.approx(0.1 * speed(BASE, "good"))


def test_on_one_machine_another_time_is_another_pace_too():
    run = make_run(machine="runner A", slowdown=1.05)
    assert "by the yardstick fair" in judged(run, f"{SPEED} >= 0.8 * baseline").reason
    alone = judged(run, f"{SPEED} >= 0.8 * baseline", stick=None)
    assert (alone.status, alone.open) == ("inconclusive", False)
    assert "timed at another time" in alone.reason


def test_a_measurement_equals_itself_whatever_is_named():
    outcome = judged(make_run(machine="runner A"), f"{SPEED} >= baseline", stick=None)
    assert (outcome.status, outcome.ci_low, outcome.ci_high) == ("pass", 0.0, 0.0)


def test_a_comparison_of_two_runs_is_scaled_alike():
    run = elsewhere(good=2.0)
    run = replace(run, suite=replace(run.suite, yardstick=STICK))
    table = compare_runs([Selection("old", BASE), Selection("new", run, "good")], [SPEED])
    (one,) = table.comparisons
    assert one.candidate_value == pytest.approx(one.reference_value / 2, rel=0.15)
    assert one.ci_high < 0
    assert one.p_value < 0.01
    assert one.reason == "timed on another machine: runner B against runner A; scaled by the yardstick fair"


@pytest.mark.parametrize(
    ("run", "candidate", "stick", "baseline", "message"),
    [
        (elsewhere(), "good", None, BASE, "the suite names no yardstick"),
        (elsewhere(), "fair", STICK, BASE, "fair is the yardstick itself"),
        (elsewhere(), "good", STICK, make_run(machine="A", quality={"good": 1.0}), "fair is missing in the other"),
        (elsewhere(), "good", STICK, make_run(machine="A", quality={"good": 1.0, "fair": 3.0}), "its digest differs"),
        (elsewhere(), "good", "gone", BASE, "gone is missing in this run"),
    ],
)
def test_without_a_common_yardstick_nothing_is_decided(run, candidate, stick, baseline, message):
    outcome = judged(run, f"{SPEED} >= 0.0001 * baseline", candidate, stick, baseline)
    assert (outcome.status, outcome.open) == ("inconclusive", False)
    assert "timed on another machine" in outcome.reason
    assert message in outcome.reason


@pytest.mark.parametrize("bca", [False, True])
def test_the_interval_of_a_scaled_figure_covers(bca):
    """All four measurements are noisy; the true ratio is 2."""
    generator = np.random.default_rng(1)
    covered, trials, n = 0, 400, 50
    for _ in range(trials):
        figures = [
            estimate(
                REDUCTIONS["ratio"].prepare(list(columns_of({"a": [1.0] * n, "s": seconds}).values()), {}),
                seed=seed,
                resamples=400,
                method="bca" if bca else "percentile",
            )
            for seed, seconds in enumerate(generator.lognormal(sigma=0.2, size=(4, n)) * [[1], [2], [3], [3]])
        ]
        ours, theirs, here, there = figures
        low, high = (ours * (there / here) - 2.0 * theirs).interval(0.95)
        covered += low <= 0 <= high
    assert 0.917 <= covered / trials <= 0.983  # 95 %, and three standard errors of so many trials
