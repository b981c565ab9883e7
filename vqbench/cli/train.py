"""`vqbench train`: make a candidate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The training's folder; trainings/RECIPE where it is left out."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    half: Annotated[
        bool, typer.Option("--half", help="Also write checkpoint-fp16.safetensors, rounded to half precision.")
    ] = False,
    quiet: console.Quiet = False,
) -> None:
    """Carry out a recipe's phases: a VQVAE learns to reconstruct, or to write the tokens that a GPT wrote.

    An interrupted training resumes by the same command and ends with the same weights. On several GPUs or hosts:
    torchrun --nproc-per-node N -m vqbench train RECIPE. Prints the checkpoint's path.

    Example: vqbench train recipes/brief.yaml
    """
    from vqbench.config.recipe import load_recipe
    from vqbench.files import sole_writer

    quiet = quiet or not console.is_first_process()
    wanted = load_recipe(recipe)
    folder = output or Path("trainings") / wanted.name
    console.note(f"recipe {wanted.name}: {wanted.steps} steps; loading torch …", quiet=quiet)

    from vqbench.engine.provenance import choose_device
    from vqbench.engine.recipes import SourceFinder
    from vqbench.training.processes import own_device
    from vqbench.training.trainer import train as train_recipe
    from vqbench.training.trainer import write_half

    chosen, progress = own_device(choose_device(device, "--device")), console.progress(quiet)
    with console.notes(quiet):
        sources = SourceFinder(chosen, progress)(wanted)
    if sources.start is not None and sources.start.loaded:
        console.note(f"start: {sources.start.loaded}", quiet=quiet)
    with sole_writer(folder) if console.is_first_process() else nullcontext():
        checkpoint = train_recipe(wanted, sources, folder, chosen, progress)
        if console.is_first_process():
            console.answer(str(write_half(checkpoint) if half else checkpoint))
