"""What is there to do, what of it is known, and who does the rest: the one place that knows cache, claims and batches.

A stage says what there is to do, as items; a plan finds out which of them the cache knows, gives the others to an
executor in batches, and keeps what comes back. An item is named by the content keys of its values, so it is done once,
whichever candidate, run or process asks for it first.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from vqbench.engine.cache import Cache, Place
from vqbench.engine.claims import Claims
from vqbench.progress import Counting, Progress, counting
from vqbench.records.forecast import Work

if TYPE_CHECKING:
    from vqbench.engine.bench import Bench
    from vqbench.engine.findings import Findings


PAUSE_S = 0.1
"""How long to wait before looking again for what others are at work on."""


Values = dict[str, Any]
"""What an item came to, by the names of its places."""


@dataclass(frozen=True)
class Passing:
    """A value that is used and not kept: the next run tries again."""

    value: Any


@dataclass(frozen=True)
class Item:
    """One thing to do.

    Attributes:
        owner: for whom: a candidate, a reference; empty where it is for all.
        id: names it among its owner's.
        places: where its values are kept, by their names; of an item that is worked on, the missing ones alone. An
            item without places is done whenever it is asked for.
        content: what the work is done on; it can be pickled.
        batch: items of one batch that stand side by side are worked on together.
        units: how much progress counts for it.
        identity: what it is known by: items with the same are the same.
    """

    owner: str
    id: str
    places: Mapping[str, Place]
    content: Any = None
    batch: object = None
    units: int = 1
    identity: object = None

    def __post_init__(self) -> None:
        if self.identity is None:
            object.__setattr__(self, "identity", tuple(self.places.values()) or (self.owner, self.id))

    def without(self, known: Values) -> Item | None:
        """What of it is left to do; None where nothing is."""
        places = {name: place for name, place in self.places.items() if name not in known}
        return replace(self, places=places) if places or not self.places else None


Done = list[tuple[Item, Values]]
"""What came of some items of one owner."""


class Stage(ABC):
    """A part of a run: what there is to do, how it is done, and what it comes to.

    A run has every stage prepared, worked on and collected; a dry run has it prepared and only counted, and takes
    `expect` for what it would have found. A stage is sent to other processes: what it holds can be pickled.

    Attributes:
        name: as progress and forecasts show it.
        shows_itself: whether its work shows progress by tasks of its own, in place of one task for all items.
    """

    name: str
    shows_itself = False

    def applies(self, bench: Bench) -> bool:
        """Whether a suite asks for it."""
        return True

    @abstractmethod
    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """All that there is to do, known or not, in the order in which it is done."""

    @abstractmethod
    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """Does a batch; gives what came of it owner by owner, as it comes."""

    @abstractmethod
    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Adds what all items came to, by owner and id, to the findings."""

    def apply(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """`run`, where the suite asks for it."""
        if self.applies(bench):
            self.run(bench, found, plan)

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """All of it: what is to be done is done, where it is not known, and collected."""
        self.collect(bench, found, plan.carry_out(self, self.prepare(bench, found)))

    def expect(self, bench: Bench, found: Findings) -> None:  # noqa: B027 - most add nothing
        """In a dry run: adds what later stages need to count their items."""

    def count(self, bench: Bench, items: Sequence[Item]) -> Iterator[Work]:
        """What progress would report of items that are all missing."""
        units: dict[str, int] = {}
        for item in items:
            units[item.owner] = units.get(item.owner, 0) + item.units
        yield from (Work(self.name, total, owner) for owner, total in units.items())

    # ---- how values are kept; entries of the cache, where a stage says nothing else

    def look(self, item: Item, cache: Cache) -> Values:
        """Those of an item's values that are known."""
        known = {name: cache.get(*place) for name, place in item.places.items()}
        return {name: self.unpack(name, entry) for name, entry in known.items() if entry is not None}

    def keep(self, item: Item, values: Values, cache: Cache) -> Values:
        """Keeps an item's values, but for those that are passing; gives what is to be known of them."""
        for name, value in values.items():
            if not isinstance(value, Passing):
                cache.put(*item.places[name], self.pack(name, value))
        return {name: value.value if isinstance(value, Passing) else value for name, value in values.items()}

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """A value as plain JSON."""
        raise NotImplementedError

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """The value again."""
        raise NotImplementedError


class Executor(Protocol):
    """Where items are done. Whatever it is, the values are the same to the last bit."""

    @property
    def is_local(self) -> bool:
        """Whether all is done in this process, one after another."""

    def work(self, stage: Stage, batches: Iterator[Sequence[Item] | None]) -> Iterator[Done]:
        """Does all batches; None among them says that nothing can be begun at the moment."""


@dataclass
class Plan:
    """Has the items of stages done.

    Attributes:
        cache: what is known, and where new values are kept.
        executor: does what is missing.
        progress: shows how far it is.
    """

    cache: Cache
    executor: Executor
    progress: Progress
    claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        # Who believes nothing that is there waits for nobody either.
        self.claims = Claims(self.cache.folder, active=self.cache.read)

    def look(self, stage: Stage, item: Item) -> Values:
        """What is known of an item."""
        return stage.look(item, self.cache) if self.cache.read else {}

    def is_known(self, stage: Stage, item: Item) -> bool:
        """Whether nothing of an item is left to do."""
        return bool(item.places) and self.look(stage, item).keys() >= item.places.keys()

    def carry_out(self, stage: Stage, items: Sequence[Item]) -> dict[tuple[str, str], Values]:
        """Has all of it done that is not known.

        Returns:
            the values of each item, by owner and id.
        """
        found: dict[object, Values] = {}
        missing: list[Item] = []
        for item in items:
            if item.identity not in found:
                found[item.identity] = known = self.look(stage, item)
                if left := item.without(known):
                    missing.append(left)
        if missing:
            own_tasks = stage.shows_itself and self.executor.is_local
            total = sum(item.units for item in missing)
            with nullcontext(_uncounted) if own_tasks else counting(self.progress, stage.name, total) as count:
                self._work(stage, missing, found, count)
        return {(item.owner, item.id): found[item.identity] for item in items}

    def once(self, place: Place, make: Callable[[], Mapping[str, object]]) -> Mapping[str, Any]:
        """A single entry of the cache, made here and now where it is not known."""
        known = self.cache.get(*place)
        if known is None:
            with self.alone(place):
                if (known := self.cache.get(*place)) is None:
                    known = dict(make())
                    self.cache.put(*place, known)
        return known

    @contextmanager
    def alone(self, place: Place) -> Iterator[None]:
        """What the block makes is made by nobody else meanwhile: it waits until others are done with it."""
        with self.claims:
            while not self.claims.take([place]):
                time.sleep(PAUSE_S)
            try:
                yield
            finally:
                self.claims.release([place])

    def _work(self, stage: Stage, missing: Sequence[Item], found: dict[object, Values], count: Counting) -> None:
        with self.claims:
            for done in self.executor.work(stage, self._claimed(stage, missing, found, count)):
                for item, values in done:
                    found[item.identity].update(stage.keep(item, values, self.cache))
                    self.claims.release(item.places.values())
                count(done[0][0].owner, sum(item.units for item, _ in done))

    def _claimed(
        self, stage: Stage, missing: Sequence[Item], found: dict[object, Values], count: Counting
    ) -> Iterator[Sequence[Item] | None]:
        """Batches of items that nobody else is at work on; None while all that are left are in other hands."""
        waiting = missing
        while waiting:
            others: list[Item] = []
            for _, together in groupby(waiting, key=lambda item: item.batch):
                batch = []
                for item in together:
                    if not self.claims.take(item.places.values()):
                        others.append(item)
                        continue
                    # Since it was looked for, somebody else may have done it.
                    found[item.identity].update(known := self.look(stage, item))
                    self.claims.release(item.places[name] for name in known)
                    if left := item.without(known):
                        batch.append(left)
                    else:
                        count(item.owner, item.units)
                if batch:
                    yield batch
            if len(others) == len(waiting):
                yield None
            waiting = others


def _uncounted(owner: str, units: int) -> None:
    pass


def batches_of(items: Iterable[Item], most: int) -> list[Item]:
    """The same items, so many of an owner in a batch at most."""
    counted: dict[str, int] = {}
    found = []
    for item in items:
        number = counted[item.owner] = counted.get(item.owner, -1) + 1
        found.append(replace(item, batch=(item.owner, number // most)))
    return found
