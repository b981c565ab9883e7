"""Opens a folder with TorToiSe's published checkpoints as a teacher."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch

from vqbench.errors import ConfigError
from vqbench.teachers.tortoise.conditioning import gpt_conditioning, tacotron_conditioning
from vqbench.teachers.tortoise.diffusion import TACOTRON_RANGE, DiffusionDecoder
from vqbench.teachers.tortoise.lazy_model import LazyModel
from vqbench.teachers.tortoise.official import OfficialCheckpoints
from vqbench.teachers.tortoise.teacher import TEACHER_VERSION, TortoiseTeacher
from vqbench.teachers.tortoise.text import TextEncoder
from vqbench.teachers.tortoise.tokens import OFFICIAL, diffusion_frames
from vqbench.teachers.tortoise.vocoder import UnivNetVocoder

OFFICIAL_STEPS = 80
"""Diffusion steps of the official teacher, as in tortoise-tts's preset `fast`."""

_ROOMY_BYTES = 12 << 30
"""With so much memory all official models (4 GB) stay loaded."""


def open_folder(written: str, device: torch.device) -> TortoiseTeacher:
    """TorToiSe, from a folder with its published checkpoints.

    Args:
        written: the folder.
        device: where it shall run.

    Raises:
        ConfigError: there is no such folder.
        CheckpointError: a checkpoint is missing or at fault (several: ManyErrors).
        MissingExtraError: tortoise-tts is not installed.
    """
    if not Path(written).is_dir():
        raise ConfigError(f"there is no folder {written!r}", expected="a folder with TorToiSe's checkpoints")
    return official_teacher(OfficialCheckpoints(Path(written)), device)


def official_teacher(checkpoints: OfficialCheckpoints, device: torch.device) -> TortoiseTeacher:
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
    return TortoiseTeacher(
        name=checkpoints.folder.name,
        digest=hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16],
        gpt=LazyModel(lambda: checkpoints.load_gpt(device), keep),
        clvp=LazyModel(lambda: checkpoints.load_clvp(device), keep),
        diffusion=LazyModel(
            lambda: DiffusionDecoder(checkpoints.load_diffusion(device), TACOTRON_RANGE, steps=OFFICIAL_STEPS), keep
        ),
        vocoder=LazyModel(lambda: UnivNetVocoder(checkpoints.load_vocoder(device)), keep),
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


def memory_bytes(device: torch.device) -> int:
    """All memory that there is on a device, used or not; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not asked like this on every system
        return 0
