"""Rules as they are asked: read, checked against what is there, added and narrowed. `gate` judges by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vqbench.errors import ConfigError, did_you_mean, raise_all
from vqbench.judging.selection import Selection, candidates_of, members
from vqbench.records.reference import judged_by_default
from vqbench.records.rules import Rule, parse_rule
from vqbench.records.run import GateRule, MetricSpec, Run


def check_rules(
    rules: Sequence[GateRule], metrics: Sequence[MetricSpec], where: str, slices: Sequence[str] = ()
) -> None:
    """Sees to it, before anything is measured, that rules can be read and are about figures that will be there.

    Args:
        rules: of a suite.
        metrics: what will be measured.
        where: the suite's file.
        slices: names of the slices that there will be.

    Raises:
        ConfigError: all faults at once.
    """
    parsed, errors = parse_rules(rules)
    for written, rule in parsed:
        errors += faults_of_metric(written, rule, metrics)
        errors += faults_of_slice(written, rule, metrics, slices)
    for error in errors:
        error.where = f"{where}: {error.where}" if error.where else where
    raise_all(errors)


def add_rules(run: Run, rules: Sequence[str]) -> Run:
    """The run with further rules on all clips, each in place of those of its suite on the same metric and side.

    They are for all candidates, but the reference where it would be held against itself.

    Raises:
        ConfigError: rules that cannot be read, all of them at once.
    """
    names = candidates_of(run)
    added, errors = parse_rules([GateRule(rule, judged_by_default(rule, names, run.suite.reference)) for rule in rules])
    theirs, more_errors = parse_rules(run.suite.gate)
    raise_all([*errors, *more_errors])
    replaced = {(rule.metric, rule.op) for _, rule in added}
    kept = [written for written, rule in theirs if written.slice or (rule.metric, rule.op) not in replaced]
    return replace(run, suite=replace(run.suite, gate=(*kept, *(written for written, _ in added))))


def narrow_rules(run: Run, candidates: Sequence[str]) -> Run:
    """The run with its rules for these candidates only; without any names, the run as it is.

    Args:
        run: the run.
        candidates: names, of candidates or of all seeds of one recipe.

    Raises:
        ResultError: the run has no such candidate.
    """
    if not candidates:
        return run
    asked = dict.fromkeys(member for name in candidates for member in members(run, name, f"suite {run.suite.name}"))
    rules = [
        replace(rule, candidates=judged)
        for rule in run.suite.gate
        if (judged := tuple(name for name in asked if not rule.candidates or name in rule.candidates))
    ]
    return replace(run, suite=replace(run.suite, gate=tuple(rules)))


def parse_rules(rules: Sequence[GateRule]) -> tuple[list[tuple[GateRule, Rule]], list[ConfigError]]:
    """The rules that can be read, and what is wrong with the others."""
    parsed: list[tuple[GateRule, Rule]] = []
    errors: list[ConfigError] = []
    for written in rules:
        try:
            parsed.append((written, parse_rule(written.rule)))
        except ConfigError as error:
            errors.append(error)
    return parsed, errors


def faults_of_metric(written: GateRule, rule: Rule, specs: Sequence[MetricSpec]) -> Iterator[ConfigError]:
    """Faults of a rule about a figure that is not measured, or that is no share and is held against one."""
    where = f"gate rule `{written.text}`"
    metrics = {spec.name: spec for spec in specs}
    spec = metrics.get(rule.metric)
    if spec is None:
        yield ConfigError(
            f"there is no metric {rule.metric!r}{did_you_mean(rule.metric, metrics)}",
            where=where,
            expected=f"one of {', '.join(metrics)}",
        )
    elif rule.percent and spec.unit:
        yield ConfigError(
            f"% is a hundredth, but {rule.metric} is in {spec.unit}",
            where=where,
            fix="write a number in that unit, or a factor: baseline * 0.95",
        )


def faults_of_slice(
    written: GateRule, rule: Rule, specs: Sequence[MetricSpec], slices: Sequence[str]
) -> Iterator[ConfigError]:
    """Faults of a rule about a slice that there is not."""
    if written.slice is None:
        return
    where = f"gate rule `{written.text}`"
    if written.slice not in slices:
        near = did_you_mean(written.slice, slices)
        expected = f"one of {', '.join(slices[:20])}{', …' if len(slices) > 20 else ''}"
        yield ConfigError(
            f"there is no slice {written.slice!r}{near}",
            where=where,
            expected=expected if slices else "a slice that the suite names under `slices:`",
        )
    if any(spec.name == rule.metric and spec.resampled == "repetition" for spec in specs):
        yield ConfigError(
            f"{rule.metric} is of timings, which are of no slice of the clips", where=where, fix="take `slice` out"
        )


def faults_of_candidates(written: GateRule, rule: Rule, run: Run, baseline: Selection | None) -> Iterator[ConfigError]:
    """Faults of a rule for candidates that nobody judges, or against a baseline that is not there."""
    where = f"gate rule `{written.text}`"
    judged = candidates_of(run)
    for name in written.candidates:
        if name not in judged:
            role = "is a reference, which is never judged" if name in (c.name for c in run.candidates) else "is unknown"
            yield ConfigError(
                f"the candidate {name!r} {role}{did_you_mean(name, judged)}",
                where=where,
                expected=f"one of {', '.join(judged)}",
            )
    if rule.needs_baseline and baseline is None:
        yield ConfigError("the rule needs a baseline, and none was given", where=where, fix="--baseline NAME or PATH")
    if rule.needs_baseline and baseline is not None and baseline.candidate is not None:
        known = [candidate.name for candidate in baseline.run.candidates]
        if baseline.candidate not in known:
            near = did_you_mean(baseline.candidate, known)
            yield ConfigError(
                f"the baseline {baseline.label} has no candidate {baseline.candidate!r}{near}", where=where
            )
