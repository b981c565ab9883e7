"""What is a loop is asked of the reference; what is one counts once, and takes no other word with it."""

from __future__ import annotations

import random

import pytest

from vqbench.judges.asr.loops import loop_start, without_surplus
from vqbench.judges.asr.text import compare

CASES = [
    # heard, reference, what counts
    ("i do not know i do not know maybe we should ask", "i do not know i do not know maybe we should ask", None),
    ("he said no no no no and left", "he said no no no no and left", None),
    ("we tried again and again and again", "we tried again and again and again", None),
    # One word too many, or two, is an error like any other.
    ("he said no no no no no and left", "he said no no no no and left", None),
    ("the the the cat", "the cat", None),
    # What the decoder invents beyond the reference counts once, and what follows it stays.
    ("the cat the cat the cat the cat sat down", "the cat sat down", "the cat the cat sat down"),
    ("a b c a b c a b c a b c and then d", "a b c and then d", "a b c a b c and then d"),
    ("a b c a b c a b c a b c and then d", "a b c a b c and then d", "a b c a b c a b c and then d"),
    ("no no no no no no no no stop", "no no no no stop", "no no no no no stop"),
    # What the end cuts off is no other saying.
    ("it is not right it is not right it is not", "it is not right", "it is not right it is not right"),
    # Of what has nothing to do with the reference one saying is left.
    ("thank you for watching thank you for watching", "the cat sat on the mat", "thank you for watching"),
    # Misheard, repeated as often as it was said: the errors are those of each word.
    ("ein ein ein ein das ist wahr", "nein nein nein nein das ist wahr", None),
    (
        "ein ein ein ein ein ein ein ein das ist wahr",
        "nein nein nein nein das ist wahr",
        "ein ein ein ein ein das ist wahr",
    ),
    ("i do not no i do not no maybe", "i do not know i do not know maybe", None),
    # Several loops in one text, one after the other.
    ("a b c a b c a b c x y y y y y z", "a b c x y z", "a b c a b c x y y z"),
    ("", "the cat", None),
]


@pytest.mark.parametrize(("heard", "reference", "counted"), CASES)
def test_only_what_goes_beyond_the_reference_is_a_loop(heard: str, reference: str, counted: str | None) -> None:
    words, looped = without_surplus(heard.split(), reference.split())
    assert " ".join(words) == (heard if counted is None else counted)
    assert looped is (counted is not None)


def test_a_loop_costs_one_saying_however_long_it_is() -> None:
    draw = random.Random(0)
    for _ in range(200):
        # No word twice: whatever repeats was invented.
        reference = [f"w{i}" for i in draw.sample(range(1000), draw.randint(6, 20))]
        start = draw.randrange(len(reference) - 4)
        period = draw.randint(1, 4)
        saying = reference[start : start + period]
        invented = saying * draw.randint(3 if period == 1 else 2, 9)
        heard = [*reference[: start + period], *invented, *reference[start + period :]]
        compared = compare(" ".join(reference), " ".join(heard), "de")
        assert compared.looped
        assert compared.words is not None
        assert (*compared.words,) == (0, 0, period, len(reference))


def test_what_a_reference_repeats_may_be_repeated_however_often_it_does() -> None:
    draw = random.Random(1)
    for _ in range(200):
        phrase = [f"w{i}" for i in draw.sample(range(1000), draw.randint(1, 5))]
        reference = ["first", *phrase * draw.randint(2, 9), "last", "words"]
        compared = compare(" ".join(reference), " ".join(reference), "de")
        assert not compared.looped
        assert compared.counted == compared.heard == compared.wanted


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("I see I see I see", 2),
        ("the choice of entrees the choice of entrees", 4),
        ("no no no no", 1),
        ("", None),
        ("no no no", None),
        ("that that is is", None),
        ("row row row your boat gently down the stream", None),
    ],
)
def test_a_text_that_repeats_itself_is_known_without_a_reference(text: str, start: int | None) -> None:
    assert loop_start(text.split()) == start
