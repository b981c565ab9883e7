"""What a teacher says when it is asked: said once, kept in shards, so that a killed run goes on among the sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch

from vqbench.audio.io import encode_waveform
from vqbench.engine.cache import Cache, content_key
from vqbench.errors import CheckpointError, DataError
from vqbench.judges.protocol import Heard
from vqbench.progress import Progress
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.pairs import shard_path
from vqbench.teachers.tortoise.shards import Header, Pair, Shard, write_shard
from vqbench.teachers.tortoise.teacher import Teacher
from vqbench.teachers.tortoise.utterance import Utterance, Voice

SPEAKING_VERSION = 1
"""Raised whenever the same lines would be said otherwise by the same teacher."""

PER_SHARD = 16
"""Utterances that are said and kept together: what an interruption costs at most."""

_FAULTS = "faults"
"""In a shard's header: of each utterance that came to nothing, why."""


@dataclass(frozen=True)
class Line:
    """One utterance that is asked for.

    Attributes:
        id: names it in the run.
        text: what to say.
        speaker: in whose voice.
        seed: of all that is random in it.
    """

    id: str
    text: str
    speaker: str
    seed: int


@dataclass(frozen=True)
class Recorded:
    """What was said of a line, or why nothing was; `sha256` is that of the recording."""

    line: Line
    spoken: Heard | str
    sha256: str


def speak_lines(
    lines: Sequence[Line],
    k: int,
    said_by: Mapping[str, object],
    prepare: Callable[[], tuple[Teacher, Sequence[Voice]]],
    cache: Cache,
    progress: Progress,
) -> Path:
    """Has all lines said that are not in the cache yet.

    Args:
        lines: what to say.
        k: tries of the GPT for each, of which CLVP chooses.
        said_by: all that decides who speaks, and in which voices.
        prepare: brings the teacher and its voices; called only where something is left to say.
        cache: where it is kept.
        progress: shows how far it is.

    Returns:
        the folder that `read_lines` reads.
    """
    question = {
        "version": SPEAKING_VERSION,
        "said_by": dict(said_by),
        "k": k,
        "lines": [asdict(line) for line in lines],
        "packages": {package: metadata.version(package) for package in ("torch", "tortoise-tts", "soundfile")},
    }
    folder = cache.spoken_folder(content_key(question))
    shards = _shards(folder, lines)
    missing = {path: part for path, part in shards.items() if not cache.read or _read(path, part) is None}
    if missing:
        teacher, voices = prepare()
        voice_of = {voice.speaker: voice for voice in voices}
        n_known = sum(len(part) for path, part in shards.items() if path not in missing)
        with progress.task("speaking", len(lines), n_known) as advance:
            for path, part in missing.items():
                said = _say(teacher, part, voice_of, k, progress)
                faults = {line.id: one for line, one in zip(part, said, strict=True) if isinstance(one, str)}
                pairs = [_pair(teacher, line, one) for line, one in zip(part, said, strict=True)]
                write_shard(path, pairs, Header({}, {_FAULTS: faults}))
                advance(len(part))
    return folder


def read_lines(folder: Path, lines: Sequence[Line], wanted: Collection[str] | None = None) -> Iterator[list[Recorded]]:
    """What was said, in order, some lines at a time.

    Args:
        folder: what `speak_lines` gave.
        lines: all that were said.
        wanted: ids of lines; what was said and kept together with none of them is passed over.

    Raises:
        DataError: a shard has been damaged since it was written.
    """
    for path, part in _shards(folder, lines).items():
        if wanted is not None and not any(line.id in wanted for line in part):
            continue
        found = _read(path, part)
        if found is None:
            raise DataError("the recording was damaged during the run", where=str(path), fix="run it again")
        yield found


def _shards(folder: Path, lines: Sequence[Line]) -> dict[Path, Sequence[Line]]:
    return {
        shard_path(folder, index): lines[start : start + PER_SHARD]
        for index, start in enumerate(range(0, len(lines), PER_SHARD))
    }


def _say(
    teacher: Teacher, lines: Sequence[Line], voice_of: Mapping[str, Voice], k: int, progress: Progress
) -> list[Utterance | str]:
    """An utterance a line, or why there is none: what is no sound must not take its neighbours along."""
    try:
        return [
            *teacher.speak(
                [line.text for line in lines],
                [voice_of[line.speaker] for line in lines],
                [line.seed for line in lines],
                k=k,
                progress=progress,
            )
        ]
    except (DataError, CheckpointError) as error:
        if len(lines) == 1:
            return [error.problem]
    return [one for line in lines for one in _say(teacher, [line], voice_of, k, progress)]


def _pair(teacher: Teacher, line: Line, said: Utterance | str) -> Pair:
    if isinstance(said, str):
        nothing = torch.zeros(0)
        said = Utterance(line.text, line.speaker, nothing.long(), nothing, SAMPLE_RATE_HZ, -math.inf, False, line.seed)
    return Pair(
        id=line.id,
        text=line.text,
        speaker=line.speaker,
        split="test",
        codes=said.codes,
        flac=encode_waveform(said.waveform, said.sample_rate_hz, line.id) if len(said.waveform) else b"",
        sample_rate_hz=said.sample_rate_hz,
        clvp=said.clvp,
        seed=said.seed,
        finished=said.finished,
        teacher=teacher.digest,
    )


def _read(path: Path, lines: Sequence[Line]) -> list[Recorded] | None:
    """What a shard holds; None where it is not there, damaged, or of other lines."""
    if not path.exists():
        return None
    try:
        with Shard(path) as shard:
            faults = shard.header.shard[_FAULTS]
            pairs = [pair for group in shard.row_groups() for pair in group]
            digests = shard.waveform_digests()
        if [pair.id for pair in pairs] != [line.id for line in lines]:
            return None
        return [
            Recorded(line, faults.get(line.id) or _spoken(pair), digest)
            for line, pair, digest in zip(lines, pairs, digests, strict=True)
        ]
    except (DataError, KeyError):
        return None


def _spoken(pair: Pair) -> Heard:
    waveform = pair.waveform() if pair.flac else torch.zeros(0)
    return Heard(pair.text, pair.speaker, waveform, pair.sample_rate_hz, pair.finished)
