"""The language of slices: what holds of which clips, what is not known, and that nothing else is read."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqbench.errors import ConfigError, DataError
from vqbench.records.conditions import parse_condition
from vqbench.records.run import ClipRecord

CLIP = ClipRecord(
    "a", "", 1.5, "three words here", "ann", language="vi", columns={"snr_db": "21.5", "accent": "north", "note": " "}
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("duration_s < 2", True),
        ("duration_s<1.5", False),
        ("duration_s <= 1.5 and n_words == 3", True),
        ('language == "vi"', True),
        ("language != 'vi'", False),
        ('speaker in ["ann", "bob"]', True),
        ('speaker not in ["ann", "bob"]', False),
        ("snr_db >= 20 and duration_s < 2", True),
        ("snr_db in [20, 21.5]", True),
        ('snr_db == "21.5"', True),
        ("n_words > -1", True),
        ('not (accent == "north" or duration_s > 9)', False),
        ('accent == "south" or accent == "north" and n_words > 9', False),
        ('(accent == "south" or accent == "north") and n_words < 9', True),
        ("note == 'x'", None),
        ("nothing > 1", None),
        ("not nothing > 1", None),
        ("nothing > 1 and duration_s < 2", None),
        ("nothing > 1 and duration_s > 2", False),
        ("nothing > 1 or duration_s < 2", True),
        ("nothing not in [1, 2]", None),
    ],
)
def test_what_holds_and_what_nobody_knows(text: str, holds: bool | None) -> None:
    assert parse_condition(text).holds(CLIP) is holds


def test_a_length_of_nought_and_a_missing_text_are_not_known() -> None:
    bare = ClipRecord("b", "", 0.0, "")
    for text in ("duration_s < 2", "n_words < 2", 'speaker != "ann"', 'language != "vi"'):
        assert parse_condition(text).holds(bare) is None


def test_fields_are_named_once_in_their_order() -> None:
    assert parse_condition("b > 1 or not (a < 2 and b in [3])").fields == ("b", "a")


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 0, "a field"),
        ("duration_s", 10, "<, <=, >, >=, ==, !=, in or not in"),
        ("duration_s = 2", 11, "<, <=, >, >=, ==, !=, in or not in"),
        ("duration_s < two", 13, "a number"),
        ("duration_s == '2'", 14, "a number"),
        ("language == vi", 12, 'a text in quotes, e.g. "vi"'),
        ("language < 3", 11, "a text in quotes, compared by ==, != or in"),
        ("accent == north", 10, 'a number, or a text in quotes, e.g. "north"'),
        ("accent < 'north'", 9, "texts are compared by ==, != and in"),
        ("speaker in 'ann'", 11, "[ and a list of values"),
        ("speaker in []", 12, "a text in quotes"),
        ("snr_db in [1, 'two']", 19, "a list of numbers alone"),
        ("duration_s < 2 or", 17, "a field"),
        ("duration_s < 2 3", 15, "and, or, or the end of the condition"),
        ("(duration_s < 2", 15, "and, or, or )"),
        ("duration_s < 1e999", 13, "a finite number"),
        ("__import__('os').system('true')", 10, "<, <=, >, >=, ==, !=, in or not in"),
        ("speaker.__class__ == 1 if 1 else 2", 23, "and, or, or the end"),
        ("(" * 30 + "a < 1" + ")" * 30, 20, "at most 20 levels"),
        ("not " * 400, None, "at most 1,000"),
    ],
)
def test_an_error_points_at_the_place_and_says_what_was_expected(text: str, column: int | None, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_condition(text)
    message = str(raised.value)
    assert expected in message
    if column is not None:
        marked = next(line for line in message.split("\n") if line.strip().startswith("^"))
        assert marked.index("^") - 4 == column


def test_a_column_that_is_no_number_is_named_with_its_clip() -> None:
    loud = ClipRecord("c", "", 1.0, "", columns={"snr_db": "loud"})
    with pytest.raises(DataError, match="clip c: snr_db is 'loud'"):
        parse_condition("snr_db > 3").holds(loud)
    for odd in ("nan", "inf"):
        with pytest.raises(DataError):
            parse_condition("snr_db > 3").holds(ClipRecord("c", "", 1.0, "", columns={"snr_db": odd}))


@given(st.text(alphabet="duration_s<>=!()[], \"'andornti0123.-_x", max_size=60) | st.text(max_size=60))
def test_any_text_is_a_condition_or_an_error_of_ours(text: str) -> None:
    try:
        condition = parse_condition(text)
    except ConfigError:
        return
    try:
        assert condition.holds(CLIP) in (True, False, None)
    except DataError as error:
        assert error.where == "clip a"


NUMBERS = {"duration_s": 1.5, "n_words": 3.0, "snr_db": 21.5}
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}

Built = tuple[str, bool]
comparisons = st.builds(
    lambda field, sign, number: (f"{field} {sign} {number!r}", SIGNS[sign](NUMBERS[field], number)),
    st.sampled_from(sorted(NUMBERS)),
    st.sampled_from(sorted(SIGNS)),
    st.sampled_from([-2.0, 1.5, 3.0, 21.5, 1e-7]),
)


def joined(inner: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
    def both(word: str, one: Built, other: Built) -> Built:
        decide: Any = {"and": lambda a, b: a and b, "or": lambda a, b: a or b}[word]
        return f"({one[0]}) {word} ({other[0]})", decide(one[1], other[1])

    negated = inner.map(lambda one: (f"not ({one[0]})", not one[1]))
    return negated | st.builds(both, st.sampled_from(["and", "or"]), inner, inner)


@given(st.recursive(comparisons, joined, max_leaves=6))
def test_what_is_built_from_parts_holds_where_these_say_so(built: Built) -> None:
    text, holds = built
    assert parse_condition(text).holds(CLIP) is holds
