"""Tables for the terminal: readable at 100 columns, without colour, and without a cut cell."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vqbench.judging.compare import ComparisonTable
from vqbench.records.run import MetricSpec, Run
from vqbench.records.verdict import GateReport
from vqbench.report import format as fmt
from vqbench.report.tables.figures import Unscored, contender_grids, legend, read_as, run_grids, unscored
from vqbench.report.tables.grid import WIDTH, Cell, Column, Grid
from vqbench.report.tables.judgements import comparison_grid, gate_grid
from vqbench.report.tables.slices import slice_grids

UNSCORED_SHOWN = 5
"""Unscored clips listed by name before the rest is only counted."""

_STYLES = {
    "best": "bold",
    "better": "green",
    "worse": "red",
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "bold yellow",
}


def run_tables(run: Run, *, headline: bool = False, width: int = WIDTH) -> list[RenderableType]:
    """Renders a run: its figures, those of its slices, clips that could not be scored, and how checkpoints were read.

    Args:
        run: the run.
        headline: the short version, only the metrics that are marked so.
        width: columns that a table may take.
    """
    return [
        *(grid_table(grid) for grid in run_grids(run, headline=headline, width=width)),
        *(grid_table(grid) for grid in slice_grids(run, width=width)),
        *(_not_scored(entry) for entry in unscored(run)),
        *(_note(line) for line in read_as(run)),
        _note(legend(run.interval)),
    ]


def comparison_tables(table: ComparisonTable, *, width: int = WIDTH) -> list[RenderableType]:
    """Renders the figures of all who are compared, then their paired differences."""
    figures = [grid_table(grid) for grid in contender_grids(table, width=width)]
    return [*figures, grid_table(comparison_grid(table)), _note(legend(table.contenders[0].run.interval))]


def gate_table(report: GateReport, metrics: Iterable[MetricSpec]) -> RenderableType:
    """Renders the outcome of every rule for every candidate.

    Args:
        report: the outcomes.
        metrics: what the figures are, for decimals and units.
    """
    return grid_table(gate_grid(report, metrics))


def grid_table(grid: Grid) -> RenderableType:
    """Renders one table with its caption and notes."""
    table = Table(
        title=Text(fmt.one_line(grid.title), style="bold"),
        title_justify="left",
        box=box.HORIZONTALS,
        show_edge=True,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="",
    )
    for column in grid.columns:
        figure = column.kind == "figure"
        table.add_column(_head(column), justify="right" if figure else "left", no_wrap=figure, overflow="fold")
    for row, following in zip_longest(grid.rows, grid.rows[1:]):
        table.add_row(
            *(_entry(cell, column) for cell, column in zip(row.cells, grid.columns, strict=True)),
            style="dim" if row.reference else "",
            end_section=following is not None and following.reference != row.reference,
        )
    return Group(table, *(_note(line) for line in (grid.caption, *grid.notes) if line), Text())


def _head(column: Column) -> Text:
    head = Text("\n".join(map(fmt.one_line, column.lines)), style="bold")
    return head.append(f"\n{fmt.one_line(column.below)}", style="not bold dim") if column.below else head


def _entry(cell: Cell, column: Column) -> Text:
    text = fmt.one_line(cell.text)
    if column.kind == "name":
        text = "\n".join(fmt.wrap_name(text, column.width))
    entry = Text(text, style=_STYLES[cell.mark] if cell.mark else "")
    return entry.append(f"\n{fmt.one_line(cell.below)}", style="not bold dim") if cell.below else entry


def _not_scored(entry: Unscored) -> RenderableType:
    shown = [_note(f"{clip}: {reason}") for clip, reason in entry.clips[:UNSCORED_SHOWN]]
    hidden = len(entry.clips) - len(shown)
    if hidden:
        shown.append(_note(f"and {hidden} more"))
    head = f"not scored: {fmt.counted(len(entry.clips), 'clip')} of {entry.candidate} in {', '.join(entry.groups)}"
    return Group(Text(fmt.one_line(head), style="yellow"), Padding(Group(*shown), (0, 0, 1, 2)))


def _note(line: str) -> Text:
    return Text(fmt.one_line(line), style="dim", overflow="fold")
