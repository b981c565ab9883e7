"""What is judged, speech of any origin, and what every judge of it looks like.

One family listens to copies of recordings and to what a tuned teacher says, so any of them can be asked about either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vqbench.data.manifest import Clip
from vqbench.errors import DataError
from vqbench.languages import ENGLISH
from vqbench.records.rows import Measured, Measures
from vqbench.records.run import MetricSpec

CLIP_SET = "downstream"

SILENT_DBFS = -60.0
"""What is quieter all in all says no words: speech lies some 35 dB above, and an ASR invents words in silence."""

PAUSE_DB = 40.0
"""A pause is that much quieter than the utterance's loudest moment."""

_MOMENT_S = 0.02


@dataclass(frozen=True)
class Heard:
    """One sentence as somebody says it, or one recording as somebody gives it back.

    Attributes:
        text: what was to be said; empty where nobody knows.
        speaker: in whose voice.
        waveform: (N,) float32 in [-1, 1]; N is 0 where nothing was said.
        sample_rate_hz: of the waveform, the same for all that is measured together.
        finished: whether the GPT wrote its stop token.
        recording: sha256 of the speaker's own recording of the sentence, where there is one; it is never compared with.
        language: the code of the sentence's.
        original: (N',) float32 at the same rate: of a copy, the recording that it is one of.
    """

    text: str
    speaker: str
    waveform: Tensor
    sample_rate_hz: int
    finished: bool = True
    recording: str | None = None
    language: str = ENGLISH
    original: Tensor | None = None

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


class Judge(Measures, Protocol):
    """Metrics that are measured together on what is heard; the name is that of a set of clips, or begins with it."""

    def measure(self, heard: Sequence[Heard]) -> list[Measured | DataError]:
        """One row each, in order; what cannot be scored gives its error instead."""


@dataclass(frozen=True)
class Asked:
    """What judges that suites name may need, to be made.

    Attributes:
        clip_set: what they are asked about: `speech`, copies of recordings, or `downstream`, what a teacher says. Their
            groups and metrics begin with it.
        teacher: whose speech it is, untuned, as `vqbench.teachers` has it; None where there is none.
        recordings: what speech is compared with; empty as long as they are not known.
        where: the setting that names them, for errors.
    """

    clip_set: str
    teacher: Any | None = None
    recordings: Sequence[Clip] = ()
    where: str = ""


class NamedJudge(Protocol):
    """How a judge that a suite names is made: the class in the registry `JUDGES`."""

    @classmethod
    def specs_for(cls, clip_set: str) -> tuple[MetricSpec, ...]:
        """The figures that it will give, without loading anything."""

    @classmethod
    def check(cls, asked: Asked) -> None:
        """Sees to it that there is what it needs; `recordings` may be missing yet.

        Raises:
            ConfigError: it is asked about what it cannot hear.
        """

    @classmethod
    def make(cls, asked: Asked) -> Judge:
        """Makes it.

        Raises:
            MissingExtraError: its package is not installed.
        """


def no_sound(heard: Heard) -> DataError | None:
    """Why an utterance cannot be heard at all; None where it can, silence included."""
    return None if heard.waveform.isfinite().all() else DataError("the waveform holds NaN or infinity")


def no_voice(heard: Heard) -> DataError | None:
    """Why there is no voice to be heard in an utterance; None where there may be one."""
    silent = DataError("the utterance is silent, so it has no voice") if heard.is_silent else None
    return no_sound(heard) or silent
