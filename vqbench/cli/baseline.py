"""`vqbench baseline`: runs that others are measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The baseline's name.")]


@app.callback()
def baseline() -> None:
    """Keep runs as baselines, in baselines/.

    Example: vqbench baseline save runs/quick main
    """


@app.command()
def save(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its result.json.")],
    name: Name,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a baseline of that name.")] = False,
) -> None:
    """Keep a run as a baseline.

    Example: vqbench baseline save runs/quick main --replace
    """
    from vqbench.records.store import load_run, save_baseline

    console.answer(str(save_baseline(load_run(run), name, replace=replace)))


@app.command("list")
def list_() -> None:
    """List the baselines, one name a line.

    Example: vqbench baseline list
    """
    from vqbench.records.store import BASELINES, list_baselines

    names = list_baselines()
    if names:
        from vqbench.report.format import one_line

        console.answer(*map(one_line, names))
    else:
        console.note(f"no baselines in {BASELINES}/; vqbench baseline save RUN NAME keeps a run as one")


@app.command()
def show(name: Name, as_json: console.AsJson = False) -> None:
    """Show the headline figures of a baseline.

    Example: vqbench baseline show main
    """
    from vqbench.records.store import find_baseline, load_run

    run = load_run(find_baseline(name))
    if as_json:
        from vqbench.report.tables.documents import run_json

        console.answer(run_json(run))
    else:
        from vqbench.report.tables.terminal import run_tables

        console.answer(*run_tables(run, headline=True, width=console.width()))
