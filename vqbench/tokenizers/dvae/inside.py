"""Where in a checkpoint the VQVAE stands: trainers wrap it, and put other networks beside it.

    {"model": {"dvae.encoder.0.0.weight": …, "xtts.gpt.…": …}, "optimizer": …, "epoch": 3}

is the VQVAE below `model`, under the prefix `dvae.`. Wrappers and prefixes may be any; what stands under them is then
held against the network strictly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from vqbench.errors import CheckpointError
from vqbench.tokenizers.dvae.state_dict import listed, not_plain

_MARKS = ("encoder.0.0.weight", "codebook.embed")
"""Keys by which a VQVAE is found."""

LOSS_BUFFERS = "discrete_loss."
"""Buffers of a loss that DL-Art-School and XTTS train with; no part of the network."""

EMA_BUFFERS = ("codebook.cluster_size", "codebook.embed_avg")
"""Sums by which the codebook moves in training; neither codes nor mels depend on them."""

_WRAPPER = " → "
_MAX_WRAPPERS = 8
_MAX_NAME = 40


@dataclass(frozen=True)
class Found:
    """A VQVAE inside a checkpoint.

    Attributes:
        state: its tensors under their official names, without the loss's buffers, with EMA sums.
        notes: what was done to have it: where it stood, what was left aside, what was made.
    """

    state: dict[str, Tensor]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    wrappers: tuple[str, ...]
    prefix: str
    table: Mapping[str, Tensor]

    def __str__(self) -> str:
        return _WRAPPER.join(map(_short, (*self.wrappers, *([f"{self.prefix}*"] if self.prefix else []))))


def find_vqvae(content: object) -> Found:
    """Finds the one VQVAE in what a file holds.

    Args:
        content: a state_dict, or mappings around it.

    Raises:
        CheckpointError: there is none, or more than one.
    """
    tables = list(_tables(content))
    if not tables:
        raise CheckpointError(
            f"the file holds a {type(content).__name__}, not a state_dict", expected="a mapping of names to tensors"
        )
    place = _the_one(tables)
    state = {
        name.removeprefix(place.prefix): tensor for name, tensor in place.table.items() if name.startswith(place.prefix)
    }
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(LOSS_BUFFERS)}
    notes = [f"weights below {place}"] if str(place) else []
    if others := _left_aside(tables, place):
        notes.append(f"left aside: {others}")
    if len(kept) < len(state):
        notes.append(f"buffers of a loss left out ({LOSS_BUFFERS}*)")
    embed = kept.get("codebook.embed")
    if embed is not None and any(name not in kept for name in EMA_BUFFERS) and not not_plain({"": embed}):
        notes.append("EMA sums of the codebook made anew")
        # As if each code had been used once: a codebook that trains on moves from where it is.
        kept |= {"codebook.cluster_size": embed.new_ones(embed.shape[-1:]), "codebook.embed_avg": embed.clone()}
    return Found(kept, tuple(notes))


def _the_one(tables: list[tuple[tuple[str, ...], dict[str, Tensor]]]) -> _Place:
    places = [_Place(wrappers, prefix, table) for wrappers, table in tables for prefix in sorted(set(_prefixes(table)))]
    # Where a mark is missing, the network itself says which.
    whole = [p for p in places if all(p.prefix + mark in p.table for mark in _MARKS)] or places
    if not whole:
        raise CheckpointError(
            f"this is no VQVAE checkpoint: no key is, or ends in, {' or '.join(map(repr, _MARKS))}",
            expected="the keys of TorToiSe's dvae.pth: encoder.*, decoder.*, codebook.embed",
        )
    if len(whole) > 1:
        names = listed([str(place) or "the file's own keys" for place in whole])
        raise CheckpointError(
            f"the file holds {len(whole)} VQVAEs, and nothing says which is meant: {names}",
            expected="one",
            fix="save the keys of the one that is meant in a file of its own, with torch.save",
        )
    return whole[0]


def _prefixes(table: Mapping[str, Tensor]) -> Iterator[str]:
    for name in table:
        for mark in _MARKS:
            if name == mark or name.endswith(f".{mark}"):
                yield name.removesuffix(mark)


def _tables(content: object) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Each mapping that holds tensors by name, with the names of the mappings around it; a shared one but once."""
    seen: set[int] = set()
    left: list[tuple[tuple[str, ...], object]] = [((), content)]
    while left:
        wrappers, value = left.pop()
        if not isinstance(value, Mapping) or id(value) in seen:
            continue
        seen.add(id(value))
        table = {name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
        if table:
            yield wrappers, table
        if len(wrappers) < _MAX_WRAPPERS:
            left += [((*wrappers, str(name)), item) for name, item in value.items() if isinstance(item, Mapping)]


def _left_aside(tables: list[tuple[tuple[str, ...], dict[str, Tensor]]], place: _Place) -> str:
    names = {
        _short(f"{first}.*" if dot else first)
        for name in place.table
        if not name.startswith(place.prefix)
        for first, dot, _ in [name.partition(".")]
    }
    for wrappers, table in tables:
        if table is not place.table:
            pairs = zip(wrappers, place.wrappers, strict=False)
            shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            apart = wrappers[: shared + 1] if len(wrappers) > shared else ()
            names |= {_WRAPPER.join(map(_short, apart))} if apart else set(map(_short, table))
    return ", ".join(listed(sorted(names)).split("; "))


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…"
