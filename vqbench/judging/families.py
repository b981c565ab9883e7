"""Figures over seeds: what the same recipe comes to when it is trained again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vqbench.judging.learning import concerns, doubts
from vqbench.records.run import MetricSpec, Result, Run
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.student import t_interval


@dataclass(frozen=True)
class FamilyResult:
    """One metric over the seeds of one recipe.

    The interval is for the mean over all seeds that could have been drawn: it covers other seeds on these very clips.
    Other clips it does not cover, nor other pairs or data to train on. Those of the single candidates do it the other
    way round: they cover other clips, for this very training. It takes the seeds' figures for normally distributed, and
    with few seeds it is wide: two figures that differ by d give mean ± 6.4·d.

    Attributes:
        family: what the suite calls all the seeds together.
        metric: the metric's name.
        n: the number of seeds.
        mean: of the seeds' figures. None, as all other numbers then are, where not every seed has a figure: a mean over
            fewer seeds would leave out the very trainings that failed.
        ci_low: lower end of the interval, by Student's t with n - 1 degrees of freedom, cut at what the metric can be.
        ci_high: upper end of it.
        minimum: the smallest of the seeds' figures.
        maximum: the largest of them.
        reason: which seeds have no figure, and why.
    """

    family: str
    metric: str
    n: int
    mean: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    reason: str | None = None


def summarise_families(run: Run) -> tuple[FamilyResult, ...]:
    """Every headline metric of every family of at least two seeds; the intervals have the run's confidence."""
    families: dict[str, list[str]] = {}
    for candidate in run.candidates:
        if candidate.family is not None:
            families.setdefault(candidate.family, []).append(candidate.name)
    results = {(result.candidate, result.metric): result for result in run.results}
    doubted = doubts(run)

    def summarised(family: str, names: Sequence[str], spec: MetricSpec) -> FamilyResult:
        found = _summarise(
            family, spec, {name: results.get((name, spec.name)) for name in names}, run.interval.confidence
        )
        doubtful = [f"{name}: {doubted[name].reason}" for name in names if name in doubted and concerns(spec)]
        return replace(found, reason="; ".join(doubtful)) if doubtful and found.reason is None else found

    return tuple(
        summarised(family, names, spec)
        for family, names in families.items()
        if len(names) >= 2
        for spec in run.metrics
        if spec.headline
    )


def _summarise(family: str, spec: MetricSpec, results: dict[str, Result | None], confidence: float) -> FamilyResult:
    values, missing = [], []
    for name, result in results.items():
        if result is not None and result.value is not None and math.isfinite(result.value):
            values.append(result.value)
        else:
            missing.append(f"{name} {_why(result)}")
    if missing:
        return FamilyResult(family, spec.name, len(results), reason=f"not averaged: {'; '.join(missing)}")
    low, high = t_interval(values, confidence)
    least, most = REDUCTIONS[spec.reduction].span
    mean = math.fsum(values) / len(values)
    return FamilyResult(
        family, spec.name, len(values), mean, max(low, least), min(high, most), min(values), max(values)
    )


def _why(result: Result | None) -> str:
    if result is None:
        return "was not measured"
    if result.value is None:
        return f"has no figure ({result.reason})" if result.reason else "has no figure"
    return f"came out as {result.value}"
