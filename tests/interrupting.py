"""Progress that stops the work at a step, as Ctrl-C would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vqbench.progress import Advance


class Interrupting:
    """Raises KeyboardInterrupt once a task has counted so far."""

    def __init__(self, description: str, at: int) -> None:
        self.description, self.at = description, at

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Counts silently."""
        counted = done

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal counted
            counted += steps
            if description == self.description and counted >= self.at:
                raise KeyboardInterrupt

        yield advance
