"""Word and character errors are jiwer's, on texts that Whisper's normaliser made comparable."""

import itertools
import unicodedata

import jiwer
import pytest

from vqbench.data.corpora import corpus_clips
from vqbench.errors import DataError
from vqbench.judges.asr.text import character_errors, compare, normalize_basic, normalize_english, units, word_errors
from vqbench.languages import LANGUAGES

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
    ("go", "go go go", (0, 0, 2, 1), (0, 0, 6, 2)),
    ("go", "go go go go go go", (0, 0, 1, 1), (0, 0, 3, 2)),  # a loop counts once
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


@pytest.mark.parametrize("reference", ["", "  ", "...", "[music]", "<noise>", "()"])
@pytest.mark.parametrize("count", [word_errors, character_errors])
def test_a_reference_without_words_cannot_be_scored(count, reference):
    with pytest.raises(DataError, match="no words"):
        count(reference, "anything")


BRACKETS = [
    # reference, hypothesis, errors
    ("The old wall (built in twelve hundred) fell.", "the old wall built in 1200 fell", 0),
    ("The old wall (built in twelve hundred) fell.", "the old wall fell", 3),
    ("The wall(s) fell", "the walls fell", 0),
    ("The [creaking] wall <noise> fell", "the wall fell", 0),
    # What an ASR writes in brackets is a note on a sound.
    ("The wall fell", "(crashing) The wall fell [music]", 0),
]


@pytest.mark.parametrize(("reference", "hypothesis", "errors"), BRACKETS)
def test_words_in_round_brackets_of_a_reference_are_spoken(reference, hypothesis, errors):
    assert sum(word_errors(reference, hypothesis)[:3]) == errors
    german = compare(reference, hypothesis.replace("1200", "twelve hundred"), "de").words
    assert sum(german[:3]) == (errors and 4)  # "twelve hundred" is no number there


def test_full_width_brackets_are_brackets():
    assert compare("城墙（建于一二〇〇年）倒了", "城墙建于一二〇〇年倒了", "zh").characters[:3] == (0, 0, 0)


BASIC = [
    # By hand, from Unicode's categories: nothing that tells words apart is lost.
    ("vi", "Xin chào, tôi tên là Lan!", "xin chào tôi tên là lan"),
    ("vi", unicodedata.normalize("NFD", "Hôm nay trời đẹp quá"), "hôm nay trời đẹp quá"),
    ("hi", "आज मौसम बहुत अच्छा है।", "आज मौसम बहुत अच्छा है"),
    ("ta", "வணக்கம், நண்பர்களே!", "வணக்கம் நண்பர்களே"),
    ("pl", "Zażółć gęślą jaźń – proszę.", "zażółć gęślą jaźń proszę"),
    ("de", "Straße „schön“ & Äpfel", "straße schön äpfel"),
    ("fr", "L’été, c'est l'été", "l été c est l été"),
    ("tr", "IŞIK İstanbul'da", "ışık istanbul da"),
    ("ar", "كَتَبَ الوَلَدُ", "كتب الولد"),
    ("he", "שָׁלוֹם", "שלום"),
    ("uk", "п’ять пʼять п'ять", "п ять п ять п ять"),
    ("th", "น้ำ ๆ", "น้ำ ๆ"),
    ("es", "¿Qué (tal)? [risas]", "qué"),
]


@pytest.mark.parametrize(("code", "text", "wanted"), BASIC)
def test_marks_that_carry_meaning_stay(code, text, wanted):
    assert normalize_basic(text, code) == unicodedata.normalize("NFC", wanted)
    assert normalize_basic(wanted, code) == normalize_basic(text, code)


def test_without_marks_it_is_whispers_basic_normaliser():
    from whisper.normalizers import BasicTextNormalizer

    theirs = BasicTextNormalizer()
    for text in (
        "Guten Tag, Herr Müller – wie geht's?",
        "¿Qué tal? [ruido] ¡Bien!",
        "Größe: 3,5 m² (ca.)",
        "１２３ ＡＢＣ",
    ):
        assert normalize_basic(text, "de") == theirs(text).strip()


def test_tones_and_vowel_signs_are_errors():
    assert compare("má ma mà", "ma ma ma", "vi").words[:3] == (2, 0, 0)
    assert compare("किताब", "कताब", "hi").characters[:3] == (0, 1, 0)


@pytest.mark.parametrize("code", [code for code, language in LANGUAGES.items() if not language.has_spaces])
def test_where_there_are_no_spaces_there_are_no_words(code):
    compared = compare("你 好", "你好", code)
    assert compared.words is None
    assert compared.characters == (0, 0, 0, 2)
    assert units("你 好。", code) == ("你", "好")
