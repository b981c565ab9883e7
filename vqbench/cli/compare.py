"""`vqbench compare`: candidates beside each other."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from vqbench.cli import console


class Format(str, Enum):
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
    written_as: Annotated[Format, typer.Option("--format", "-f", help="How to write it.")] = Format.table,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", metavar="NAME", help="Only this metric; may be repeated.")
    ] = None,
    all_metrics: Annotated[bool, typer.Option("--all", help="All metrics, not only the headline ones.")] = False,
) -> None:
    """Compare candidates, clip by clip.

    Shows the figures of all, and the paired differences with interval and p-value. One run compares its candidates
    with its first; several runs compare candidates of the same name. p-values are corrected (Holm) over everything
    compared at once, so that naming fewer metrics finds smaller differences.

    Example: vqbench compare runs/quick runs/new --metric speech.wer
    """
    from vqbench.errors import ConfigError
    from vqbench.report import documents, markdown, terminal
    from vqbench.results.compare import compare_runs
    from vqbench.results.selection import load_selection

    if metric and all_metrics:
        raise ConfigError("--metric and --all exclude each other")
    loaded = [load_selection(selection) for selection in selections]
    headline = [spec.name for selection in loaded for spec in selection.run.metrics if spec.headline]
    chosen = None if all_metrics else list(dict.fromkeys(metric or headline)) or None
    table = compare_runs(loaded, chosen)
    if written_as is Format.table:
        console.answer(*terminal.comparison_tables(table, width=console.width()))
    elif written_as is Format.markdown:
        console.answer(markdown.comparison_markdown(table))
    elif written_as is Format.csv:
        console.answer(documents.comparison_csv(table))
    else:
        console.answer(documents.comparison_json(table))
