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


Counting = Callable[[str, int], None]
"""Call it with for whom something was done, and how many steps of it."""


@contextmanager
def counting(progress: Progress, description: str, total: int) -> Iterator[Counting]:
    """Shows one task that is done for several by turns, and beside it for whom it was last."""
    if isinstance(progress, Timekeeper):
        with progress.shared(description, total) as count:
            yield count
    else:
        with progress.task(description, total) as advance:
            yield lambda owner, steps: advance(steps, owner)


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
class TaskTimes:
    """When a task was at work.

    Attributes:
        description: as it was shown.
        total: of its steps.
        began_s: on the clock.
        ended_s: likewise.
        marks: of each advance, the seconds that it took, and its steps.
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
        self.tasks: list[TaskTimes] = []
        self.most = 0
        self._progress, self._gauge, self._clock = progress, gauge, clock
        self._depth = 0

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Shows one task, and keeps its time."""
        timed = TaskTimes(description, total, self._clock())
        if not self._depth:
            self.tasks.append(timed)
        since_s = timed.began_s

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal since_s
            now_s = self._clock()
            timed.marks.append((now_s - since_s, steps))
            since_s = now_s
            shown(steps, note)

        try:
            with self._inside(), self._progress.task(description, total, done) as shown:
                yield advance
        finally:
            timed.ended_s = self._clock()

    @contextmanager
    def shared(self, description: str, total: int) -> Iterator[Counting]:
        """Shows one task, and keeps the time of each for whom it is done as that of a task of their own."""
        since_s = self._clock()
        own: dict[str, TaskTimes] = {}

        def count(owner: str, steps: int) -> None:
            nonlocal since_s
            now_s = self._clock()
            named = f"{owner}: {description}" if owner else description
            timed = own.setdefault(owner, TaskTimes(named, 0, since_s))
            timed.total += steps
            timed.marks.append((now_s - since_s, steps))
            timed.ended_s = since_s = now_s
            shown(steps, owner)

        try:
            with self._inside(), self._progress.task(description, total) as shown:
                yield count
        finally:
            if not self._depth:
                self.tasks += own.values()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._depth += 1
        self.most = max(self.most, self._gauge())
        try:
            yield
        finally:
            self._depth -= 1
            self.most = max(self.most, self._gauge())
