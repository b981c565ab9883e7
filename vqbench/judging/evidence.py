"""A run with what lies beside it in its folder: what was heard, and what people hear and see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqbench.judging.selection import Selection
from vqbench.records.exhibits import NOTHING, Exhibits, load_exhibits
from vqbench.records.run import Run
from vqbench.records.store import BASELINES, RESULT_FILE, find_baseline, load_run
from vqbench.records.transcripts import Transcript, load_transcripts


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run.

    Attributes:
        label: what the run is called.
        run: its figures.
        exhibits: what people hear and see; empty for a baseline, which has but the figures.
        transcripts: what an ASR heard; likewise.
        folder: where the sounds are; None for a baseline.
    """

    label: str
    run: Run
    exhibits: Exhibits = NOTHING
    transcripts: tuple[Transcript, ...] = ()
    folder: Path | None = None


def load_evidence(argument: str, baselines: Path = BASELINES) -> Evidence:
    """Reads what `RUN` or `BASELINE` names, with what lies beside it.

    Args:
        argument: a run's folder, its result.json, a baseline's file, or the name of one in `baselines`.
        baselines: where the baselines are.

    Raises:
        ResultError: nothing is called so, or a file is broken.
    """
    place = find_baseline(argument, baselines)
    run = load_run(place)
    if not (place.is_dir() or place.name == RESULT_FILE):
        return Evidence(place.resolve().name.removesuffix(".json"), run)
    folder = place if place.is_dir() else place.parent
    return Evidence(folder.resolve().name, run, load_exhibits(folder, run), load_transcripts(folder, run), folder)


def selections(evidence: Sequence[Evidence]) -> list[Selection]:
    """The runs, as comparisons name them."""
    return [Selection(label, one.run) for label, one in zip(distinct_labels(evidence), evidence, strict=True)]


def distinct_labels(evidence: Sequence[Evidence]) -> list[str]:
    """The runs' labels, with a number behind one that was there before.

    >>> from types import SimpleNamespace as Named
    >>> distinct_labels([Named(label="a"), Named(label="b"), Named(label="a")])
    ['a', 'b', 'a (2)']
    """
    labels: list[str] = []
    for one in evidence:
        label, number = one.label, 1
        while label in labels:
            number += 1
            label = f"{one.label} ({number})"
        labels.append(label)
    return labels
