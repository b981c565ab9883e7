"""What every metric group measures: what a system made of a clip, turned into one row of sufficient statistics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.data.manifest import Clip
from vqbench.errors import DataError
from vqbench.judges.asr.recognizer import SpeechRecognizer
from vqbench.judges.protocol import Judge
from vqbench.judges.speaker.encoder import SpeakerEncoder
from vqbench.records.rows import Measured, Measures
from vqbench.records.run import CandidateRecord

Output = Literal["waveform", "mel", "copy", "codes", "streams", "bits"]
"""What a system gives back of a clip: a `waveform`, but for tokenizers that only encode; a `mel`, or a `copy` of the
waveform that did not come through one; `codes` of one codebook, or `streams` of several; and the `bits` it took."""


@dataclass(frozen=True)
class Rendering:
    """One clip as one system gives it back.

    Attributes:
        clip: the recording.
        waveform: (N,) float32, the original at the front end's rate.
        mel: (n_mels, T) float32, log-mel / norms of the original.
        waveform_hat: (N',) float32 at the same rate, what the judges hear; None where the system only encodes.
        mel_hat: (n_mels, T) float32, or None where the system keeps the waveform.
        codes: (L,) int64, or None where the system has no codebook, or several.
        streams: (L_q,) int64 each, of a system with several codebooks.
        bits: that its codes take, or what it writes in place of codes; None where it writes nothing.
    """

    clip: Clip
    waveform: Tensor
    mel: Tensor
    waveform_hat: Tensor | None
    mel_hat: Tensor | None = None
    codes: Tensor | None = None
    streams: tuple[Tensor, ...] = ()
    bits: float | None = None


class MetricGroup(Measures, Protocol):
    """Metrics that are measured together on the same renderings."""

    @property
    def needs(self) -> Output:
        """The group says nothing of a system that does not give this (codebook usage of the original audio)."""

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """One row a rendering, in order; a clip that cannot be scored gives its error instead."""


@runtime_checkable
class OfStream(Protocol):
    """A group about one stream of tokenizers with several codebooks, whose size is not the candidate's one."""

    def constants_of(self, record: CandidateRecord) -> Mapping[str, float]:
        """`codebook_size` and `token_rate_hz` of its table for a candidate."""


class Context(Protocol):
    """What groups of metrics may need, to be made: the callables in the registry `METRICS` are given it.

    Models behind it are loaded when they are first asked for.
    """

    @property
    def mel_spec(self) -> MelSpec:
        """The front end of the systems that are measured."""

    @property
    def n_streams(self) -> int:
        """Codebooks of the candidate that has most of them."""

    @property
    def device(self) -> torch.device:
        """Where models run."""

    @property
    def languages(self) -> Collection[str]:
        """Codes of those of the clips."""

    @property
    def recognizer(self) -> SpeechRecognizer:
        """The suite's ASR."""

    @property
    def speaker_encoder(self) -> SpeakerEncoder:
        """Who tells voices apart."""

    @property
    def further_judges(self) -> Sequence[Judge]:
        """Who shall listen to copies besides these two."""
