"""How often candidates that are equally fast are called different, on a machine with moods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import make_run
from scipy import stats

from vqbench.judging.compare import compare_runs
from vqbench.judging.selection import Selection
from vqbench.records.run import CandidateRecord, MetricSpec, Run, Table
from vqbench.report.tables.judgements import verdict

TRIALS, BLOCKS, NAMES, GROUPS = 200, 20, ("a", "b", "c"), ("throughput.x", "throughput.y")
EMPTY = make_run(quality={}, references=(), n_clips=2)
SPECS = tuple(
    MetricSpec(f"{group}.rtfx", group, ("audio_s", "seconds"), "ratio", "x", True, 1, "", resampled="repetition")
    for group in GROUPS
)


def mood(draw: np.random.Generator, n: int) -> np.ndarray:
    """The log of the machine's pace, timing after timing: it drifts, some stretches are half as fast again, and a run
    as a whole may be twice as fast as another."""
    drift = np.cumsum(draw.normal(0, 0.01, n))
    slow = np.zeros(n)
    for start in draw.integers(0, n, 3):
        slow[start : start + draw.integers(5, n // 3)] += 0.4
    return draw.normal(0, 0.4) + drift + slow + draw.gamma(1.0, 0.03, n)


def timed(draw: np.random.Generator, in_turns: bool = True) -> Run:
    """A run of three candidates that are equally fast; not in turns, the repetitions of each stand in a row."""
    paces = np.exp(mood(draw, BLOCKS * len(GROUPS) * len(NAMES)))
    seconds: dict[tuple[str, str], list[float]] = {(name, group): [] for name in NAMES for group in GROUPS}
    if in_turns:
        order = [
            (name, group)
            for _ in range(BLOCKS)
            for group in draw.permutation(GROUPS)
            for name in draw.permutation(NAMES)
        ]
    else:
        order = [(name, group) for name in NAMES for group in GROUPS for _ in range(BLOCKS)]
    for place, pace in zip(order, paces, strict=True):
        seconds[place].append(float(pace))
    ids = tuple(f"{'block' if in_turns else 'repetition'}-{i}" for i in range(BLOCKS))
    columns = {"audio_s": np.ones(BLOCKS)}
    tables = [Table(*place, ids, {**columns, "seconds": np.array(took)}) for place, took in seconds.items()]
    records = tuple(CandidateRecord(name, "candidate", "the same", name) for name in NAMES)
    suite = replace(EMPTY.suite, yardstick="a")
    return replace(EMPTY, suite=suite, candidates=records, metrics=SPECS, tables=tuple(tables), results=())


def called_different(runs: list[Run]) -> tuple[float, float]:
    """The share of trials in which anything is called better or worse, and that in which nominally anything is."""
    specs = {spec.name: spec for spec in SPECS}
    found = []
    for selections in runs:
        table = compare_runs([Selection(str(i), run) for i, run in enumerate(selections)])
        words = {verdict(one, specs[one.metric], 0.95) for one in table.comparisons}
        found.append((bool(words & {"better", "worse"}), any("nominally" in word for word in words)))
    return tuple(np.mean(found, axis=0))


def test_in_a_run_equal_candidates_are_called_different_in_at_most_one_run_of_twenty() -> None:
    draw = np.random.default_rng(0)
    different, _ = called_different([[timed(draw)] for _ in range(TRIALS)])
    assert different <= 0.05
    draw = np.random.default_rng(0)
    in_a_row, _ = called_different([[timed(draw, in_turns=False)] for _ in range(TRIALS)])
    assert in_a_row > 0.5  # what the turns are for


def test_nor_are_they_across_two_runs_beside_the_yardstick() -> None:
    """5.4 % of 900 trials: as nearly 5 % as 200 can tell."""
    draw = np.random.default_rng(2)
    different, _ = called_different([[timed(draw), timed(draw)] for _ in range(TRIALS)])
    assert different <= stats.binom.ppf(0.999, TRIALS, 0.05) / TRIALS


def test_one_that_is_a_tenth_slower_is_told_apart_in_most_runs() -> None:
    draw, found = np.random.default_rng(2), 0
    for _ in range(40):
        run = timed(draw)
        slower = [
            replace(t, columns={**t.columns, "seconds": 1.1 * t.columns["seconds"]}) if t.candidate == "b" else t
            for t in run.tables
        ]
        (one,) = (
            c
            for c in compare_runs([Selection("run", replace(run, tables=tuple(slower)))], [SPECS[0].name]).comparisons
            if c.candidate.endswith("b")
        )
        found += verdict(one, SPECS[0], 0.95) == "worse"
    assert found >= 24
