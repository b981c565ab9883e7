"""Whose voice it is: how alike an utterance sounds to recordings of its speaker, and to those of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqbench.errors import DataError
from vqbench.judges.speaker import SpeakerEncoder, similarity
from vqbench.metrics.base import Measured
from vqbench.metrics.spoken.base import CLIP_SET, Spoken, no_voice
from vqbench.records.run import MetricSpec

_VERSION = 2


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

    def measure(self, spoken: Sequence[Spoken]) -> list[Measured | DataError]:
        """One row an utterance, in order; one without a voice gives its error instead."""
        return [self._row(one) for one in spoken]

    def _row(self, spoken: Spoken) -> Measured | DataError:
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
