"""Damage drawn at random, as disks, copies that broke off, and editors make it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

CASES = int(os.environ.get("VQBENCH_FAULTS", "40"))
"""Cases of each kind; more by `VQBENCH_FAULTS=2000 pytest tests/faults`."""

Damage = Callable[[bytes, random.Random], bytes]


def _flip(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 8))):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def _zero(content: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(content)), draw.choice((1, 16, 512))
    return content[:start] + bytes(min(length, len(content) - start)) + content[start + length :]


def _drop(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.choice((1, 7, 512)) :]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    end = start + draw.choice((1, 7, 512))
    return content[:end] + content[start:]


def _insert(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + draw.randbytes(draw.choice((1, 9, 300))) + content[start:]


def _digit(content: bytes, draw: random.Random) -> bytes:
    """Another digit in the place of one: text that is as well formed as before."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return _flip(content, draw)
    place = draw.choice(places)
    return content[:place] + str((content[place] - 48 + draw.randrange(1, 10)) % 10).encode() + content[place + 1 :]


KINDS: tuple[Damage, ...] = (_flip, _cut, _zero, _drop, _repeat, _insert, _digit)


def damages(content: bytes, seed: int, cases: int = CASES) -> Iterator[bytes]:
    """Yields damaged copies, each another than the whole; all kinds come in turn."""
    draw = random.Random(seed)
    for case in range(cases):
        damaged = KINDS[case % len(KINDS)](content, draw)
        while damaged == content:
            damaged = _flip(content, draw)
        yield damaged
