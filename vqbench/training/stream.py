"""The training pairs of a folder, in batches that follow from folder, seed and step alone; it is never read whole.

An epoch is an order of all pairs: the row groups in random order, and the pairs of each in random order. It is cut into
as many stretches as a batch has lanes, and each batch goes one piece further on every stretch. So a batch is drawn from
many row groups, few are open at a time, and the processes that share a batch read different ones.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import ConfigError, TrainingError
from vqbench.progress import Progress
from vqbench.teachers.tortoise.locations import Location
from vqbench.teachers.tortoise.pairs import find_shards, open_shards, require_new_ids
from vqbench.teachers.tortoise.shards import Pair, Shard
from vqbench.teachers.tortoise.tokens import aligned

LANES = 32
"""Row groups that a batch is drawn from, where it is as large and there are as many; each may hold some 10 MB."""

_MOST_TOKENS = 1 << 16
"""Shards keep tokens in 16 bits."""


@dataclass(frozen=True)
class MelTokens:
    """A pair as the trainer reads it: token i stands for the frames 4 i to 4 i + 3.

    Attributes:
        mel: (n_mels, T) float32, log-mel / norms, whole.
        codes: (n,) int64, 1 <= n <= ceil(T / 4).
    """

    mel: Tensor
    codes: Tensor


@dataclass(frozen=True)
class _RowGroup:
    """A row group of a shard, and which of its rows are used."""

    shard: Location
    index: int
    training: list[int] = field(default_factory=list)
    held_out: list[int] = field(default_factory=list)

    def read(self) -> list[Pair]:
        with Shard(self.shard) as shard:
            return shard.row_group(self.index)


def pairs_digest(folder: Location, limit: int | None, progress: Progress) -> str:
    """Sixteen hex digits over all of a folder's training pairs, or the first `limit`, that decides what is learnt.

    It follows what the pairs hold, their order and how they are cut into row groups, from which an epoch's order is
    drawn; and not where they lie. Only the small columns are read, and the sums of the waveforms that a shard holds; of
    a shard that an older vqbench wrote, all of it.

    Raises:
        DataError: a shard cannot be read.
    """
    digest, n_used, seen = hashlib.sha256(), 0, set[str]()
    for shard in _shards(folder, progress):
        waveforms = iter(shard.waveform_digests())
        for pairs in shard.row_groups(waveforms=False):
            before = n_used
            require_new_ids(pairs, seen, shard.path)
            for pair in pairs:
                waveform = next(waveforms)
                if pair.split == "train" and n_used != limit:
                    said = [pair.id, pair.teacher, pair.text, pair.speaker, pair.codes.tolist(), waveform]
                    digest.update(json.dumps([*said, pair.sample_rate_hz]).encode())
                    n_used += 1
            if n_used > before:
                digest.update(b"row group")
        if n_used == limit:
            break
    return digest.hexdigest()[:16]


class PairStream:
    """The training pairs of a folder of shards, in batches, read as they are needed.

    At the start only the small columns are read. A batch is prepared in a thread while the one before is in use; the
    thread ends with `close`.

    Attributes:
        n_training: pairs that are trained on.
        n_held_out: pairs that are held out for validation.
        token_counts: (largest token of both + 1,) int64, how often the pairs that are trained on have each token.
    """

    def __init__(
        self,
        folder: Location,
        spec: MelSpec,
        *,
        batch_size: int,
        seed: int,
        limit: int | None = None,
        held_out: Callable[[str, str], bool],
        frames_per_token: int = 4,
        cache_bytes: int = 1 << 30,
        progress: Progress,
    ) -> None:
        """Reads which pairs there are.

        Args:
            folder: of shards, a path or a URL; pairs of the split `test` are left alone.
            spec: the front end; waveforms of another rate are resampled.
            batch_size: pairs a step, over all processes together.
            seed: of the order.
            limit: only the first so many training pairs.
            held_out: whether a pair is held out, by its text and its speaker.
            frames_per_token: mel frames that a token stands for.
            cache_bytes: so much of what was read stays in memory; what a batch needs always does.
            progress: shows how far the reading is.

        Raises:
            DataError: a shard cannot be read.
            TrainingError: no pair is left to train on.
        """
        self._batch_size, self._seed = batch_size, seed
        training = (
            (shard.path, group, row, pair)
            for shard in _shards(folder, progress)
            for group, pairs in enumerate(shard.row_groups(waveforms=False))
            for row, pair in enumerate(pairs)
            if pair.split == "train"
        )
        groups: dict[tuple[Location, int], _RowGroup] = {}
        counts = np.zeros((2, _MOST_TOKENS), np.int64)
        for path, index, row, pair in islice(training, limit):
            group = groups.setdefault((path, index), _RowGroup(path, index))
            is_held_out = held_out(pair.text, pair.speaker)
            (group.held_out if is_held_out else group.training).append(row)
            np.add.at(counts[int(is_held_out)], pair.codes.numpy(), 1)
        self._groups = list(groups.values())
        self.token_counts = torch.from_numpy(counts[0, : len(np.trim_zeros(counts.sum(0), "b"))].copy())
        sizes = [len(group.training) for group in self._groups]
        self.n_training = sum(sizes)
        self.n_held_out = sum(len(group.held_out) for group in self._groups)
        if not self.n_training:
            raise TrainingError(
                f"no pair is left to train on: {self.n_held_out} of the split 'train', all of them held out",
                where=str(folder),
                expected="sentences and speakers that are not held out",
                fix="make more pairs, with more sentences",
            )
        # Where each pair that is trained on lies.
        self._group_of = np.repeat(np.arange(len(sizes)), sizes)
        self._row_of = np.array([row for group in self._groups for row in group.training])
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self._reader = _Reader(self._groups, spec, frames_per_token, cache_bytes)
        # One thread, which alone touches the order and what the reader keeps.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pairs")
        self._ahead: dict[tuple[int, int, int], Future[list[MelTokens]]] = {}

    def __enter__(self) -> PairStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread that reads ahead; no batch can be asked for after it."""
        self._worker.shutdown(cancel_futures=True)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> list[MelTokens]:
        """A process's part of a step's batch; the parts of all, in order, are what a single process gets.

        Any step may be asked for at any time; the one after the last asked for is there at once. In an epoch no pair
        comes twice, and of those that fill no batch others are left out each time. Where there are fewer pairs than a
        batch holds, they are repeated in it. The tensors are shared with later batches: not to be written to.

        Args:
            step: counted from 0.
            rank: of the process.
            world: how many processes share the batch.

        Returns:
            batch_size / world pairs.

        Raises:
            ConfigError: the processes cannot share a batch evenly.
            DataError: a shard or a waveform cannot be read; it is named.
        """
        if self._batch_size % world:
            raise ConfigError(
                f"{world} processes cannot share batches of {self._batch_size} pairs",
                expected=f"a batch_size that is a multiple of {world}",
                fix=f"set batch_size to {-(-self._batch_size // world) * world}, or start another number of processes",
            )
        future = self._ahead.pop((step, rank, world), None)
        while self._ahead:
            self._ahead.popitem()[1].cancel()
        pairs = (future or self._worker.submit(self._read, step, rank, world)).result()
        self._ahead[step + 1, rank, world] = self._worker.submit(self._read, step + 1, rank, world)
        return pairs

    def held_out(self) -> list[MelTokens]:
        """All held-out pairs, in the folder's order; read anew at each call, and not counted in `cache_bytes`.

        Raises:
            DataError: a shard or a waveform cannot be read; it is named.
        """
        found: list[MelTokens] = []
        for group in self._groups:
            if group.held_out:
                pairs = group.read()
                found += [self._reader.decode(pairs[row]) for row in group.held_out]
        return found

    def _read(self, step: int, rank: int, world: int) -> list[MelTokens]:
        size = self._batch_size // world
        own = self._chosen(step)[rank * size : (rank + 1) * size]
        return self._reader.take([(int(self._group_of[pair]), int(self._row_of[pair])) for pair in own])

    def _chosen(self, step: int) -> np.ndarray:
        """The numbers of a batch's pairs: (batch_size,) int64."""
        n_steps = max(1, self.n_training // self._batch_size)
        epoch, step = divmod(step, n_steps)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        n_lanes = min(self._batch_size, LANES)
        bounds = [self._batch_size * lane // n_lanes for lane in range(n_lanes + 1)]
        lanes = [(self._order[first * n_steps : end * n_steps], end - first) for first, end in pairwise(bounds)]
        return np.concatenate([stretch[step * size : (step + 1) * size] for stretch, size in lanes])

    def _shuffled(self, epoch: int) -> np.ndarray:
        """An epoch's pairs in order, as many as fill its batches."""
        draw, n = np.random.default_rng((self._seed, epoch)), self.n_training
        places = draw.permutation(len(self._groups))[self._group_of] + draw.random(n)
        order = np.argsort(places, kind="stable")
        if n < self._batch_size:
            return np.resize(order, self._batch_size)
        # Not the last ones: they would more often be those of small row groups.
        return np.delete(order, draw.choice(n, n % self._batch_size, replace=False))


class _Reader:
    """Reads and decodes pairs, and keeps the row groups used last in memory.

    In there a pair is as it was read until it is asked for, and decoded from then on, which takes about as much. So the
    work comes pair by pair, and of a row group that two processes read each decodes only its own pairs.
    """

    def __init__(self, groups: Sequence[_RowGroup], spec: MelSpec, frames_per_token: int, most_bytes: int) -> None:
        self._groups, self._frames_per_token, self._most_bytes = groups, frames_per_token, most_bytes
        self._front_end = MelFrontEnd(spec)
        self._held: OrderedDict[int, dict[int, Pair | MelTokens]] = OrderedDict()
        self._n_bytes = 0

    def take(self, places: Sequence[tuple[int, int]]) -> list[MelTokens]:
        """The pairs at these row groups and rows."""
        needed = dict.fromkeys(group for group, _ in places)
        for group in [group for group in needed if group in self._held]:
            self._held.move_to_end(group)
        taken = []
        for group, row in places:
            if group not in self._held:
                pairs = self._groups[group].read()
                self._held[group] = {row: pairs[row] for row in self._groups[group].training}
                self._n_bytes += sum(map(_n_bytes, self._held[group].values()))
            pair = self._held[group][row]
            if isinstance(pair, Pair):
                self._held[group][row] = decoded = self.decode(pair)
                self._n_bytes += _n_bytes(decoded) - _n_bytes(pair)
                pair = decoded
            taken.append(pair)
            while self._n_bytes > self._most_bytes and (oldest := next(iter(self._held))) not in needed:
                self._n_bytes -= sum(map(_n_bytes, self._held.pop(oldest).values()))
        return taken

    def decode(self, pair: Pair) -> MelTokens:
        """What the trainer reads of a pair."""
        mel = self._front_end(resample(pair.waveform(), pair.sample_rate_hz, self._front_end.spec.sample_rate_hz))
        # An encoder writes a token for every four frames begun: compared is what both have written.
        codes, _ = aligned(pair.codes, torch.arange(-(-mel.shape[-1] // self._frames_per_token)))
        return MelTokens(mel, codes)


def _n_bytes(pair: Pair | MelTokens) -> int:
    return len(pair.flac) if isinstance(pair, Pair) else pair.mel.nbytes + pair.codes.nbytes


def _shards(folder: Location, progress: Progress) -> Iterator[Shard]:
    with progress.task("reading pairs", len(find_shards(folder))) as advance:
        for shard in open_shards(folder):
            yield shard
            advance()
