"""`vqbench run`: measure a suite."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from vqbench.cli import console


def run(
    suite: Annotated[Path, typer.Argument(help="The suite, a YAML file.", metavar="SUITE")],
    output: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it on Python 3.10
        typer.Option("--output", "-o", help="The run's folder; runs/SUITE-TIME where it is left out."),
    ] = None,
    candidate: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--candidate", "-c", help="Only this candidate; may be given again."),
    ] = None,
    metric: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--metric", "-m", help="Only this metric group; may be given again."),
    ] = None,
    baseline: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--baseline", "-b", help="Gate against this baseline: a name in baselines/, or a path."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure every clip anew.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print every metric, not the headline ones.")] = False,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Measure every candidate of a suite, print the table, and judge the suite's gate rules.

    Rows are cached by content: an interrupted run resumes by the same command, an unchanged one takes seconds.

    Example: vqbench run suites/quick.yaml
    """
    from vqbench.engine.cache import Cache, default_cache_folder
    from vqbench.suite import load_suite, select

    wanted = select(load_suite(suite), candidates=candidate, metrics=metric, baseline=baseline)
    folder = output or Path("runs") / f"{wanted.name}-{datetime.now():%Y%m%d-%H%M%S}"

    console.note(f"suite {wanted.name}: {len(wanted.candidates)} candidates; loading torch …", quiet=quiet)
    from vqbench.engine.runner import run_suite, write_transcripts

    outcome = run_suite(
        wanted, Cache(default_cache_folder(), read=not no_cache), console.progress(quiet), ["vqbench", *sys.argv[1:]]
    )
    from vqbench.results.store import save_run

    save_run(outcome.run, folder)
    write_transcripts(outcome.transcripts, folder)
    if as_json:
        from vqbench.report.documents import run_json

        console.answer(run_json(outcome.run))
    else:
        from vqbench.report.terminal import run_tables

        console.answer(*run_tables(outcome.run, width=console.width(), full=full))
    console.note(f"written to {folder}", quiet=quiet)
    _judge(outcome.run, wanted.baseline, quiet)
