"""Batches given to several workers: whoever is free has the next one, and of one that dies others do what is left."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.engine.plan import PAUSE_S, Done, Item, Stage, Values
from vqbench.errors import DataError

MAX_DEATHS = 3
"""After so many workers have died of an item nobody else is given it."""


@dataclass(frozen=True)
class Computed:
    """What came of some items of a batch, by their places in it."""

    values: list[tuple[int, Values]]


@dataclass(frozen=True)
class End:
    """A batch is done."""


@dataclass(frozen=True)
class Failed:
    """A batch cannot be done, wherever."""

    error: BaseException


@dataclass(frozen=True)
class Died:
    """A worker is no more."""


Message = Computed | End | Failed | Died

Hand = Any
"""A worker, as those who bring it know it."""


class Crew(ABC):
    """Workers of one kind.

    Args:
        size: how many there may be at once. Each is brought when there is first something for it to do.
    """

    is_local = False

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: list[Hand] = []
        self._busy: dict[Hand, dict[int, Item]] = {}
        self._n_stages = 0

    @abstractmethod
    def bring(self) -> Hand:
        """Brings one more worker."""

    @abstractmethod
    def give(self, hand: Hand, number: int, stage: Stage, items: Sequence[Item]) -> None:
        """Gives it a batch of the stage of this number."""

    @abstractmethod
    def listen(self, hands: Collection[Hand], timeout_s: float | None) -> Iterable[tuple[Hand, Message]]:
        """Waits until some of them have something to say, or no longer than that."""

    @abstractmethod
    def dismiss(self, hand: Hand) -> None:
        """Ends a worker, whatever it is at."""

    def close(self) -> None:
        """Ends all of them."""
        for hand in (*self._idle, *self._busy):
            self.dismiss(hand)
        self._idle, self._busy = [], {}

    def work(self, stage: Stage, batches: Iterator[Sequence[Item] | None]) -> Iterator[Done]:
        """Does all batches, as many at once as there are workers.

        Raises:
            DataError: workers die of an item again and again.
        """
        self._n_stages += 1
        deaths: Counter[object] = Counter()
        left: deque[list[Item]] = deque()
        more = True
        while True:
            waits = False
            while len(self._busy) < self.size and (left or more) and not waits:
                batch = left.popleft() if left else next(batches, ())
                if batch is None:
                    waits = True
                elif not batch:
                    more = False
                else:
                    hand = self._idle.pop() if self._idle else self.bring()
                    self._busy[hand] = dict(enumerate(batch))
                    self.give(hand, self._n_stages, stage, batch)
            if not self._busy:
                if not waits:
                    return
                time.sleep(PAUSE_S)
                continue
            for hand, message in self.listen(list(self._busy), PAUSE_S if waits else None):
                if isinstance(message, Computed):
                    yield [(self._busy[hand].pop(place), values) for place, values in message.values]
                elif isinstance(message, End):
                    del self._busy[hand]
                    self._idle.append(hand)
                elif isinstance(message, Failed):
                    raise message.error
                else:
                    undone = list(self._busy.pop(hand).values())
                    self.dismiss(hand)
                    deaths.update(item.identity for item in undone)
                    if undone:
                        left.append(_still_to_do(undone, deaths, stage))


def _still_to_do(undone: list[Item], deaths: Counter[object], stage: Stage) -> list[Item]:
    worst = max(undone, key=lambda item: deaths[item.identity])
    if deaths[worst.identity] >= MAX_DEATHS:
        raise DataError(
            f"{stage.name}: {MAX_DEATHS} workers died one after another, e.g. at {worst.owner or 'the run'} {worst.id}",
            fix="see whether memory is enough for so many workers (--workers), and what the system's log says of them",
        )
    return undone
