"""The language of gate rules: `speech.wer <= baseline + 0.02`.

    rule    := METRIC ("<=" | ">=") limit ["@" NUMBER "%"]
    limit   := number ["%"]
             | "baseline" [("+" | "-") NUMBER ["%"]]
             | "baseline" "*" NUMBER
             | NUMBER "*" "baseline"
    number  := ["-"] NUMBER

`5%` is 0.05 wherever it stands: `baseline - 2%` lies two percentage points below the baseline; two percent below it is
`baseline * 0.98`. `@ 99%` is the confidence of this rule's interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vqbench.records.grammar import Parser

Operator = Literal["<=", ">="]


@dataclass(frozen=True)
class Rule:
    """`metric op scale · baseline + offset`.

    Attributes:
        metric: name of a metric.
        op: which side of the limit is good.
        scale: 0 where the rule needs no baseline.
        offset: what is added.
        percent: whether the offset was written in percent, which only a share can be.
        confidence: of the interval, in (0, 1); None leaves it to the run.
    """

    metric: str
    op: Operator
    scale: float
    offset: float
    percent: bool = False
    confidence: float | None = None

    @property
    def needs_baseline(self) -> bool:
        """Whether the limit depends on a baseline."""
        return self.scale != 0


_WORD = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])|(?P<name>[A-Za-z_]\w*(?:\.\w+)*)|(?P<sign><=|>=|[-+*@%]))",
    re.ASCII,
)


def parse_rule(text: str) -> Rule:
    """Reads a rule.

    Raises:
        ConfigError: with the rule, a caret under the place, and what was expected there.

    >>> parse_rule("speech.wer <= baseline + 0.02")
    Rule(metric='speech.wer', op='<=', scale=1.0, offset=0.02, percent=False, confidence=None)
    >>> parse_rule("codebook.dead <= 5% @ 99%")
    Rule(metric='codebook.dead', op='<=', scale=0.0, offset=0.05, percent=True, confidence=0.99)
    """
    return _Rules(text).rule()


class _Rules(Parser):
    """Recursive descent: one method a line of the grammar."""

    def __init__(self, text: str) -> None:
        expected = "METRIC <= LIMIT or METRIC >= LIMIT; LIMIT is a number, or baseline, + or - a number, * a factor"
        super().__init__(text, _WORD, (), called="rule", expected=expected)

    def rule(self) -> Rule:
        metric = self.take("a metric, e.g. speech.wer", "name")
        if metric.text == "baseline":
            raise self.fault(metric.at, "a metric, e.g. speech.wer; the baseline stands on the right")
        op: Operator = "<=" if self.take("<= or >=", "<=", ">=").text == "<=" else ">="
        scale, offset, percent = self._limit()
        after = "the end of the rule, or @ and a confidence"
        confidence = self._confidence() if self.next.kind == "@" else None
        self.take(after if confidence is None else "the end of the rule", "end")
        return Rule(metric.text, op, scale, offset, percent, confidence)

    def _limit(self) -> tuple[float, float, bool]:
        if self.next.kind == "name":
            self._baseline("a number, or baseline")
            if self.accept("*"):
                return self._factor(), 0.0, False
            if self.next.kind in ("+", "-"):
                sign = -1.0 if self.take("+ or -", "+", "-").kind == "-" else 1.0
                number, percent = self._maybe_percent(self._number())
                return 1.0, sign * number, percent
            return 1.0, 0.0, False
        negative = self.accept("-")
        at = self.next.at
        number = self._number("a number, or baseline")
        if self.accept("*"):
            self._baseline("baseline")
            if negative or number <= 0:
                raise self.fault(at, "a factor above 0")
            return number, 0.0, False
        number, percent = self._maybe_percent(number)
        return 0.0, -number if negative else number, percent

    def _factor(self) -> float:
        at = self.next.at
        factor = self._number("a factor, e.g. 1.1")
        if factor <= 0:
            raise self.fault(at, "a factor above 0")
        return factor

    def _confidence(self) -> float:
        self.take("@", "@")
        at = self.next.at
        percent = self._number("a confidence, e.g. 95%")
        self.take("% after the confidence", "%")
        if not 50 <= percent < 100:
            raise self.fault(at, "a confidence from 50% to below 100%")
        return percent / 100

    def _maybe_percent(self, number: float) -> tuple[float, bool]:
        return (number / 100, True) if self.accept("%") else (number, False)

    def _number(self, expected: str = "a number") -> float:
        token = self.take(expected, "number")
        number = float(token.text)
        if number == float("inf"):
            raise self.fault(token.at, "a finite number")
        return number

    def _baseline(self, expected: str) -> None:
        token = self.take(expected, "name")
        if token.text != "baseline":
            raise self.fault(token.at, expected)
