"""Markdown for pull requests and READMEs: tables of GitHub's flavour; whatever a text holds, it stands as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vqbench.judging.compare import ComparisonTable
from vqbench.records.run import MetricSpec, Run
from vqbench.records.verdict import GateReport
from vqbench.report import format as fmt
from vqbench.report.tables.figures import contender_grids, legend, read_as, run_grids, unscored
from vqbench.report.tables.grid import Cell, Column, Grid
from vqbench.report.tables.judgements import comparison_grid, gate_grid
from vqbench.report.tables.slices import slice_grids

_MARKUP = re.compile(r"[\\`*\[\]|~#!>]|(?<![^\W_])_|_(?![^\W_])")


def run_markdown(run: Run, gate: GateReport | None = None, about: str = "") -> str:
    """Writes the figures of a run and of its slices, and the verdict of its gate where it was gated.

    Args:
        run: the run.
        gate: its verdict.
        about: what it is only a part of, under the heading.
    """
    parts = [f"# {escape(run.suite.name)}", *([escape(about)] if about else [])]
    if gate is not None:
        parts.append(grid_markdown(gate_grid(gate, run.metrics)))
    parts += [grid_markdown(grid) for grid in (*run_grids(run), *slice_grids(run))]
    for entry in unscored(run):
        head = f"Not scored: {fmt.counted(len(entry.clips), 'clip')} of {entry.candidate} in {', '.join(entry.groups)}"
        parts.append("\n".join([escape(head), "", *(f"- {escape(f'{clip}: {why}')}" for clip, why in entry.clips)]))
    if lines := read_as(run):
        parts.append("\n".join(f"- {escape(line)}" for line in lines))
    return "\n\n".join([*parts, escape(legend(run.interval))]) + "\n"


def comparison_markdown(table: ComparisonTable) -> str:
    """Writes the figures of all who are compared, then their paired differences."""
    grids = [*contender_grids(table), comparison_grid(table)]
    return "\n\n".join([*map(grid_markdown, grids), escape(legend(table.contenders[0].run.interval))]) + "\n"


def gate_markdown(report: GateReport, metrics: Iterable[MetricSpec]) -> str:
    """Writes the outcome of every rule for every candidate."""
    return grid_markdown(gate_grid(report, metrics)) + "\n"


def escape(text: str) -> str:
    """Makes a text stand in a table's cell as it is: one line, no markup, no HTML, no column of its own.

    >>> print(escape("a|b <i>*c*</i>"), escape("speaker_similarity"), escape("_x_"))
    a\\|b &lt;i\\>\\*c\\*&lt;/i\\> speaker_similarity \\_x\\_
    """
    entities = fmt.one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKUP.sub(lambda match: f"\\{match[0]}", entities)


def grid_markdown(grid: Grid) -> str:
    """Writes one table under a heading of the third level, with its caption and notes."""
    rule = "|".join(" ---: " if column.kind == "figure" else " --- " for column in grid.columns)
    lines = [f"### {escape(grid.title)}", "", _line(map(_head, grid.columns)), f"|{rule}|"]
    lines += [_line(map(_entry, row.cells)) for row in grid.rows]
    for under in (grid.caption, *grid.notes):
        lines += ["", escape(under)] if under else []
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(column: Column) -> str:
    name = escape("".join(column.lines))
    return f"{name}<br>{escape(column.below)}" if column.below else name


def _entry(cell: Cell) -> str:
    text = f"**{escape(cell.text)}**" if cell.mark else escape(cell.text)
    return f"{text}<br>{escape(cell.below)}" if cell.below else text
