"""Whose voice it is: Resemblyzer's speaker embeddings, whose cosine tells how alike two voices sound."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from vqbench.audio.io import file_digest
from vqbench.errors import DataError
from vqbench.judges.prerequisites import checked_waveform, import_judge, judge_device

MIN_VOICED_S = 0.5
"""Less voice than this tells more about the words than about the speaker."""


class SpeakerEncoder(Protocol):
    """Tells voices apart."""

    @property
    def identity(self) -> Mapping[str, str | int | float]:
        """Everything that changes an embedding: equal identities give equal embeddings of a waveform."""

    def embed(self, waveform: np.ndarray | torch.Tensor, sample_rate_hz: int) -> np.ndarray:
        """Embeds the voice of one recording.

        Args:
            waveform: (N,) floats.
            sample_rate_hz: its rate.

        Returns:
            (D,) float32 of length 1.

        Raises:
            DataError: there is no voice, or too little of it.
        """


class Resemblyzer:
    """Resemblyzer's voice encoder, with the weights that its package carries.

    Waveforms take Resemblyzer's own way: 16 kHz, raised to -30 dBFS where quieter, long pauses cut out by a voice
    detector, windows of 1.6 s embedded by an LSTM and averaged.

    Source: Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification"; the package `resemblyzer`.

    Args:
        device: where the LSTM runs: a CUDA device; anything else means the CPU.

    Attributes:
        identity: everything that changes an embedding.

    Raises:
        MissingExtraError: where resemblyzer is not installed.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        with warnings.catch_warnings():
            # It and its dependencies import what setuptools and scipy are about to remove, and are told so at length.
            warnings.simplefilter("ignore")
            self._resemblyzer = import_judge("resemblyzer", "speaker similarity")
        device = judge_device(device)
        self._encoder = self._resemblyzer.VoiceEncoder(device, verbose=False).eval()
        self._sample_rate_hz: int = self._resemblyzer.sampling_rate
        self.identity: dict[str, str | int | float] = {
            **{package: metadata.version(package) for package in ("resemblyzer", "librosa", "webrtcvad")},
            "weights": file_digest(Path(str(resources.files("resemblyzer") / "pretrained.pt"))),
            "min_voiced_s": MIN_VOICED_S,
            "device": device.type,
        }

    def embed(self, waveform: np.ndarray | torch.Tensor, sample_rate_hz: int) -> np.ndarray:
        """Embeds the voice of one recording.

        Args:
            waveform: (N,) floats; clipped to [-1, 1], as a player would.
            sample_rate_hz: its rate.

        Returns:
            (256,) float32, not negative, of length 1.

        Raises:
            DataError: for an empty or silent waveform, NaN or infinite samples, and where less than `MIN_VOICED_S` of
                voice is found.
        """
        samples = checked_waveform(waveform, "waveform").clip(-1, 1)
        if not samples.any():
            raise DataError("the waveform is silent, so it has no voice", expected="speech")
        voiced = self._resemblyzer.preprocess_wav(samples, source_sr=sample_rate_hz)
        voiced_s = len(voiced) / self._sample_rate_hz
        if voiced_s < MIN_VOICED_S:
            raise DataError(
                f"{voiced_s:.2f} s of voice were found in {len(samples) / sample_rate_hz:.2f} s",
                expected=f"at least {MIN_VOICED_S} s of voice",
            )
        embedding: np.ndarray = self._encoder.embed_utterance(voiced)
        return embedding.astype(np.float32)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of two embeddings of length 1: the higher, the more alike the voices; Resemblyzer's lie in [0, 1].

    >>> similarity(np.array([1.0, 0.0]), np.array([0.6, 0.8]))
    0.6
    """
    return float(np.dot(a, b))
