"""`vqbench pocket`: the small TorToiSe that vqbench brings along."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console

app = typer.Typer(no_args_is_help=True, help="Make the small TorToiSe, or look at it.", rich_markup_mode=None)


class PlanName(str, Enum):
    """The builds that there are."""

    full = "full"
    tiny = "tiny"


@app.command()
def build(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The build's folder; trainings/pocket where left out."),
    ] = None,
    plan: Annotated[
        PlanName, typer.Option("--plan", help="full takes hours; tiny goes the same way in a minute, to no use.")
    ] = PlanName.full,
    asr: Annotated[
        str, typer.Option("--asr", metavar="MODEL", help="The Whisper that judges the speech: a name, or a path.")
    ] = "tiny.en",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: console.Quiet = False,
) -> None:
    """Make the pocket TorToiSe from packages alone: corpus, VQVAE, GPT, CLVP, diffusion; then pack and judge it.

    vqbench ships the result, so nobody needs this to use it. Interrupted, the same command goes on. The result lies in
    DIR/package; its card is printed, every figure with its interval and its target.

    Example: vqbench pocket build --plan tiny
    """
    console.note(f"plan {plan.value}; loading torch …", quiet=quiet)
    from vqbench.engine.provenance import choose_device
    from vqbench.judges.asr.recognizer import load_recognizer
    from vqbench.judges.speaker.encoder import Resemblyzer
    from vqbench.report.tables.pocket import card_tables, missed
    from vqbench.training.pocket.evaluate import Judges
    from vqbench.training.pocket.make import PACKAGE, make_pocket, outline
    from vqbench.training.pocket.plan import FULL, TINY

    wanted = {PlanName.full: FULL, PlanName.tiny: TINY}[plan]
    folder = output or Path("trainings") / wanted.name
    chosen = choose_device(device, "--device")
    # The judges come first: what they miss is better known before the training than after.
    judges = Judges(load_recognizer("faster-whisper", asr, 5, "clip", chosen), Resemblyzer(chosen))
    console.note(outline(wanted, folder), quiet=quiet)
    card = make_pocket(wanted, folder, chosen, judges, console.progress(quiet))
    console.answer(*card_tables(card))
    failed = missed(card["figures"])
    told = f"{len(failed)} of {len(card['figures'])} targets missed" if failed else "every target met"
    console.note(f"{told}; written to {folder / PACKAGE}", quiet=quiet)


@app.command()
def corpus(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The build's folder; trainings/pocket where left out."),
    ] = None,
    plan: Annotated[PlanName, typer.Option("--plan", help="full speaks 12,400 utterances; tiny 44.")] = PlanName.full,
    quiet: console.Quiet = False,
) -> None:
    """Speak the recordings that the pocket TorToiSe is trained on: the first stage of `build`, alone.

    Recipes that need recordings of its four voices take them from there. Interrupted, the same command goes on. Prints
    the manifest's path.

    Example: vqbench pocket corpus
    """
    from vqbench.training.pocket.build import make_corpus, manifest_path
    from vqbench.training.pocket.plan import FULL, TINY

    wanted = {PlanName.full: FULL, PlanName.tiny: TINY}[plan]
    folder = output or Path("trainings") / wanted.name
    make_corpus(wanted, folder, console.progress(quiet))
    console.answer(str(manifest_path(folder)))


@app.command()
def info(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Another one: the folder `package` of a build.")
    ] = None,
    as_json: console.AsJson = False,
) -> None:
    """Show the card of the pocket TorToiSe: parts, corpus, settings, figures with their targets, licence.

    Example: vqbench pocket info
    """
    from vqbench.report.tables.documents import to_json
    from vqbench.report.tables.pocket import card_tables
    from vqbench.teachers.pocket import card as cards

    card = cards.load_card(folder or cards.SHIPPED)
    console.answer(to_json(card)) if as_json else console.answer(*card_tables(card))
