"""Word and character errors, counted by jiwer after Whisper's English normaliser."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from vqbench.errors import DataError
from vqbench.judges.prerequisites import import_judge


class ErrorCounts(NamedTuple):
    """The edits that turn a reference into a hypothesis, in words or in characters."""

    substitutions: int
    deletions: int
    insertions: int
    n_reference: int


@functools.cache
def _normalizer() -> Callable[[str], str]:
    normalizers = import_judge("whisper.normalizers", "the normalisation of transcripts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the closing of its word list to the collector
        normalizer: Callable[[str], str] = normalizers.EnglishTextNormalizer()
    return normalizer


@functools.lru_cache(maxsize=4096)  # a row asks for the same text again, and the normaliser is 90 % of a WER
def normalize_english(text: str) -> str:
    """Whisper's English normaliser: case, punctuation, British spelling, numerals and contractions no longer matter.

    Full stops that it leaves standing alone, where an ellipsis was, are no words and go as well.

    Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", appendix C.

    >>> normalize_english("Mr. Jones can't choose a colour ... at twenty-one pounds!")
    'mister jones can not choose a color at £21'
    """
    return " ".join(word for word in _normalizer()(text).split() if word.strip("."))


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Counts word errors between the normalised texts; an empty hypothesis is all deletions.

    WER = (substitutions + deletions + insertions) / reference words: lower is better, above 1 where words are invented.

    Raises:
        DataError: where the reference has no words left to score.

    >>> word_errors("The cat sat.", "the bat sat down")
    ErrorCounts(substitutions=1, deletions=0, insertions=1, n_reference=3)
    """
    return _count(reference, hypothesis, "process_words")


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Counts character errors, spaces included, between the normalised texts, as `word_errors` does words.

    >>> character_errors("cat", "cart")
    ErrorCounts(substitutions=0, deletions=0, insertions=1, n_reference=3)
    """
    return _count(reference, hypothesis, "process_characters")


def missing_at_the_end(reference: str, hypothesis: str) -> int:
    """How many of the reference's last words the hypothesis lacks, without anything said in their place.

    Raises:
        DataError: where the reference has no words left to score.

    >>> missing_at_the_end("The old cat sat on the mat.", "the old bat sat"), missing_at_the_end("Sit!", "sat")
    (3, 0)
    """
    last = _align(reference, hypothesis, "process_words").alignments[0][-1]
    return int(last.ref_end_idx - last.ref_start_idx) if last.type == "delete" else 0


def _count(reference: str, hypothesis: str, process: str) -> ErrorCounts:
    counts = _align(reference, hypothesis, process)
    return ErrorCounts(
        counts.substitutions,
        counts.deletions,
        counts.insertions,
        counts.hits + counts.substitutions + counts.deletions,
    )


def _align(reference: str, hypothesis: str, process: str) -> Any:
    """What jiwer's `process` makes of the normalised texts."""
    wanted, heard = normalize_english(reference), normalize_english(hypothesis)
    if not wanted:
        raise DataError(
            f"the transcript {reference!r} has no words after normalisation, so no errors can be counted against it",
            expected="at least one word",
        )
    return getattr(import_judge("jiwer", "counting word errors"), process)(wanted, heard)
