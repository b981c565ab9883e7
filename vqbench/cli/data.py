"""`vqbench data`: clips to train and measure on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console

app = typer.Typer(no_args_is_help=True, help="Make clips and manifests.", rich_markup_mode=None)


@app.command("synthesize")
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where clips and manifest.jsonl go.", metavar="FOLDER")],
    n: Annotated[int, typer.Option("-n", help="Utterances.", min=1)] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of sentences, voices and speeds.", min=0)] = 0,
    quiet: console.Quiet = False,
) -> None:
    """Speak training sentences with Piper's voice joe and flite's slt, rms and awb.

    Interrupted, the same command goes on. Prints the manifest's path.

    Example: vqbench data synthesize trainings/corpus -n 4000
    """
    from vqbench.data.synthesis import synthesize as speak

    console.answer(str(speak(folder, n, seed, console.progress(quiet))))
