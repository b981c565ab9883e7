"""The language of slices: which clips a condition holds of, e.g. `snr_db >= 20 and duration_s < 2`.

    condition   := conjunction ("or" conjunction)*
    conjunction := negation ("and" negation)*
    negation    := "not" negation | "(" condition ")" | comparison
    comparison  := FIELD ("<" | "<=" | ">" | ">=" | "==" | "!=") value | FIELD ["not"] "in" "[" value ("," value)* "]"
    value       := NUMBER | TEXT in quotes

FIELD is `duration_s` (seconds), `n_words` (of the text, between blanks), `language`, `speaker`, or a column of the
manifest. A column holds text; held against a number it is read as one. Nothing is ever executed.

Of a clip that lacks a field nobody knows whether a comparison holds. So it is with the whole condition, unless the
rest of it decides (S. C. Kleene's logic of three values, 1938).
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vqbench.errors import ConfigError, DataError
from vqbench.records.grammar import Parser
from vqbench.records.run import ClipRecord

NUMBERS = ("duration_s", "n_words")
"""Fields of every clip that hold a number."""

TEXTS = ("language", "speaker")
"""Fields of every clip that hold a text."""

FIELDS = (*NUMBERS, *TEXTS)

_MOST_CHARACTERS = 1000
_MOST_NESTED = 20

Value = float | str
Holds = Callable[[ClipRecord], bool | None]
"""Clip → whether something holds of it; None where nobody knows."""


def value_of(clip: ClipRecord, field: str) -> Value | None:
    """What a clip says in a field; None where it says nothing.

    >>> clip = ClipRecord("a", "", 1.5, "three words here", "ann", columns={"snr_db": "21"})
    >>> [value_of(clip, field) for field in ("duration_s", "n_words", "speaker", "language", "snr_db")]
    [1.5, 3.0, 'ann', None, '21']
    """
    if field == "duration_s":
        return clip.duration_s if clip.duration_s > 0 else None
    if field == "n_words":
        return float(len(clip.text.split())) or None
    text = getattr(clip, field) if field in TEXTS else clip.columns.get(field)
    return text if text is not None and text.strip() else None


@dataclass(frozen=True)
class Condition:
    """A condition on clips.

    Attributes:
        text: as it was written.
        fields: what it asks for, each once.
        holds: clip → whether it holds; None where nobody knows. Raises a DataError where a column that is held against
            a number is none.
    """

    text: str
    fields: tuple[str, ...]
    holds: Holds


def parse_condition(text: str) -> Condition:
    """Reads a condition.

    Raises:
        ConfigError: with the condition, a caret under the place, and what was expected there.

    >>> short = parse_condition('duration_s < 2 and speaker in ["ann", "bob"]')
    >>> short.fields, short.holds(ClipRecord("a", "", 1.5, "hello", "ann"))
    (('duration_s', 'speaker'), True)
    """
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(f"the condition has {len(text):,} characters", expected=f"at most {_MOST_CHARACTERS:,}")
    return _Conditions(text).condition()


_WORD = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])|(?P<name>[^\W\d][\w.-]*)"""
    r"""|(?P<text>"[^"]*"|'[^']*')|(?P<sign><=|>=|==|!=|[<>()\[\],]))"""
)
_KEYWORDS = ("and", "or", "not", "in")
_COMPARE: Mapping[str, Callable[[Value, Value], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUAL = ("==", "!=")


class _Conditions(Parser):
    """Recursive descent: one method a line of the grammar."""

    def __init__(self, text: str) -> None:
        expected = 'FIELD < NUMBER, FIELD == "TEXT", FIELD in ["TEXT", …], joined by and, or, not'
        super().__init__(text, _WORD, _KEYWORDS, called="condition", expected=expected)
        self.nested = 0
        self.fields: dict[str, None] = {}

    def condition(self) -> Condition:
        holds = self._either()
        self.take("and, or, or the end of the condition", "end")
        return Condition(self.text, tuple(self.fields), holds)

    def _either(self) -> Holds:
        parts = [self._both()]
        while self.accept("or"):
            parts.append(self._both())
        return _first_of(parts, True)

    def _both(self) -> Holds:
        parts = [self._maybe_not()]
        while self.accept("and"):
            parts.append(self._maybe_not())
        return _first_of(parts, False)

    def _maybe_not(self) -> Holds:
        at = self.next.at
        if self.next.kind not in ("not", "("):
            return self._comparison()
        self.nested += 1
        if self.nested > _MOST_NESTED:
            raise self.fault(at, f"at most {_MOST_NESTED} levels of parentheses and not")
        if self.accept("not"):
            inner = self._maybe_not()
            holds: Holds = lambda clip: None if (found := inner(clip)) is None else not found  # noqa: E731
        else:
            self.take("(", "(")
            holds = self._either()
            self.take("and, or, or )", ")")
        self.nested -= 1
        return holds

    def _comparison(self) -> Holds:
        field = self.take("a field, e.g. duration_s, speaker, or a column of the manifest", "name").text
        self.fields[field] = None
        sign = self.take("<, <=, >, >=, ==, !=, in or not in", *_COMPARE, "in", "not")
        if sign.kind in _COMPARE:
            value = self._value(field, sign.kind)
            return _compares(field, lambda found: _COMPARE[sign.kind](found, value), isinstance(value, float))
        if sign.kind == "not":
            self.take("in", "in")
        self.take("[ and a list of values", "[")
        values = [self._value(field, "==")]
        while self.accept(","):
            values.append(self._value(field, "=="))
        end = self.take(", or ]", "]")
        if len({type(value) for value in values}) > 1:
            raise self.fault(end.at, "a list of numbers alone, or of texts alone")
        inside = sign.kind == "in"
        return _compares(field, lambda found: (found in values) is inside, isinstance(values[0], float))

    def _value(self, field: str, sign: str) -> Value:
        token = self.next
        if field in NUMBERS or sign not in _EQUAL:
            why = "" if field in NUMBERS else "; texts are compared by ==, != and in"
            number = float(self.take(f"a number{why}", "number").text)
            if not math.isfinite(number):
                raise self.fault(token.at, "a finite number")
            if field in TEXTS:
                raise self.fault(token.at, f"a text in quotes, compared by ==, != or in: {field} is no number")
            return number
        if field in TEXTS or token.kind == "text":
            hint = f', e.g. "{token.text}"' if token.kind in ("name", "number") else ""
            return self.take(f"a text in quotes{hint}", "text").text[1:-1]
        hint = f', e.g. "{token.text}"' if token.kind == "name" else ""
        number = float(self.take(f"a number, or a text in quotes{hint}", "number").text)
        if not math.isfinite(number):
            raise self.fault(token.at, "a finite number")
        return number


def _first_of(parts: list[Holds], decisive: bool) -> Holds:
    """What several come to: one that is decisive decides, else what is not known leaves it open."""
    if len(parts) == 1:
        return parts[0]

    def holds(clip: ClipRecord) -> bool | None:
        found = [part(clip) for part in parts]
        return decisive if decisive in found else None if None in found else not decisive

    return holds


def _compares(field: str, test: Callable[[Value], bool], number: bool) -> Holds:
    def holds(clip: ClipRecord) -> bool | None:
        found = value_of(clip, field)
        if found is None:
            return None
        return test(_number(clip, field, found) if number else found)

    return holds


def _number(clip: ClipRecord, field: str, value: Value) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{field} is {str(value)[:60]!r}",
            where=f"clip {clip.id}",
            expected="a number, since a slice holds it against one",
            fix=f"leave {field} empty where nobody knows it",
        )
    return number
