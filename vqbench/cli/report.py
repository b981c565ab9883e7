"""`vqbench report`: a run as a table, a page, Markdown, CSV or JSON."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vqbench.results.record import GateReport, Run


class Format(str, Enum):
    """What a report can be written as."""

    table = "table"
    html = "html"
    markdown = "markdown"
    csv = "csv"
    json = "json"


_SUFFIXES = {
    ".html": Format.html,
    ".htm": Format.html,
    ".md": Format.markdown,
    ".csv": Format.csv,
    ".json": Format.json,
}


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its result.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else to stdout.")
    ] = None,
    written_as: Annotated[
        Format | None, typer.Option("--format", "-f", help="How to write it; else by the file's suffix, else a table.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Show the verdict of the gate against this baseline.")
    ] = None,
    quiet: console.Quiet = False,
) -> None:
    """Write a report of a run.

    All figures with their intervals, the verdict of the gate, the clips that could not be scored, and provenance.

    Example: vqbench report runs/quick -o quick.html
    """
    from vqbench.files import require_writable
    from vqbench.results.gate import gate_if_possible
    from vqbench.results.selection import load_baseline
    from vqbench.results.store import load_run

    if output is not None:
        require_writable(output)
    reported = load_run(run)
    gate = gate_if_possible(reported, load_baseline(baseline, None))
    if gate is None and reported.suite.gate:
        console.note("not gated: a rule of the suite needs a --baseline", quiet=quiet)
    suffix = output.suffix.lower() if output else ""
    parts = _render(reported, gate, written_as or _SUFFIXES.get(suffix, Format.table))
    if output is None:
        console.answer(*parts)
    else:
        console.write(output, console.plain(*parts), quiet=quiet)


def _render(run: Run, gate: GateReport | None, written_as: Format) -> list[str | RenderableType]:
    if written_as is Format.html:
        from vqbench.report.html import run_page

        return [run_page(run, gate)]
    if written_as is Format.markdown:
        from vqbench.report.markdown import run_markdown

        return [run_markdown(run, gate)]
    if written_as is Format.csv:
        from vqbench.report.documents import run_csv

        return [run_csv(run)]
    if written_as is Format.json:
        from vqbench.report.documents import run_json

        return [run_json(run, gate)]
    from vqbench.report.terminal import gate_table, run_tables

    verdict = [] if gate is None else [gate_table(gate, run.metrics)]
    return [*run_tables(run, width=console.width()), *verdict]
