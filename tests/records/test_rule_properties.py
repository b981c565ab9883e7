"""Whatever a rule says, it is read as it was meant or refused at the place where it goes wrong."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqbench.errors import ConfigError
from vqbench.records.rules import Rule, parse_rule

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(\.[a-z0-9_]{1,8}){0,2}", fullmatch=True).filter(lambda n: n != "baseline")
NUMBERS = st.one_of(
    st.integers(0, 10**6).map(str),
    st.floats(0, 1e6, allow_subnormal=False).map(repr),
    st.from_regex(r"[0-9]{0,3}\.[0-9]{1,3}([eE][+-]?[0-9])?", fullmatch=True),
)
POSITIVE = NUMBERS.filter(lambda text: float(text) > 0)
SPACES = st.sampled_from(["", " ", "  ", "\t"])


@st.composite
def written_rules(draw: st.DrawFn) -> tuple[list[str], Rule]:
    """The words of a rule, and what they mean."""
    metric, op = draw(NAMES), draw(st.sampled_from(["<=", ">="]))
    form = draw(st.sampled_from(["number", "baseline", "shifted", "times", "of"]))
    number, percent = draw(NUMBERS), draw(st.booleans())
    value = float(number) / 100 if percent else float(number)
    hundredth = ["%"] if percent else []
    if form == "number":
        sign = draw(st.sampled_from([[], ["-"]]))
        words, rule = [*sign, number, *hundredth], Rule(metric, op, 0.0, -value if sign else value, percent)
    elif form == "baseline":
        words, rule = ["baseline"], Rule(metric, op, 1.0, 0.0)
    elif form == "shifted":
        sign = draw(st.sampled_from("+-"))
        words = ["baseline", sign, number, *hundredth]
        rule = Rule(metric, op, 1.0, value if sign == "+" else -value, percent)
    else:
        factor = draw(POSITIVE)
        words = ["baseline", "*", factor] if form == "times" else [factor, "*", "baseline"]
        rule = Rule(metric, op, float(factor), 0.0)
    confidence = draw(st.none() | st.integers(50, 99))
    if confidence is not None:
        words += ["@", str(confidence), "%"]
        rule = Rule(rule.metric, rule.op, rule.scale, rule.offset, rule.percent, confidence / 100)
    return [metric, op, *words], rule


def spaced(words: list[str], spaces: list[str]) -> str:
    """The words with spaces between; where two would run together there is one at least."""
    text = ""
    for word, space in zip(words, spaces, strict=False):
        together = text and re.match(r"[\w.]", text[-1]) and re.match(r"[\w.]", word[0])
        text += (space or " " if together else space) + word
    return text


@given(written_rules(), st.lists(SPACES, min_size=16, max_size=16))
def test_a_rule_means_what_its_words_say_however_they_are_spaced(written: tuple[list[str], Rule], spaces: list[str]):
    words, rule = written
    assert parse_rule(spaced(words, spaces)) == rule


@given(st.text(max_size=40) | st.text("abws_.0159 <>=+-*@%baseline", max_size=40))
def test_any_text_is_a_rule_or_an_error_that_points_into_it(text: str):
    try:
        rule = parse_rule(text)
    except ConfigError as error:
        if "\n" in text or "\r" in text or any(not c.isprintable() for c in text):
            return
        _, shown, pointer = error.problem.split("\n")
        assert shown == f"    {text}"
        assert 0 <= pointer.index("^") - 4 <= len(text)
    else:
        assert math.isfinite(rule.offset)
        assert rule.scale >= 0


@given(written_rules(), st.data())
def test_what_does_not_belong_is_pointed_at(written: tuple[list[str], Rule], data: st.DataObject):
    """A word that is none, put between two others, is the one that the caret stands under."""
    words, _ = written
    place = data.draw(st.integers(0, len(words)))
    odd = data.draw(st.sampled_from(["?", "&", "==", "!", "(", "/"]))
    before = " ".join(words[:place])
    text = " ".join([*words[:place], odd, *words[place:]])
    with pytest.raises(ConfigError) as caught:
        parse_rule(text)
    pointer = caught.value.problem.split("\n")[-1]
    assert pointer.index("^") - 4 == (len(before) + 1 if before else 0)


@given(written_rules(), st.data())
def test_a_rule_that_breaks_off_is_told_so_at_its_end(written: tuple[list[str], Rule], data: st.DataObject):
    words, _ = written
    kept = " ".join(words[: data.draw(st.integers(1, 2))])
    with pytest.raises(ConfigError, match="ends too early") as caught:
        parse_rule(kept)
    assert caught.value.problem.split("\n")[-1].index("^") - 4 == len(kept)
