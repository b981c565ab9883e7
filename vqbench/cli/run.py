"""`vqbench run`: measure a suite."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console
from vqbench.cli.gate import EXIT_CODES

if TYPE_CHECKING:
    from vqbench.results.record import GateReport, Run
    from vqbench.results.selection import Selection


def run(
    suite: Annotated[Path, typer.Argument(help="The suite, a YAML file.", metavar="SUITE")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The run's folder; runs/SUITE-TIME where it is left out."),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", "-c", help="Only this candidate; may be given again."),
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
    full: Annotated[bool, typer.Option("--full", help="Print every metric, not the headline ones.")] = False,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Measure every candidate of a suite, print the table, and judge the suite's gate rules.

    Rows are cached by content: an interrupted run resumes by the same command, an unchanged one takes seconds.

    Example: vqbench run suites/quick.yaml
    """
    from vqbench.engine.cache import Cache, default_cache_folder
    from vqbench.report import documents, terminal
    from vqbench.results.store import save_run
    from vqbench.suite import load_suite, select

    wanted = select(load_suite(suite), candidate or [], metric or [])
    folder = output or Path("runs") / f"{wanted.name}-{datetime.now():%Y%m%d-%H%M%S}"
    against = _baseline(baseline, wanted.baseline)

    console.note(f"suite {wanted.name}: {len(wanted.candidates)} candidates; loading torch …", quiet=quiet)
    from vqbench.engine.runner import run_suite, write_transcripts

    cache = Cache(default_cache_folder(), read=not no_cache)
    outcome = run_suite(wanted, cache, console.progress(quiet), ["vqbench", *sys.argv[1:]])
    save_run(outcome.run, folder)
    write_transcripts(outcome.transcripts, folder)
    verdict = _judge(outcome.run, against)
    if as_json:
        console.answer(documents.run_json(outcome.run, verdict))
    else:
        console.answer(*terminal.run_tables(outcome.run, headline=not full, width=console.width()))
        if verdict is not None:
            console.answer(terminal.gate_table(verdict, outcome.run.metrics))
    console.note(f"written to {folder}; all figures: vqbench report {folder}", quiet=quiet)
    if verdict is not None:
        raise typer.Exit(EXIT_CODES[verdict.status])
    if wanted.gate and not as_json:
        console.note(
            f"not gated: there is no baseline yet at {wanted.baseline}; vqbench baseline save {folder} NAME makes one"
            if wanted.baseline
            else "not gated: some rules compare with a baseline; give one with --baseline",
            quiet=quiet,
        )
        raise typer.Exit(EXIT_CODES["inconclusive"])


def _baseline(asked: str | None, written: Path | None) -> Selection | None:
    """The baseline that the user asked for, else the suite's own, where it is there."""
    from vqbench.results.selection import load_selection

    if asked is not None:
        return load_selection(asked)
    return load_selection(str(written)) if written is not None and written.exists() else None


def _judge(run: Run, baseline: Selection | None) -> GateReport | None:
    """The verdict, or None where there is no rule, or none to compare with."""
    from vqbench.results.gate import gate
    from vqbench.results.rules import parse_rule

    if not run.suite.gate or (baseline is None and any(parse_rule(r.rule).needs_baseline for r in run.suite.gate)):
        return None
    return gate(run, baseline)
