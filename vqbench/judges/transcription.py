"""Words that an ASR understands, counted against the sentence: of copies, and of whatever else is heard."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import metadata

from vqbench.errors import DataError
from vqbench.judges.asr.recognizer import SpeechRecognizer, require_languages
from vqbench.judges.asr.text import compare
from vqbench.judges.protocol import Heard
from vqbench.languages import ENGLISH, language_of
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec

_VERSION = 2


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
        languages: codes of those of the clips.

    Raises:
        ConfigError: the ASR does not know one of them.
    """

    name = "speech"

    def __init__(self, recognizer: SpeechRecognizer, languages: Collection[str] = (ENGLISH,)) -> None:
        require_languages(recognizer, languages)
        self._recognizer = recognizer
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

    def measure(self, heard: Sequence[Heard]) -> list[Measured | DataError]:
        """Counts of edits and of reference words and characters."""
        codes = [one.language for one in heard]
        rate_hz = heard[0].sample_rate_hz if heard else 0
        hypotheses = self._recognizer.transcribe([one.waveform for one in heard], rate_hz, codes) if heard else []
        return [
            transcript_errors(one.text, hypothesis, one.language)
            for one, hypothesis in zip(heard, hypotheses, strict=True)
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
