"""`vqbench compare`: candidates beside each other."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console

if TYPE_CHECKING:
    from vqbench.judging.power import PowerTable


class ComparisonFormat(str, Enum):
    """What a comparison can be written as."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"


def compare(
    selections: Annotated[
        list[str],
        typer.Argument(metavar="RUN|RUN:CANDIDATE|BASELINE ...", help="What to compare; the first is the reference."),
    ],
    written_as: Annotated[
        ComparisonFormat, typer.Option("--format", "-f", help="How to write it.")
    ] = ComparisonFormat.table,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", metavar="NAME", help="Only this metric; may be repeated.")
    ] = None,
    all_metrics: Annotated[bool, typer.Option("--all", help="All metrics, not only the headline ones.")] = False,
    slice_name: Annotated[
        str | None, typer.Option("--slice", metavar="NAME", help="Only this slice of the clips, e.g. speaker=p225.")
    ] = None,
    power: Annotated[bool, typer.Option("--power", help="Say how many clips it takes to see a difference.")] = False,
    difference: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --power: a difference to see, as in a rule: 0.02 in the metric's unit, 2% for 0.02, or "
            "0.05*baseline for a share of the reference's figure.",
        ),
    ] = None,
) -> None:
    """Compare candidates, clip by clip.

    Shows the figures of all, and the paired differences with interval and p-value. One run compares its candidates
    with its first; several runs compare candidates of the same name. p-values are corrected (Holm) over everything
    compared at once, so that naming fewer metrics finds smaller differences.

    With --power it takes these clips for a pilot: the least difference that so many see in 80 % of runs, and how many
    it takes to see the one that was found, or the one named by --difference.

    Example: vqbench compare runs/quick runs/new --metric speech.wer
    """
    from vqbench.errors import ConfigError
    from vqbench.judging.compare import compare_runs
    from vqbench.judging.power import parse_difference, sample_sizes
    from vqbench.judging.selection import load_selections
    from vqbench.judging.slices import slices_of
    from vqbench.report.tables import documents, markdown, terminal
    from vqbench.report.tables.slices import slice_line

    if metric and all_metrics:
        raise ConfigError("--metric and --all exclude each other")
    if difference is not None and not power:
        raise ConfigError("--difference belongs to --power", fix="give both")
    sought = None if difference is None else parse_difference(difference)
    loaded = load_selections(selections)
    if slice_name is not None:
        loaded = slices_of(loaded, slice_name)
    headline = [spec.name for selection in loaded for spec in selection.run.metrics if spec.headline]
    chosen = None if all_metrics else list(dict.fromkeys(metric or headline)) or None
    table = compare_runs(loaded, chosen)
    if slice_name is not None:
        table = replace(table, notes=(f"only the clips of {slice_line(loaded[0].run)}", *table.notes))
    if power:
        _answer_power(sample_sizes(table, sought), written_as)
        return
    if written_as is ComparisonFormat.table:
        console.answer(*terminal.comparison_tables(table, width=console.width()))
    elif written_as is ComparisonFormat.markdown:
        console.answer(markdown.comparison_markdown(table))
    elif written_as is ComparisonFormat.csv:
        console.answer(documents.comparison_csv(table))
    else:
        console.answer(documents.comparison_json(table))


def _answer_power(table: PowerTable, written_as: ComparisonFormat) -> None:
    from vqbench.report.tables.markdown import grid_markdown
    from vqbench.report.tables.power import power_csv, power_grid, power_json
    from vqbench.report.tables.terminal import grid_table

    if written_as is ComparisonFormat.table:
        console.answer(grid_table(power_grid(table)))
    elif written_as is ComparisonFormat.markdown:
        console.answer(grid_markdown(power_grid(table)))
    elif written_as is ComparisonFormat.csv:
        console.answer(power_csv(table))
    else:
        console.answer(power_json(table))
