"""What the grammars of rules and of conditions share: tokens, taken one after another, and where a text is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from vqbench.errors import ConfigError


@dataclass(frozen=True)
class Token:
    """A piece of a text.

    Attributes:
        kind: the group of the pattern that it is, `end`, `unknown`, or the sign or word itself.
        text: as written.
        at: where it begins.
    """

    kind: str
    text: str
    at: int


class Parser:
    """Recursive descent over tokens; a grammar adds one method a line of it.

    Attributes:
        pattern: with a group a kind of token; one called `sign` gives signs.
        words: names that stand for themselves, as signs do.
        noun: what is read, as a message calls it.
        expected: how a whole text looks, for its messages.
    """

    pattern: ClassVar[re.Pattern[str]]
    words: ClassVar[Collection[str]] = ()
    noun: ClassVar[str]
    expected: ClassVar[str]

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.position = 0

    @property
    def _next(self) -> Token:
        return self.tokens[self.position]

    def _accept(self, kind: str) -> bool:
        found = self._next.kind == kind
        self.position += found
        return found

    def _take(self, expected: str, *kinds: str) -> Token:
        token = self._next
        if token.kind not in kinds:
            raise self._error(token.at, expected)
        self.position += 1
        return token

    def _tokens(self) -> list[Token]:
        tokens: list[Token] = []
        at = 0
        end = len(self.text.rstrip())
        while at < end:
            match = self.pattern.match(self.text, at)
            if match is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                # The parser decides whether something else is already wrong before this place.
                return [*tokens, Token("unknown", self.text[start], start)]
            kind = str(match.lastgroup)
            word = match.group(kind)
            tokens.append(Token(word if kind == "sign" or word in self.words else kind, word, match.start(kind)))
            at = match.end()
        return [*tokens, Token("end", "", end)]

    def _error(self, at: int, expected: str) -> ConfigError:
        ends = at >= len(self.text.rstrip())
        found = f"the {self.noun} ends too early" if ends else f"cannot read the {self.noun} at {self.text[at]!r}"
        problem = f"{found}\n    {self.text}\n    {' ' * at}^ expected {expected}"
        return ConfigError(problem, expected=self.expected)
