"""`vqbench report`: a run as a table, a page, Markdown, CSV or JSON; several runs as a page of what differs."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vqbench.judging.evidence import Evidence
    from vqbench.records.run import Run
    from vqbench.records.verdict import GateReport


class ReportFormat(str, Enum):
    """What a report can be written as."""

    table = "table"
    html = "html"
    markdown = "markdown"
    csv = "csv"
    json = "json"


_SUFFIXES = {
    ".html": ReportFormat.html,
    ".htm": ReportFormat.html,
    ".md": ReportFormat.markdown,
    ".csv": ReportFormat.csv,
    ".json": ReportFormat.json,
}


def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A run's folder, its result.json, or a baseline."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else to stdout.")
    ] = None,
    written_as: Annotated[
        ReportFormat | None,
        typer.Option("--format", "-f", help="How to write it; else by the file's suffix, else a table."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Show the verdict of the gate against this baseline.")
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep all sounds of a page in this folder, and none in the page."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Show only this metric, in a table; may be given again."),
    ] = None,
    slice_name: Annotated[
        str | None, typer.Option("--slice", metavar="NAME", help="Only this slice of the clips, e.g. speaker=p225.")
    ] = None,
    quiet: console.Quiet = False,
) -> None:
    """Write a report of a run, or a page of what differs between several.

    All figures with their intervals, the headline ones by slice where there are slices, the verdict of the gate, the
    clips that could not be scored, and provenance. As a page (.html) also what was heard and seen, to be listened to
    and looked at; it is one file that needs no network.
    Of several runs the page shows what differs from the first, the clips that got worse first.

    Example: vqbench report runs/quick -o quick.html
    """
    from vqbench.errors import ConfigError
    from vqbench.files import require_writable
    from vqbench.judging.evidence import load_evidence
    from vqbench.judging.selection import headlined
    from vqbench.records.slices import of_slice
    from vqbench.records.store import find_baseline, load_run

    if output is not None:
        require_writable(output)
    chosen = written_as or _SUFFIXES.get(output.suffix.lower() if output else "", ReportFormat.table)
    if assets is not None and (chosen is not ReportFormat.html or output is None):
        raise ConfigError("--assets belongs to a page that is written to a file", fix="add -o page.html")
    if assets is not None and output is not None:
        if assets.resolve() == output.resolve():
            raise ConfigError("--assets names the page itself", where=str(assets), expected="a folder")
        require_writable(assets / "sound")
    if len(runs) > 1 and (chosen is not ReportFormat.html or baseline is not None):
        raise ConfigError(
            "several runs make a page of what differs, which is not gated",
            fix="-o page.html; vqbench compare prints tables, and vqbench gate judges a run",
        )
    if slice_name is not None and (chosen is ReportFormat.html or baseline is not None):
        raise ConfigError(
            "--slice is of tables and their files", fix="a page shows all slices, vqbench gate judges them"
        )
    if metric and (chosen is not ReportFormat.table or baseline is not None):
        raise ConfigError("--metric is of tables", fix="leave it out: other files hold every metric")
    if chosen is ReportFormat.html:
        evidence = [load_evidence(run) for run in runs]
        gate = None if len(runs) > 1 else _gate(evidence[0].run, baseline, quiet)
        _write_page(evidence, gate, output, assets, quiet)
        return
    reported = load_run(find_baseline(runs[0]))
    if slice_name is not None:
        reported = of_slice(reported, slice_name, runs[0])
    if metric:
        parts = _tables(headlined(reported, metric), headline=True, part=slice_name is not None)
    elif slice_name is not None:
        parts = _render(reported, None, chosen, part=True)
    else:
        parts = _render(reported, _gate(reported, baseline, quiet), chosen)
    if output is None:
        console.answer(*parts)
    else:
        console.write(output, console.plain(*parts), quiet=quiet)


def _gate(run: Run, baseline: str | None, quiet: bool) -> GateReport | None:
    from vqbench.judging.gate import gate_if_possible
    from vqbench.judging.selection import load_baseline

    gate = gate_if_possible(run, load_baseline(baseline, None))
    if gate is None and run.suite.gate:
        console.note("not gated: a rule of the suite needs a --baseline", quiet=quiet)
    return gate


def _write_page(
    evidence: list[Evidence], gate: GateReport | None, output: Path | None, assets: Path | None, quiet: bool
) -> None:
    from vqbench.judging.compare import compare_runs
    from vqbench.judging.evidence import selections
    from vqbench.report.page.document import comparison_page, run_page, write_page

    # As the page names the folder, which lies beside it or anywhere.
    named = None if assets is None or output is None else Path(os.path.relpath(assets, output.parent)).as_posix()
    if len(evidence) == 1:
        page = run_page(evidence[0], gate, named)
    else:
        headline = [spec.name for one in evidence for spec in one.run.metrics if spec.headline]
        table = compare_runs(selections(evidence), list(dict.fromkeys(headline)) or None)
        page = comparison_page(evidence, table, named)
    if output is None:
        console.answer(page.html)
        return
    write_page(page, output, assets)
    console.note(f"wrote {output}", quiet=quiet)


def _render(
    run: Run, gate: GateReport | None, written_as: ReportFormat, *, part: bool = False
) -> list[str | RenderableType]:
    from vqbench.report.tables.slices import slice_line

    about = slice_line(run) if part else ""
    if written_as is ReportFormat.markdown:
        from vqbench.report.tables.markdown import run_markdown

        return [run_markdown(run, gate, about)]
    if written_as is ReportFormat.csv:
        from vqbench.report.tables.documents import run_csv

        return [run_csv(run)]
    if written_as is ReportFormat.json:
        from vqbench.report.tables.documents import run_json

        return [run_json(run, gate)]
    from vqbench.report.tables.terminal import gate_table

    verdict = [] if gate is None else [gate_table(gate, run.metrics)]
    return [*_tables(run, part=part), *verdict]


def _tables(run: Run, *, headline: bool = False, part: bool) -> list[str | RenderableType]:
    from vqbench.report.tables.slices import slice_line
    from vqbench.report.tables.terminal import run_tables

    about = [slice_line(run)] if part else []
    return [*about, *run_tables(run, headline=headline, width=console.width())]
