"""From what people write to a teacher, its voices and its sentences."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqbench.config.source import POCKET, DataSource
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.data.sentences import is_easily_heard, sentences
from vqbench.engine.cache import content_key
from vqbench.errors import ConfigError, DataError, did_you_mean, raise_all
from vqbench.progress import Progress
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ, gpt_conditioning, tacotron_conditioning
from vqbench.teachers.tortoise.diffusion import TACOTRON_RANGE, DiffusionDecoder
from vqbench.teachers.tortoise.official import OfficialCheckpoints
from vqbench.teachers.tortoise.pair_generation import held_out_sentences, read_sentences
from vqbench.teachers.tortoise.part import Part
from vqbench.teachers.tortoise.teacher import TEACHER_VERSION, Teacher
from vqbench.teachers.tortoise.text import TextEncoder
from vqbench.teachers.tortoise.tokens import OFFICIAL, diffusion_frames
from vqbench.teachers.tortoise.utterance import Voice
from vqbench.teachers.tortoise.vocoder import UnivNetVocoder

POCKET_MAX_WORDS = 12
"""The longest sentences that the pocket TorToiSe learnt to say."""

_SENTENCE_SEED = 1_000_003
"""Added to a suite's seed: other sentences than the pocket TorToiSe was trained on."""

OFFICIAL_STEPS = 80
"""Diffusion steps of the official teacher, as in tortoise-tts's preset `fast`."""

_ROOMY_BYTES = 12 << 30
"""With so much memory all official models (4 GB) stay loaded."""


def open_teacher(written: str, device: torch.device) -> Teacher:
    """Opens a teacher.

    Args:
        written: `pocket`, or a folder with TorToiSe's published checkpoints.
        device: where it shall run.

    Raises:
        ConfigError: neither.
        CheckpointError: a checkpoint is missing or at fault (several: ManyErrors).
        MissingExtraError: tortoise-tts is not installed.
    """
    if written == POCKET:
        from vqbench.teachers.pocket.assets import load_pocket

        return load_pocket(device)
    if not Path(written).is_dir():
        raise ConfigError(
            f"there is no teacher {written!r}{did_you_mean(written, [POCKET])}",
            expected=f"{POCKET}, or a folder with TorToiSe's checkpoints",
        )
    return official_teacher(OfficialCheckpoints(Path(written)), device)


def official_teacher(checkpoints: OfficialCheckpoints, device: torch.device) -> Teacher:
    """The published TorToiSe, as tortoise-tts runs it; one model at a time is loaded where memory is small.

    Raises:
        CheckpointError: a checkpoint is missing or at fault (several: ManyErrors).
        MissingExtraError: tortoise-tts is not installed.
    """
    checkpoints.check()
    text = TextEncoder()
    keep = memory_bytes(device) >= _ROOMY_BYTES
    weights = checkpoints.digest()
    decides = {
        "weights": weights,
        "text": dict(text.identity),
        "steps": OFFICIAL_STEPS,
        "scores_padding": True,
        "version": TEACHER_VERSION,
    }
    return Teacher(
        name=checkpoints.folder.name,
        digest=content_key(decides)[:16],
        gpt=Part(lambda: checkpoints.load_gpt(device), keep),
        clvp=Part(lambda: checkpoints.load_clvp(device), keep),
        diffusion=Part(
            lambda: DiffusionDecoder(checkpoints.load_diffusion(device), TACOTRON_RANGE, steps=OFFICIAL_STEPS), keep
        ),
        vocoder=Part(lambda: UnivNetVocoder(checkpoints.load_vocoder(device)), keep),
        text=text,
        vocabulary=OFFICIAL,
        mel_frames=diffusion_frames,
        gpt_mel=lambda waveform: gpt_conditioning(waveform, seed=0),
        diffusion_mel=tacotron_conditioning,
        max_text_tokens=checkpoints.sizes.gpt.max_text_tokens,
        scores_padding=True,
        batch_size=16 if device.type == "cpu" else 64,
        device=device,
        tokenizer=checkpoints.load_tokenizer(device),
    )


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


def listen(teacher: Teacher, clips: Sequence[Clip], progress: Progress) -> list[Voice]:
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


def memory_bytes(device: torch.device) -> int:
    """All memory that there is on a device, used or not; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not asked like this on every system
        return 0
