"""What a suite asks of a tokenizer: waveforms in, codes out, waveforms back.

What only some have is asked for in one place (`vqbench.engine.systems`): a mel (`MelTokenizer`), and a way back
(`can_decode`). A metric that needs what a candidate lacks leaves it out by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.errors import DataError


class Stream(NamedTuple):
    """One sequence of codes: a VQVAE writes one, a residual quantiser several, at one rate or at several.

    Attributes:
        rate_hz: codes a second.
        codebook_size: codes lie in [0, codebook_size).
    """

    rate_hz: float
    codebook_size: int


Codes = tuple[Tensor, ...]
"""What is written of one clip: (L_q,) int64 for each stream. Of a tokenizer without streams its payload, (N,) uint8."""


@runtime_checkable
class Tokenizer(Protocol):
    """A candidate; with a way back it is a `Decoder`, too.

    How clips are batched is its own affair, but no clip may depend on the clips beside it.
    """

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms that it takes and gives."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Its codebooks; none where what it writes are no codes, but bits that only its decoder reads."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits over all that decides codes and waveforms."""

    @property
    def licence(self) -> str | None:
        """Of its weights, or of the program, as its publisher says; None where nobody says."""

    @property
    def n_parameters(self) -> int | None:
        """Trained numbers; None where that is not known."""

    def bits(self, codes: Codes) -> float:
        """How many bits the codes of a clip take: mostly `bits_of`."""

    def encode(self, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
        """(N,) float32 in [-1, 1] each → codes of each, or why there are none."""


@runtime_checkable
class Decoder(Protocol):
    """What most tokenizers are besides."""

    def decode(self, codes: Sequence[Codes], lengths: Sequence[int]) -> list[Tensor | DataError]:
        """Codes of clips → (length,) float32 each, or why there is none."""


def can_decode(tokenizer: Tokenizer) -> TypeGuard[Decoder]:
    """Whether a tokenizer gives waveforms back: it has `decode`, and does not say `can_decode = False` of itself."""
    return isinstance(tokenizer, Decoder) and bool(getattr(tokenizer, "can_decode", True))


_SLACK_CODES, _SLACK_S = 3, 0.05


def slack_s(streams: Sequence[Stream]) -> float:
    """Seconds by which what is written of a clip may differ from it: a few codes of the slowest stream.

    Codecs fill the last frame up, look ahead, or leave out what fills none. What differs by more has another rate than
    it says, and every figure a second would be wrong.
    """
    return max(_SLACK_S, _SLACK_CODES / min((stream.rate_hz for stream in streams), default=math.inf))


def misfit(codes: Codes, streams: Sequence[Stream], duration_s: float) -> str | None:
    """Why codes cannot be what a tokenizer with these streams writes of a clip; None where they can.

    >>> import torch
    >>> misfit((torch.zeros(100, dtype=torch.int64),), [Stream(50.0, 1024)], 2.0)
    >>> misfit((torch.zeros(200, dtype=torch.int64),), [Stream(50.0, 1024)], 2.0)
    'wrote 200 codes of 2.00 s, where 50 a second are 100'
    """
    if not streams:
        return None
    if len(codes) != len(streams):
        return f"wrote {len(codes)} streams of codes, where it has {len(streams)}"
    for place, (row, stream) in enumerate(zip(codes, streams, strict=True)):
        which = f" in stream {place + 1}" if len(streams) > 1 else ""
        if row.ndim != 1 or row.dtype != torch.int64:
            return f"wrote {row.dtype} of shape {tuple(row.shape)}{which}, where codes are int64, one after the other"
        if len(row) and not 0 <= int(row.min()) <= int(row.max()) < stream.codebook_size:
            most = stream.codebook_size - 1
            return f"wrote codes from {int(row.min())} to {int(row.max())}{which}, where they go from 0 to {most}"
        if abs(len(row) / stream.rate_hz - duration_s) > slack_s(streams):
            expected = f"{stream.rate_hz:g} a second are {stream.rate_hz * duration_s:.0f}"
            return f"wrote {len(row)} codes of {duration_s:.2f} s{which}, where {expected}"
    return None


def bits_of(codes: Codes, streams: Sequence[Stream]) -> float:
    """How many bits codes take: log2 of the codebook's size each, or the payload as it is.

    >>> import torch
    >>> bits_of((torch.zeros(10),), [Stream(50.0, 1024)]), bits_of((torch.zeros(3, dtype=torch.uint8),), [])
    (100.0, 24.0)
    """
    if not streams:
        return 8.0 * sum(len(payload) for payload in codes)
    return sum(len(row) * math.log2(stream.codebook_size) for row, stream in zip(codes, streams, strict=True))


def codes_of(tokenizer: Tokenizer, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
    """What a tokenizer writes of recordings, at its sample rate; what does not fit its streams is no codes."""
    written = tokenizer.encode(waveforms)
    checked: list[Codes | DataError] = []
    for waveform, codes in zip(waveforms, written, strict=True):
        duration_s = len(waveform) / tokenizer.sample_rate_hz
        problem = None if isinstance(codes, DataError) else misfit(codes, tokenizer.streams, duration_s)
        checked.append(codes if problem is None else DataError(problem))
    return checked


class MelTokenizer(Protocol):
    """A VQVAE on mels: mels to codes of one codebook, and back.

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


def encode(tokenizer: MelTokenizer, mels: Sequence[Tensor]) -> list[Tensor]:
    """(n_mels, T) each → codes (L,) int64 each."""
    return tokenizer.quantize(tokenizer.latents(mels))


def reconstruct(tokenizer: MelTokenizer, mels: Sequence[Tensor]) -> list[Reconstruction]:
    """Encodes and decodes; the last token's surplus frames (0 to 3) are cut at the end, never at the front."""
    codes = encode(tokenizer, mels)
    decoded = tokenizer.decode(codes)
    return [
        Reconstruction(c, mel_hat[:, : mel.shape[-1]]) for c, mel_hat, mel in zip(codes, decoded, mels, strict=True)
    ]
