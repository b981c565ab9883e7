"""A GPT that did not learn its candidate's tokens: the run says so, and what it says keeps no rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_run, summarised

from vqbench.judges.words import SpokenWords
from vqbench.judging.compare import compare_runs
from vqbench.judging.families import summarise_families
from vqbench.judging.gate import gate
from vqbench.judging.learning import FALLING_FAST, LATE_FALL, NATS, TOO_LITTLE, UNIGRAM, UNTOLD, doubts, with_doubts
from vqbench.judging.plausibility import check_plausibility
from vqbench.judging.selection import Selection
from vqbench.metrics.learning import TokenLearning
from vqbench.records.run import ClipRecord, GateRule, Run, Table
from vqbench.records.store import load_run, save_run
from vqbench.report.tables.figures import run_grids

N = 20
TOKENS = 50.0
LEARNT, TOO_FEW = 3.0, 9.0
RULE = "downstream.wer <= 0.5"


def spoken_run(
    after: Mapping[str, float],
    rule: str = RULE,
    unigram: float = 6.0,
    fall: Mapping[str, float] | None = None,
    n: int = N,
) -> Run:
    """A run in which a GPT was tuned to each candidate: nats a token of held-out recordings, spread by ± 0.1."""
    run = make_run(quality=dict.fromkeys(after, 1.0), references=(), resamples=400)
    sets = {"downstream": N, "held-out": n}
    clips = tuple(
        ClipRecord(f"{name}/{i}", f"{i:064d}", 1.0, f"a sentence {i}", None, name)
        for name, m in sets.items()
        for i in range(m)
    )
    spread = np.linspace(-0.1, 0.1, n) if n > 1 else np.zeros(n)
    tables: list[Table] = []
    for name, nats in after.items():
        spoke = tuple(clip.id for clip in clips if clip.clip_set == "downstream")
        held_out = tuple(clip.id for clip in clips if clip.clip_set == "held-out")
        errors = np.arange(N) % 3.0
        words = {"word_errors": errors, "words": np.full(N, 10.0), "runaways": np.zeros(N), "utterances": np.ones(N)}
        words |= {"character_errors": errors, "characters": words["words"], "cut_offs": np.zeros(N)}
        words |= {"heard_words": words["words"], "heard_s": words["utterances"]}
        learning = {
            "nats": TOKENS * (nats + spread),
            "nats_before": np.full(n, TOKENS * 12.0),
            "nats_unigram": TOKENS * (unigram + spread),
            "tokens": np.full(n, TOKENS),
        }
        late = {LATE_FALL: fall[name]} if fall and name in fall else {}
        tables += [Table(name, "downstream", spoke, words), Table(name, TokenLearning.name, held_out, learning, late)]
    suite = replace(run.suite, gate=(GateRule(rule),))
    metrics = (*run.metrics, *SpokenWords.specs, *TokenLearning.specs)
    whole = replace(run, suite=suite, clips=(*run.clips, *clips), metrics=metrics, tables=(*run.tables, *tables))
    return with_doubts(summarised(whole))


def figure(run: Run, metric: str, candidate: str = "one") -> Any:
    return next(result for result in run.results if (result.candidate, result.metric) == (candidate, metric))


def test_who_has_learnt_is_judged_as_ever() -> None:
    run = spoken_run({"one": LEARNT}, fall={"one": 0.01})
    assert gate(run).status == "pass"
    assert doubts(run) == {}
    assert check_plausibility(run) == ()
    assert figure(run, "downstream.wer").reason is None


def test_the_false_all_clear_passes_no_gate_and_says_why_beside_each_figure(tmp_path: Path) -> None:
    run = spoken_run({"official": LEARNT, "drifted": TOO_FEW})
    save_run(run, tmp_path)
    run = load_run(tmp_path)  # from the file alone
    outcomes = {outcome.candidate: outcome for outcome in gate(run).outcomes}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "official": "pass",
        "drifted": "inconclusive",
    }
    assert "learnt too little" in outcomes["drifted"].reason and "9.00 nats" in outcomes["drifted"].reason
    assert gate(run).status == "inconclusive"
    assert [(f.check, f.candidate, f.level) for f in check_plausibility(run)] == [(TOO_LITTLE, "drifted", "warn")]
    assert figure(run, "downstream.wer", "official").value == figure(run, "downstream.wer", "drifted").value
    assert "learnt too little" in figure(run, "downstream.wer", "drifted").reason
    assert figure(run, NATS, "drifted").reason is None  # that one is as good as any
    notes = [note for grid in run_grids(run) for note in grid.notes]
    assert sum("learnt too little" in note for note in notes) == 1
    (compared,) = compare_runs([Selection("run", run)], ["downstream.wer"]).comparisons
    assert compared.reason is not None and compared.reason.startswith("drifted: the GPT learnt too little")


@pytest.mark.parametrize("choice", ["stop", "fail", "pass"])
def test_no_choice_of_what_is_inconclusive_lets_it_pass(choice: Any) -> None:
    run = spoken_run({"one": TOO_FEW})
    assert gate(replace(run, suite=replace(run.suite, inconclusive=choice))).status != "pass"


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("downstream.wer <= 0.001", "fail"),  # what it breaks, it breaks
        ("downstream.wer >= 0.01", "pass"),  # so badly it speaks at least
        ("downstream.runaway <= 20%", "inconclusive"),
        ("downstream.speaking_rate >= 1", "inconclusive"),  # neither end is better: who knows whom it flatters
        ("downstream.held_out_nats <= 10", "pass"),  # a rule about the learning itself
        ("speech.wer <= 1", "pass"),
    ],
)
def test_only_what_little_learning_flatters_is_kept_from_passing(rule: str, status: str) -> None:
    assert gate(spoken_run({"one": TOO_FEW}, rule)).outcomes[0].status == status


def test_it_is_surely_better_than_the_frequencies_or_it_has_not_learnt() -> None:
    run = spoken_run({"one": LEARNT})
    half = figure(run, NATS).ci_high - figure(run, NATS).value
    floor = figure(run, UNIGRAM).ci_low
    assert doubts(spoken_run({"one": floor - 1.01 * half})) == {}
    for nats in (floor - 0.99 * half, floor, floor + 3):
        assert doubts(spoken_run({"one": nats}))["one"].check == TOO_LITTLE


def test_what_falls_fast_in_the_end_has_not_learnt_yet() -> None:
    for fall, found in ((FALLING_FAST, set()), (FALLING_FAST + 0.01, {"one"}), (-0.2, set())):
        assert set(doubts(spoken_run({"one": LEARNT}, fall={"one": fall}))) == found
    assert "fell by 6%" in doubts(spoken_run({"one": LEARNT}, fall={"one": 0.06}))["one"].reason


@pytest.mark.parametrize(("n", "said"), [(0, "no recording is held out"), (1, "no interval from one clip")])
def test_where_too_little_is_held_out_nobody_can_tell(n: int, said: str) -> None:
    run = spoken_run({"one": LEARNT}, n=n)
    assert doubts(run)["one"].check == UNTOLD
    assert said in doubts(run)["one"].reason
    assert gate(run).outcomes[0].status == "inconclusive"
    off = replace(run, suite=replace(run.suite, plausibility={UNTOLD: "off"}))
    assert gate(off).status == "pass"


def test_a_suite_may_switch_it_off_or_make_it_fail() -> None:
    run = spoken_run({"one": TOO_FEW})
    for level, status in (("off", "pass"), ("warn", "inconclusive"), ("fail", "fail")):
        assert gate(replace(run, suite=replace(run.suite, plausibility={TOO_LITTLE: level}))).status == status


def test_a_mean_over_seeds_names_those_that_learnt_too_little() -> None:
    run = spoken_run({"a-1": LEARNT, "a-2": TOO_FEW})
    run = replace(run, candidates=tuple(replace(one, family="a") for one in run.candidates))
    means = {found.metric: found for found in summarise_families(run)}
    assert means["downstream.wer"].mean is not None
    assert (means["downstream.wer"].reason or "").startswith("a-2: the GPT learnt too little")
    assert means["speech.wer"].reason is None


def test_a_run_from_before_is_judged_as_it_was() -> None:
    run = spoken_run({"one": TOO_FEW})
    old = replace(
        run,
        metrics=tuple(spec for spec in run.metrics if spec.group != TokenLearning.name),
        tables=tuple(table for table in run.tables if table.group != TokenLearning.name),
        results=tuple(result for result in run.results if "held_out" not in result.metric),
    )
    assert gate(old).status == "pass"
