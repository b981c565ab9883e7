"""What a teacher says when it is asked: said once, kept in shards, so that a killed run goes on among the sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from vqbench.teachers.tortoise.shards import Pair, Shard, ShardHeader, write_shard
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Utterance, Voice

SPEAKING_VERSION = 1
"""Raised whenever the same lines would be said otherwise by the same teacher."""

PER_SHARD = 16
"""Utterances that are said and kept together: what an interruption costs at most."""

_FAULTS = "faults"
"""In a shard's header: of each utterance that came to nothing, why."""


@dataclass(frozen=True)
class SpokenLine:
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
class SpokenShard:
    """Lines that are said and kept together, and the shard where they are kept."""

    path: Path
    lines: tuple[SpokenLine, ...]


@dataclass(frozen=True)
class Said:
    """What is known of what was said of a line before it is heard.

    Attributes:
        line: what was to be said.
        shard: where the sound is kept.
        sha256: of the sound.
        finished: whether the GPT ended it itself.
        fault: why nothing was said; None where something was.
    """

    line: SpokenLine
    shard: SpokenShard
    sha256: str
    finished: bool = True
    fault: str | None = None


@dataclass(frozen=True)
class Recorded:
    """What was said of a line, or why nothing was; `sha256` is that of the recording."""

    line: SpokenLine
    spoken: Heard | str
    sha256: str


def shards_of(lines: Sequence[SpokenLine], k: int, said_by: Mapping[str, object], cache: Cache) -> list[SpokenShard]:
    """Where everything that somebody is asked to say is kept, or will be.

    Args:
        lines: what to say.
        k: tries of the GPT for each, of which CLVP chooses.
        said_by: all that decides who speaks, and in which voices.
        cache: where it is kept.
    """
    question = {
        "version": SPEAKING_VERSION,
        "said_by": dict(said_by),
        "k": k,
        "lines": [asdict(line) for line in lines],
        "packages": {package: metadata.version(package) for package in ("torch", "tortoise-tts", "soundfile")},
    }
    folder = cache.spoken_folder(content_key(question))
    starts = range(0, len(lines), PER_SHARD)
    return [
        SpokenShard(shard_path(folder, index), tuple(lines[start : start + PER_SHARD]))
        for index, start in enumerate(starts)
    ]


@dataclass(frozen=True)
class Shelved:
    """What was said of some lines, as it is kept; and by the ids of the others, why nothing was."""

    pairs: list[Pair]
    faults: Mapping[str, str]


def say(
    teacher: TortoiseTeacher, voices: Sequence[Voice], lines: Sequence[SpokenLine], k: int, progress: Progress
) -> Shelved:
    """Has lines said."""
    voice_of = {voice.speaker: voice for voice in voices}
    said = _say(teacher, lines, voice_of, k, progress)
    faults = {line.id: one for line, one in zip(lines, said, strict=True) if isinstance(one, str)}
    return Shelved([_pair(teacher, line, one) for line, one in zip(lines, said, strict=True)], faults)


def keep_said(shard: SpokenShard, said: Shelved) -> None:
    """Keeps what was said."""
    write_shard(shard.path, said.pairs, ShardHeader({}, {_FAULTS: dict(said.faults)}))


def find_said(shard: SpokenShard) -> list[Said] | None:
    """What was said and kept; None where it is not there, damaged, or of other lines."""
    found = _read(shard)
    if found is None:
        return None
    return [
        Said(line, shard, digest, pair.finished, fault)
        for line, (pair, digest, fault) in zip(shard.lines, found, strict=True)
    ]


def hear_said(shard: SpokenShard) -> list[Recorded]:
    """The sound of what was said and kept, in order.

    Raises:
        DataError: it has been damaged since it was written.
    """
    found = _read(shard)
    if found is None:
        raise DataError("the recording was damaged during the run", where=str(shard.path), fix="run it again")
    return [
        Recorded(line, fault or _spoken(pair), digest)
        for line, (pair, digest, fault) in zip(shard.lines, found, strict=True)
    ]


def _say(
    teacher: TortoiseTeacher, lines: Sequence[SpokenLine], voice_of: Mapping[str, Voice], k: int, progress: Progress
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


def _pair(teacher: TortoiseTeacher, line: SpokenLine, said: Utterance | str) -> Pair:
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


def _read(kept_in: SpokenShard) -> list[tuple[Pair, str, str | None]] | None:
    """What a shard holds, the sha256 of each sound, and what is wrong with it; None as for `find_said`."""
    if not kept_in.path.exists():
        return None
    try:
        with Shard(kept_in.path) as shard:
            faults = shard.header.shard[_FAULTS]
            pairs = [pair for group in shard.row_groups() for pair in group]
            digests = shard.waveform_digests()
        if [pair.id for pair in pairs] != [line.id for line in kept_in.lines]:
            return None
        return [(pair, digest, faults.get(pair.id)) for pair, digest in zip(pairs, digests, strict=True)]
    except (DataError, KeyError):
        return None


def _spoken(pair: Pair) -> Heard:
    waveform = pair.waveform() if pair.flac else torch.zeros(0)
    return Heard(pair.text, pair.speaker, waveform, pair.sample_rate_hz, pair.finished)
