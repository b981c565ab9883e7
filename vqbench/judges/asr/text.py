"""Word and character errors, counted by jiwer after what Whisper's normalisers do, language by language.

What is counted is said here once, for everybody who has an ASR listen: what becomes of spelling (`normalize`), of words
in brackets (`spoken_words`), and of what is heard again and again (`vqbench.judges.asr.loops`).
"""

from __future__ import annotations

import functools
import re
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from vqbench.errors import DataError
from vqbench.judges.asr.loops import without_surplus
from vqbench.judges.prerequisites import import_judge
from vqbench.languages import ENGLISH, language_of


class ErrorCounts(NamedTuple):
    """The edits that turn a reference into a hypothesis, in words or in characters."""

    substitutions: int
    deletions: int
    insertions: int
    n_reference: int


@functools.cache
def _english() -> Callable[[str], str]:
    normalizers = import_judge("whisper.normalizers", "the normalisation of transcripts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the closing of its word list to the collector
        normalizer: Callable[[str], str] = normalizers.EnglishTextNormalizer()
    return normalizer


def normalize_english(text: str) -> str:
    """Whisper's English normaliser: case, punctuation, British spelling, numerals and contractions no longer matter.

    Full stops that it leaves standing alone, where an ellipsis was, are no words and go as well.

    Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", appendix C.

    >>> normalize_english("Mr. Jones can't choose a colour ... at twenty-one pounds!")
    'mister jones can not choose a color at £21'
    """
    return " ".join(word for word in _english()(text).split() if word.strip("."))


_NOTES = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")
"""As Whisper's normalisers find them: what stands in brackets was not said."""

_SELDOM_WRITTEN = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670\ufe00-\ufe0f]"
)
"""Hebrew's and Arabic's points, which few texts have and no ASR writes; a stroke that lengthens; variants of a sign."""

_DOTLESS = str.maketrans({"İ": "i", "I": "ı"})


def normalize_basic(text: str, code: str) -> str:
    """What Whisper's basic normaliser does, but for marks: case, punctuation, symbols and notes in brackets go.

    Whisper's puts a blank in place of each mark that Unicode cannot join to its letter, which tears Hindi's words to
    pieces. Here marks stay: Vietnamese tones, the vowel signs of Hindi, Tamil or Thai. Only points that are optional go
    (Hebrew, Arabic), and what nobody sees (joiners, soft hyphens). Texts are composed first (NFKC), so that one letter
    written in two ways is one letter. Numerals stay as they are written.

    >>> normalize_basic("Xin chào, tôi tên là LAN!", "vi"), normalize_basic("वह स्कूल गया।", "hi")
    ('xin chào tôi tên là lan', 'वह स्कूल गया')
    """
    text = unicodedata.normalize("NFKC", text)
    text = text.replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")  # Thai's and Lao's vowel AM
    if code in ("tr", "az"):
        text = text.translate(_DOTLESS)
    text = _SELDOM_WRITTEN.sub("", _NOTES.sub("", text.lower()).replace("ʼ", "'"))
    kept = (
        " " if unicodedata.category(character)[0] in "SP" else character
        for character in text
        if unicodedata.category(character) != "Cf"
    )
    return " ".join("".join(kept).split())


@functools.lru_cache(maxsize=4096)  # a row asks for the same text again, and the normaliser is 90 % of a WER
def units(text: str, code: str = ENGLISH) -> tuple[str, ...]:
    """What is counted of a text: its normalised words, or characters where the language is written without spaces.

    >>> units("You're late!"), units("你好，世界！", "zh")
    (('you', 'are', 'late'), ('你', '好', '世', '界'))
    """
    normalized = normalize_english(text) if code == ENGLISH else normalize_basic(text, code)
    return tuple(normalized.split() if language_of(code).has_spaces else "".join(normalized.split()))


def spoken_words(reference: str) -> str:
    """A reference whose words in round brackets are spoken like all others.

    Those in square and angle ones, `[cough]` or `<noise>`, are notes on sounds, as is whatever an ASR writes in
    brackets by itself: Whisper's normalisers take both away.

    >>> spoken_words("The wall(s) (built in 1200) fell [noise] down.")
    'The walls  built in 1200  fell [noise] down.'
    """
    return re.sub("[()（）]", " ", re.sub(r"(?<=\w)\((\w+)\)", r"\1", reference))


@dataclass(frozen=True)
class ComparedTexts:
    """A reference and what was heard of it, as they are compared.

    Attributes:
        code: of the language.
        wanted: words of the reference; characters where the language has no spaces.
        heard: likewise, all that was heard.
        counted: of that what counts: a phrase that the ASR repeats beyond the reference counts once too often.
        looped: whether that is less.
    """

    code: str
    wanted: tuple[str, ...]
    heard: tuple[str, ...]
    counted: tuple[str, ...]
    looped: bool

    @property
    def words(self) -> ErrorCounts | None:
        """Errors of words; None where the language is written without spaces."""
        return _counts(self._align("process_words", " ")) if language_of(self.code).has_spaces else None

    @property
    def characters(self) -> ErrorCounts:
        """Errors of characters; spaces are characters where the language has them."""
        return _counts(self._align("process_characters", " " if language_of(self.code).has_spaces else ""))

    @property
    def missing_at_the_end(self) -> int:
        """How many of the reference's last words (or characters) are lacking, without anything said in their place."""
        last = self._align("process_words", " ").alignments[0][-1]
        return int(last.ref_end_idx - last.ref_start_idx) if last.type == "delete" else 0

    def _align(self, process: str, joint: str) -> Any:
        jiwer = import_judge("jiwer", "counting word errors")
        return getattr(jiwer, process)(joint.join(self.wanted), joint.join(self.counted))


@functools.lru_cache(maxsize=256)
def compare(reference: str, hypothesis: str, code: str = ENGLISH) -> ComparedTexts:
    """Makes a reference and what an ASR wrote comparable.

    Raises:
        DataError: where the reference has no words left to score.
    """
    wanted, heard = units(spoken_words(reference), code), units(hypothesis, code)
    if not wanted:
        raise DataError(
            f"the transcript {reference!r} has no words after normalisation, so no errors can be counted against it",
            expected="at least one word",
        )
    counted, looped = without_surplus(heard, wanted)
    return ComparedTexts(code, wanted, heard, tuple(counted), looped)


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Counts word errors of English; an empty hypothesis is all deletions.

    WER = (substitutions + deletions + insertions) / reference words: lower is better, above 1 where words are invented.

    Raises:
        DataError: where the reference has no words left to score.

    >>> word_errors("The cat sat.", "the bat sat down")
    ErrorCounts(substitutions=1, deletions=0, insertions=1, n_reference=3)
    """
    counts = compare(reference, hypothesis).words
    assert counts is not None
    return counts


def character_errors(reference: str, hypothesis: str, code: str = ENGLISH) -> ErrorCounts:
    """Counts character errors between the normalised texts, spaces included where the language has them.

    >>> character_errors("cat", "cart"), character_errors("你好", "您 好", "zh").substitutions
    (ErrorCounts(substitutions=0, deletions=0, insertions=1, n_reference=3), 1)
    """
    return compare(reference, hypothesis, code).characters


def missing_at_the_end(reference: str, hypothesis: str) -> int:
    """`ComparedTexts.missing_at_the_end` of English texts.

    >>> missing_at_the_end("The old cat sat on the mat.", "the old bat sat"), missing_at_the_end("Sit!", "sat")
    (3, 0)
    """
    return compare(reference, hypothesis).missing_at_the_end


def _counts(alignment: Any) -> ErrorCounts:
    return ErrorCounts(
        alignment.substitutions,
        alignment.deletions,
        alignment.insertions,
        alignment.hits + alignment.substitutions + alignment.deletions,
    )
