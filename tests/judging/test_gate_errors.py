"""How often a gate errs, over a thousand candidates of which it is known what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import make_clips, make_run
from scipy import stats

from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import CandidateRecord, GateRule, Run, Table

N_CANDIDATES = 1000
MARGIN = 0.02


def runs(n_clips: int, worse_by: float) -> tuple[Run, Run]:
    """A run and its baseline: each candidate makes `worse_by` more errors a word than it did there.

    Every candidate has words, and clips that are hard, of its own, else they would all err together.
    """
    draw = np.random.default_rng(n_clips)
    empty = make_run(quality={}, references=(), n_clips=2)
    clips = make_clips(n_clips, 0)
    ids = tuple(clip.id for clip in clips)
    names = [f"candidate{i:04d}" for i in range(N_CANDIDATES)]
    rates = [[], []]
    for name in names:
        words, hard = draw.integers(5, 30, n_clips), draw.beta(2.0, 18.0, n_clips)
        for tables, rate in zip(rates, (np.minimum(hard + worse_by, 1), hard), strict=True):
            columns = {"errors": draw.binomial(words, rate).astype(float), "words": words.astype(float)}
            tables.append(Table(name, "speech", ids, columns))
    records = tuple(CandidateRecord(name, "candidate", name, name) for name in names)
    spec = tuple(spec for spec in empty.metrics if spec.name == "speech.wer")
    suite = replace(empty.suite, gate=(GateRule(f"speech.wer <= baseline + {MARGIN}"),))
    ours, theirs = (
        replace(empty, suite=suite, clips=clips, candidates=records, metrics=spec, tables=tuple(tables), results=())
        for tables in rates
    )
    return ours, theirs


def shares(n_clips: int, worse_by: float) -> dict[str, float]:
    ours, theirs = runs(n_clips, worse_by)
    outcomes = [outcome.status for outcome in gate(ours, Selection("baseline", theirs)).outcomes]
    return {status: outcomes.count(status) / N_CANDIDATES for status in ("pass", "fail", "inconclusive")}


@pytest.mark.parametrize("n_clips", [50, 100, 500])
def test_a_candidate_that_is_worse_by_the_whole_margin_passes_one_time_in_forty(n_clips: int) -> None:
    found = shares(n_clips, worse_by=MARGIN)
    assert found["pass"] <= stats.binom.ppf(0.999, N_CANDIDATES, 0.025) / N_CANDIDATES
    assert found["fail"] <= stats.binom.ppf(0.999, N_CANDIDATES, 0.025) / N_CANDIDATES
    assert found["inconclusive"] >= 0.9


def test_with_clips_enough_one_that_is_as_good_passes_and_one_that_is_much_worse_fails() -> None:
    assert shares(500, worse_by=0.0)["pass"] > 0.95
    assert shares(500, worse_by=2 * MARGIN)["fail"] > 0.95
