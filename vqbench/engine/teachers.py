"""From what people write to a teacher, its voices and its sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqbench.config.source import POCKET, DataSource
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.data.sentences import is_easily_heard, sentences
from vqbench.errors import ConfigError, DataError, did_you_mean, raise_all
from vqbench.progress import Progress
from vqbench.registries import TEACHERS
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.folder import open_folder
from vqbench.teachers.tortoise.pair_generation import held_out_sentences, read_sentences
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Voice

POCKET_MAX_WORDS = 12
"""The longest sentences that the pocket TorToiSe learnt to say."""

_SENTENCE_SEED = 1_000_003
"""Added to a suite's seed: other sentences than the pocket TorToiSe was trained on."""


def open_teacher(written: str, device: torch.device) -> TortoiseTeacher:
    """Opens a teacher.

    Args:
        written: a name of the registry `TEACHERS`, `pocket` say, or a folder with TorToiSe's published checkpoints.
        device: where it shall run.

    Raises:
        ConfigError: neither.
        CheckpointError: a checkpoint is missing or at fault (several: ManyErrors).
        MissingExtraError: tortoise-tts is not installed.
    """
    if written in TEACHERS:
        opened: TortoiseTeacher = TEACHERS.load(written)(written, device)
        return opened
    if not Path(written).is_dir():
        raise ConfigError(
            f"there is no teacher {written!r}{did_you_mean(written, TEACHERS)}",
            expected=f"{', '.join(TEACHERS)}, or a folder with TorToiSe's checkpoints",
        )
    return open_folder(written, device)


def teacher_voices(teacher: str, source: DataSource | None) -> list[Clip]:
    """The recordings that tell a teacher its voices.

    Args:
        teacher: as `open_teacher` reads it.
        source: of recordings, each with its speaker; left out, the pocket's own, or the human voices that come with
            tortoise-tts.

    Raises:
        DataError: a recording is missing or has no speaker (several: ManyErrors).
    """
    if source is not None:
        clips = load_clips(source)
        where = str(source.manifest or source.corpus)
        raise_all([DataError(f"clip {clip.id!r} names no speaker", where=where) for clip in clips if not clip.speaker])
        return clips
    if teacher == POCKET:
        from vqbench.teachers.pocket.assets import voices

        return voices()
    return corpus_clips("tortoise-voices")


def listen(teacher: TortoiseTeacher, clips: Sequence[Clip], progress: Progress) -> list[Voice]:
    """One voice a speaker, of all clips of the speaker.

    Raises:
        DataError: for audio that cannot be read.
    """
    recordings: dict[str, list[Tensor]] = {}
    with progress.task("listening to voices", len(clips)) as advance:
        for clip in clips:
            recordings.setdefault(clip.speaker or "", []).append(load_clip(clip, SAMPLE_RATE_HZ))
            advance()
    return teacher.voices(recordings)


def find_sentences(written: str, seed: int) -> Iterable[str]:
    """The sentences of a file with one a line, or without end those of the pocket TorToiSe's domain, by a seed.

    Raises:
        DataError: the file cannot be read, or is empty.
    """
    if written == POCKET:
        return filter(is_easily_heard, sentences(seed, POCKET_MAX_WORDS))
    return read_sentences(Path(written))


def new_sentences(written: str, n: int, seed: int, setting: str, known: Iterable[str] = ()) -> list[str]:
    """Sentences that no `vqbench pairs generate` trains on, each once.

    Args:
        written: as `find_sentences` reads it.
        n: how many.
        seed: the suite's.
        setting: which setting asks for so many.
        known: these are left out, too.

    Raises:
        DataError: the file cannot be read, or there are not so many in it.
    """
    found = held_out_sentences(find_sentences(written, _SENTENCE_SEED + seed), n, known)
    if len(found) < n:
        raise DataError(
            f"only {len(found)} sentences of this file are held out from `vqbench pairs generate`",
            where=written,
            expected=f"at least the {n} that {setting} asks for",
            fix="add sentences (one in ten is held out, by a hash of its words), or ask for fewer",
        )
    return found
