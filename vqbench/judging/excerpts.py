"""What a history keeps of each run: its figures and what they hang on, never its tables: many runs cost little."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vqbench.errors import ResultError, VqbenchError, raise_all
from vqbench.records.run import CandidateRecord, MetricSpec, Result, Run
from vqbench.records.store import BASELINES, RESULT_FILE, find_baseline, load_run


@dataclass(frozen=True)
class Excerpt:
    """What a history keeps of a run.

    Attributes:
        label: what the run is called.
        started: when it was started, in UTC; what names no zone is taken for UTC.
        clips: clip set → how many clips it has, and a digest of their ids and audio.
        results: (candidate, metric) → its figure.
        confidence: of the figures' intervals.
    """

    label: str
    started: datetime
    provenance: Mapping[str, Any]
    candidates: Mapping[str, CandidateRecord]
    metrics: Mapping[str, MetricSpec]
    clips: Mapping[str, tuple[int, str]]
    results: Mapping[tuple[str, str], Result]
    confidence: float


def load_excerpts(arguments: Sequence[str], baselines: Path = BASELINES) -> tuple[list[Excerpt], list[str]]:
    """Reads the runs that a person names, one after another, and keeps of each what a history needs.

    Args:
        arguments: run folders, result.json files, names or paths of baselines, or folders that hold run folders.
        baselines: where the baselines are.

    Returns:
        The runs, each once, and notes on what was left out: folders without a result, runs that are there twice.

    Raises:
        ResultError: something is not there, is broken, or does not say when it was started; all faults at once.
    """
    places: dict[Path, None] = {}
    notes: list[str] = []
    errors: list[VqbenchError] = []
    for argument in arguments:
        try:
            found, left_out = _places(find_baseline(argument, baselines))
        except VqbenchError as error:
            errors.append(error)
            continue
        places.update(dict.fromkeys(place.resolve() for place in found))
        notes += left_out
    excerpts: list[Excerpt] = []
    for place in places:
        try:
            excerpts.append(excerpt(_label(place), load_run(place)))
        except VqbenchError as error:
            errors.append(error)
    raise_all(errors)
    labelled = _distinct(excerpts)
    once, repeats = _once(labelled)
    return once, [*notes, *repeats]


def excerpt(label: str, run: Run) -> Excerpt:
    """Keeps of a run what a history needs.

    Raises:
        ResultError: the run does not say when it was started, so that it has no place in time.
    """
    clips: dict[str, list[str]] = {}
    for clip in run.clips:
        clips.setdefault(clip.clip_set, []).append(f"{clip.id}\0{clip.sha256}")
    return Excerpt(
        label=label,
        started=_started(run.provenance.get("started"), label),
        provenance=run.provenance,
        candidates={candidate.name: candidate for candidate in run.candidates},
        metrics={spec.name: spec for spec in run.metrics},
        clips={name: (len(ids), _digest(ids)) for name, ids in clips.items()},
        results={(result.candidate, result.metric): result for result in run.results},
        confidence=run.interval.confidence,
    )


def _places(path: Path) -> tuple[list[Path], list[str]]:
    """The runs that a path means, and notes on sub-folders that hold none."""
    if not path.is_dir() or (path / RESULT_FILE).exists():
        return [path / RESULT_FILE if path.is_dir() else path], []
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    found = [folder / RESULT_FILE for folder in folders if (folder / RESULT_FILE).exists()]
    if not found:
        raise ResultError(
            "there is no run in this folder",
            where=str(path),
            expected=f"a {RESULT_FILE} in it, or in folders directly below it",
        )
    empty = [folder for folder in folders if not (folder / RESULT_FILE).exists()]
    return found, [f"left out {folder}: it has no {RESULT_FILE}, as an interrupted run has none" for folder in empty]


def _label(place: Path) -> str:
    return place.parent.name if place.name == RESULT_FILE else place.name.removesuffix(".json")


def _distinct(excerpts: Iterable[Excerpt]) -> list[Excerpt]:
    """The runs, with a number behind a label that was there before."""
    seen: Counter[str] = Counter()
    distinct = []
    for run in excerpts:
        seen[run.label] += 1
        count = seen[run.label]
        distinct.append(run if count == 1 else replace(run, label=f"{run.label} ({count})"))
    return distinct


def _once(excerpts: Iterable[Excerpt]) -> tuple[list[Excerpt], list[str]]:
    """The runs without copies, as a baseline is one: the same evidence does not count twice."""
    kept: list[Excerpt] = []
    notes = []
    for run in excerpts:
        same = next((other for other in kept if (other.started, other.results) == (run.started, run.results)), None)
        if same is None:
            kept.append(run)
        else:
            notes.append(f"left out {run.label}: it is the same run as {same.label}")
    return kept, notes


def _started(written: object, label: str) -> datetime:
    try:
        # Python 3.10 does not read the Z of UTC.
        started = datetime.fromisoformat(str(written).replace("Z", "+00:00"))
        return (started if started.tzinfo else started.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):  # no time, or in UTC of the year 0 or 10000
        said = "does not say when it was started" if written is None else f"was started at {str(written)[:40]!r}"
        raise ResultError(
            f"the run {said}, so it has no place in time",
            where=label,
            expected='a time such as 2026-01-31T12:00:00+00:00 under "started" in its provenance',
            fix="leave the run out",
        ) from None


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(parts)).encode("utf-8", "surrogatepass")).hexdigest()
