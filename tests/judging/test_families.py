"""What another training of the same recipe would come to: means over seeds and their intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import edit_result, make_run

from vqbench.errors import ResultError
from vqbench.judging.asked import narrow_rules
from vqbench.judging.families import FamilyResult, summarise_families
from vqbench.records.run import GateRule, Run
from vqbench.records.store import load_run, save_run
from vqbench.stats.student import t_interval

SEEDS = ("arm-s1", "arm-s2", "arm-s3")
FAMILIES = {"arm": SEEDS, "lone": ("lone-s1",)}


@pytest.fixture(scope="module")
def run() -> Run:
    quality = dict.fromkeys((*SEEDS, "lone-s1", "plain"), 1.0)
    return make_run(quality=quality, families=FAMILIES, n_clips=6, resamples=100, gate=["speech.wer <= 0.5"])


def with_values(run: Run, metric: str, values: dict[str, float | None], reason: str | None = None) -> Run:
    """The run with other figures of some candidates; a reason where there is none."""
    results = tuple(
        replace(result, value=values[result.candidate], reason=reason)
        if result.metric == metric and result.candidate in values
        else result
        for result in run.results
    )
    return replace(run, results=results)


def over_seeds(run: Run, metric: str) -> FamilyResult:
    (found,) = (result for result in summarise_families(run) if result.metric == metric)
    return found


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_covers_the_mean_that_seeds_were_drawn_around(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.3, 0.02, size=(2000, n))
    intervals = [t_interval(values, 0.95) for values in draws]
    assert 0.93 <= np.mean([low <= 0.3 <= high for low, high in intervals]) <= 0.97
    # Neither end is missed more than the other.
    assert 0.015 <= np.mean([low > 0.3 for low, _ in intervals]) <= 0.035


@pytest.mark.parametrize(
    ("confidence", "half"),
    [
        (0.95, 4.302653 / math.sqrt(3)),  # Student's t, two degrees of freedom, 97.5 %: 4.3027
        (0.9, 2.919986 / math.sqrt(3)),
    ],
)
def test_three_seeds_by_hand(run: Run, confidence: float, half: float) -> None:
    # 10, 11, 12: mean 11, standard deviation 1.
    metric = "codebook.entropy"
    run = with_values(run, metric, dict(zip(SEEDS, (11.0, 10.0, 12.0), strict=True)))
    run = replace(run, interval=replace(run.interval, confidence=confidence))
    found = over_seeds(run, metric)
    assert (found.family, found.n, found.mean, found.minimum, found.maximum) == ("arm", 3, 11.0, 10.0, 12.0)
    assert (found.ci_low, found.ci_high) == (pytest.approx(11 - half), pytest.approx(11 + half))
    assert found.reason is None


def test_two_seeds_are_six_times_as_far_from_their_mean_as_from_each_other() -> None:
    low, high = t_interval([1.0, 2.0], 0.95)
    assert (low, high) == (pytest.approx(1.5 - 6.3531, abs=1e-3), pytest.approx(1.5 + 6.3531, abs=1e-3))


def test_an_interval_is_cut_at_what_the_metric_can_be(run: Run) -> None:
    metric = "codebook.dead"
    headline = tuple(replace(spec, headline=spec.name == metric) for spec in run.metrics)
    run = with_values(replace(run, metrics=headline), metric, dict(zip(SEEDS, (0.2, 0.5, 0.8), strict=True)))
    found = over_seeds(run, metric)
    assert (found.ci_low, found.ci_high) == (0.0, 1.0)


def test_every_headline_metric_of_every_family_with_at_least_two_seeds(run: Run) -> None:
    headline = [spec.name for spec in run.metrics if spec.headline]
    assert [(found.family, found.metric) for found in summarise_families(run)] == [("arm", name) for name in headline]
    assert summarise_families(make_run(n_clips=2, resamples=100)) == ()


@pytest.mark.parametrize(
    ("value", "reason", "why"),
    [
        (None, "nothing was scored; a: silent", "arm-s2 has no figure (nothing was scored; a: silent)"),
        (None, None, "arm-s2 has no figure"),
        (math.nan, None, "arm-s2 came out as nan"),
        (math.inf, None, "arm-s2 came out as inf"),
    ],
)
def test_a_seed_without_a_figure_leaves_its_family_without_one(
    run: Run, value: float | None, reason: str | None, why: str
) -> None:
    found = over_seeds(with_values(run, "speech.wer", {"arm-s2": value}, reason), "speech.wer")
    assert found == FamilyResult("arm", "speech.wer", 3, reason=f"not averaged: {why}")


def test_all_seeds_without_a_figure_are_named(run: Run) -> None:
    lost = with_values(run, "speech.wer", {"arm-s3": math.nan})
    results = tuple(r for r in lost.results if (r.candidate, r.metric) != ("arm-s1", "speech.wer"))
    found = over_seeds(replace(lost, results=results), "speech.wer")
    assert (found.mean, found.ci_low, found.minimum) == (None, None, None)
    assert found.reason == "not averaged: arm-s1 was not measured; arm-s3 came out as nan"


# ---- families in stored runs, and in what a person asks for


def test_families_survive_the_store_and_runs_from_before_them_load(run: Run, tmp_path) -> None:
    path = save_run(run, tmp_path)
    assert load_run(path) == run

    def as_before_families(plain: dict[str, Any]) -> None:
        for candidate in plain["candidates"]:
            del candidate["family"]

    edit_result(path, as_before_families)
    before = load_run(path)
    assert {candidate.family for candidate in before.candidates} == {None}
    assert before.results == run.results


@pytest.mark.parametrize(
    ("rule_for", "asked", "judged"),
    [
        ((), ["arm"], [SEEDS]),
        ((), ["arm-s2", "arm"], [("arm-s2", "arm-s1", "arm-s3")]),
        (("arm-s3", "plain"), ["arm"], [("arm-s3",)]),
        (("plain",), ["arm"], []),
        ((), ["lone", "plain"], [("lone-s1", "plain")]),
    ],
)
def test_rules_are_narrowed_to_all_seeds_of_a_family(
    run: Run, rule_for: tuple[str, ...], asked: list[str], judged: list[tuple[str, ...]]
) -> None:
    gated = replace(run, suite=replace(run.suite, gate=(GateRule("speech.wer <= 0.5", rule_for),)))
    assert [rule.candidates for rule in narrow_rules(gated, asked).suite.gate] == judged


def test_a_name_that_no_family_has_is_refused(run: Run) -> None:
    with pytest.raises(ResultError, match="did you mean 'arm-s"):
        narrow_rules(run, ["arm-s"])
