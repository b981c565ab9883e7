"""What people hear and see of a run: a few clips, each as everybody gives it back, with sound, mel and tokens.

`RUN/exhibits.json` lists them, `RUN/exhibits/` has the sound, in files named by their content. Arrays stay packed: who
shows them hands them on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vqbench.errors import DataError, ResultError
from vqbench.files import remove, require_file, write_text, write_whole
from vqbench.records.mapping import MappingError, from_plain, to_plain
from vqbench.records.packing import pack, unpack
from vqbench.records.run import Run
from vqbench.records.transcripts import ANEW
from vqbench.stats.columns import Ragged

EXHIBITS_FILE = "exhibits.json"
SOUND_FOLDER = "exhibits"
SCHEMA_VERSION = 1

MEL_FLOOR_DB = -50
"""Level 0 of a mel: log mels are clamped at a power of 1e-5."""

MIME_TYPES = {"flac": "audio/flac", "opus": "audio/ogg"}
"""Kinds of sound files → how a page names them."""

_SOUND_NAME = re.compile(r"[0-9a-f]{16}\.(flac|opus)")
_MOST_SOUND_BYTES = 64 << 20
_MOST_FRAMES = 1 << 18
_MOST_NUMBERS = 1 << 20

PackedArray = Mapping[str, Any]
"""Whole numbers as `vqbench.records.packing` packs them: `{"lengths": …, "values": …}` of one row."""


@dataclass(frozen=True)
class Mel:
    """A mel spectrogram as a picture needs it.

    Attributes:
        bands, frames: its shape.
        frames_per_s: how many of them make a second.
        of: the decoder's own mel, before any vocoder; or that of the sound.
        levels: (bands * frames) uint8, band by band, in whole dB above `MEL_FLOOR_DB`.
    """

    bands: int
    frames: int
    frames_per_s: float
    of: Literal["decoder", "sound"]
    levels: PackedArray


@dataclass(frozen=True)
class Take:
    """A clip as somebody gives it back.

    Attributes:
        candidate: who, by the name of the record in the run; empty for what the GPT wrote, as it was rendered.
        sound: the file in `RUN/exhibits/`: the first 16 digits of its sha256, and its kind.
        duration_s: of the sound.
        mel: what it looks like; None where there is none.
        codes: what its tokenizer wrote; None where there is none.
    """

    candidate: str
    sound: str
    duration_s: float
    mel: Mel | None = None
    codes: PackedArray | None = None


@dataclass(frozen=True)
class Shown:
    """One clip of the run as everybody gives it back; the first take is what the others are held against.

    Attributes:
        clip: its id in the run.
        takes: the references' first, then the candidates', each in the order of the run; who failed is left out.
        codes: the tokens that should be there: what the GPT wrote, or the true tokenizer on a recording; None where
            neither is known.
        codes_by: who wrote these.
    """

    clip: str
    takes: tuple[Take, ...]
    codes: PackedArray | None = None
    codes_by: str | None = None


@dataclass(frozen=True)
class Exhibit:
    """What is shown together: a recording's copies, and what a tuned TorToiSe says of the same sentence.

    Attributes:
        why: why it was chosen, e.g. `worst speech.wer of drifted: 1.400`.
        shown: its clips.
    """

    why: tuple[str, ...]
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Relabelling:
    """The one-to-one relabelling of a candidate's codes under which most of its tokens are the GPT's.

    Attributes:
        candidate: whose.
        codes: (n,) its codes that have a partner, the most matches first.
        labels: (n,) the GPT's code for each.
        matches: (n,) tokens that agree under it.
        counts: (n,) tokens of the candidate's code in all.
        tokens: all tokens compared.
    """

    candidate: str
    codes: PackedArray
    labels: PackedArray
    matches: PackedArray
    counts: PackedArray
    tokens: int


@dataclass(frozen=True)
class Exhibits:
    """All that a run keeps to be heard and seen.

    Attributes:
        exhibits: the clips, in the order in which they are shown.
        relabellings: one a candidate, where there are GPT sequences.
        schema: version of the file.
    """

    exhibits: tuple[Exhibit, ...] = ()
    relabellings: tuple[Relabelling, ...] = ()
    schema: int = SCHEMA_VERSION

    @property
    def takes(self) -> Iterator[Take]:
        """Every take of every clip."""
        for exhibit in self.exhibits:
            for shown in exhibit.shown:
                yield from shown.takes


NOTHING = Exhibits()
"""What a run keeps that shows no clips; and a baseline, which has but the figures."""


def pack_whole(values: NDArray[Any]) -> PackedArray:
    """Whole numbers as one packed row."""
    return pack(Ragged(np.asarray(values), np.array([len(values)], dtype=np.int64)))


def unpack_whole(packed: PackedArray, place: str, most: int = _MOST_NUMBERS) -> NDArray[Any]:
    """The whole numbers of `pack_whole`.

    Args:
        packed: as it was read.
        place: where it stands, for messages.
        most: of them; a file that says more is not unpacked, so that a small one cannot fill the memory.

    Raises:
        MappingError: it is no such row, or a longer one.
    """
    row = unpack(packed, "codes", 1, place, most)
    assert isinstance(row, Ragged)
    return row.values


def sound_name(content: bytes, kind: str) -> str:
    """How a sound file is called: by its content, so that the same sound is there once and a changed one is noticed."""
    return f"{hashlib.sha256(content).hexdigest()[:16]}.{kind}"


def save_exhibits(exhibits: Exhibits, sounds: Mapping[str, bytes], folder: Path) -> None:
    """Writes the sounds, then the list; sounds of an earlier run in the same folder are removed.

    Where the folder may have held another run, its list is removed before the new run is written.

    Args:
        exhibits: what is shown.
        sounds: name → file, for every take.
        folder: the run's.

    Raises:
        DataError: something cannot be written.
    """
    place = folder / SOUND_FOLDER
    for name, content in sounds.items():
        write_whole(place / name, content)
    write_text(folder / EXHIBITS_FILE, json.dumps(to_plain(exhibits), ensure_ascii=False, allow_nan=False) + "\n")
    if place.is_dir():
        for file in place.iterdir():
            if _SOUND_NAME.fullmatch(file.name) and file.name not in sounds:
                remove(file)


def load_exhibits(folder: Path, run: Run) -> Exhibits:
    """Reads what a run keeps to be heard and seen; nothing where it keeps none, as a baseline does.

    Raises:
        ResultError: the list is broken, or is not of this run.
    """
    file = folder / EXHIBITS_FILE
    if not os.path.lexists(file):
        return NOTHING
    text = _read(file)
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"this is no JSON: {error}", where=str(file), fix=ANEW) from error
    if isinstance(plain, dict) and plain.get("schema") != SCHEMA_VERSION:
        raise ResultError(
            f"comes from another version of vqbench: schema {str(plain.get('schema'))[:20]!r}",
            where=str(file),
            expected=f"schema {SCHEMA_VERSION}",
            fix=ANEW,
        )
    try:
        exhibits: Exhibits = from_plain(Exhibits, plain)
        _check(exhibits, run)
    except MappingError as error:
        raise ResultError(error.problem, where=f"{file}: {error.place}", expected=error.expected, fix=ANEW) from error
    return exhibits


def read_sound(folder: Path, name: str) -> bytes:
    """The sound file of a take.

    Raises:
        ResultError: it is missing, or is not what the run wrote.
    """
    file = folder / SOUND_FOLDER / name
    content = _read(file, _MOST_SOUND_BYTES + 1)
    if sound_name(content, name.rpartition(".")[2]) != name:
        raise ResultError("has changed since the run wrote it", where=str(file), fix=ANEW)
    return content


def _read(file: Path, most_bytes: int = -1) -> bytes:
    """The bytes of a file, at most so many.

    Raises:
        ResultError: it is no file, or cannot be read.
    """
    try:
        require_file(file)
        with file.open("rb") as stream:
            return stream.read(most_bytes)
    except DataError as error:
        raise ResultError(error.problem, where=str(file), fix=ANEW) from error
    except OSError as error:
        raise ResultError(f"cannot be read: {error.strerror}", where=str(file), fix=ANEW) from error


def _check(exhibits: Exhibits, run: Run) -> None:
    clips = {clip.id for clip in run.clips}
    candidates = {candidate.name for candidate in run.candidates} | {""}
    for n, exhibit in enumerate(exhibits.exhibits):
        for shown in exhibit.shown:
            place = f"exhibits[{n}], clip {shown.clip}"
            if shown.clip not in clips:
                raise MappingError("is no clip of the run beside it", place, "the exhibits of this run")
            if shown.codes is not None:
                unpack_whole(shown.codes, f"{place}, codes")
            for take in shown.takes:
                _check_take(take, candidates, f"{place}, take of {take.candidate or 'the GPT'}")
    for relabelling in exhibits.relabellings:
        place = f"relabelling of {relabelling.candidate}"
        if relabelling.candidate not in candidates:
            raise MappingError("is nobody in the run beside it", place, "the exhibits of this run")
        columns = (relabelling.codes, relabelling.labels, relabelling.matches, relabelling.counts)
        if len({len(unpack_whole(column, place)) for column in columns}) > 1:
            raise MappingError("has columns of different lengths", place, None)


def _check_take(take: Take, candidates: set[str], place: str) -> None:
    if take.candidate not in candidates:
        raise MappingError("is of nobody in the run beside it", place, "the exhibits of this run")
    if not _SOUND_NAME.fullmatch(take.sound):
        raise MappingError(f"names the sound {take.sound[:40]!r}", place, "16 hex digits, then .flac or .opus")
    if not 0 < take.duration_s < math.inf:
        raise MappingError(f"lasts {take.duration_s} s", place, "more than nothing")
    if take.codes is not None:
        unpack_whole(take.codes, f"{place}, codes")
    mel = take.mel
    if mel is None:
        return
    if not (0 < mel.bands <= 256 and 0 < mel.frames <= _MOST_FRAMES and 0 < mel.frames_per_s < math.inf):
        raise MappingError(f"is of {mel.bands} bands and {mel.frames} frames", f"{place}, mel", None)
    levels = unpack_whole(mel.levels, f"{place}, mel", mel.bands * mel.frames)
    if len(levels) != mel.bands * mel.frames or levels.min() < 0 or levels.max() > 255:
        raise MappingError("has other levels than its shape says", f"{place}, mel", "whole dB from 0 to 255")
