"""The recordings of clips: found out to be the ones that are meant, and heard."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqbench.audio.decoding import digest_and_header
from vqbench.audio.header import Header
from vqbench.data.clip import Clip
from vqbench.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

MAX_CLIP_S = 600.0
"""A longer recording is not decoded, unless its source says so: a few megabytes of FLAC may hold ten hours."""

DENSE = 2 * 96_000
"""Values a second of stereo at 96 kHz. What is denser may be as much shorter than `max_clip_s` only: a FLAC may claim
655 kHz and eight channels of silence, and ten minutes of it would be twelve gigabytes."""

_ROUNDED_S = 0.1
"""Other tools round lengths, so that a segment may seem to end after its file; it ends with it then."""

_HUNDREDTH_S = 0.01
"""A segment from 0 that lacks no more than this of its file is the file."""


def load_clip(clip: Clip, sample_rate_hz: int) -> Tensor:
    """Reads a clip as one channel at one rate; of a segment nothing else is kept in memory.

    Returns:
        (N,) float32 in [-1, 1], N >= 1.

    Raises:
        DataError: as `load_waveform`, or because the clip has a fault.
    """
    from vqbench.audio.io import load_waveform  # and with it torch, which a look at a manifest need not wait for

    if clip.fault is not None:
        raise DataError(clip.fault, where=str(clip.path))
    if clip.start_s is None:
        return load_waveform(clip.path, sample_rate_hz)
    return load_waveform(clip.path, sample_rate_hz, clip.start_s, clip.duration_s)


def select(clips: Sequence[Clip], split: str | None, limit: int | None, where: str) -> list[Clip]:
    """The first `limit` clips of a split, in order; None asks for all.

    Raises:
        DataError: where no clip is left; `where` names the list.
    """
    chosen = [clip for clip in clips if split is None or clip.split == split][:limit]
    if not chosen:
        splits = sorted({clip.split for clip in clips if clip.split})
        raise DataError(
            f"no clip is of the split {split!r}{did_you_mean(split or '', splits)}",
            where=where,
            expected=f"one of {', '.join(splits)}" if splits else 'clips with a "split"',
        )
    return chosen


class Recordings:
    """The files of clips, each looked at once, however many segments of it there are.

    Args:
        max_clip_s: longer clips get a fault, and are not decoded.
    """

    def __init__(self, max_clip_s: float = MAX_CLIP_S) -> None:
        self._max_clip_s = max_clip_s
        self._known: dict[Path, tuple[str, Header | DataError]] = {}

    def verify(self, clip: Clip) -> Clip:
        """Compares a clip with its recording, and fills in what is to be known of it.

        Raises:
            DataError: for another recording than `sha256` says, or none, or a segment beyond its end.
        """
        digest, found = self.look(clip.path)
        if isinstance(found, DataError):
            if clip.start_s is not None or not clip.duration_s:
                raise found
            header = None  # it is found out, and named, when it is to be measured
        else:
            header, clip = found, _trimmed(clip, found)
        own = digest if clip.start_s is None else _segment_digest(digest, clip.start_s, clip.duration_s)
        if clip.sha256 and clip.sha256 not in (own, digest):
            raise DataError(
                f"the recording of clip {clip.id!r} is another one: its sha256 is {own}",
                where=str(clip.path),
                expected=f"sha256 {clip.sha256}",
                fix="restore the recording, or correct the manifest if the change is meant",
            )
        clip = replace(clip, sha256=own)
        if header is None:
            return clip
        notes, length_s = header.notes, clip.duration_s if clip.start_s is not None else header.duration_s
        if abs(length_s - clip.duration_s) > _ROUNDED_S + 0.01 * length_s:
            notes = (*notes, "the recording has another length than the manifest says; all of it is read")
        fault = None
        if length_s > self._max_clip_s:
            fault = f"the clip is {length_s:.0f} s long, and max_clip_s is {self._max_clip_s:g}"
        elif length_s * header.rate_hz * header.channels > self._max_clip_s * DENSE:
            fault = (
                f"the clip holds {length_s:.0f} s of {header.channels} channels at {header.rate_hz:,} Hz, which is "
                f"more than {self._max_clip_s:g} s (max_clip_s) of stereo at 96 kHz"
            )
        return replace(clip, notes=notes, fault=fault)

    def look(self, path: Path) -> tuple[str, Header | DataError]:
        """A file's digest and header, or why there is none.

        Raises:
            DataError: no regular file, or it cannot be read.
        """
        if path not in self._known:
            self._known[path] = digest_and_header(path)
        return self._known[path]


def verify(clip: Clip) -> Clip:
    """`Recordings.verify` of a single clip."""
    return Recordings().verify(clip)


def _trimmed(clip: Clip, header: Header) -> Clip:
    """With a duration that the file has; a segment that is all of its file becomes the file."""
    if clip.start_s is None:
        return clip if clip.duration_s else replace(clip, duration_s=header.duration_s)
    left_s = header.duration_s - clip.start_s
    if left_s <= 0 or clip.duration_s > left_s + _ROUNDED_S:
        end = "" if not clip.duration_s else f" to {clip.start_s + clip.duration_s:g}"
        raise DataError(
            f"the segment {clip.id!r} is from {clip.start_s:g}{end} s of a recording of {header.duration_s:g} s",
            where=str(clip.path),
            expected="a segment inside its recording",
        )
    duration_s = min(clip.duration_s or left_s, left_s)
    # Other tools write a start and a length, rounded, for every whole file.
    if not clip.start_s and left_s - duration_s < _HUNDREDTH_S:
        return replace(clip, start_s=None, duration_s=header.duration_s)
    return replace(clip, duration_s=duration_s)


def _segment_digest(digest: str, start_s: float, duration_s: float) -> str:
    content = json.dumps([digest, round(start_s, 6), round(duration_s, 6)])
    return hashlib.sha256(content.encode()).hexdigest()


_TOO_LONG = "longer or larger than max_clip_s allows, and so not scored"


def notes_of(clips: Sequence[Clip]) -> list[str]:
    """What is to be said of how clips are read, each note once, with how many it is true of and the first of them."""
    told = [(note, clip.id) for clip in clips for note in (*clip.notes, *((_TOO_LONG,) if clip.fault else ()))]
    found, first = Counter(note for note, _ in told), dict(reversed(told))
    return [f"{note}: {n} clip{'s' if n > 1 else ''}, e.g. {first[note]}" for note, n in found.items()]
