"""How long work says how far it is, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Call it as work gets done."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Counts `steps` as done and shows a few words beside them."""


class Progress(Protocol):
    """Shows tasks of a known length."""

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Shows one task while the block runs; `done` of its steps were done before."""


class Named:
    """Shows tasks with a name in front, so that whose they are can be told."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Shows one task: `name: description`."""
        return self._progress.task(f"{self._name}: {description}", total, done)


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Gives a function that does nothing."""

        def advance(steps: int = 1, note: str = "") -> None:
            pass

        yield advance
