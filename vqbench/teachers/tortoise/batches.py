"""How a teacher cuts what it is asked for into batches, and what names seeds and voices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from vqbench.teachers.tortoise.tokens import CALM_TOKENS_HEARD

RENDERED_IN_STEPS_OF = 16
"""Utterances are rendered at lengths that are multiples of this, so that many have the same one and share a batch."""


@dataclass(frozen=True)
class RenderedBatch:
    """Which utterances, and their latents (B, L, D)."""

    rows: list[int]
    latents: Tensor


def rendered_tokens(n_tokens: int, most: int) -> int:
    """How long an utterance is while it is rendered: its own tokens, some calm ones, and on to a round length.

    >>> [rendered_tokens(n, 604) for n in (1, 8, 9, 500, 600)]
    [16, 16, 32, 512, 604]
    """
    step = RENDERED_IN_STEPS_OF
    return max(n_tokens, min(-(-(n_tokens + CALM_TOKENS_HEARD) // step) * step, most))


def derived(seed: int, attempt: int) -> int:
    """The seed of a further attempt; the first one's is the seed itself."""
    if attempt == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"try:{seed}:{attempt}".encode()).digest()[:6], "big")


def chunks(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows, so many at a time."""
    return (list(rows[i : i + size]) for i in range(0, len(rows), size))


def voice_digest(waveforms: Sequence[Tensor]) -> str:
    """Sixteen hex digits over the recordings that tell a voice."""
    digest = hashlib.sha256()
    for waveform in waveforms:
        digest.update(len(waveform).to_bytes(8, "big") + waveform.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
