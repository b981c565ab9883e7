"""The order in which several systems do the same work: some of it at a time, and a few systems by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vqbench.engine.bench import SYSTEMS_KEPT
from vqbench.engine.plan import Item


def in_turns(of_systems: Sequence[Sequence[Item]], parts: Sequence[slice]) -> list[Item]:
    """Orders items so that what they are about is read once, while few systems are in memory.

    Args:
        of_systems: the items of each system, each about the same things in the same order.
        parts: which items of a system are done together.

    Returns:
        all items. A batch is a part of each of a few systems; all systems have had their turn before the next part.
    """
    ordered = []
    for part in parts:
        for number, own in enumerate(of_systems):
            batch = (part.start, number // SYSTEMS_KEPT)
            ordered += [replace(item, batch=batch) for item in own[part]]
    return ordered


def parts_of(n: int, most: int) -> list[slice]:
    """Cuts n items into parts of so many."""
    return [slice(start, start + most) for start in range(0, n, most)]


def parts_by_length(durations_s: Sequence[float], most: int, most_s: float) -> list[slice]:
    """Cuts recordings into parts of so many and so many seconds; one that is longer is a part of its own.

    >>> parts_by_length([1, 1, 1, 9, 20], most=2, most_s=10)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    parts, start, seconds = [], 0, 0.0
    for place, duration_s in enumerate(durations_s):
        if place > start and (place - start == most or seconds + duration_s > most_s):
            parts.append(slice(start, place))
            start, seconds = place, 0.0
        seconds += duration_s
    return [*parts, slice(start, len(durations_s))] if durations_s else parts
