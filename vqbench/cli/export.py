"""`vqbench export`: a candidate as other programs load it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console


class Dtype(str, Enum):
    """What numbers are stored as."""

    float32 = "float32"
    float16 = "float16"


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A VQVAE: a file, or a folder with dvae.pth.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it, e.g. dvae.pth.")],
    dtype: Annotated[
        Dtype, typer.Option(help="float16 halves the file, and rounds: it is another candidate then.")
    ] = Dtype.float32,
    mel_norms: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The mel norms that it was trained on, as in a suite; or tortoise."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there.")] = False,
    quiet: console.Quiet = False,
) -> None:
    """Write a VQVAE as TorToiSe's and XTTS's programs load it: a torch file of the official keys, EMA sums included.

    Where its mel norms are not TorToiSe's, they are written beside it, as mel_stats.pth. Prints what was written.

    Example: vqbench export trainings/brief/checkpoint.safetensors -o exported/dvae.pth
    """
    console.note("loading torch …", quiet=quiet)
    import torch

    from vqbench.tokenizers.dvae.checkpoint import checkpoint_file, load_tokenizer
    from vqbench.tokenizers.dvae.export import export_official, official_sizes
    from vqbench.tokenizers.dvae.network import Dimensions

    tokenizer = load_tokenizer(checkpoint, mel_norms)
    if tokenizer.loaded:
        console.note(f"read from {tokenizer.loaded}", quiet=quiet)
    source = checkpoint_file(checkpoint)
    written = export_official(tokenizer, source, output, getattr(torch, dtype.value), replace)
    console.answer("\n".join(map(str, written)))
    if tokenizer.dvae.dimensions != Dimensions():
        console.note(f"sizes of the class: {official_sizes(tokenizer.dvae.dimensions)}", quiet=quiet)
    now = load_tokenizer(output).digest
    rounded = "" if now == tokenizer.digest else f", rounded from {tokenizer.digest}"
    console.note(f"digest {now}{rounded}", quiet=quiet)
