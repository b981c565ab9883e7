"""`vqbench pairs`: what a TorToiSe's GPT writes, and how it sounds, to train encoders on and to measure them by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console

app = typer.Typer(no_args_is_help=True, help="Make and filter (tokens, speech) pairs.", rich_markup_mode=None)

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder for the pairs.")]


@app.command()
def generate(
    output: Output,
    teacher: Annotated[
        str, typer.Option("--teacher", "-t", metavar="pocket|DIR", help="Who speaks; DIR holds TorToiSe's checkpoints.")
    ] = "pocket",
    n: Annotated[int, typer.Option("-n", help="Utterances, all in all.", min=1)] = 1000,
    sentences: Annotated[
        str, typer.Option("--sentences", metavar="pocket|FILE", help="What is said; FILE has one sentence a line.")
    ] = "pocket",
    voices: Annotated[
        Path | None,
        typer.Option("--voices", metavar="MANIFEST", help="Recordings of the voices; else those that come along."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides all that is random.", min=0)] = 0,
    hold_out_speaker: Annotated[
        list[str] | None,
        typer.Option("--hold-out-speaker", metavar="NAME", help="Keep this speaker for testing; may be given again."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: console.Quiet = False,
) -> None:
    """Let a TorToiSe speak, and keep text, tokens, waveform and CLVP score of each utterance.

    One sentence in ten, chosen by its words alone, and the speakers named here are kept for testing. Interrupted, the
    same command goes on; a larger -n goes on from there, too. Prints the folder.

    Example: vqbench pairs generate --teacher pocket -o pairs/pocket -n 2000 --hold-out-speaker awb
    """
    console.note(f"teacher {teacher}; loading torch …", quiet=quiet)
    from vqbench.config.source import DataSource
    from vqbench.engine.provenance import choose_device
    from vqbench.engine.teachers import find_sentences, listen, open_teacher, teacher_voices
    from vqbench.teachers.tortoise.pair_generation import generate_pairs

    said = find_sentences(sentences, seed)
    clips = teacher_voices(teacher, DataSource(manifest=voices) if voices else None)
    speaker = open_teacher(teacher, choose_device(device, "--device"))
    progress = console.progress(quiet)
    made = generate_pairs(
        speaker,
        said,
        listen(speaker, clips, progress),
        output,
        n,
        seed,
        progress,
        held_out_speakers=hold_out_speaker or (),
    )
    console.note(
        f"{made.n_train} pairs to train on, {made.n_test} held out; left out: {made.n_repeated} with tokens"
        f" that another has, {made.n_silent} silent",
        quiet=quiet,
    )
    console.answer(str(output))


@app.command("filter")
def filter_(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of pairs.")],
    output: Output,
    keep: Annotated[
        float | None, typer.Option("--keep", metavar="SHARE", help="Share of the training pairs to keep, such as 0.5.")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", metavar="N", help="Number of them to keep, instead.")] = None,
    quiet: console.Quiet = False,
) -> None:
    """Keep the training pairs whose tokens fit their text best, by CLVP, and all test pairs.

    Utterances that the GPT did not finish are left out of training. Prints the new folder.

    Example: vqbench pairs filter pairs/pocket -o pairs/best --keep 0.5
    """
    from vqbench.teachers.tortoise.pair_filter import filter_pairs

    kept = filter_pairs(source, output, keep=keep, top=top)
    console.note(
        f"{kept.n_train} pairs to train on; left out: {kept.n_worse} that CLVP likes less,"
        f" {kept.n_unfinished} unfinished; {kept.n_test} test pairs as they were",
        quiet=quiet,
    )
    console.answer(str(output))
