"""Lays comparisons and gate outcomes out as tables, with a word for each verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from vqbench.judging.compare import ComparisonTable
from vqbench.judging.contrast import in_blocks
from vqbench.judging.selection import Contender
from vqbench.records.run import Inconclusive, MetricSpec
from vqbench.records.verdict import Comparison, Finding, GateOutcome, GateReport, GateStatus
from vqbench.report import format as fmt
from vqbench.report.tables.figures import good_side
from vqbench.report.tables.grid import Cell, Column, Grid, Row, Span
from vqbench.stats.reductions import REDUCTIONS

Verdict = Literal[
    "better", "worse", "nominally better", "nominally worse", "higher", "lower", "same", "unclear", "not compared"
]


def verdict(comparison: Comparison, metric: MetricSpec, confidence: float) -> Verdict:
    """Says in a word how the candidate stands to its reference.

    Better and worse are said where the difference's interval leaves 0 out and the test, corrected for all that was
    compared together, finds it; nominally, where the interval alone does. A metric without a good end is not tested,
    and only says which way it differs.

    Args:
        comparison: with its p-values.
        metric: what is compared.
        confidence: of the interval; the test's level is what it lacks to 1.
    """
    if comparison.delta is None:
        return "not compared"
    if comparison.ci_low is None or comparison.ci_high is None:
        return "unclear"
    if comparison.ci_low == comparison.ci_high == 0:
        return "same"
    if comparison.ci_low <= 0 <= comparison.ci_high:
        return "unclear"
    rises = comparison.delta > 0
    if metric.higher_is_better is None:
        return "higher" if rises else "lower"
    found = comparison.p_holm is not None and comparison.p_holm <= 1 - confidence + 1e-12
    if rises == metric.higher_is_better:
        return "better" if found else "nominally better"
    return "worse" if found else "nominally worse"


def comparison_grid(table: ComparisonTable) -> Grid:
    """Lays out the paired differences, one row a metric and candidate."""
    metrics = {metric.name: metric for metric in table.metrics}
    order = list(metrics)
    notes = fmt.Notes()
    confidence = table.contenders[0].run.interval.confidence
    comparisons = sorted(table.comparisons, key=lambda comparison: order.index(comparison.metric))
    references = list(dict.fromkeys(comparison.reference for comparison in table.comparisons))
    return Grid(
        title=f"differences from {references[0]}" if len(references) == 1 else "differences from the reference",
        columns=(
            Column(("metric",), "unit, direction"),
            Column(("candidate",), "" if len(references) == 1 else "reference", width=14),
            Column(("figure",), "reference", "figure"),
            Column(("difference",), "interval", "figure"),
            Column(("p",), "Holm", "figure"),
            Column(("pairs",), f"{table.contenders[0].run.interval.cluster}s", "figure"),
            Column(("verdict",)),
        ),
        rows=tuple(
            _comparison_row(comparison, metrics[comparison.metric], notes, confidence, several=len(references) > 1)
            for comparison in comparisons
        ),
        caption=(
            "difference = candidate - reference, over the clips that both scored; better or worse where its interval "
            f"leaves 0 out and Holm's p is at most {1 - confidence:.2g}, nominally where the interval alone does"
            f"{_tests(table)}"
        ),
        notes=(*notes.lines(), *table.notes),
    )


def _tests(table: ComparisonTable) -> str:
    """Says which tests the p-values are of, and how many are corrected together: as `results.compare` does it."""
    of_speed = of_quality = 0
    tests: dict[str, str] = {}
    metrics = {metric.name: metric for metric in table.metrics}
    contenders = {contender.label: contender for contender in table.contenders}
    for one in table.comparisons:
        metric = metrics[one.metric]
        if one.p_value is None:
            continue
        if metric.resampled == "repetition":
            of_speed += 1
            tests["timings"] = _test_of_timings(contenders[one.candidate], contenders[one.reference], metric)
        else:
            of_quality += 1
            codes = REDUCTIONS[metric.reduction].cell == "codes"
            tests["codes" if codes else "clips"] = "t test of the jackknife" if codes else "paired permutation"
    if not tests:
        return ""
    several = len(tests) > 1
    named = ", ".join(f"{test} ({what})" if several else test for what, test in tests.items())
    family = fmt.counted(of_quality or of_speed, "comparison")
    if of_quality and of_speed:
        family += f" of quality and {of_speed:,} of speed"
    return f"; p: {named}, below it Holm's over {family}"


def _test_of_timings(candidate: Contender, reference: Contender, metric: MetricSpec) -> str:
    if candidate.run is not reference.run:
        return "permutation of the ratios to the yardstick"
    ours, theirs = candidate.measured(metric), reference.measured(metric)
    paired = ours is not None and theirs is not None and in_blocks(ours, theirs)
    return "permutation within blocks" if paired else "unpaired permutation"


def _comparison_row(
    comparison: Comparison, metric: MetricSpec, notes: fmt.Notes, confidence: float, *, several: bool
) -> Row:
    word = verdict(comparison, metric, confidence)
    return Row(
        (
            Cell(metric.name, f"{metric.unit} {fmt.arrow(metric)}".strip()),
            Cell(comparison.candidate, comparison.reference if several else ""),
            Cell(
                fmt.number(comparison.candidate_value, metric.decimals),
                fmt.number(comparison.reference_value, metric.decimals),
            ),
            Cell(
                fmt.number(comparison.delta, metric.decimals, signed=True),
                fmt.interval(comparison.ci_low, comparison.ci_high, metric.decimals),
                span=None
                if comparison.delta is None
                else Span(
                    comparison.delta,
                    comparison.ci_low,
                    comparison.ci_high,
                    {"no difference": 0.0},
                    good_side(metric),
                ),
            ),
            Cell(fmt.p_value(comparison.p_value), fmt.p_value(comparison.p_holm)),
            Cell(f"{comparison.n_pairs:,}", fmt.number(comparison.n_clusters, 0)),
            Cell(
                f"{word} {notes.mark(comparison.reason)}".rstrip(),
                mark=word if word == "better" or word == "worse" else None,
            ),
        )
    )


def gate_grid(report: GateReport, metrics: Iterable[MetricSpec]) -> Grid:
    """Lays out what looks wrong with the run, then the outcome of every rule for every candidate.

    Args:
        report: the outcomes.
        metrics: what the figures are, for decimals and units; a metric that is missing here shows plain numbers.
    """
    specs = {metric.name: metric for metric in metrics}
    return Grid(
        title=gate_sentence(report),
        columns=(
            Column(("status",)),
            Column(("rule",), "reason", "text"),
            Column(("candidate",)),
            Column(("figure",), "limit", "figure"),
            Column(("n",), kind="figure"),
        ),
        rows=(
            *(_finding_row(finding) for finding in report.findings),
            *(_outcome_row(outcome, report, specs.get(outcome.metric)) for outcome in report.outcomes),
        ),
        caption=_CHOICES[report.inconclusive] if _chosen(report) else "",
    )


_CHOICES: dict[Inconclusive, str] = {
    "stop": "",
    "fail": "the suite fails what is inconclusive",
    "pass": "the suite lets pass what is inconclusive only because the interval holds the limit",
}


def _chosen(report: GateReport) -> int:
    """How many outcomes the suite's choice turned into something else."""
    return sum(report.verdict(outcome) != outcome.status for outcome in report.outcomes)


def gate_sentence(report: GateReport) -> str:
    """Says how the gate went, e.g. `gate: fail (1 failed, 0 inconclusive, of 3, against the baseline main)`."""
    statuses = [outcome.status for outcome in report.outcomes]
    counts = [f"{statuses.count('fail')} failed", f"{statuses.count('inconclusive')} inconclusive"]
    chosen = _chosen(report)
    if chosen:
        which = "which" if chosen == statuses.count("inconclusive") else f"{chosen} of which"
        counts.append(f"{which} the suite {'fails' if report.inconclusive == 'fail' else 'lets pass'}")
    against = f", against the baseline {report.baseline}" if report.baseline else ""
    implausible = f"; {fmt.counted(len(report.findings), 'finding')} of plausibility" if report.findings else ""
    return f"gate: {report.status} ({', '.join(counts)}, of {len(statuses)}{against}{implausible})"


def _finding_row(finding: Finding) -> Row:
    status: GateStatus = "fail" if finding.level == "fail" else "inconclusive"
    return Row(
        (
            Cell("fail" if finding.level == "fail" else "warning", mark=status),
            Cell(f"plausibility: {finding.check}", finding.message),
            Cell(finding.candidate or fmt.MISSING),
            Cell(""),
            Cell(""),
        )
    )


def _outcome_row(outcome: GateOutcome, report: GateReport, metric: MetricSpec | None) -> Row:
    return Row(
        (
            Cell(outcome.status, mark=report.verdict(outcome)),
            Cell(outcome.rule, outcome.reason),
            Cell(outcome.candidate),
            Cell(fmt.figure(outcome.value, metric), fmt.figure(outcome.limit, metric), span=_margin(outcome)),
            Cell(f"{outcome.n:,}"),
        )
    )


def _margin(outcome: GateOutcome) -> Span | None:
    """The figure's distance from the limit, whose interval decides; None where nothing could be held against it."""
    if outcome.value is None or outcome.limit is None:
        return None
    # A slice may be called anything, `speaker=>=` too, but stands behind the sign of the rule.
    good: Literal["above", "below"] = "below" if "<=" in outcome.rule.partition(", slice ")[0] else "above"
    return Span(outcome.value - outcome.limit, outcome.ci_low, outcome.ci_high, {"limit": 0.0}, good)
