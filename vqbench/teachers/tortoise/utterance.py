"""What a teacher hears of a speaker, what it writes, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Voice:
    """What a teacher heard of a speaker.

    Attributes:
        speaker: a name.
        gpt: (D,) float32, what its GPT reads.
        diffusion: (2 C,) float32, what its diffusion decoder reads.
        digest: sixteen hex digits over the recordings.
    """

    speaker: str
    gpt: Tensor
    diffusion: Tensor
    digest: str


@dataclass(frozen=True)
class Written:
    """What the GPT wrote, not yet rendered.

    Attributes:
        text: that was to be said.
        voice: that was to say it.
        seed: of all that is random in it.
        codes: (L,) int64 in [0, n_codes), without start and stop, cut where speech ends. L is 0 where it stopped at
            once.
        finished: whether the GPT stopped by itself, rather than at `Sampling.max_tokens`.
        clvp: how well the codes fit the text, higher is better; minus infinity for no codes.
    """

    text: str
    voice: Voice
    seed: int
    codes: Tensor
    finished: bool
    clvp: float


@dataclass(frozen=True)
class Utterance:
    """What a teacher said.

    Attributes:
        speaker: whose voice it is.
        codes: (L,) int64; token i stands for the samples from 1024 i on, at 22,050 Hz.
        waveform: (N,) float32 in [-1, 1], the samples that the codes stand for: 1024 a token at 22,050 Hz.
        sample_rate_hz: of the waveform.

    The others are as in `Written`.
    """

    text: str
    speaker: str
    codes: Tensor
    waveform: Tensor
    sample_rate_hz: int
    clvp: float
    finished: bool
    seed: int
