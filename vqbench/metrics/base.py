"""What every metric group measures: what a system made of a clip, turned into one row of sufficient statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from vqbench.data.manifest import Clip
from vqbench.errors import DataError
from vqbench.records.run import MetricSpec
from vqbench.stats.columns import Cell

Part = Literal["waveform", "mel", "codes"]
"""What a system gives back of a clip: audio always, a mel and codes only where it has them."""


@dataclass(frozen=True)
class Rendering:
    """One clip as one system gives it back.

    Attributes:
        clip: the recording.
        waveform: (N,) float32, the original at the front end's rate.
        mel: (n_mels, T) float32, log-mel / norms of the original.
        waveform_hat: (N',) float32 at the same rate, what the judges hear.
        mel_hat: (n_mels, T) float32, or None where the system keeps the waveform.
        codes: (L,) int64, or None where the system has no codebook.
    """

    clip: Clip
    waveform: Tensor
    mel: Tensor
    waveform_hat: Tensor
    mel_hat: Tensor | None = None
    codes: Tensor | None = None


@dataclass(frozen=True)
class Measured:
    """One row of a group's tables, and what a person would read beside it."""

    cells: Mapping[str, Cell]
    texts: Mapping[str, str] = field(default_factory=dict)


class Measures(Protocol):
    """Metrics that are measured together, whatever on: their rows stand in one table."""

    @property
    def name(self) -> str:
        """The group that its figures name."""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures that its columns are reduced to."""

    @property
    def identity(self) -> Mapping[str, object]:
        """All that changes a row besides what is measured: versions, options, models, whom it is compared with."""


class MetricGroup(Measures, Protocol):
    """Metrics that are measured together on the same renderings."""

    @property
    def needs(self) -> Part:
        """The group says nothing of a system that does not give this (codebook usage of the original audio)."""

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """One row a rendering, in order; a clip that cannot be scored gives its error instead."""
