"""Whose voice it is: how alike an utterance sounds to recordings of its speaker, and to those of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vqbench.errors import DataError
from vqbench.judges.protocol import CLIP_SET, Heard, no_voice
from vqbench.judges.speaker.encoder import SpeakerEncoder, similarity
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec

_VERSION = 2
_COPY_VERSION = 1


@dataclass(frozen=True)
class Enrolled:
    """A recording of a speaker, as the speaker encoder hears it.

    Attributes:
        speaker: whose it is.
        sha256: of the recording.
        embedding: (256,) float32 of length 1.
    """

    speaker: str
    sha256: str
    embedding: NDArray[np.float32]


class SpokenVoice:
    """Cosines of speaker embeddings, spoken against recordings; each speaker counts by the mean over the recordings.

    Nobody is compared with a recording of the very sentence that is said.
    """

    name = "downstream.voice"
    specs = tuple(
        MetricSpec(
            name=f"downstream.{name}",
            group="downstream.voice",
            columns=columns,
            reduction=reduction,
            unit="",
            higher_is_better=better,
            version=_VERSION,
            description=description,
            headline=name == "speaker_similarity",
            clip_set=CLIP_SET,
            floor="downstream.impostor_similarity" if name == "speaker_similarity" else None,
        )
        for name, columns, reduction, better, description in (
            (
                "speaker_similarity",
                ("similarity",),
                "mean",
                True,
                "cosine of speaker embeddings, spoken against the speaker's own recordings, mean over these",
            ),
            (
                "impostor_similarity",
                ("impostors",),
                "pooled_mean",
                None,
                "the same against each other speaker, mean over all pairs of utterance and other speaker",
            ),
            ("impostor_p95", ("impostors",), "pooled_p95", None, "95 % of these pairs are less alike"),
            (
                "eer",
                ("own", "impostors"),
                "equal_error_rate",
                False,
                "equal error rate: the share of speakers taken for another, and of others taken for the speaker, by "
                "the similarity at which both shares are the same",
            ),
        )
    )

    def __init__(self, encoder: SpeakerEncoder, enrolled: Sequence[Enrolled]) -> None:
        self._encoder = encoder
        self._enrolled = enrolled

    @property
    def identity(self) -> Mapping[str, object]:
        """The speaker encoder, and whom it compares with."""
        recordings = [[one.speaker, one.sha256] for one in self._enrolled]
        return {"version": _VERSION, "speaker_encoder": dict(self._encoder.identity), "enrolment": recordings}

    def measure(self, spoken: Sequence[Heard]) -> list[Measured | DataError]:
        """One row an utterance, in order; one without a voice gives its error instead."""
        return [self._row(one) for one in spoken]

    def _row(self, spoken: Heard) -> Measured | DataError:
        if fault := no_voice(spoken):
            return fault
        try:
            heard = self._encoder.embed(spoken.waveform, spoken.sample_rate_hz)
        except DataError as error:
            return error
        alike: dict[str, list[float]] = {}
        for one in self._enrolled:
            if one.sha256 != spoken.recording:
                alike.setdefault(one.speaker, []).append(similarity(heard, one.embedding))
        means = {speaker: float(np.mean(found)) for speaker, found in alike.items()}
        if spoken.speaker not in means:
            return DataError("its speaker has no other recording to be compared with")
        own = means.pop(spoken.speaker)
        return Measured({"similarity": own, "own": (own,), "impostors": tuple(means.values())})


class CopiedVoice:
    """Cosine similarity of Resemblyzer's speaker embeddings of the reconstruction and of the original."""

    name = "speech.voice"
    specs = (
        MetricSpec(
            name="speech.speaker_similarity",
            group="speech.voice",
            columns=("similarity",),
            reduction="mean",
            unit="",
            higher_is_better=True,
            version=_COPY_VERSION,
            description="cosine of speaker embeddings, reconstruction against original",
            headline=True,
        ),
    )

    def __init__(self, encoder: SpeakerEncoder) -> None:
        self._encoder = encoder
        self._originals: dict[str, NDArray[np.float32]] = {}

    @property
    def identity(self) -> Mapping[str, object]:
        """The speaker encoder."""
        return {"version": _COPY_VERSION, "speaker_encoder": dict(self._encoder.identity)}

    def measure(self, heard: Sequence[Heard]) -> list[Measured | DataError]:
        """One cosine a copy, in order."""
        return [self._row(one) for one in heard]

    def _row(self, heard: Heard) -> Measured | DataError:
        if heard.original is None:
            return DataError("there is no recording that it is a copy of")
        try:
            original = self._embed_original(heard, heard.original)
            copy = self._encoder.embed(heard.waveform.numpy(), heard.sample_rate_hz)
        except DataError as error:
            return error
        return Measured({"similarity": float(similarity(original, copy))})

    def _embed_original(self, heard: Heard, original: Tensor) -> NDArray[np.float32]:
        # Every system is compared with the same original, which is embedded once.
        key = heard.recording
        if key is None or key not in self._originals:
            embedding = self._encoder.embed(original.numpy(), heard.sample_rate_hz)
            if key is None:
                return embedding
            self._originals[key] = embedding
        return self._originals[key]
