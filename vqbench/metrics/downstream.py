"""What listeners make of a TorToiSe that was tuned to a candidate: words understood, whose voice, whether it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vqbench.errors import DataError
from vqbench.judges.asr import SpeechRecognizer
from vqbench.judges.speaker import SpeakerEncoder, similarity
from vqbench.metrics.base import Measured
from vqbench.metrics.speech import transcript_errors
from vqbench.results.record import MetricSpec

CLIP_SET = "downstream"

SILENT_DBFS = -60.0
"""What is quieter all in all says no words: speech lies some 35 dB above, and an ASR invents words in silence."""

GRACE_S = 2.0
S_PER_WORD = 1.0
"""An utterance of more than GRACE_S and S_PER_WORD a word has run away: slow reading takes half a second a word."""

_VERSION = 1


@dataclass(frozen=True)
class Spoken:
    """What was said of one sentence.

    Attributes:
        text: what was to be said.
        speaker: in whose voice.
        waveform: (N,) float32 in [-1, 1]; N is 0 where nothing was said.
        sample_rate_hz: of the waveform, the same for all that is measured together.
        finished: whether the GPT wrote its stop token.
    """

    text: str
    speaker: str
    waveform: Tensor
    sample_rate_hz: int
    finished: bool

    @property
    def duration_s(self) -> float:
        """Seconds, pauses included."""
        return len(self.waveform) / self.sample_rate_hz

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear: no samples, or all in all quieter than `SILENT_DBFS`."""
        power = float(self.waveform.double().square().mean()) if len(self.waveform) else 0.0
        return power < 10 ** (SILENT_DBFS / 10)


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


class SpokenWords:
    """Words that an ASR understands, how fast they come, and utterances that run away.

    What is silent is not shown to the ASR: all its words are deleted.
    """

    name = "downstream"
    specs = tuple(
        MetricSpec(
            name=f"downstream.{name}",
            group="downstream",
            columns=columns,
            reduction="ratio",
            unit=unit,
            higher_is_better=better,
            version=_VERSION,
            description=description,
            decimals=2 if unit else 3,
            headline=name == "wer",
            clip_set=CLIP_SET,
        )
        for name, columns, unit, better, description in (
            (
                "wer",
                ("word_errors", "words"),
                "",
                False,
                "word errors / words of the sentences; silence says none of them",
            ),
            ("cer", ("character_errors", "characters"), "", False, "the same for characters"),
            (
                "runaway",
                ("runaways", "utterances"),
                "",
                False,
                f"share without a stop token, silent, or over {GRACE_S:g} s + {S_PER_WORD:g} s a word",
            ),
            (
                "speaking_rate",
                ("heard_words", "heard_s"),
                "words/s",
                None,
                "words of the sentences / seconds, pauses included, silent utterances left out",
            ),
        )
    )

    def __init__(self, recognizer: SpeechRecognizer) -> None:
        self._recognizer = recognizer

    @property
    def identity(self) -> Mapping[str, object]:
        """The ASR and every setting of its decoder, what normalises and counts, and what counts as silent and long."""
        counting = {package: metadata.version(package) for package in ("openai-whisper", "jiwer")}
        limits = {"silent_dbfs": SILENT_DBFS, "grace_s": GRACE_S, "s_per_word": S_PER_WORD}
        return {"version": _VERSION, "asr": dict(self._recognizer.identity), "counting": counting, **limits}

    def measure(self, spoken: Sequence[Spoken]) -> list[Measured | DataError]:
        """One row an utterance, in order; one that is no sound gives its error instead."""
        faults = [_fault(one) for one in spoken]
        heard = [one for one, fault in zip(spoken, faults, strict=True) if fault is None and not one.is_silent]
        texts = self._recognizer.transcribe([one.waveform for one in heard], heard[0].sample_rate_hz) if heard else []
        hypotheses = iter(texts)
        return [
            fault or self._row(one, "" if one.is_silent else next(hypotheses))
            for one, fault in zip(spoken, faults, strict=True)
        ]

    def _row(self, spoken: Spoken, hypothesis: str) -> Measured | DataError:
        errors = transcript_errors(spoken.text, hypothesis)
        if isinstance(errors, DataError):
            return errors
        words = errors.cells["words"]
        assert isinstance(words, float)
        overlong = spoken.duration_s > GRACE_S + S_PER_WORD * words
        return Measured(
            {
                **errors.cells,
                "utterances": 1.0,
                "unfinished": float(not spoken.finished),
                "silent": float(spoken.is_silent),
                "overlong": float(overlong),
                "runaways": float(not spoken.finished or spoken.is_silent or overlong),
                "heard_words": 0.0 if spoken.is_silent else words,
                "heard_s": 0.0 if spoken.is_silent else spoken.duration_s,
            },
            errors.texts,
        )


class SpokenVoice:
    """How alike an utterance sounds to recordings of its speaker, and to those of the others."""

    name = "downstream.voice"
    specs = (
        MetricSpec(
            name="downstream.speaker_similarity",
            group="downstream.voice",
            columns=("similarity",),
            reduction="mean",
            unit="",
            higher_is_better=True,
            version=_VERSION,
            description="cosine of speaker embeddings, spoken against the speaker's own recordings, mean over these",
            headline=True,
            clip_set=CLIP_SET,
            floor="downstream.impostor_similarity",
        ),
        MetricSpec(
            name="downstream.impostor_similarity",
            group="downstream.voice",
            columns=("impostor_sum", "impostors"),
            reduction="ratio",
            unit="",
            higher_is_better=None,
            version=_VERSION,
            description="the same against the other speakers' recordings, mean over the speakers",
            clip_set=CLIP_SET,
        ),
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
        if fault := _fault(spoken):
            return fault
        if spoken.is_silent:
            return DataError("the utterance is silent, so it has no voice")
        try:
            heard = self._encoder.embed(spoken.waveform, spoken.sample_rate_hz)
        except DataError as error:
            return error
        alike: dict[str, list[float]] = {}
        for one in self._enrolled:
            alike.setdefault(one.speaker, []).append(similarity(heard, one.embedding))
        means = {speaker: float(np.mean(found)) for speaker, found in alike.items()}
        own = means.pop(spoken.speaker)
        return Measured({"similarity": own, "impostor_sum": float(sum(means.values())), "impostors": float(len(means))})


DOWNSTREAM_SPECS = (*SpokenWords.specs, *SpokenVoice.specs)


def _fault(spoken: Spoken) -> DataError | None:
    return None if spoken.waveform.isfinite().all() else DataError("the waveform holds NaN or infinity")
