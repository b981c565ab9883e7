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


FormatOption = Annotated[
    str | None, typer.Option("--format", "-f", help="How it is read, by name; where left out, its content tells.")
]


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="A list of clips, or a folder of them.", metavar="IN")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write, .jsonl or .jsonl.gz.")],
    format_name: FormatOption = None,
    quiet: console.Quiet = False,
) -> None:
    """Write vqbench's own manifest from what other tools write: LJSpeech, coqui, NeMo, Kaldi, Lhotse and others.

    Texts, speakers, languages, splits and further columns are kept; recordings stay where they are.

    Example: vqbench data convert LJSpeech-1.1 -o lj.jsonl
    """
    from vqbench.data.converting import convert as write

    with console.notes(quiet):
        n = write(source, output, format_name)
    console.note(f"wrote {output}: {n} clips", quiet=quiet)


@app.command("describe")
def describe(
    source: Annotated[Path, typer.Argument(help="A list of clips, or a folder of them.", metavar="IN")],
    format_name: FormatOption = None,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Say what a manifest holds: hours, speakers, languages, lengths, rates, texts, and what is wrong with it.

    Example: vqbench data describe metadata.csv
    """
    from dataclasses import asdict

    from vqbench.data.describing import describe as count
    from vqbench.report.tables.description import description_json, description_text

    found = asdict(count(source, format_name, console.progress(quiet)))
    console.answer(description_json(found) if as_json else description_text(found))
