"""`vqbench run`: measure a suite."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console
from vqbench.cli.gate import EXIT_CODES

if TYPE_CHECKING:
    from vqbench.engine.runner import Outcome


class Where(str, Enum):
    """Where missing items are done."""

    local = "local"
    processes = "processes"
    ray = "ray"


def run(
    suite: Annotated[Path, typer.Argument(help="The suite, a YAML file.", metavar="SUITE")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The run's folder; runs/SUITE-TIME where it is left out."),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", "-c", help="Only this candidate, or all its seeds; may be given again."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Only this metric group; may be given again."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", "-b", help="Gate against this baseline: a name in baselines/, or a path."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure every clip anew.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the suite, estimate time, memory and disk; run and keep nothing.")
    ] = False,
    executor: Annotated[
        Where, typer.Option("--executor", help="Where clips are measured: here, in several processes, or on Ray.")
    ] = Where.local,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Of processes or Ray, how many; one a core or GPU where it is left out."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Print every metric, not the headline ones.")] = False,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Measure every candidate of a suite, print the table, and judge the suite's gate rules.

    The run's folder has the figures, what was heard, and a page with the sound: page.html.
    Rows are cached by content: an interrupted run resumes by the same command, an unchanged one takes seconds.
    Several runs may share a cache at once. The figures are the same with any --executor and any number of --workers.

    Example: vqbench run suites/quick.yaml
    """
    from vqbench.config.suite import load_suite, select
    from vqbench.engine.cache import Cache, default_cache_folder
    from vqbench.errors import ConfigError
    from vqbench.files import require_writable, sole_writer
    from vqbench.judging.evidence import Evidence
    from vqbench.judging.gate import gate_if_possible
    from vqbench.judging.plausibility import check_plausibility
    from vqbench.judging.selection import load_baseline
    from vqbench.records.store import RESULT_FILE
    from vqbench.report.page.document import PAGE_FILE, run_page, write_page
    from vqbench.report.tables import documents, terminal

    wanted = select(load_suite(suite), candidate or [], metric or [])
    against = load_baseline(baseline, wanted.baseline)
    if baseline is not None and not wanted.gate:
        raise ConfigError("a baseline was given, but there is no rule to gate on", where=str(suite))
    if dry_run:
        console.note(f"suite {wanted.name}, candidates: {len(wanted.candidates)}; loading torch …", quiet=quiet)
        from vqbench.engine.rehearsal import rehearse
        from vqbench.report.tables.forecast import forecast_json, forecast_tables

        with console.notes(quiet):
            estimate = rehearse(wanted, console.progress(quiet))
        console.answer(forecast_json(estimate)) if as_json else console.answer(*forecast_tables(estimate))
        return
    folder = output or new_folder(wanted.name)
    require_writable(folder / RESULT_FILE)
    cache = Cache(default_cache_folder(), read=not no_cache)

    console.note(f"suite {wanted.name}, candidates: {len(wanted.candidates)}; loading torch …", quiet=quiet)
    from vqbench.engine.runner import run_suite

    with sole_writer(folder):
        with console.notes(quiet):
            typed = ["vqbench", *sys.argv[1:]]
            outcome = run_suite(wanted, cache, console.progress(quiet), typed, executor.value, workers)
        write_outcome(outcome, folder)
        verdict = gate_if_possible(outcome.run, against)
        evidence = Evidence(folder.resolve().name, outcome.run, outcome.exhibits, outcome.transcripts, folder)
        write_page(run_page(evidence, verdict), folder / PAGE_FILE, None)
    if as_json:
        console.answer(documents.run_json(outcome.run, verdict))
    else:
        console.answer(*terminal.run_tables(outcome.run, headline=not full, width=console.width()))
        if verdict is not None:
            console.answer(terminal.gate_table(verdict, outcome.run.metrics))
    if verdict is None:
        for finding in check_plausibility(outcome.run):
            whose = f"{finding.candidate}: " if finding.candidate else ""
            console.note(f"plausibility: {whose}{finding.message} ({finding.check})", quiet=quiet)
    console.note(f"written to {folder}; all figures: vqbench report {folder}", quiet=quiet)
    console.note(f"to read, to listen and to look at: {folder / PAGE_FILE}", quiet=quiet)
    if verdict is not None:
        raise typer.Exit(EXIT_CODES[verdict.status])
    if wanted.gate:
        console.note(
            f"not gated: there is no baseline yet at {wanted.baseline}; vqbench baseline save {folder} NAME makes one"
            if wanted.baseline
            else "not gated: some rules compare with a baseline; give one with --baseline",
            quiet=quiet,
        )
        raise typer.Exit(EXIT_CODES["inconclusive"])


def new_folder(suite: str) -> Path:
    """Where a run goes that nobody gave a folder: `runs/SUITE-TIME`."""
    return Path("runs") / f"{suite}-{datetime.now():%Y%m%d-%H%M%S}"


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Writes a run, and what people read, hear and see beside it.

    What lies beside a run that was there before is taken away first, and what lies beside the new one comes last: a
    reader finds no run beside what is of another one, whenever this is broken off.

    Raises:
        VqbenchError: it cannot be written.
    """
    from vqbench.files import remove, write_text
    from vqbench.records.exhibits import EXHIBITS_FILE, save_exhibits
    from vqbench.records.store import save_run
    from vqbench.records.transcripts import TRANSCRIPTS_FILE, save_transcripts
    from vqbench.report.tables.transcripts import transcripts_markdown

    for name in (EXHIBITS_FILE, TRANSCRIPTS_FILE):
        remove(folder / name)
    save_run(outcome.run, folder)
    save_transcripts(outcome.transcripts, folder)
    write_text(folder / "transcripts.md", transcripts_markdown(outcome.run, outcome.transcripts))
    save_exhibits(outcome.exhibits, outcome.sounds, folder)
