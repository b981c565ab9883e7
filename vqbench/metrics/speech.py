"""What listeners make of the reconstruction: words understood by an ASR, voice recognised by a speaker encoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import metadata

import numpy as np
from torch import Tensor

from vqbench.errors import DataError
from vqbench.judges.asr import SpeechRecognizer, require_languages
from vqbench.judges.speaker import SpeakerEncoder, similarity
from vqbench.judges.text import compare
from vqbench.languages import ENGLISH, language_of
from vqbench.metrics.base import Measured, Part, Rendering
from vqbench.records.run import MetricSpec

_VERSION = 2
_VOICE_VERSION = 1


def headline_of(languages: Collection[str]) -> tuple[str, ...]:
    """The error rates that stand for clips of these languages.

    >>> headline_of(["en"]), headline_of(["zh"]), headline_of(["zh", "en"]), headline_of([])
    (('wer',), ('cer',), ('wer', 'cer'), ('wer',))
    """
    spaced = {language_of(code).has_spaces for code in languages}
    return tuple(name for name, has_spaces in (("wer", True), ("cer", False)) if has_spaces in (spaced or {True}))


class Intelligibility:
    """WER and CER of what an ASR hears: micro-averaged, both sides normalised by the rules of the clip's language.

    Clips in languages without spaces have no words: they add nothing to the WER.

    Args:
        recognizer: who listens.
        sample_rate_hz: of what it is shown.
        languages: codes of those of the clips.

    Raises:
        ConfigError: the ASR does not know one of them.
    """

    name = "speech"
    needs: Part = "waveform"

    def __init__(
        self, recognizer: SpeechRecognizer, sample_rate_hz: int, languages: Collection[str] = (ENGLISH,)
    ) -> None:
        require_languages(recognizer, languages)
        self._recognizer = recognizer
        self._sample_rate_hz = sample_rate_hz
        self.specs = tuple(
            MetricSpec(
                name=f"speech.{name}",
                group="speech",
                columns=(f"{unit}_errors", f"{unit}s"),
                reduction="ratio",
                unit="",
                higher_is_better=False,
                version=_VERSION,
                description=description,
                headline=name in headline_of(languages),
            )
            for name, unit, description in (
                ("wer", "word", "word errors (substitutions + deletions + insertions) / reference words"),
                ("cer", "character", "character errors / reference characters"),
            )
        )

    @property
    def identity(self) -> Mapping[str, object]:
        """The ASR and every setting of its decoder, and what normalises and counts."""
        counting = {package: metadata.version(package) for package in ("openai-whisper", "jiwer")}
        return {"version": _VERSION, "asr": dict(self._recognizer.identity), "counting": counting}

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """Counts of edits and of reference words and characters."""
        codes = [rendering.clip.language or ENGLISH for rendering in renderings]
        hypotheses = self._recognizer.transcribe([r.waveform_hat for r in renderings], self._sample_rate_hz, codes)
        return [
            transcript_errors(rendering.clip.text, hypothesis, code)
            for rendering, hypothesis, code in zip(renderings, hypotheses, codes, strict=True)
        ]


def transcript_errors(text: str | None, hypothesis: str, code: str) -> Measured | DataError:
    """One row of word and character errors, with both texts as they were compared; or why they cannot be.

    Where the language has no spaces, no words are counted, neither wrong ones nor any at all.
    """
    if not text:
        return DataError("the clip has no transcript, so word errors cannot be counted")
    try:
        compared = compare(text, hypothesis, code)
    except DataError as error:
        return error
    substitutions, deletions, insertions, n_words = compared.words or (0, 0, 0, 0)
    *character_edits, n_characters = compared.characters
    counted = {"counted": " ".join(compared.counted)} if compared.looped else {}
    return Measured(
        {
            "word_errors": float(substitutions + deletions + insertions),
            "words": float(n_words),
            "substitutions": float(substitutions),
            "deletions": float(deletions),
            "insertions": float(insertions),
            "character_errors": float(sum(character_edits)),
            "characters": float(n_characters),
        },
        {"reference": " ".join(compared.wanted), "hypothesis": " ".join(compared.heard), **counted},
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
            version=_VOICE_VERSION,
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
        return {"version": _VOICE_VERSION, "speaker_encoder": dict(self._encoder.identity)}

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
