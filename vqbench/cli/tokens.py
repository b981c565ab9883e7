"""`vqbench tokens`: a candidate's tokens of recordings, as other programs read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console


def tokens(
    recordings: Annotated[Path, typer.Argument(metavar="RECORDINGS", help="A list of clips, or a folder of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder for the parquet files.")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", "-c", metavar="FILE", help="The VQVAE, as in a suite; or pocket.")
    ],
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", "-t", metavar="pocket|DIR", help="Whose GPT helps; the encoder alone if left out."),
    ] = None,
    weight: Annotated[
        float, typer.Option(help="Weight of the GPT's log-probabilities beside the encoder's.", min=0.0)
    ] = 1.0,
    scale: Annotated[
        float, typer.Option(help="How sure the encoder is of what it hears: times minus the squared distance.")
    ] = 0.3,
    beams: Annotated[int, typer.Option(help="Sequences that are followed at once.", min=1, max=256)] = 4,
    mel_norms: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The mel norms that it was trained on, as in a suite; or tortoise."),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", "-f", help="How the list is read; where left out, its content tells.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: console.Quiet = False,
) -> None:
    """Write the tokens of recordings into parquet files, one row a recording.

    With --teacher, encoder and GPT look for them together, given transcript and speaker of each recording: what the
    encoder is unsure of is what the GPT finds likely there. Recordings without tokens keep their row, with the reason.
    Interrupted, the same command goes on. Prints the folder.

    Example: vqbench tokens metadata.csv -c dvae.pth --teacher pocket -o tokens
    """
    console.note("loading torch …", quiet=quiet)
    from vqbench.config.source import POCKET
    from vqbench.data.reading import read_clips
    from vqbench.engine.provenance import choose_device
    from vqbench.engine.teachers import open_teacher
    from vqbench.engine.tokens import Helper, write_tokens
    from vqbench.teachers.tortoise.decoding import Joining
    from vqbench.tokenizers.dvae.checkpoint import load_tokenizer

    chosen = choose_device(device, "--device")
    with console.notes(quiet):
        clips = read_clips(recordings, format_name=format_name)
        if str(checkpoint) == POCKET:
            from vqbench.teachers.pocket.assets import load_true_tokenizer

            tokenizer = load_true_tokenizer(chosen)
        else:
            tokenizer = load_tokenizer(checkpoint, mel_norms, chosen)
        helper = None if teacher is None else Helper(open_teacher(teacher, chosen), Joining(weight, scale, beams))
        written = write_tokens(clips, tokenizer, output, console.progress(quiet), helper)
    for clip, why in list(written.faults.items())[:_MOST_FAULTS]:
        console.note(f"{clip}: {why}", quiet=quiet)
    left_out = f", {len(written.faults)} without (column fault)" if written.faults else ""
    console.note(f"{written.n} recordings with tokens{left_out}", quiet=quiet)
    console.answer(str(output))


_MOST_FAULTS = 20
