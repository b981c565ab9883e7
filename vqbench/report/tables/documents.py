"""Results for programs: JSON documents, and CSV with one figure a row. Numbers are whole, texts are as they came."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from vqbench.judging.compare import ComparisonTable
from vqbench.judging.families import summarise_families
from vqbench.records.mapping import to_plain
from vqbench.records.run import Run
from vqbench.records.verdict import GateReport
from vqbench.report.format import clean
from vqbench.report.tables.judgements import verdict


def run_json(run: Run, gate: GateReport | None = None) -> str:
    """A run with its figures over seeds, and its gate report where it was gated.

    It is without its statistics a clip: those stay in its result.json.
    """
    kept = ("schema", "suite", "candidates", "clips", "metrics", "results", "interval", "provenance")
    document = {name: to_plain(getattr(run, name)) for name in (*kept, "slices", "slice_results")}
    document["over_seeds"] = to_plain(summarise_families(run))
    document["unscored"] = [
        {"candidate": table.candidate, "group": table.group, "clips": to_plain(table.unscored)}
        for table in run.tables
        if table.unscored
    ]
    return to_json({**document, "gate": None if gate is None else _gate(gate)})


def run_csv(run: Run) -> str:
    """One row a candidate and metric, over all clips and then over each slice."""
    metrics = {metric.name: metric for metric in run.metrics}
    candidates = {candidate.name: candidate for candidate in run.candidates}
    return to_csv(
        {
            "candidate": result.candidate,
            "role": candidates[result.candidate].role,
            "family": candidates[result.candidate].family,
            "metric": result.metric,
            "value": result.value,
            "ci_low": result.ci_low,
            "ci_high": result.ci_high,
            "unit": metrics[result.metric].unit,
            "higher_is_better": metrics[result.metric].higher_is_better,
            "n": result.n,
            "n_clusters": result.n_clusters,
            "reason": result.reason,
            "slice": result.slice,
        }
        for result in (*run.results, *run.slice_results)
    )


def comparison_json(table: ComparisonTable) -> str:
    """The figures of all who are compared, and their differences with a verdict each."""
    shown = {metric.name for metric in table.metrics}
    return to_json(
        {
            "metrics": to_plain(table.metrics),
            "figures": [
                {**to_plain(result), "candidate": label, "best": label in table.best.get(metric, ())}
                for (label, metric), result in table.results.items()
                if metric in shown
            ],
            "comparisons": list(_comparisons(table)),
            "notes": list(table.notes),
        }
    )


def comparison_csv(table: ComparisonTable) -> str:
    """One row a comparison."""
    return to_csv(_comparisons(table))


def gate_json(report: GateReport) -> str:
    """The status of all, and every outcome with its reason."""
    return to_json(_gate(report))


def to_json(document: Any) -> str:
    """Writes a plain value in the way that all our JSON answers are written."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _gate(report: GateReport) -> dict[str, Any]:
    return {"status": report.status, **to_plain(report)}


def _comparisons(table: ComparisonTable) -> Iterable[dict[str, Any]]:
    metrics = {metric.name: metric for metric in table.metrics}
    confidence = table.contenders[0].run.interval.confidence
    for comparison in table.comparisons:
        yield {**to_plain(comparison), "verdict": verdict(comparison, metrics[comparison.metric], confidence)}


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Writes rows of the same keys under a head of them; true and false in words, None as nothing.

    Texts are cleaned, and those that a spreadsheet would take for a formula get an apostrophe before them.
    """
    listed = [{key: _cell(cell) for key, cell in row.items()} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(listed[0]) if listed else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
