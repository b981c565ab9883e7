"""Pairs: what a teacher's GPT wrote, and the waveform that was rendered from it, in a folder of parquet shards.

    pairs-00000.parquet, pairs-00001.parquet, …

One row a pair: `id, text, speaker, split, codes (uint16), waveform (16-bit FLAC), sample_rate_hz, clvp, seed, finished,
teacher`. Any parquet reader opens them. Each shard also says, in its metadata, by which settings the folder was made,
and the sha256 of each waveform. Shards are written whole or not at all, so a folder of an interrupted generation is a
smaller folder. They are written on the local disk, and read from there or from any URL that fsspec knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vqbench.errors import DataError
from vqbench.teachers.tortoise.locations import Location, faults_of, first_line, is_url, reach
from vqbench.teachers.tortoise.shards import MAKE_AGAIN, Pair, Shard, ShardHeader, Split

_SHARD_NAME = re.compile(r"pairs-(\d{5,})\.parquet")


def shard_path(folder: Path, index: int) -> Path:
    """Where a shard lies, counted from 0."""
    return folder / _shard_name(index)


def find_shards(folder: Location) -> dict[int, Location]:
    """The shards of a folder by number, in order; none where there is no such folder.

    Raises:
        DataError: the folder cannot be read, or fsspec cannot follow its URL.
    """
    files, root = reach(folder)
    try:
        names = [path.name for path in Path(root).iterdir()] if files is None else files.ls(root, detail=False)
    except FileNotFoundError:
        return {}
    except faults_of(folder) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"the folder cannot be read: {reason}", where=str(folder)) from error
    found = [_SHARD_NAME.fullmatch(name.rpartition("/")[2]) for name in names]
    return {index: _shard_in(folder, index) for index in sorted(int(name[1]) for name in found if name)}


def open_shards(folder: Location) -> Iterator[Shard]:
    """Opens the shards of a folder in order, one at a time.

    Raises:
        DataError: no pairs are there, shards of different settings lie together, or one is missing or damaged; it is
            named.
    """
    shards = find_shards(folder)
    if not shards:
        raise DataError(
            "there are no pairs in this folder",
            where=str(folder),
            expected=_shard_name(0),
            fix="check the address, and that you may list what is there" if is_url(folder) else None,
        )
    missing = set(range(max(shards))) - set(shards)
    if missing:
        raise DataError(
            "this shard is missing, though later ones are there",
            where=str(_shard_in(folder, min(missing))),
            fix=MAKE_AGAIN,
        )
    first: ShardHeader | None = None
    for path in shards.values():
        with Shard(path) as shard:
            first = first or shard.header
            require_same_settings(shard.header, first.settings, path)
            yield shard


def read_pairs(folder: Location, split: Split | None = None, *, waveforms: bool = True) -> Iterator[Pair]:
    """Reads the pairs of a folder in order, never more than `ROW_GROUP` of them in memory.

    Args:
        folder: of shards.
        split: only the pairs of this split.
        waveforms: False leaves the waveforms out, which are all but a hundredth of the bytes.

    Yields:
        pairs; their waveforms are decoded when they are asked for.

    Raises:
        DataError: as `open_shards`.
    """
    seen: set[str] = set()
    for shard in open_shards(folder):
        for pairs in shard.row_groups(waveforms=waveforms):
            require_new_ids(pairs, seen, shard.path)
            yield from (pair for pair in pairs if split is None or pair.split == split)


def require_new_ids(pairs: Iterable[Pair], seen: set[str], path: Location) -> None:
    """Checks that no pair has the id of an earlier one, and adds theirs to `seen`.

    Raises:
        DataError: naming the shard.
    """
    for pair in pairs:
        if pair.id in seen:
            raise DataError(f"the pair {pair.id!r} is there twice", where=str(path), fix=MAKE_AGAIN)
        seen.add(pair.id)


def require_same_settings(header: ShardHeader, wanted: Mapping[str, Any], path: Location) -> None:
    """Checks that a shard was made as the others are.

    Raises:
        DataError: naming every setting that differs.
    """
    there = header.settings
    differing = [
        f"{key}: {there.get(key, 'none')} there, {wanted.get(key, 'none')} wanted"
        for key in sorted({*there, *wanted})
        if there.get(key) != wanted.get(key)
    ]
    if differing:
        raise DataError(
            f"this shard was made by other settings ({'; '.join(differing)})",
            where=str(path),
            expected="one folder for pairs of one teacher and one set of settings",
            fix="choose another folder, or the settings that it was made by",
        )


def _shard_name(index: int) -> str:
    return f"pairs-{index:05d}.parquet"


def _shard_in(folder: Location, index: int) -> Location:
    if is_url(folder):
        return f"{str(folder).removesuffix('/')}/{_shard_name(index)}"
    return shard_path(Path(folder), index)
