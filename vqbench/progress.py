"""How long work says how far it is, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Call it as work gets done."""

    def __call__(self, steps: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Shows tasks of a known length."""

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]: ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        def advance(steps: int = 1, note: str = "") -> None:
            pass

        yield advance
