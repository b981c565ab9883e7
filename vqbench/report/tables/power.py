"""How many clips it takes, laid out as a table, and as rows for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vqbench.judging.power import PowerTable, SampleSize
from vqbench.records.mapping import to_plain
from vqbench.records.run import MetricSpec
from vqbench.report import format as fmt
from vqbench.report.tables.documents import to_csv, to_json
from vqbench.report.tables.grid import Cell, Column, Grid, Row
from vqbench.stats.power import MOST

_FEW = 10
"""Units with fewer of which an interval covers less than it says."""


def power_grid(table: PowerTable) -> Grid:
    """Lays out what the clips of each comparison see, and how many it would take; one row a metric and candidate."""
    metrics = {metric.name: metric for metric in table.metrics}
    order = list(metrics)
    notes = fmt.Notes()
    sizes = sorted(table.sizes, key=lambda size: order.index(size.comparison.metric))
    references = list(dict.fromkeys(size.comparison.reference for size in table.sizes))
    several = len(references) > 1
    columns = [
        Column(("metric",), "unit, direction"),
        Column(("candidate",), "reference" if several else "", width=14),
        Column(("difference",), "interval", "figure"),
        Column(("clips",), _clusters(table), "figure"),
        Column(("visible",), "from", "figure"),
        Column(("needed",), "to see it", "figure"),
    ]
    if table.difference is not None:
        columns.append(Column(("needed",), f"for {table.difference.text}", "figure"))
    return Grid(
        title="clips needed" if several else f"clips needed to see a difference from {references[0]}",
        columns=tuple(columns),
        rows=tuple(_row(size, metrics[size.comparison.metric], table, notes, several=several) for size in sizes),
        caption=_caption(table),
        notes=(*notes.lines(), *_cautions(table), *table.notes),
    )


def power_json(table: PowerTable) -> str:
    """The answers, and what they were asked for; a number needed is null where it is above `most`, or unanswered."""
    return to_json(
        {
            "metrics": to_plain(table.metrics),
            "difference": None if table.difference is None else table.difference.text,
            "confidence": table.confidence,
            "power": table.power,
            "most": MOST,
            "sample_sizes": list(_flat(table.sizes)),
            "notes": list(table.notes),
        }
    )


def power_csv(table: PowerTable) -> str:
    """One row a metric and candidate, the comparison's own columns first."""
    return to_csv(_flat(table.sizes))


def _flat(sizes: Iterable[SampleSize]) -> Iterable[dict[str, Any]]:
    for size in sizes:
        plain = to_plain(size)
        yield {**plain.pop("comparison"), **plain}


def _row(size: SampleSize, metric: MetricSpec, table: PowerTable, notes: fmt.Notes, *, several: bool) -> Row:
    comparison = size.comparison
    cells = [
        Cell(metric.name, f"{metric.unit} {fmt.arrow(metric)}".strip()),
        Cell(comparison.candidate, comparison.reference if several else ""),
        Cell(
            fmt.number(comparison.delta, metric.decimals, signed=True),
            fmt.interval(comparison.ci_low, comparison.ci_high, metric.decimals),
        ),
        Cell(f"{comparison.n_pairs:,}", fmt.number(comparison.n_clusters, 0)),
    ]
    why = notes.mark(size.unanswered)
    speakers = "" if size.unit == "clip" else f"{size.unit}s"
    if why:
        cells += [Cell(f"{fmt.MISSING} {why}"), Cell(fmt.MISSING)]
    else:
        cells += [Cell(_fine(size.detectable, metric.decimals)), Cell(_count(size.needed_for_delta), speakers)]
    if table.difference is not None:
        if size.difference is None:
            why = why or notes.mark(f"{table.difference.text} is a share, and this is in {metric.unit}")
            cells.append(Cell(f"{fmt.MISSING} {why}"))
        else:
            size_of = _fine(size.difference, metric.decimals) if table.difference.scale else ""
            below = ", ".join(filter(None, (size_of, speakers)))
            cells.append(Cell(_count(size.needed_for_difference), below))
    return Row(tuple(cells))


def _clusters(table: PowerTable) -> str:
    """What is drawn whole where it is not clips."""
    return "sentences" if any(size.unit == "sentence" for size in table.sizes) else "speakers"


def _caption(table: PowerTable) -> str:
    power = fmt.share(table.power)
    visible = (
        f"visible: a true difference of that size makes the {fmt.share(table.confidence)} interval leave 0 out in "
        f"{power} of runs, one test alone, without Holm's correction; needed: clips, or {_clusters(table)}, for "
        "that, if the true difference is the one that was found"
    )
    if table.difference is None:
        return visible
    return (
        f"{visible}, or {table.difference.text}; so many also let a candidate that differs in nothing keep a gate rule "
        f"with that margin in {power} of runs"
    )


def _cautions(table: PowerTable) -> list[str]:
    """How far the answers are to be trusted, and what a speaker is."""
    errors: dict[str, float] = {}
    for size in table.sizes:
        if size.relative_error is not None:
            n = size.comparison.n_pairs if size.comparison.n_clusters is None else size.comparison.n_clusters
            errors[fmt.counted(n, size.unit)] = size.relative_error
    lines = []
    if errors:
        told = ", ".join(f"±{fmt.share(round(error, 2))} from {what}" for what, error in errors.items())
        lines.append(
            f"rough, as the spread is known from these alone: {told}, more where a few of them carry it; below "
            f"{_FEW} the interval itself is rough"
        )
    if any(size.unit != "clip" and size.relative_error is not None for size in table.sizes):
        lines.append(f"{_clusters(table)}: each with as many clips as here")
    return lines


def _count(n: int | None) -> str:
    return f">{MOST:,}" if n is None else f"{n:,}"


def _fine(value: float | None, decimals: int) -> str:
    """A size with as many decimals as it takes not to read as 0."""
    while value and decimals < 9 and round(value, decimals) == 0:
        decimals += 1
    return fmt.number(value, decimals)
