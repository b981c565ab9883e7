"""How long work says how far it is, without knowing who shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
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


@dataclass
class Timed:
    """When a task was at work.

    Attributes:
        description: as it was shown.
        total: of its steps.
        began_s: on the clock.
        ended_s: likewise.
        marks: of each advance, the time and its steps.
    """

    description: str
    total: int
    began_s: float
    ended_s: float = 0.0
    marks: list[tuple[float, int]] = field(default_factory=list)


class Timekeeper:
    """Shows tasks as another does, and keeps the time of each that does not stand inside another.

    Args:
        progress: shows them.
        gauge: is read as each task begins and ends; `most` is its highest reading.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        progress: Progress,
        gauge: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.tasks: list[Timed] = []
        self.most = 0
        self._progress, self._gauge, self._clock = progress, gauge, clock
        self._depth = 0

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Shows one task, and keeps its time."""
        timed = Timed(description, total, self._clock())
        if not self._depth:
            self.tasks.append(timed)
        self._depth += 1
        self.most = max(self.most, self._gauge())

        def advance(steps: int = 1, note: str = "") -> None:
            timed.marks.append((self._clock(), steps))
            shown(steps, note)

        try:
            with self._progress.task(description, total, done) as shown:
                yield advance
        finally:
            self._depth -= 1
            timed.ended_s = self._clock()
            self.most = max(self.most, self._gauge())
