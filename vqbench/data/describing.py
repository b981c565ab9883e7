"""What a manifest holds, counted: hours, voices, lengths, rates, texts, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqbench.audio.decoding import read_header
from vqbench.audio.header import Header
from vqbench.data.clip import Clip
from vqbench.data.reading import list_clips
from vqbench.errors import DataError
from vqbench.files import file_digest
from vqbench.progress import Progress

SHORT_S = 0.5
"""Below this a clip is named as very short: hardly a word."""

LONG_S = 30.0
"""Above this as very long: Whisper hears 30 s at a time, and TorToiSe's GPT writes less than 27 s."""

_QUANTILES = {"shortest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "longest": 1.0}
_NAMED = 5
_ALL_FAULTS = 10_000
_KINDS = 40


@dataclass(frozen=True)
class Wrong:
    """Something that is wrong, how often, and the first places where it is."""

    what: str
    n: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """What a manifest holds.

    Attributes:
        path: as it was named.
        format: by which it was read.
        title: what that is.
        notes: what was assumed or skipped.
        n_clips: clips whose recording is there.
        hours: of those that can be read.
        length_s: their quantiles, by name; empty where none can be read.
        under_2_s: how many are shorter.
        speakers: name → clips and minutes, the one with most clips first.
        languages, splits, rates_hz, channels, containers: value → clips.
        n_texts: clips with a text.
        words: in all texts, between spaces.
        columns: further columns.
        wrong: what is wrong.
    """

    path: str
    format: str
    title: str
    notes: tuple[str, ...]
    n_clips: int
    hours: float
    length_s: Mapping[str, float]
    under_2_s: int
    speakers: Mapping[str, tuple[int, float]]
    languages: Mapping[str, int]
    splits: Mapping[str, int]
    rates_hz: Mapping[str, int]
    channels: Mapping[str, int]
    containers: Mapping[str, int]
    n_texts: int
    words: int
    columns: tuple[str, ...]
    wrong: tuple[Wrong, ...]


def describe(path: Path, format_name: str | None, progress: Progress) -> Description:
    """Reads a manifest and the headers of its recordings; of files of equal size also the content.

    Args:
        path: a file or folder of any known format.
        format_name: by which it is read; None tells it by the content.
        progress: is told of each recording.

    Raises:
        DataError: no format knows it.
    """
    listing = list_clips(path, format_name, max_faults=_ALL_FAULTS)
    clips = list(listing.places)
    wrong: dict[str, list[str]] = defaultdict(list)
    for fault in listing.faults:
        wrong[fault.problem].append(str(fault.where))
    headers: dict[Path, Header | None] = {}
    lengths: dict[Clip, float] = {}
    noted: list[tuple[str, str]] = []
    with progress.task("reading headers", len(clips)) as advance:
        for clip in clips:
            if clip.path not in headers:
                headers[clip.path] = _header(clip.path, wrong)
            header = headers[clip.path]
            if header is not None:
                noted += [(note, clip.id) for note in header.notes]
                lengths[clip] = _length_s(clip, header, wrong)
            advance()
    for same in _same(headers):
        wrong["recordings of the same content"].append(" = ".join(path.name for path in same))
    texts = [clip.text for clip in clips if clip.text and clip.text.strip()]
    if texts:
        wrong["without a text"] += [clip.id for clip in clips if not (clip.text and clip.text.strip())]
    voices: dict[str, list[float]] = defaultdict(list)
    for clip in clips:
        if clip.speaker:
            voices[clip.speaker].append(lengths.get(clip, 0.0))
    ordered = sorted(voices.items(), key=lambda item: (-len(item[1]), item[0]))
    of_clips = [header for clip in clips if (header := headers[clip.path]) is not None]
    seconds = np.array(list(lengths.values()))
    return Description(
        path=str(path),
        format=listing.format,
        title=listing.title,
        notes=(*listing.notes, *_counted(noted)),
        n_clips=len(clips),
        hours=float(seconds.sum()) / 3600,
        length_s={name: float(np.quantile(seconds, q)) for name, q in _QUANTILES.items()} if len(seconds) else {},
        under_2_s=int((seconds < 2).sum()),
        speakers={name: (len(own), sum(own) / 60) for name, own in ordered},
        languages=_count(clip.language for clip in clips),
        splits=_count(clip.split for clip in clips),
        rates_hz=_count(str(header.rate_hz) for header in of_clips),
        channels=_count(str(header.channels) for header in of_clips),
        containers=_count(header.container for header in of_clips),
        n_texts=len(texts),
        words=sum(len(text.split()) for text in texts),
        columns=tuple(sorted({name for clip in clips for name, _ in clip.columns})),
        wrong=tuple(_wrong(wrong)),
    )


def _wrong(found: Mapping[str, list[str]]) -> Iterator[Wrong]:
    kinds = [(what, places) for what, places in found.items() if places]
    for what, places in kinds[:_KINDS]:
        yield Wrong(what, len(places), tuple(places[:_NAMED]))
    if rest := [place for _, places in kinds[_KINDS:] for place in places]:
        yield Wrong("further faults", len(rest), tuple(rest[:_NAMED]))


def _header(path: Path, wrong: dict[str, list[str]]) -> Header | None:
    try:
        return read_header(path)
    except DataError as error:
        wrong[error.problem].append(str(path))
        return None


def _length_s(clip: Clip, header: Header, wrong: dict[str, list[str]]) -> float:
    length_s = header.duration_s
    if clip.start_s is not None:
        left_s = header.duration_s - clip.start_s
        length_s = min(clip.duration_s or left_s, max(left_s, 0.0))
        if left_s <= 0 or clip.duration_s > left_s + 0.1:
            wrong["segments that end after their recording"].append(clip.id)
    elif clip.duration_s and abs(clip.duration_s - length_s) > 0.1 + 0.01 * length_s:
        wrong["another length than the manifest says"].append(clip.id)
    if length_s < SHORT_S:
        wrong[f"shorter than {SHORT_S:g} s"].append(clip.id)
    elif length_s > LONG_S:
        wrong[f"longer than {LONG_S:g} s"].append(clip.id)
    return length_s


def _same(paths: Iterable[Path]) -> list[list[Path]]:
    """Files of the same content: only those of the same size are read."""
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        sizes[path.stat().st_size].append(path)
    found: dict[str, list[Path]] = defaultdict(list)
    for alike in sizes.values():
        for path in alike if len(alike) > 1 else ():
            found[file_digest(path)].append(path)
    return [same for same in found.values() if len(same) > 1]


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(value for value in values if value is not None).most_common())


def _counted(noted: Iterable[tuple[str, str]]) -> list[str]:
    of: dict[str, list[str]] = defaultdict(list)
    for note, clip in noted:
        of[note].append(clip)
    return [f"{note}: {len(clips)} clip{'s' * (len(clips) > 1)}, e.g. {clips[0]}" for note, clips in of.items()]
