"""What the languages of rules and conditions have in common: words with their places, and faults that show them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from vqbench.errors import ConfigError


@dataclass(frozen=True)
class Token:
    """A word of a text.

    Attributes:
        kind: the sign or keyword itself; else the name of its group in the language's pattern, `unknown`, or `end`.
        text: as it is written.
        at: where it begins, in characters.
    """

    kind: str
    text: str
    at: int


class Parser:
    """Reads a text word by word. A language adds one method a line of its grammar (recursive descent).

    Args:
        text: what is read.
        word: matches blanks and one word: in the group `sign` a sign, in other groups other words.
        keywords: names that are words of the language.
        called: what the text is, for people.
        expected: how such a text looks, for people.
    """

    def __init__(
        self, text: str, word: re.Pattern[str], keywords: Collection[str], *, called: str, expected: str
    ) -> None:
        self.text = text
        self._called, self._expected = called, expected
        self._tokens = _tokens(text, word, keywords)
        self._position = 0

    @property
    def next(self) -> Token:
        """The word that comes next."""
        return self._tokens[self._position]

    def accept(self, kind: str) -> bool:
        """Whether the next word is of a kind; it is then taken."""
        found = self.next.kind == kind
        self._position += found
        return found

    def take(self, expected: str, *kinds: str) -> Token:
        """Takes the next word.

        Raises:
            ConfigError: it is of another kind.
        """
        token = self.next
        if token.kind not in kinds:
            raise self.fault(token.at, expected)
        self._position += 1
        return token

    def fault(self, at: int, expected: str) -> ConfigError:
        """The text, a caret under the place, and what was expected there."""
        ends = at >= len(self.text.rstrip())
        found = f"the {self._called} ends too early" if ends else f"cannot read the {self._called} at {self.text[at]!r}"
        return ConfigError(f"{found}\n    {self.text}\n    {' ' * at}^ expected {expected}", expected=self._expected)


def _tokens(text: str, word: re.Pattern[str], keywords: Collection[str]) -> list[Token]:
    tokens: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = word.match(text, at)
        if match is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            # The parser decides whether something else is already wrong before this place.
            return [*tokens, Token("unknown", text[start], start)]
        kind = str(match.lastgroup)
        found = match.group(kind)
        tokens.append(Token(found if kind == "sign" or found in keywords else kind, found, match.start(kind)))
        at = match.end()
    return [*tokens, Token("end", "", end)]
