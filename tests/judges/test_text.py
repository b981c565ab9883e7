"""Word and character errors are jiwer's, on texts that Whisper's normaliser made comparable."""

import itertools

import jiwer
import pytest

from vqbench.data.corpora import corpus_clips
from vqbench.errors import DataError
from vqbench.judges.text import character_errors, normalize_english, word_errors

SAME = [
    ("Mr. Smith chose a colour", "mister smith chose a color"),
    ("traveling notables, including...", "travelling notables including"),
    ("Drop off five hundred pounds at eight pm.", "drop off £500 at 8pm"),
    ("every thirtieth course", "every 30th course"),
    ("the lower-case letters;", "The lower case letters"),
    ("I can't, won't", "i can not will not"),
    ("a [cough] soft-boiled egg", "a soft boiled egg"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_spelling_alone_is_no_error(a, b):
    assert normalize_english(a) == normalize_english(b)
    assert word_errors(a, b)[:3] == (0, 0, 0)
    assert character_errors(a, b)[:3] == (0, 0, 0)


def test_normalising_twice_changes_nothing_more():
    for clip in corpus_clips("tortoise-voices"):
        once = normalize_english(clip.text)
        assert normalize_english(once) == once


CASES = [
    # reference, hypothesis, (substitutions, deletions, insertions, reference words), the same in characters
    ("the cat sat", "the cat sat", (0, 0, 0, 3), (0, 0, 0, 11)),
    ("the cat sat", "the bat sat", (1, 0, 0, 3), (1, 0, 0, 11)),
    ("the cat sat", "the sat", (0, 1, 0, 3), (0, 4, 0, 11)),
    ("the cat sat", "the cat sat down", (0, 0, 1, 3), (0, 0, 5, 11)),
    ("the cat sat", "", (0, 3, 0, 3), (0, 11, 0, 11)),
    ("the cat sat", " ... ", (0, 3, 0, 3), (0, 11, 0, 11)),
    ("go", "go go go go", (0, 0, 3, 1), (0, 0, 9, 2)),
]


@pytest.mark.parametrize(("reference", "hypothesis", "words", "characters"), CASES)
def test_hand_counted_errors(reference, hypothesis, words, characters):
    assert word_errors(reference, hypothesis) == words
    assert character_errors(reference, hypothesis) == characters


def test_rates_are_jiwers():
    texts = [clip.text for clip in corpus_clips("tortoise-voices")]
    for reference, hypothesis in itertools.pairwise(texts):
        wanted, heard = normalize_english(reference), normalize_english(hypothesis)
        words, characters = word_errors(reference, hypothesis), character_errors(reference, hypothesis)
        assert sum(words[:3]) / words.n_reference == pytest.approx(jiwer.wer(wanted, heard), abs=1e-12)
        assert sum(characters[:3]) / characters.n_reference == pytest.approx(jiwer.cer(wanted, heard), abs=1e-12)


@pytest.mark.parametrize("reference", ["", "  ", "...", "[music]", "(laughs)"])
@pytest.mark.parametrize("count", [word_errors, character_errors])
def test_a_reference_without_words_cannot_be_scored(count, reference):
    with pytest.raises(DataError, match="no words"):
        count(reference, "anything")
