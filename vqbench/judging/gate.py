"""Whether a run may be released: each rule of its suite, for each candidate, against a limit or a baseline.

A rule passes when even the bad end of the interval of `value - limit` keeps it, fails when even the good end breaks
it, and is inconclusive in between. Whatever cannot be decided never passes: what is wrong with the candidate itself (a
figure missing or undefined, clips that could not be scored) fails, what is wrong with the comparison (too few clips, a
baseline on other clips, another front end, metric version or machine) is inconclusive, and so is a rule that is kept by
a GPT which learnt too little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vqbench.errors import ConfigError, raise_all
from vqbench.judging.asked import faults_of_candidates, faults_of_metric, faults_of_slice, parse_rules
from vqbench.judging.contrast import Match, Matches, obstacle
from vqbench.judging.learning import Doubt, doubts, is_flattered
from vqbench.judging.plausibility import check_plausibility
from vqbench.judging.selection import Contender, Selection, candidates_of
from vqbench.judging.slices import Parts
from vqbench.judging.yardstick import yardsticks
from vqbench.records.rules import Rule
from vqbench.records.run import GateRule, MetricSpec, Run, Table
from vqbench.records.verdict import GateOutcome, GateReport, GateStatus
from vqbench.stats.estimate import Estimate, Sample, estimate_all

_ROUNDING = 1e-9
"""A bound this close to the limit, relative to it, stands on it: sums of the same numbers round differently."""


def gate(run: Run, baseline: Selection | None = None) -> GateReport:
    """Judges a run by the rules of its suite.

    Args:
        run: what is to be released.
        baseline: what it must keep up with: each candidate is judged against the baseline's candidate of the same name,
            or all of them against the one that the selection names.

    Returns:
        One outcome a rule and candidate, in the order of the suite, and what looks wrong with the run itself.

    Raises:
        ConfigError: rules that cannot be read, that name an unknown metric or candidate, or that need a baseline where
            there is none; a suite without rules. All faults at once.
    """
    if not run.suite.gate:
        raise ConfigError(
            "there is no rule to gate on, or none for the candidates that were asked for",
            where=f"suite {run.suite.name}",
            fix="write rules under `gate:` in the suite, or add one with --rule",
        )
    rules, errors = parse_rules(run.suite.gate)
    slices = [one.name for one in run.slices]
    for written, rule in rules:
        errors += faults_of_metric(written, rule, run.metrics)
        errors += faults_of_slice(written, rule, run.metrics, slices)
        errors += faults_of_candidates(written, rule, run, baseline)
    raise_all(errors)
    matches, parts = Matches(), Parts(run, baseline)
    asked = [(written, rule, name) for written, rule in rules for name in written.candidates or candidates_of(run)]
    questions = [
        _question(
            written, rule, Contender(name, parts.run(written.slice), name), parts.baseline(written.slice), matches
        )
        for written, rule, name in asked
    ]
    estimates = estimate_all(sample for one in questions if isinstance(one, _Question) for sample in one.samples)
    doubted = doubts(run)
    found = [one if isinstance(one, GateOutcome) else _decide(one, estimates, doubted) for one in questions]
    outcomes = [replace(one, slice=written.slice) for one, (written, _, _) in zip(found, asked, strict=True)]
    label = None if baseline is None else baseline.label
    return GateReport(tuple(outcomes), label, check_plausibility(run, baseline), run.suite.inconclusive)


def gate_if_possible(run: Run, baseline: Selection | None) -> GateReport | None:
    """Judges a run, or gives None where its suite has no rules, or where one needs a baseline and there is none.

    Raises:
        ConfigError: as `gate` does.
    """
    if baseline is None and any(rule.needs_baseline for _, rule in parse_rules(run.suite.gate)[0]):
        return None
    return gate(run, baseline) if run.suite.gate else None


@dataclass(frozen=True, eq=False)
class _Question:
    """A rule for one candidate, with the data that it is decided on.

    Attributes:
        ours: the candidate's figure.
        n: rows behind the figures.
        n_clusters: speakers behind them, where these are resampled whole.
        match: beside the baseline's; None where the limit is a number.
    """

    written: str
    rule: Rule
    contender: Contender
    spec: MetricSpec
    ours: Sample
    n: int
    n_clusters: int | None
    match: Match | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What must be estimated."""
        return (self.ours,) if self.match is None else self.match.samples


def _question(
    asked_for: GateRule, rule: Rule, contender: Contender, baseline: Selection | None, matches: Matches
) -> _Question | GateOutcome:
    """What is to be decided, or the outcome where nothing is."""
    written = asked_for.text
    spec = contender.metric(rule.metric)
    table = contender.measured(spec) if spec else None
    reason: str | None
    if spec is None or table is None:
        return _undecided(
            written, rule, contender, "fail", f"missing: {rule.metric} was not measured for {contender.name}"
        )
    if asked_for.slice is not None and not (table.row_ids or table.unscored):
        reason = f"the slice {asked_for.slice} has none of the clips that {rule.metric} is measured on"
        return _undecided(written, rule, contender, "inconclusive", reason)
    allowed = contender.run.suite.allow_unscored
    if spec.resampled == "clip" and len(table.unscored) > allowed:
        return _undecided(written, rule, contender, "fail", _unscored(table, allowed), len(table.row_ids))
    interval = contender.run.interval
    if rule.needs_baseline and baseline is not None:
        name = baseline.candidate or contender.name
        theirs = Contender(f"baseline {baseline.label}:{name}", baseline.run, name)
        reason = _unlike(spec, table, contender, theirs, matches)
        if reason is not None:
            return _undecided(written, rule, contender, "inconclusive", reason, len(table.row_ids))
        sticks = yardsticks(contender, theirs, spec)
        if isinstance(sticks, str):
            return _undecided(written, rule, contender, "inconclusive", sticks, len(table.row_ids))
        match = matches.match(contender, theirs, rule.metric, interval, sticks)
        return _Question(written, rule, contender, spec, match.ours, match.n, match.n_clusters, match)
    units, n_clusters = matches.samples.units(spec, table, contender.run.clips, interval)
    ours = matches.samples.sample(spec, table, units, interval)
    return _Question(written, rule, contender, spec, ours, len(table.row_ids), n_clusters)


@dataclass(frozen=True)
class _Evidence:
    """What a rule is decided on."""

    value: float
    limit: float
    margin: Estimate
    n: int
    n_clusters: int | None

    @classmethod
    def of(cls, asked: _Question, estimates: Mapping[Sample, Estimate]) -> _Evidence:
        rule, match = asked.rule, asked.match
        if match is None:
            ours = estimates[asked.ours]
            return cls(ours.value, rule.offset, ours - rule.offset, asked.n, asked.n_clusters)
        ours, theirs = match.figure(estimates), estimates[match.theirs]
        limit = rule.scale * theirs.value + rule.offset
        margin = match.difference(ours, theirs, rule.scale) - rule.offset
        return cls(ours.value, limit, margin, asked.n, asked.n_clusters)


def _decide(asked: _Question, estimates: Mapping[Sample, Estimate], doubted: Mapping[str, Doubt]) -> GateOutcome:
    evidence = _Evidence.of(asked, estimates)
    written, rule, contender, spec, run = asked.written, asked.rule, asked.contender, asked.spec, asked.contender.run
    if not math.isfinite(evidence.value):
        reason = f"{rule.metric} is undefined for {contender.name}: it divides by 0, or nothing was scored"
        return replace(_undecided(written, rule, contender, "fail", reason, evidence.n), value=None)
    if not math.isfinite(evidence.limit):
        return _undecided(written, rule, contender, "inconclusive", "the baseline's figure is undefined", evidence.n)
    confidence = rule.confidence or run.interval.confidence
    ends = evidence.margin.interval(confidence)
    figures = _figures(spec, evidence, ends, run.interval.cluster)
    if ends is not None and ends[0] == ends[1] and evidence.margin.resampling == "bootstrap":
        figures += ", between which nothing varies"
    if asked.match is not None and asked.match.pace is not None:
        figures += f", scaled to the baseline's time by the yardstick {run.suite.yardstick}"
    status: GateStatus
    undecided = False
    if spec.resampled == "clip" and evidence.n < run.suite.min_clips:
        status, reason = "inconclusive", f"too few clips: {evidence.n} of at least {run.suite.min_clips}; {figures}"
    elif ends is None:
        why = "no interval from so little" if evidence.margin.n_units < 2 else "undefined on some resamples"
        status, reason = "inconclusive", f"{why}: {figures}"
    elif evidence.margin.resampling == "bootstrap" and run.interval.resamples < (needed := _resamples(confidence)):
        status, reason = "inconclusive", f"{100 * confidence:g} % takes {needed:,} resamples or more: {figures}"
    else:
        sign = 1 if rule.op == "<=" else -1
        slack = _ROUNDING * (abs(evidence.value) + abs(evidence.limit))
        good, bad = sorted((sign * ends[0], sign * ends[1]))
        status = "pass" if bad <= slack else "fail" if good > slack else "inconclusive"
        undecided = status == "inconclusive"
        reason = f"the interval holds the limit: {figures}" if undecided else f"{figures}; {_decisive(status, rule)}"
        doubt = doubted.get(contender.name)
        if doubt is not None and status == "pass" and is_flattered(spec, rule.op):
            status, reason = "inconclusive", f"{doubt.reason}; {figures}"
    low, high = ends if ends is not None else (None, None)
    return GateOutcome(
        written,
        contender.name,
        rule.metric,
        status,
        evidence.value,
        evidence.limit,
        low,
        high,
        evidence.n,
        reason,
        undecided,
    )


def _resamples(confidence: float) -> int:
    """The least number of resamples of which one lies beyond either end of an interval; fewer cannot tell so much."""
    return math.ceil(2 / (1 - confidence) - 1e-6)


def _decisive(status: GateStatus, rule: Rule) -> str:
    """The bound that decides, in words."""
    bad_end, good_end = ("upper", "lower") if rule.op == "<=" else ("lower", "upper")
    if status == "pass":
        return f"even the {bad_end} end keeps it"
    return f"even the {good_end} end breaks it"


def _unlike(spec: MetricSpec, table: Table, ours: Contender, theirs: Contender, matches: Matches) -> str | None:
    """Why the baseline is no measure for this candidate, or None where it is."""
    names = [candidate.name for candidate in theirs.run.candidates]
    if theirs.name not in names:
        return f"the baseline has no candidate {theirs.name}; it has {', '.join(names)}"
    reason = obstacle(ours, theirs, spec.name)
    their_table = theirs.measured(spec)
    if reason is not None or their_table is None:
        return reason
    if spec.resampled == "repetition":
        return None
    allowed = ours.run.suite.allow_unscored
    if len(their_table.unscored) > allowed:
        return f"the baseline: {_unscored(their_table, allowed)}"
    pairs = matches.pairs(ours.run, table, theirs.run, their_table)
    if pairs.ours is None and table.unscored.keys() == their_table.unscored.keys():
        return None
    our_ids, their_ids = _measured(table), _measured(their_table)
    both = (our_ids & their_ids) - matches.other_clips(ours.run, theirs.run)
    if not len(our_ids) == len(their_ids) == len(both):
        counts = f"{len(our_ids)} here, {len(their_ids)} there, {len(both)} of them the same"
        return f"the baseline was measured on other clips: {counts}"
    return None


def _measured(table: Table) -> set[str]:
    """The clips that a table speaks of."""
    return {*table.row_ids, *table.unscored}


def _unscored(table: Table, allowed: int) -> str:
    named = [f"{clip} ({why})" for clip, why in list(table.unscored.items())[:5]]
    rest = len(table.unscored) - len(named)
    more = f" and {rest} more" if rest else ""
    clips = f"{len(table.unscored)} {'clip' if len(table.unscored) == 1 else 'clips'}"
    return f"{clips} could not be scored, the suite allows {allowed}: {', '.join(named)}{more}"


def _figures(spec: MetricSpec, evidence: _Evidence, ends: tuple[float, float] | None, cluster: str) -> str:
    """The figures that decide, e.g. `0.231 - limit 0.150 = +0.081 [0.041, 0.120], n = 24 clips, 8 speakers`."""
    digits = spec.decimals
    smallest = min((abs(end) for end in ends or () if end), default=1.0)
    while digits < 9 and round(smallest, digits) == 0:  # an end that decides must not read as 0
        digits += 1
    interval = "no interval" if ends is None else f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    unit = f" {spec.unit}" if spec.unit else ""
    drawn = f", {evidence.n_clusters} {cluster}s" if evidence.n_clusters is not None else ""
    value, limit = (f"{number:.{digits}f}{unit}" for number in (evidence.value, evidence.limit))
    margin = f"{evidence.margin.value:+.{digits}f} {interval}"
    return f"{value} − limit {limit} = {margin}, n = {evidence.n} {spec.resampled}s{drawn}"


def _undecided(
    written: str, rule: Rule, contender: Contender, status: GateStatus, reason: str, n: int = 0
) -> GateOutcome:
    """An outcome without a margin; the figure itself is shown where the run has one."""
    results = contender.run.results
    value = next((r.value for r in results if (r.candidate, r.metric) == (contender.name, rule.metric)), None)
    return GateOutcome(written, contender.name, rule.metric, status, value, None, None, None, n, reason)
