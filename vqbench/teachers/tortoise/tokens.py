"""TorToiSe's token rules, without a model: special tokens, where speech ends, and every length convention.

The rules are those of tortoise-tts 3.0.0 (`api.py`, `models/autoregressive.py`); lengths count waveforms at 22,050 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vqbench.errors import CheckpointError

SAMPLES_PER_TOKEN = 1024
"""Waveform samples that one token stands for: four mel frames of 256."""

CALM_TOKENS_HEARD = 8
"""So many calm tokens in a row are still spoken; the next one ends the speech."""


@dataclass(frozen=True)
class MelVocabulary:
    """What the ids that a GPT writes mean; the defaults are the official model's.

    Attributes:
        n_codes: codes of the VQVAE, the ids 0 to n_codes - 1.
        start: the id before the first code.
        stop: the id after the last code.
        calm: the code that stands for silence.
        tail: the codes that the VQVAE writes where a recording ends in silence.
    """

    n_codes: int = 8192
    start: int = 8192
    stop: int = 8193
    calm: int = 83
    tail: tuple[int, ...] = (45, 45, 248)

    def __post_init__(self) -> None:
        codes_fit = all(0 <= code < self.n_codes for code in (self.calm, *self.tail))
        if {self.start, self.stop} != {self.n_codes, self.n_codes + 1} or not codes_fit:
            raise CheckpointError(
                f"a mel vocabulary cannot have these ids: {self}",
                expected="start and stop right after the codes, calm and tail among them",
            )

    @property
    def size(self) -> int:
        """Rows of the GPT's mel embedding: the codes, start and stop."""
        return self.n_codes + 2


OFFICIAL = MelVocabulary()
"""The vocabulary of `autoregressive.pth`."""


def settle(codes: Tensor, vocab: MelVocabulary = OFFICIAL) -> Tensor:
    """Replaces the stop tokens by the silence that the diffusion model was trained to end on.

    All from a row's first stop on becomes calm, and the row's last places become the tail. The tail stands at the end
    of the array, not of the speech, so its place depends on the padding: upstream pads to the longest sequence that it
    would have written (500), as `sample` does.

    Args:
        codes: (B, L) int64, as sampled, padded with stop.
        vocab: the GPT's.

    Returns:
        (B, L) int64, a new tensor. A row without a stop stays as it is; of a tail longer than L only the end is set
        (upstream raises IndexError).
    """
    ended = (codes == vocab.stop).cumsum(1) > 0
    settled = codes.masked_fill(ended, vocab.calm)
    n = min(len(vocab.tail), codes.shape[1])
    tail = codes.new_tensor(vocab.tail)[len(vocab.tail) - n :]
    first = codes.shape[1] - n
    settled[:, first:] = torch.where(ended.any(1, keepdim=True), tail, settled[:, first:])
    return settled


def speech_tokens(codes: Tensor, vocab: MelVocabulary = OFFICIAL) -> int:
    """Counts the tokens that are spoken: those before the ninth calm token in a row, or all of them.

    The first eight calm tokens of that run are spoken: they let the diffusion model finish.

    Args:
        codes: (L,) int64, settled.
        vocab: the GPT's.

    >>> speech_tokens(torch.tensor([7, 7] + [83] * 20))
    10
    """
    window = CALM_TOKENS_HEARD + 1
    if len(codes) < window:
        return len(codes)
    silent = (codes == vocab.calm).unfold(0, window, 1).all(1).nonzero()
    return int(silent[0]) + CALM_TOKENS_HEARD if len(silent) else len(codes)


def vqvae_tokens(n_samples: int) -> int:
    """Tokens that the VQVAE writes for a waveform: ⌊n / 1024⌋ + 1, since mel frames are centred and pairs round up.

    >>> [vqvae_tokens(n) for n in (1, 1023, 1024)]
    [1, 1, 2]
    """
    return n_samples // SAMPLES_PER_TOKEN + 1


def gpt_tokens(n_samples: int) -> int:
    """Tokens that the GPT is trained on for a waveform: ⌊n / 1024⌋, one fewer than the VQVAE writes.

    This is where `UnifiedVoice` clips a batch, by its longest waveform. In a shorter row the stop begins one token
    later than this: such a row keeps its last VQVAE token.

    >>> [gpt_tokens(n) for n in (1, 1023, 1024)]
    [0, 0, 1]
    """
    return n_samples // SAMPLES_PER_TOKEN


def diffusion_frames(n_tokens: int) -> int:
    """Frames of the diffusion model's mel: four a token, stretched from 22,050 to 24,000 Hz, rounded down.

    >>> diffusion_frames(100)
    435
    """
    return n_tokens * 4 * 24_000 // 22_050


def waveform_samples(n_tokens: int) -> int:
    """Samples at 22,050 Hz that tokens stand for.

    >>> waveform_samples(3)
    3072
    """
    return n_tokens * SAMPLES_PER_TOKEN


def aligned(teacher: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts two token sequences of one utterance to where both exist, always at the end.

    Token i of either stands for the samples from 1024 i on, so nothing is ever cut at the front. A candidate writes one
    token more than the waveform was rendered from (`vqvae_tokens` of `waveform_samples`); the teacher's may be longer,
    since speech is cut before it ends.

    Args:
        teacher: (n,) int64.
        candidate: (m,) int64.

    Returns:
        two of (min(n, m),) int64.
    """
    n = min(len(teacher), len(candidate))
    return teacher[:n], candidate[:n]
