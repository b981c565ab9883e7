"""What a suite asks of a speech tokenizer, and the one place that knows how long its reconstruction is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from vqbench.audio.mel import MelSpec


class SpeechTokenizer(Protocol):
    """A candidate: mels to codes and back.

    All three stages take and give lists of clips of different lengths; how they are batched is the tokenizer's own
    affair, but a clip's codes must not depend on the clips beside it.
    """

    @property
    def codebook_size(self) -> int:
        """Codes lie in [0, codebook_size)."""

    @property
    def codebook(self) -> Tensor:
        """(codebook_size, D) float32: code i is what latents near row i become."""

    @property
    def token_rate_hz(self) -> float:
        """Tokens a second (21.53 for TorToiSe)."""

    @property
    def mel_spec(self) -> MelSpec:
        """The front end that it reads and writes."""

    @property
    def n_parameters(self) -> int:
        """Trained numbers, buffers not counted."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits over weights and front end."""

    def latents(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """(n_mels, T) float32 each → (L, D) float32 each."""

    def quantize(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """(L, D) each → codes (L,) int64 each."""

    def decode(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """codes (L,) int64 each → (n_mels, frames_per_token · L) float32 each."""


@dataclass(frozen=True)
class Reconstruction:
    """What a tokenizer made of one clip: codes (L,) int64 and mel (n_mels, T) float32, T that of the original."""

    codes: Tensor
    mel: Tensor


def encode(tokenizer: SpeechTokenizer, mels: Sequence[Tensor]) -> list[Tensor]:
    """(n_mels, T) each → codes (L,) int64 each."""
    return tokenizer.quantize(tokenizer.latents(mels))


def reconstruct(tokenizer: SpeechTokenizer, mels: Sequence[Tensor]) -> list[Reconstruction]:
    """Encodes and decodes; the last token's surplus frames (0 to 3) are cut at the end, never at the front."""
    codes = encode(tokenizer, mels)
    decoded = tokenizer.decode(codes)
    return [
        Reconstruction(c, mel_hat[:, : mel.shape[-1]]) for c, mel_hat, mel in zip(codes, decoded, mels, strict=True)
    ]
