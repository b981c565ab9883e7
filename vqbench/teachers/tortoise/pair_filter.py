"""`vqbench pairs filter`: the pairs that CLVP takes for well spoken."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vqbench.errors import ConfigError, DataError
from vqbench.files import require_writable
from vqbench.teachers.tortoise.pairs import read_pairs, shard_path
from vqbench.teachers.tortoise.shards import ROW_GROUP, Pair, Shard, ShardHeader, write_shard


@dataclass(frozen=True)
class Filtered:
    """What `filter_pairs` kept.

    Attributes:
        n_train: training pairs kept.
        n_worse: training pairs left out because others score higher.
        n_unfinished: training pairs left out because the GPT did not come to its end, or without a score.
        n_test: test pairs, all kept.
    """

    n_train: int
    n_worse: int
    n_unfinished: int
    n_test: int


def filter_pairs(source: Path, target: Path, *, keep: float | None = None, top: int | None = None) -> Filtered:
    """Copies the best training pairs and all test pairs to another folder.

    The test pairs stay as they are, so that what is measured on them does not move with the filter.

    Args:
        source: a folder of pairs.
        target: a folder that is not there, or empty; it appears whole or not at all.
        keep: the share of the finished training pairs to keep, in (0, 1], rounded up; those of the highest CLVP score.
        top: how many of them, instead.

    Raises:
        ConfigError: not exactly one of `keep` and `top`, or out of range.
        DataError: the source cannot be read, the target holds something, or nothing can be written.
    """
    if (keep is None) == (top is None) or not 0 < (1 if keep is None else keep) <= 1 or (top is not None and top < 1):
        raise ConfigError(
            f"pairs cannot be filtered by keep = {keep}, top = {top}",
            expected="one of the two: a share in (0, 1], or a number of at least 1",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError("there is something already", where=str(target), fix="choose a new folder")
    target = target.resolve()
    require_writable(shard_path(target, 0))

    scores: dict[str, float] = {}
    n_test = n_unfinished = 0
    for pair in read_pairs(source, waveforms=False):
        if pair.split == "test":
            n_test += 1
        elif not pair.finished:
            n_unfinished += 1
        else:
            scores[pair.id] = pair.clvp
    n_kept = min(len(scores), math.ceil(keep * len(scores) - 1e-9) if keep is not None else top or 0)
    if not n_kept and not n_test:
        raise DataError("no pair is left: the GPT finished none", where=str(source))
    # Equal scores: the earlier pair, since sorting is stable.
    kept = set(sorted(scores, key=scores.__getitem__, reverse=True)[:n_kept])

    # Beside the target, because a rename is atomic only within one file system.
    unfinished = target.with_name(f".{target.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    with Shard(shard_path(source, 0)) as shard:
        settings = dict(shard.header.settings)
    settings["filters"] = [*settings.get("filters", []), {"keep": keep, "top": top}]
    wanted = (pair for pair in read_pairs(source) if pair.split == "test" or pair.id in kept)
    try:
        for index, pairs in enumerate(_batches(wanted)):
            write_shard(shard_path(unfinished, index), pairs, ShardHeader(settings))
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    except OSError as error:
        raise DataError(f"the folder cannot be written: {error.strerror}", where=str(target)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Filtered(len(kept), len(scores) - len(kept), n_unfinished, n_test)


def _batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    pairs = iter(pairs)
    while batch := list(islice(pairs, ROW_GROUP)):
        yield batch
