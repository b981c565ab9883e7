"""`vqbench card`: a model card for the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console


def card(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN[:CANDIDATE]", help="A run's folder or file, and whom of it the card is for."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it, e.g. README.md; else to stdout."),
    ] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="The model's licence as the Hub calls it: apache-2.0.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Show the verdict of the gate against this baseline.")
    ] = None,
    quiet: console.Quiet = False,
) -> None:
    """Write a Hugging Face model card for a candidate.

    What it is, its figures with their intervals beside those of the others, the verdict of the gate, and how all of it
    was measured; above it the figures again as a `model-index`, which the Hub reads. A file that is there is replaced.

    Example: vqbench card runs/quick:recovered --license apache-2.0 -o README.md
    """
    from vqbench.files import require_writable
    from vqbench.judging.asked import narrow_rules
    from vqbench.judging.gate import gate_if_possible
    from vqbench.judging.selection import load_baseline, load_selection
    from vqbench.report.card.model_card import card_subject, model_card

    if output is not None:
        require_writable(output)
    subject = card_subject(load_selection(run))
    judged = narrow_rules(subject.run, [subject.name])
    gate = gate_if_possible(judged, load_baseline(baseline, None))
    if gate is None and judged.suite.gate:
        console.note("not gated: a rule of the suite needs a --baseline", quiet=quiet)
    text = model_card(subject, gate, license_id)
    if output is None:
        console.answer(text)
    else:
        console.write(output, text, quiet=quiet)
