"""What is judged, an utterance, and what every judge of it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vqbench.errors import DataError
from vqbench.languages import ENGLISH
from vqbench.metrics.base import Measured, Measures

CLIP_SET = "downstream"

SILENT_DBFS = -60.0
"""What is quieter all in all says no words: speech lies some 35 dB above, and an ASR invents words in silence."""

PAUSE_DB = 40.0
"""A pause is that much quieter than the utterance's loudest moment."""

_MOMENT_S = 0.02


@dataclass(frozen=True)
class Spoken:
    """What was said of one sentence, by a TorToiSe or by a person.

    Attributes:
        text: what was to be said.
        speaker: in whose voice.
        waveform: (N,) float32 in [-1, 1]; N is 0 where nothing was said.
        sample_rate_hz: of the waveform, the same for all that is measured together.
        finished: whether the GPT wrote its stop token.
        recording: sha256 of the speaker's own recording of the sentence, where there is one; it is never compared with.
        language: the code of the sentence's.
    """

    text: str
    speaker: str
    waveform: Tensor
    sample_rate_hz: int
    finished: bool = True
    recording: str | None = None
    language: str = ENGLISH

    @property
    def duration_s(self) -> float:
        """Seconds, pauses included."""
        return len(self.waveform) / self.sample_rate_hz

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear: no samples, or all in all quieter than `SILENT_DBFS`."""
        power = float(self.waveform.double().square().mean()) if len(self.waveform) else 0.0
        return power < 10 ** (SILENT_DBFS / 10)

    @property
    def longest_pause_s(self) -> float:
        """Seconds of the longest stretch, at the ends too, that is `PAUSE_DB` below the loudest 20 ms."""
        length = round(_MOMENT_S * self.sample_rate_hz)
        n_moments = len(self.waveform) // length
        if n_moments == 0:
            return self.duration_s
        power = self.waveform[: n_moments * length].double().reshape(n_moments, length).square().mean(1)
        sounding = (power > power.max() * 10 ** (-PAUSE_DB / 10)).nonzero().flatten()
        edges = torch.cat([torch.tensor([-1]), sounding, torch.tensor([n_moments])])
        return int((edges.diff() - 1).max()) * length / self.sample_rate_hz


class SpeechJudge(Measures, Protocol):
    """Metrics that are measured together on the same utterances; the name is `downstream`, or begins with it."""

    def measure(self, spoken: Sequence[Spoken]) -> list[Measured | DataError]:
        """One row an utterance, in order; one that cannot be scored gives its error instead."""


def no_sound(spoken: Spoken) -> DataError | None:
    """Why an utterance cannot be heard at all; None where it can, silence included."""
    return None if spoken.waveform.isfinite().all() else DataError("the waveform holds NaN or infinity")


def no_voice(spoken: Spoken) -> DataError | None:
    """Why there is no voice to be heard in an utterance; None where there may be one."""
    silent = DataError("the utterance is silent, so it has no voice") if spoken.is_silent else None
    return no_sound(spoken) or silent
