"""The mels through which TorToiSe hears a voice: one for the GPT, another for the diffusion decoder.

Both read recordings at 22,050 Hz, cut or filled with silence to one length, so that clips of a voice can be averaged.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import DataError
from vqbench.teachers.tortoise.upstream import resample, upstream_module

SAMPLE_RATE_HZ = 22_050
"""Of every recording given here."""

GPT_SAMPLES = 132_300
"""Six seconds at 22,050 Hz: what the GPT hears of a clip."""

DIFFUSION_RATE_HZ = 24_000
DIFFUSION_SAMPLES = 102_400
"""4.3 seconds at 24,000 Hz: what the diffusion decoder hears of a clip."""


def gpt_conditioning(waveform: Tensor, seed: int, spec: MelSpec | None = None, n_samples: int = GPT_SAMPLES) -> Tensor:
    """Computes the mel that the GPT's conditioning encoder reads, as upstream does after `random.seed(seed)`.

    Args:
        waveform: (N,) float32 in [-1, 1] at 22,050 Hz.
        seed: decides where a longer recording is cut; a shorter one is followed by silence.
        spec: the front end; left out, TorToiSe's.
        n_samples: the length that it is brought to.

    Returns:
        (80, n_samples // 256 + 1) float32, log-mel / mel_norms.

    Raises:
        DataError: no samples.
    """
    surplus = max(0, _length(waveform) - n_samples)
    start = random.Random(seed).randint(0, surplus)
    return mel_conditioning(waveform[start:], spec, n_samples)


def mel_conditioning(waveform: Tensor, spec: MelSpec | None = None, n_samples: int = GPT_SAMPLES) -> Tensor:
    """Computes the VQVAE's mel of a recording's beginning, which is what the pocket's diffusion decoder reads.

    Args, Returns, Raises: as for `gpt_conditioning`.
    """
    mel: Tensor = _front_end(spec or MelSpec())(_fitted(waveform, n_samples).cpu())
    return mel


def tacotron_conditioning(waveform: Tensor) -> Tensor:
    """Computes the mel that the official diffusion decoder's conditioning encoder reads.

    Unlike the mels that this decoder renders, it is not scaled to [-1, 1].

    Args:
        waveform: (N,) float32 in [-1, 1] at 22,050 Hz; its first 4.3 s are heard.

    Returns:
        (100, 401) float32: natural log of mel magnitudes up to 12,000 Hz, at 24,000 Hz.

    Raises:
        DataError: no samples.
        MissingExtraError: where tortoise-tts is not installed.
    """
    _length(waveform)
    resampled = resample(waveform.cpu(), SAMPLE_RATE_HZ, DIFFUSION_RATE_HZ)
    mel: Tensor = _tacotron_stft().mel_spectrogram(_fitted(resampled, DIFFUSION_SAMPLES)[None])[0]
    return mel


def _length(waveform: Tensor) -> int:
    if waveform.ndim != 1 or not len(waveform):
        raise DataError(f"a recording of shape {tuple(waveform.shape)} holds no voice", expected="(N,) with N >= 1")
    return len(waveform)


def _fitted(waveform: Tensor, n_samples: int) -> Tensor:
    return F.pad(waveform[:n_samples], (0, max(0, n_samples - _length(waveform))))


@functools.lru_cache(maxsize=4)
def _front_end(spec: MelSpec) -> MelFrontEnd:
    return MelFrontEnd(spec)


@functools.cache
def _tacotron_stft() -> Any:
    stft = upstream_module("utils.audio").TacotronSTFT(1024, 256, 1024, 100, DIFFUSION_RATE_HZ, 0, 12_000)
    assert isinstance(stft, torch.nn.Module)
    return stft
