"""Batches of pairs follow from folder, seed and step alone, are shared out among processes, and are read as needed."""

from __future__ import annotations

import functools
import gc
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from vqbench.audio.io import encode_waveform, resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import ConfigError, DataError, TrainingError
from vqbench.progress import Silent
from vqbench.teachers.tortoise import shards
from vqbench.teachers.tortoise.pairs import read_pairs, shard_path
from vqbench.teachers.tortoise.shards import Pair, Shard, ShardHeader, write_shard
from vqbench.training import stream
from vqbench.training.stream import MelTokens, PairStream, pairs_digest

N = 50


def sound(number: int, n_samples: int = 3072) -> Tensor:
    return 0.3 * torch.randn(n_samples, generator=torch.Generator().manual_seed(number)).clamp(-3, 3)


@functools.cache
def flac(number: int) -> bytes:
    return encode_waveform(sound(number), 22_050, "a pair")


def pair(number: int, **changes: Any) -> Pair:
    """Its first code is its number."""
    made = Pair(
        id=f"{number:06d}",
        text=f"Sentence {number // 2}.",
        speaker=("ann", "bob", "cy")[number % 3],
        split="train",
        codes=torch.tensor([number, 500, 3]),
        flac=flac(number),
        sample_rate_hz=22_050,
        clvp=0.0,
        seed=number,
        finished=True,
        teacher="0123456789abcdef",
    )
    return replace(made, **changes)


def write(folder: Path, content: Sequence[Pair], per_shard: int = 6) -> Path:
    """Each shard is one row group."""
    for index, start in enumerate(range(0, len(content), per_shard)):
        write_shard(shard_path(folder, index), content[start : start + per_shard], ShardHeader({}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty pairs in nine shards, the last of two; nobody writes to it."""
    return write(tmp_path_factory.mktemp("pairs"), [pair(number) for number in range(N)])


@pytest.fixture
def opened() -> Iterator[Callable[..., PairStream]]:
    """Opens streams, and closes them."""
    streams: list[PairStream] = []

    def open_stream(folder: Path | str, batch_size: int = 4, **changes: Any) -> PairStream:
        asked: dict[str, Any] = {"seed": 7, "held_out": lambda text, speaker: False, "progress": Silent()}
        streams.append(PairStream(folder, MelSpec(), batch_size=batch_size, **{**asked, **changes}))
        return streams[-1]

    yield open_stream
    for each in streams:
        each.close()


Opened = Callable[..., PairStream]


def numbers(pairs: Sequence[MelTokens]) -> list[int]:
    return [int(pair.codes[0]) for pair in pairs]


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[Any]:
    """What a method is called with from now on."""
    calls: list[Any] = []
    method = getattr(owner, name)

    def counting(self: Any, *args: Any, **options: Any) -> Any:
        calls.append((self, *args))
        return method(self, *args, **options)

    monkeypatch.setattr(owner, name, counting)
    return calls


# What a pair is


def test_a_pair_is_its_mel_and_its_codes(folder: Path, opened: Opened) -> None:
    for read in opened(folder).batch(0):
        (number,) = numbers([read])
        assert read.codes.dtype == torch.int64
        assert read.codes.tolist() == [number, 500, 3]
        assert torch.equal(read.mel, MelFrontEnd()(pair(number).waveform()))


@pytest.mark.parametrize(
    ("n_codes", "n_samples", "n_compared"),
    [
        (10, 10 * 1024, 10),
        (10, 10 * 1024 - 200, 10),
        (10, 6 * 1024, 7),  # the encoder writes a seventh token for the frame that ends the recording
        (4, 10 * 1024, 4),
        (10, 100, 1),
    ],
)
def test_lengths_that_disagree_are_cut_at_the_end(
    n_codes: int, n_samples: int, n_compared: int, tmp_path: Path, opened: Opened
) -> None:
    waveform = sound(1, n_samples)
    write(tmp_path, [pair(1, codes=torch.arange(n_codes), flac=encode_waveform(waveform, 22_050, "a pair"))])
    (read,) = opened(tmp_path, batch_size=1).batch(0)
    assert read.codes.tolist() == list(range(n_compared))
    assert read.mel.shape == (80, n_samples // 256 + 1)


def test_other_rates_are_resampled(tmp_path: Path, opened: Opened) -> None:
    time_s = torch.arange(9000) / 24_000
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * time_s)
    write(tmp_path, [pair(1, flac=encode_waveform(tone, 24_000, "a pair"), sample_rate_hz=24_000)])
    (read,) = opened(tmp_path, batch_size=1).batch(0)
    torch.testing.assert_close(read.mel, MelFrontEnd()(resample(tone, 24_000, 22_050)), atol=0.5, rtol=0.05)


# Which pairs there are


def test_the_test_split_is_left_alone(tmp_path: Path, opened: Opened) -> None:
    unusable = [pair(90 + n, split="test", flac=b"no sound", codes=torch.tensor([9000])) for n in range(3)]
    some = [pair(number) for number in range(9)]
    found = opened(write(tmp_path, [*unusable, *some, *unusable], per_shard=4))
    assert (found.n_training, found.n_held_out, len(found.token_counts)) == (9, 0, 501)
    seen = {number for step in range(20) for number in numbers(found.batch(step))}
    assert seen == set(range(9))


@pytest.mark.parametrize("limit", [1, 6, 8, 49, 50, 1000])
def test_a_limit_takes_the_first_training_pairs(limit: int, tmp_path: Path, folder: Path, opened: Opened) -> None:
    found = opened(folder, limit=limit, held_out=lambda text, speaker: speaker == "bob")
    held_out = numbers(found.held_out())
    trained = {number for step in range(80) for number in numbers(found.batch(step))}
    assert sorted(trained | set(held_out)) == list(range(min(limit, N)))
    # As if there were no others.
    alone = write(tmp_path, [pair(number) for number in range(min(limit, N))])
    assert pairs_digest(folder, limit, Silent()) == pairs_digest(alone, None, Silent())


def test_pairs_are_held_out_by_sentence_and_by_speaker(folder: Path, opened: Opened) -> None:
    def is_held_out(text: str, speaker: str) -> bool:
        return text in ("Sentence 3.", "Sentence 20.") or speaker == "cy"

    found = opened(folder, held_out=is_held_out)
    expected = [number for number in range(N) if is_held_out(pair(number).text, pair(number).speaker)]
    assert {6, 7, 40, 41} < set(expected)
    assert numbers(found.held_out()) == expected
    assert (found.n_training, found.n_held_out) == (N - len(expected), len(expected))
    trained = {number for step in range(60) for number in numbers(found.batch(step))}
    assert trained == set(range(N)) - set(expected)
    whole = found.held_out()[0]
    assert torch.equal(whole.mel, MelFrontEnd()(pair(expected[0]).waveform()))


def test_tokens_are_counted_where_they_are_trained_on(folder: Path, tmp_path: Path, opened: Opened) -> None:
    def is_held_out(text: str, speaker: str) -> bool:
        return speaker == "cy"

    counts = opened(folder, held_out=is_held_out).token_counts
    trained = [number for number in range(N) if pair(number).speaker != "cy"]
    expected = Counter({500: len(trained), 3: len(trained)}) + Counter(trained)
    assert counts.dtype == torch.int64
    assert {token: n for token, n in enumerate(counts.tolist()) if n} == expected
    write(tmp_path, [pair(0), pair(2, codes=torch.tensor([65_535]))])
    assert len(opened(tmp_path, held_out=is_held_out).token_counts) == 65_536


@pytest.mark.parametrize("changes", [{"split": "test"}, {"speaker": "cy"}], ids=str)
def test_nothing_to_train_on(changes: dict[str, Any], tmp_path: Path, opened: Opened) -> None:
    write(tmp_path, [pair(number, **changes) for number in range(3)])
    with pytest.raises(TrainingError, match=r"no pair is left to train on: (0|3) of the split 'train'") as caught:
        opened(tmp_path, held_out=lambda text, speaker: speaker == "cy")
    assert caught.value.where == str(tmp_path)


# Batches


@pytest.mark.parametrize(("n", "batch_size"), [(50, 12), (50, 48), (5, 12), (1, 12), (11, 12)])
def test_the_parts_of_all_processes_are_the_batch(n: int, batch_size: int, tmp_path: Path, opened: Opened) -> None:
    write(tmp_path, [pair(number) for number in range(n)])
    alone = opened(tmp_path, batch_size)
    shared = {world: [opened(tmp_path, batch_size) for _ in range(world)] for world in (2, 3, 4)}
    for step in range(2 * max(1, n // batch_size) + 1):
        whole = alone.batch(step)
        assert len(whole) == batch_size
        for world, streams in shared.items():
            parts = [each.batch(step, rank, world) for rank, each in enumerate(streams)]
            assert {len(part) for part in parts} == {batch_size // world}
            together = [pair for part in parts for pair in part]
            assert numbers(together) == numbers(whole)
            assert all(torch.equal(a.mel, b.mel) for a, b in zip(together, whole, strict=True))


def test_processes_that_cannot_share_a_batch(folder: Path, opened: Opened) -> None:
    with pytest.raises(ConfigError, match=r"5 processes(?s:.)*batches of 12(?s:.)*batch_size to 15"):
        opened(folder, 12).batch(0, 0, 5)


@pytest.mark.parametrize("lanes", [1, 3, 32])
def test_an_epoch_has_no_pair_twice_and_leaves_out_others_each_time(
    lanes: int, folder: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LANES", lanes)
    found, n_epochs = opened(folder, 8), 60
    orders = [[numbers(found.batch(6 * epoch + step)) for step in range(6)] for epoch in range(n_epochs)]
    for order in orders:
        assert {len(set(batch)) for batch in order} == {8}
        assert len({number for batch in order for number in batch}) == 48
    assert len({str(order) for order in orders}) == n_epochs
    times = Counter(number for order in orders for batch in order for number in batch)
    # Two of fifty are left out: each pair 2.4 times in sixty, those of the small row group no more often.
    assert min(times.values()) > n_epochs - 10
    assert sum(times[number] for number in (48, 49)) > 2 * n_epochs - 14


def test_a_batch_is_drawn_from_many_row_groups(folder: Path, opened: Opened) -> None:
    found = opened(folder, 8)
    n_groups = [len({number // 6 for number in numbers(found.batch(step))}) for step in range(60)]
    assert sum(n_groups) / len(n_groups) > 5


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_pairs_than_a_batch_are_repeated_in_it(n: int, tmp_path: Path, opened: Opened) -> None:
    found = opened(write(tmp_path, [pair(number) for number in range(n)]), 4)
    times: Counter[int] = Counter()
    for step in range(30):
        batch = Counter(numbers(found.batch(step)))
        assert max(batch.values()) - min(batch.values()) <= 1
        times += batch
    assert set(times) == set(range(n))
    assert min(times.values()) > 120 / n - 12


def test_any_step_can_be_asked_for_at_any_time(folder: Path, opened: Opened) -> None:
    sequential = opened(folder, 6)
    batches = [numbers(sequential.batch(step)) for step in range(40)]
    steps = [*range(40), *range(40)]
    random.Random(0).shuffle(steps)
    # Neither where it goes on nor what it remembers matters.
    anywhere = opened(folder, 6, cache_bytes=1)
    assert [numbers(anywhere.batch(step)) for step in steps] == [batches[step] for step in steps]
    assert batches != [numbers(opened(folder, 6, seed=8).batch(step)) for step in range(40)]


# Memory and reading


def test_few_pairs_are_decoded_once_and_many_again_in_each_epoch(
    folder: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counted(monkeypatch, Pair, "waveform")

    def n_decoded_in_three_epochs(cache_bytes: int) -> int:
        decoded.clear()
        with opened(folder, 5, cache_bytes=cache_bytes) as found:
            for step in range(3 * N // 5):
                found.batch(step)
        return len(decoded)

    assert n_decoded_in_three_epochs(1 << 30) == N
    # Five are read ahead; what an epoch ends with may serve the next one, too.
    assert 2.5 * N < n_decoded_in_three_epochs(1) <= 3 * N + 5


def test_what_is_kept_is_bounded(folder: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LANES", 2)

    def n_alive() -> int:
        return sum(type(each) in (MelTokens, Pair) for each in gc.get_objects())

    gc.collect()
    before = n_alive()
    decoded_bytes = 80 * 13 * 4 + 3 * 8  # its FLAC is larger
    found = opened(folder, 2, cache_bytes=20 * decoded_bytes)
    alive = []
    for step in range(30):
        found.batch(step)
        alive.append(n_alive() - before)
    # Beside the twenty: two batches, and a row group that is being read.
    assert 10 < max(alive) <= 20 + 2 * 2 + 6


def test_what_a_batch_needs_is_kept_whatever_the_bound(
    folder: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LANES", 3)
    read = counted(monkeypatch, Shard, "row_group")
    with opened(folder, 6, cache_bytes=1) as found:
        for step in range(8):
            found.batch(step)
    # Nine row groups, two of them in two lanes, and what the next epoch begins with.
    assert len(read) <= 9 + 2 + 6


@pytest.mark.parametrize("world", [2, 4])
def test_processes_read_row_groups_of_their_own(
    world: int, folder: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counted(monkeypatch, Shard, "row_group")
    n_read, trained = 0, []
    for rank in range(world):
        with opened(folder, 8) as found:
            batches = [numbers(found.batch(step, rank, world)) for step in range(6)]
        trained += [number for batch in batches for number in batch]
        own = {number // 6 for batch in batches for number in batch}
        n_read += len(own)
        # The first batch of the next epoch is read ahead.
        assert len(own) <= len(read) <= len(own) + 8 // world
        read.clear()
    assert len(set(trained)) == len(trained) == 48
    assert n_read <= 9 + world - 1


def test_shards_are_never_read_whole(tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shards, "ROW_GROUP", 4)
        write(tmp_path, [pair(number) for number in range(40)], per_shard=20)
    read: list[tuple[int, bool]] = []
    read_row_group = pq.ParquetFile.read_row_group

    def counting(self: Any, group: int, columns: list[str]) -> Any:
        read.append((group, "waveform" in columns))
        return read_row_group(self, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    found = opened(tmp_path, 2)
    assert len(pairs_digest(tmp_path, None, Silent())) == 16
    assert not any(with_waveforms for _, with_waveforms in read)
    found.batch(0)
    found.close()
    assert sum(with_waveforms for _, with_waveforms in read) <= 4


def test_a_url_is_as_good_as_a_path(folder: Path, opened: Opened) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/pairs", recursive=True)
    try:
        near, far = opened(folder, 6), opened("memory://bucket/pairs", 6)
        far_digest = pairs_digest("memory://bucket/pairs", None, Silent())
        assert far_digest == pairs_digest(folder, None, Silent())
        for step in (0, 1, 20):
            assert all(
                torch.equal(a.mel, b.mel) and torch.equal(a.codes, b.codes)
                for a, b in zip(far.batch(step), near.batch(step), strict=True)
            )
    finally:
        memory.rm("/bucket", recursive=True)


# The digest


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"},
        {"text": "Another sentence."},
        {"speaker": "dora"},
        {"codes": torch.tensor([1, 2, 3])},
        {"flac": flac(61)},
        {"sample_rate_hz": 24_000},
        {"teacher": "fedcba9876543210"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_digest_follows_the_content_of_the_pairs(changes: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path, [pair(0, **changes), *(pair(number) for number in range(1, N))])
    assert pairs_digest(other, None, Silent()) != pairs_digest(folder, None, Silent())
    assert pairs_digest(other, 1, Silent()) != pairs_digest(folder, 1, Silent())


def test_the_digest_follows_the_cut_as_the_order_does_and_not_the_test_split(folder: Path, tmp_path: Path) -> None:
    digest = pairs_digest(folder, None, Silent())
    content = [pair(number) for number in range(N)]
    assert pairs_digest(write(tmp_path / "cut", content, per_shard=17), None, Silent()) != digest
    assert pairs_digest(write(tmp_path / "fewer", content[:-1]), None, Silent()) != digest
    assert pairs_digest(folder, N - 1, Silent()) == pairs_digest(tmp_path / "fewer", None, Silent())
    tested = [*content, *(pair(70 + number, split="test") for number in range(9))]
    assert pairs_digest(write(tmp_path / "tested", tested), None, Silent()) == digest


def test_the_digest_is_the_same_where_a_shard_does_not_say_the_sums(folder: Path, tmp_path: Path) -> None:
    without_sums(folder, tmp_path)
    assert list(map(str, read_pairs(tmp_path))) == list(map(str, read_pairs(folder)))
    assert pairs_digest(tmp_path, None, Silent()) == pairs_digest(folder, None, Silent())


def without_sums(folder: Path, target: Path) -> None:
    """Writes the shards as they were written before they had sums."""
    for path in folder.iterdir():
        table = pq.read_table(path)
        said = json.loads(table.schema.metadata[b"vqbench"])
        del said["waveforms"], said["sha256"]
        plain = table.replace_schema_metadata({b"vqbench": json.dumps(said, sort_keys=True)})
        pq.write_table(plain, target / path.name, row_group_size=shards.ROW_GROUP)


# Faults


def test_a_damaged_shard_is_named(tmp_path: Path, opened: Opened) -> None:
    write(tmp_path, [pair(number) for number in range(12)])
    path = shard_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged") as caught:
        opened(tmp_path)
    assert caught.value.where == str(path)


def test_damage_that_comes_later_is_told_by_the_batch_that_needs_it(
    folder: Path, tmp_path: Path, opened: Opened
) -> None:
    write(tmp_path, [pair(number) for number in range(N)])
    whole, broken = opened(folder, 2), opened(tmp_path, 2)
    path = shard_path(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-100])
    for step in range(25):
        expected = numbers(whole.batch(step))
        if {number // 6 for number in expected} & {3}:
            with pytest.raises(DataError, match="damaged") as caught:
                broken.batch(step)
            assert caught.value.where == str(path)
        else:
            assert numbers(broken.batch(step)) == expected


def test_a_waveform_that_cannot_be_decoded_is_named_by_the_batch_that_needs_it(
    folder: Path, tmp_path: Path, opened: Opened
) -> None:
    write(tmp_path, [pair(number, flac=b"no sound" if number == 33 else flac(number)) for number in range(N)])
    whole, broken = opened(folder, 5), opened(tmp_path, 5)
    for step in range(20):
        expected = numbers(whole.batch(step))
        if 33 in expected:
            with pytest.raises(DataError, match="pair 000033"):
                broken.batch(step)
        else:
            assert numbers(broken.batch(step)) == expected


# The thread


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pairs")]


def test_no_thread_outlives_its_stream(folder: Path) -> None:
    asked: dict[str, Any] = {"seed": 7, "held_out": lambda text, speaker: False, "progress": Silent()}
    with PairStream(folder, MelSpec(), batch_size=4, **asked) as found:
        found.batch(0)
        assert len(threads()) == 1
    assert not threads()
    forgotten = PairStream(folder, MelSpec(), batch_size=4, **asked)
    forgotten.batch(0)
    (thread,) = threads()
    del forgotten
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
