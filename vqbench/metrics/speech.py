"""What listeners make of the reconstruction: words understood by an ASR, voice recognised by a speaker encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata

import numpy as np
from torch import Tensor

from vqbench.errors import DataError
from vqbench.judges.asr import SpeechRecognizer
from vqbench.judges.speaker import SpeakerEncoder, similarity
from vqbench.judges.text import character_errors, normalize_english, word_errors
from vqbench.metrics.base import Measured, Part, Rendering
from vqbench.results.record import MetricSpec

_VERSION = 1


class Intelligibility:
    """WER and CER of what an ASR hears: micro-averaged, Whisper's English normaliser on both sides."""

    name = "speech"
    needs: Part = "waveform"
    specs = tuple(
        MetricSpec(
            name=f"speech.{name}",
            group="speech",
            columns=(f"{unit}_errors", f"{unit}s"),
            reduction="ratio",
            unit="",
            higher_is_better=False,
            version=_VERSION,
            description=description,
            headline=name == "wer",
        )
        for name, unit, description in (
            ("wer", "word", "word errors (substitutions + deletions + insertions) / reference words"),
            ("cer", "character", "character errors / reference characters"),
        )
    )

    def __init__(self, recognizer: SpeechRecognizer, sample_rate_hz: int) -> None:
        self._recognizer = recognizer
        self._sample_rate_hz = sample_rate_hz

    @property
    def identity(self) -> Mapping[str, object]:
        """The ASR and every setting of its decoder, and what normalises and counts."""
        counting = {package: metadata.version(package) for package in ("openai-whisper", "jiwer")}
        return {"version": _VERSION, "asr": dict(self._recognizer.identity), "counting": counting}

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """Counts of edits and of reference words and characters."""
        hypotheses = self._recognizer.transcribe([r.waveform_hat for r in renderings], self._sample_rate_hz)
        return [
            transcript_errors(rendering.clip.text, hypothesis)
            for rendering, hypothesis in zip(renderings, hypotheses, strict=True)
        ]


def transcript_errors(text: str | None, hypothesis: str) -> Measured | DataError:
    """One row of word and character errors, with both texts as they were compared; or why they cannot be."""
    if not text:
        return DataError("the clip has no transcript, so word errors cannot be counted")
    try:
        words = word_errors(text, hypothesis)
        characters = character_errors(text, hypothesis)
    except DataError as error:
        return error
    *word_edits, n_words = words
    *character_edits, n_characters = characters
    substitutions, deletions, insertions = word_edits
    return Measured(
        {
            "word_errors": float(sum(word_edits)),
            "words": float(n_words),
            "substitutions": float(substitutions),
            "deletions": float(deletions),
            "insertions": float(insertions),
            "character_errors": float(sum(character_edits)),
            "characters": float(n_characters),
        },
        {"reference": normalize_english(text), "hypothesis": normalize_english(hypothesis)},
    )


class VoiceSimilarity:
    """Cosine similarity of Resemblyzer's speaker embeddings of the reconstruction and of the original."""

    name = "speech.voice"
    needs: Part = "waveform"
    specs = (
        MetricSpec(
            name="speech.speaker_similarity",
            group="speech.voice",
            columns=("similarity",),
            reduction="mean",
            unit="",
            higher_is_better=True,
            version=_VERSION,
            description="cosine of speaker embeddings, reconstruction against original",
            headline=True,
        ),
    )

    def __init__(self, encoder: SpeakerEncoder, sample_rate_hz: int) -> None:
        self._encoder = encoder
        self._sample_rate_hz = sample_rate_hz
        self._originals: dict[str, np.ndarray] = {}

    @property
    def identity(self) -> Mapping[str, object]:
        """The speaker encoder."""
        return {"version": _VERSION, "speaker_encoder": dict(self._encoder.identity)}

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """One cosine a clip."""
        rows: list[Measured | DataError] = []
        for rendering in renderings:
            try:
                original = self._embed_original(rendering)
                estimate = self._embed(rendering.waveform_hat)
                rows.append(Measured({"similarity": float(similarity(original, estimate))}))
            except DataError as error:
                rows.append(error)
        return rows

    def _embed_original(self, rendering: Rendering) -> np.ndarray:
        # Every system is compared with the same original, which is embedded once.
        key = rendering.clip.sha256
        if key not in self._originals:
            self._originals[key] = self._embed(rendering.waveform)
        return self._originals[key]

    def _embed(self, waveform: Tensor) -> np.ndarray:
        return self._encoder.embed(waveform.numpy(), self._sample_rate_hz)
