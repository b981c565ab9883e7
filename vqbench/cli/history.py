"""`vqbench history`: a metric through time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console


def history(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN|BASELINE|FOLDER ...", help="Runs, or folders that hold runs; in any order."),
    ],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", metavar="NAME", help="Only this metric; may be repeated.")
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", "-c", metavar="NAME", help="Only this candidate, or all its seeds; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.svg", help="Draw a picture of it too.")
    ] = None,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Show metrics through time, and where they changed.

    Takes runs in the order they were started, and finds the run at which the level of a figure shifted, or that it
    drifts: by a permutation test of the order of the runs, corrected for all series looked at, so that naming fewer
    metrics finds smaller shifts, in fewer runs (at least 9). Figures that do not compare (other clips, another version
    of the metric, timings of another machine) are looked at apart.

    Shows the headline metrics of the newest run's candidates; every figure where a metric or candidate is named.

    Example: vqbench history runs/ -m speech.wer -o wer.svg
    """
    from vqbench.errors import ConfigError
    from vqbench.files import require_writable
    from vqbench.judging.excerpts import load_excerpts
    from vqbench.judging.history import make_history
    from vqbench.report.tables.history import history_grids, history_json
    from vqbench.report.tables.terminal import grid_table

    if output is not None:
        if output.suffix.lower() != ".svg":
            raise ConfigError(
                f"{output} does not end in .svg", expected="the name of an SVG file", fix="-o history.svg"
            )
        require_writable(output)
    excerpts, left_out = load_excerpts(runs)
    for line in left_out:
        console.note(line, quiet=quiet)
    made = make_history(excerpts, metric, candidate)
    if output is not None:
        from vqbench.report.pictures.history import history_svg

        console.write(output, history_svg(made), quiet=quiet)
    every = bool(metric or candidate)
    console.answer(*([history_json(made)] if as_json else map(grid_table, history_grids(made, every=every))))
