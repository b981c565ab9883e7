"""From the diffusion decoder's mel to a waveform: UnivNet for the official model, Griffin-Lim for the pocket's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.errors import DataError
from vqbench.teachers.tortoise.upstream import upstream_module


class Vocoder(Protocol):
    """Renders mels."""

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms."""

    @property
    def identity(self) -> Mapping[str, object]:
        """All that decides the samples, besides mel, seed and weights."""

    def __call__(self, mel: Tensor, length: int, seed: int = 0) -> Tensor:
        """Renders one mel.

        Args:
            mel: (n_mels, T) float32 as the diffusion decoder renders it, T >= 1.
            length: samples wanted, at least one and less than one hop beyond the mel's T hops; silence fills these up.
            seed: of whatever the vocoder draws.

        Returns:
            (length,) float32, in [-1, 1] from UnivNet; from Griffin-Lim a loud mel goes beyond.

        Raises:
            DataError: a mel of another shape, NaN or infinity, or a length that does not fit it.
        """


class GriffinLimVocoder:
    """`vqbench.audio.griffin_lim` as a vocoder: it draws nothing, so every seed gives the same waveform."""

    def __init__(self, griffin_lim: GriffinLim) -> None:
        self._griffin_lim = griffin_lim

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms."""
        return self._griffin_lim.spec.sample_rate_hz

    @property
    def identity(self) -> Mapping[str, object]:
        """Griffin-Lim's own, and the front end that it inverts."""
        return {**self._griffin_lim.identity, "front_end": self._griffin_lim.spec.fingerprint}

    def __call__(self, mel: Tensor, length: int, seed: int = 0) -> Tensor:
        """Renders one mel: see `Vocoder`."""
        hop = self._griffin_lim.spec.hop_length
        _check_length(length, mel, hop)
        # A mel of T frames belongs to fewer than T hops of samples: frames are centred.
        samples: Tensor = self._griffin_lim(mel, mel.shape[1] * hop - 1)
        return _cut(samples, length)


class UnivNetVocoder:
    """The official vocoder: 24,000 Hz from mels of 100 bands.

    Args:
        generator: from `build_univnet`; put into evaluation mode.
    """

    sample_rate_hz = 24_000

    def __init__(self, generator: nn.Module) -> None:
        # Its own eval() returns nothing.
        self._generator: Any = generator.train(False)

    @property
    def identity(self) -> Mapping[str, object]:
        """Its name; its weights are part of the teacher's digest."""
        return {"vocoder": "univnet"}

    @torch.no_grad()
    def __call__(self, mel: Tensor, length: int, seed: int = 0) -> Tensor:
        """Renders one mel, as upstream's `inference` does after `torch.manual_seed(seed)`: see `Vocoder`."""
        n_bands, padding = self._generator.mel_channel, 10
        if mel.ndim != 2 or mel.shape[0] != n_bands or not mel.shape[1]:
            raise DataError(
                f"a mel of shape {tuple(mel.shape)} cannot be rendered", expected=f"({n_bands}, T) with T >= 1"
            )
        if not mel.isfinite().all():
            raise DataError("the mel holds NaN or infinity", expected="numbers")
        _check_length(length, mel, self._generator.hop_length)
        noise_shape = (1, self._generator.noise_dim, mel.shape[1] + padding)
        noise = torch.randn(noise_shape, generator=torch.Generator().manual_seed(seed))
        samples: Tensor = self._generator.inference(mel[None], noise.to(mel.device))
        return _cut(samples[0, 0], length)


def build_univnet() -> nn.Module:
    """Builds tortoise-tts's UnivNet generator with random weights.

    Raises:
        MissingExtraError: where tortoise-tts is not installed.
    """
    generator: nn.Module = upstream_module("models.vocoder").UnivNetGenerator()
    return generator


def _check_length(length: int, mel: Tensor, hop_length: int) -> None:
    n_frames = mel.shape[-1]
    if not 0 < length < (n_frames + 1) * hop_length:
        raise DataError(
            f"a mel of {n_frames} frames cannot become {length} samples",
            expected=f"1 to {(n_frames + 1) * hop_length - 1} samples",
        )


def _cut(samples: Tensor, length: int) -> Tensor:
    return F.pad(samples[:length], (0, max(0, length - len(samples))))
