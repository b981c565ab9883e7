"""Mel and vocoder once more, written the plain way: a reference for values and a rival for benchmarks."""

from __future__ import annotations

import math

import librosa
import numpy as np
import torch
from torch import Tensor

from vqbench.audio.mel import LOG_FLOOR, MelSpec

SPEC = MelSpec()


def librosa_mel(waveform: np.ndarray) -> np.ndarray:
    """(N,) at 22,050 Hz → (80, N // 256 + 1), log-mel / norms."""
    power = librosa.feature.melspectrogram(
        y=waveform, sr=22_050, n_fft=1024, hop_length=256, n_mels=80, fmax=8_000, htk=True, norm="slaney",
        pad_mode="reflect",
    )  # fmt: skip
    return np.log(np.maximum(power, LOG_FLOOR)) / np.array(SPEC.norms)[:, None]


def plain_griffin_lim(magnitudes: Tensor, n_samples: int, iterations: int, momentum: float) -> Tensor:
    """Perraudin et al.'s algorithm 2, written with torch's own transforms."""
    window = torch.hann_window(SPEC.n_fft)
    generator = torch.Generator().manual_seed(0)
    n_bins = int(magnitudes.sum(1).nonzero().max()) + 1
    phases = torch.zeros_like(magnitudes)
    phases[:n_bins] = 2 * math.pi * torch.rand(magnitudes.shape[1], n_bins, generator=generator).T
    spectrum, previous = torch.polar(magnitudes, phases), None
    for _ in range(iterations):
        waveform = torch.istft(spectrum, SPEC.n_fft, SPEC.hop_length, window=window, length=n_samples)
        consistent = torch.stft(waveform, SPEC.n_fft, SPEC.hop_length, window=window, return_complex=True)
        ahead = consistent if previous is None else consistent + momentum * (consistent - previous)
        previous, spectrum = consistent, torch.polar(magnitudes, ahead.angle())
    return torch.istft(spectrum, SPEC.n_fft, SPEC.hop_length, window=window, length=n_samples)
