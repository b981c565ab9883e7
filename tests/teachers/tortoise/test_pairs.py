"""Pairs are kept in shards that can be interrupted, resumed, read as a stream and trusted."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import torch
from tiny_teacher import SAMPLING, hum, make_teacher, teacher, voices

from vqbench.audio.io import encode_waveform
from vqbench.data.sentences import sentences
from vqbench.errors import ConfigError, DataError, VqbenchError
from vqbench.progress import Silent
from vqbench.teachers.tortoise import shards
from vqbench.teachers.tortoise.pair_filter import filter_pairs
from vqbench.teachers.tortoise.pair_generation import Generated, generate_pairs, read_sentences, split_of
from vqbench.teachers.tortoise.pairs import read_pairs, shard_path
from vqbench.teachers.tortoise.sampling import Sampling
from vqbench.teachers.tortoise.shards import Pair, ShardHeader, write_shard
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Utterance

N, PER_SHARD = 14, 4


def generate(folder: Path, speaker: TortoiseTeacher | None = None, **changes: Any) -> Generated:
    """Fourteen utterances, half of the sentences and one of three speakers held out, in four shards."""
    asked: dict[str, Any] = {
        "sentences": sentences(0, 8),
        "voices": voices(),
        "n": N,
        "seed": 3,
        "held_out_speakers": ["cy"],
        "test_share": 0.5,
        "per_shard": PER_SHARD,
        "progress": Silent(),
    }
    return generate_pairs(speaker or teacher(), folder=folder, **{**asked, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder; nobody writes to it."""
    folder = tmp_path_factory.mktemp("pairs") / "whole"
    generate(folder)
    return folder


def pair(number: int, **changes: Any) -> Pair:
    made = Pair(
        id=f"{number:06d}",
        text=f"Sentence {number}: „ä“.",
        speaker="ann",
        split="train",
        codes=torch.tensor([number, 8191, 0]),
        flac=encode_waveform(hum(100 + number, 3072), 22_050, "a pair"),
        sample_rate_hz=22_050,
        clvp=number / 4,
        seed=2**47 + number,
        finished=True,
        teacher="0123456789abcdef",
    )
    return replace(made, **changes)


def write(folder: Path, pairs: Sequence[Pair], per_shard: int = 4, **settings: Any) -> Path:
    for index in range(0, -(-len(pairs) // per_shard)):
        write_shard(shard_path(folder, index), pairs[index * per_shard :][:per_shard], ShardHeader(settings))
    return folder


# Shards


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = [pair(number, split="test" if number % 3 == 0 else "train") for number in range(10)]
    write(tmp_path, written)
    for wanted, read in zip(written, read_pairs(tmp_path), strict=True):
        assert read.codes.dtype == torch.int64
        assert read.codes.tolist() == wanted.codes.tolist()
        assert replace(read, codes=wanted.codes) == wanted
        torch.testing.assert_close(read.waveform(), hum(100 + int(read.id), 3072), atol=1 / 32768, rtol=0)
    assert [p.id for p in read_pairs(tmp_path, "test")] == ["000000", "000003", "000006", "000009"]
    assert len(list(read_pairs(tmp_path, "train"))) == 6


def test_waveforms_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, [pair(0)])
    (read,) = read_pairs(tmp_path, waveforms=False)
    assert read.text == pair(0).text
    with pytest.raises(ValueError, match="without its waveform"):
        read.waveform()


def test_the_same_pairs_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name, [pair(n) for n in range(6)], seed=0) for name in "ab")
    assert content(one) == content(other)


def test_any_parquet_reader_opens_a_shard(tmp_path: Path) -> None:
    write(tmp_path, [pair(0), pair(1)])
    table = pq.read_table(shard_path(tmp_path, 0)).to_pydict()
    assert table["codes"] == [[0, 8191, 0], [1, 8191, 0]]
    assert table["waveform"][0][:4] == b"fLaC"


def test_shards_are_read_a_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP", 2)
    write(tmp_path, [pair(n) for n in range(10)], per_shard=5)
    groups: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def counted(self: Any, group: int, **options: Any) -> Any:
        groups.append(group)
        return read_row_group(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    stream = read_pairs(tmp_path)
    for _ in range(3):
        next(stream)
    assert groups == [0, 1]
    assert len(list(stream)) == 7


def damaged_everywhere(whole: bytes) -> Iterator[bytes]:
    draw = random.Random(0)
    for _ in range(150):
        yield whole[: draw.randrange(len(whole))]
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        yield bytes(flipped)
        # The footer, where damage is least harmless.
        flipped = bytearray(whole)
        flipped[-1 - draw.randrange(4000)] ^= 1 << draw.randrange(8)
        yield bytes(flipped)


def test_damage_is_named_or_harmless(tmp_path: Path) -> None:
    written = [pair(number) for number in range(6)]
    path = shard_path(write(tmp_path, written, per_shard=6), 0)
    n_named = 0
    for damaged in damaged_everywhere(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            read = list(read_pairs(tmp_path))
        except DataError as error:
            assert error.where == str(path)
            n_named += 1
        else:
            assert [replace(r, codes=w.codes) for r, w in zip(read, written, strict=True)] == written
            assert [r.codes.tolist() for r in read] == [w.codes.tolist() for w in written]
    assert n_named > 250


@pytest.mark.parametrize(
    ("damage", "where", "says"),
    [
        (lambda folder: [path.unlink() for path in folder.iterdir()], "", "no pairs in this folder"),
        (lambda folder: shard_path(folder, 1).unlink(), "pairs-00001.parquet", "missing, though later"),
        (lambda folder: shard_path(folder, 1).write_bytes(b""), "pairs-00001.parquet", "damaged or cut off"),
        (
            lambda folder: write_shard(shard_path(folder, 2), [pair(9)], ShardHeader({"seed": 1})),
            "pairs-00002.parquet",
            r"other settings \(seed: 1 there, 0 wanted\)",
        ),
        (
            lambda folder: pq.write_table(pq.read_table(shard_path(folder, 0), columns=["id"]), shard_path(folder, 0)),
            "pairs-00000.parquet",
            "no shard of pairs",
        ),
    ],
    ids=["empty", "gap", "emptied", "foreign settings", "foreign columns"],
)
def test_a_folder_that_is_no_whole_is_refused(
    tmp_path: Path, damage: Callable[[Path], Any], where: str, says: str
) -> None:
    write(tmp_path, [pair(n) for n in range(12)], seed=0)
    damage(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        list(read_pairs(tmp_path))
    assert caught.value.where == str(tmp_path / where)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [pair(0), pair(1, clvp=math.nan)])
    with pytest.raises(DataError, match="a CLVP score is no number"):
        list(read_pairs(tmp_path, waveforms=False))
    with pytest.raises(DataError, match="a CLVP score is no number"):
        filter_pairs(tmp_path, tmp_path / "best", keep=0.5)


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [pair(n) for n in (0, 1, 2, 3, 1)], per_shard=2)
    with pytest.raises(DataError, match="'000001' is there twice") as caught:
        list(read_pairs(tmp_path, waveforms=False))
    assert caught.value.where == str(shard_path(tmp_path, 2))


def test_a_waveform_in_the_place_of_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is well with the parquet file itself: its sums are of other waveforms."""
    sums = iter([*[shards._digest(pair(n).flac) for n in (0, 2, 1)]])
    original = shards._digest
    with monkeypatch.context() as patch:
        patch.setattr(shards, "_digest", lambda content: next(sums) if len(content) > 500 else original(content))
        write(tmp_path, [pair(n) for n in range(3)])
    with pytest.raises(DataError, match="not the one whose sha256 was written"):
        list(read_pairs(tmp_path))
    assert len(list(read_pairs(tmp_path, waveforms=False))) == 3


def test_a_later_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shards, "FORMAT", 2)
        write(tmp_path, [pair(0)])
    with pytest.raises(DataError, match="format is 2"):
        list(read_pairs(tmp_path))


@pytest.mark.parametrize(
    "header", [b"[" * 100_000, b'{"format": 1, "rows": 1, "shard": ' + b"[" * 100_000], ids=["all", "in"]
)
def test_a_header_of_brackets_is_refused(header: bytes, tmp_path: Path) -> None:
    write(tmp_path, [pair(0)])
    file = shard_path(tmp_path, 0)
    pq.write_table(pq.read_table(file).replace_schema_metadata({shards._METADATA_KEY: header}), file)
    with pytest.raises(DataError) as caught:
        list(read_pairs(tmp_path))
    assert caught.value.where == str(file)


def test_a_damaged_recording_is_named() -> None:
    with pytest.raises(DataError, match="pair 000003"):
        pair(3, flac=pair(3).flac[:300]).waveform()


# Elsewhere than on the local disk


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Any]:
    """The file system of `memory://`, with ten pairs at memory://bucket/pairs."""
    memory = fsspec.filesystem("memory")
    memory.put(str(write(tmp_path / "pairs", [pair(n) for n in range(10)], seed=0)), "/bucket/pairs", recursive=True)
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("url", ["memory://bucket/pairs", "memory://bucket/pairs/", "memory:///bucket/pairs"])
def test_pairs_are_read_from_a_url(url: str, bucket: Any, tmp_path: Path) -> None:
    near, far = list(read_pairs(tmp_path / "pairs")), list(read_pairs(url))
    assert [replace(f, codes=n.codes) for f, n in zip(far, near, strict=True)] == near
    assert [f.codes.tolist() for f in far] == [n.codes.tolist() for n in near]


def test_a_local_folder_may_be_written_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a::b", [pair(0)])
    monkeypatch.chdir(tmp_path)
    for folder in ("a::b", str(tmp_path / "a::b")):
        assert [p.id for p in read_pairs(folder)] == ["000000"]


def test_a_url_is_fetched_in_pieces(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP", 2)
    noise = encode_waveform(torch.rand(200_000, generator=torch.Generator().manual_seed(0)), 22_050, "noise")
    write(tmp_path / "long", [pair(n, flac=noise) for n in range(6)], per_shard=6)
    bucket.put(str(tmp_path / "long"), "/bucket/long", recursive=True)
    n_bytes = bucket.du("/bucket/long")
    fetched: list[int] = []
    read = io.BytesIO.read

    def counting(self: Any, *args: Any) -> bytes:
        content = read(self, *args)
        fetched.append(len(content))
        return content

    monkeypatch.setattr(type(bucket.store["/bucket/long/pairs-00000.parquet"]), "read", counting, raising=False)
    assert len(list(read_pairs("memory://bucket/long", waveforms=False))) == 6
    assert 0 < sum(fetched) < 0.1 * n_bytes
    fetched.clear()
    assert next(read_pairs("memory://bucket/long")).flac == noise
    assert sum(fetched) < 0.45 * n_bytes


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://bucket/pears", r"no pairs in this folder(?s:.)*check the address"),
        ("nope://bucket/pairs", r"leads nowhere: Protocol not known: nope"),
        ("github://bucket/pairs", r"leads nowhere"),
        ("far://bucket/pairs", r"a package(?s:.)*not installed(?s:.)*fix: Install farfs"),
    ],
)
def test_a_url_that_leads_nowhere(url: str, says: str) -> None:
    fsspec.register_implementation("far", "farfs.FarFileSystem", clobber=True, errtxt="Install farfs to go there")
    with pytest.raises(DataError, match=says) as caught:
        list(read_pairs(url))
    assert caught.value.where == url


def test_faults_of_shards_elsewhere_name_their_url(bucket: Any) -> None:
    url, second = "memory://bucket/pairs", "/bucket/pairs/pairs-00001.parquet"
    whole = bucket.cat_file(second)
    bucket.pipe_file(second, whole[:-20])
    with pytest.raises(DataError, match="damaged") as caught:
        list(read_pairs(url))
    assert caught.value.where == f"{url}/pairs-00001.parquet"
    bucket.rm(second)
    with pytest.raises(DataError, match="missing, though later") as caught:
        list(read_pairs(url))
    assert caught.value.where == f"{url}/pairs-00001.parquet"


class Refused(Exception):
    """Not an OSError, like those of some file systems."""


@pytest.mark.parametrize("refuses", ["ls", "open"])
def test_a_file_system_that_refuses_is_told_without_a_traceback(
    refuses: str, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Refused("403: not you")

    monkeypatch.setattr(type(bucket), refuses, refuse)
    with pytest.raises(DataError, match="403: not you") as caught:
        list(read_pairs("memory://bucket/pairs"))
    assert str(caught.value.where).startswith("memory://bucket/pairs")


# Generation


def test_pairs_are_what_the_teacher_says(whole: Path) -> None:
    found = list(read_pairs(whole))
    assert len(found) > 8
    by_name = {voice.speaker: voice for voice in voices()}
    for one in found:
        (said,) = teacher().speak([one.text], [by_name[one.speaker]], [one.seed])
        assert said.codes.tolist() == one.codes.tolist()
        assert one.clvp == pytest.approx(said.clvp, abs=1e-5)
        assert one.finished == said.finished
        assert one.teacher == teacher().digest
        torch.testing.assert_close(one.waveform(), said.waveform, atol=1e-3, rtol=0)


def test_no_sentence_and_no_speaker_of_the_test_is_trained_on(whole: Path) -> None:
    train, test = ([p for p in read_pairs(whole) if p.split == split] for split in ("train", "test"))
    assert len(train) > 3
    assert len(test) > 2
    assert not {p.text for p in train} & {p.text for p in test}
    assert "cy" in {p.speaker for p in test}
    assert {p.speaker for p in train} == {"ann", "bob"}
    assert {p.speaker for p in test} & {"ann", "bob"}


def test_a_sentence_is_on_the_same_side_whoever_asks(tmp_path: Path, whole: Path) -> None:
    sides = {p.text: p.split for p in read_pairs(whole)}
    generate(tmp_path, seed=9, held_out_speakers=["ann"], sentences=[text.upper() for text in sides])
    for other in read_pairs(tmp_path):
        (side,) = {side for text, side in sides.items() if text.upper() == other.text}
        assert other.split == side


def test_about_as_many_sentences_are_held_out_as_asked() -> None:
    drawn = [text for text, _ in zip(sentences(1), range(3000), strict=False)]
    share = sum(split_of(text, 0.2) == "test" for text in drawn) / len(drawn)
    assert share == pytest.approx(0.2, abs=0.03)
    assert all(split_of(text, 0.0) == "train" for text in drawn)
    assert all(split_of(text, 1.0) == "test" for text in drawn)
    # A larger share holds out the same sentences and more.
    assert all(split_of(text, 0.3) == "test" for text in drawn if split_of(text, 0.2) == "test")


class Interrupted(Silent):
    """Interrupts, as Ctrl-C would, before a certain waveform is made."""

    def __init__(self, after: int) -> None:
        self.left = after

    def task(self, description: str, total: int, done: int = 0) -> Any:
        if description == "vocoding":
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().task(description, total, done)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_generation_ends_with_the_same_bytes(tmp_path: Path, whole: Path, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, progress=Interrupted(after))
    assert sorted(content(tmp_path)) == [f"pairs-{i:05d}.parquet" for i in range(after)]
    assert len(list(read_pairs(tmp_path)) if after else []) <= after * PER_SHARD
    resumed = generate(tmp_path)
    assert content(tmp_path) == content(whole)
    assert resumed == generate(whole)


def test_a_finished_generation_says_nothing_again(whole: Path) -> None:
    mute = replace(teacher(), gpt=None, clvp=None, diffusion=None, vocoder=None)
    before = content(whole)
    made = generate(whole, mute)
    assert content(whole) == before
    assert made.n_train + made.n_test == len(list(read_pairs(whole)))
    assert made.n_train + made.n_test + made.n_repeated + made.n_silent == N


def test_a_missing_shard_is_made_again(tmp_path: Path, whole: Path) -> None:
    for name, held in content(whole).items():
        if name != "pairs-00001.parquet":
            (tmp_path / name).write_bytes(held)
    generate(tmp_path)
    assert content(tmp_path) == content(whole)


def test_a_larger_generation_begins_with_the_smaller_one(tmp_path: Path, whole: Path) -> None:
    generate(tmp_path, n=6)
    first = content(tmp_path)
    generate(tmp_path)
    assert content(tmp_path)["pairs-00000.parquet"] == first["pairs-00000.parquet"]
    assert content(tmp_path) == content(whole)
    with pytest.raises(DataError, match="more pairs than are asked for"):
        generate(tmp_path, n=6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"speaker": make_teacher(1)}, rf"teacher: {teacher().digest} there, {make_teacher(1).digest} wanted"),
        ({"seed": 4}, "seed: 3 there, 4 wanted"),
        ({"sampling": replace(SAMPLING, temperature=0.5)}, "sampling: .*0.8.* there, .*0.5.* wanted"),
        ({"test_share": 0.3}, "test_share: 0.5 there, 0.3 wanted"),
        ({"held_out_speakers": ["ann"]}, r"held_out_speakers: \['cy'\] there, \['ann'\] wanted"),
        ({"per_shard": 5}, "per_shard: 4 there, 5 wanted"),
        ({"sentences": sentences(1, 8)}, "other sentences"),
        ({"voices": [teacher().voice([hum(99)], "ann"), *voices()[1:]]}, "other recordings of the voices"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_folder_of_something_else_is_refused(whole: Path, change: dict[str, Any], says: str) -> None:
    before = content(whole)
    with pytest.raises(DataError, match=says) as caught:
        generate(whole, **change)
    assert caught.value.where == str(shard_path(whole, 0))
    assert content(whole) == before


def test_a_damaged_shard_stops_the_generation_and_is_named(tmp_path: Path, whole: Path) -> None:
    for name, held in content(whole).items():
        (tmp_path / name).write_bytes(held[:-9] if "2" in name else held)
    with pytest.raises(DataError, match="damaged or cut off") as caught:
        generate(tmp_path)
    assert caught.value.where == str(shard_path(tmp_path, 2))


def test_utterances_of_the_same_tokens_are_kept_once(tmp_path: Path) -> None:
    class Parrot(TortoiseTeacher):
        """Says one of three things, or nothing, whatever it is asked."""

        def speak(self, texts: Sequence[str], voices: Any, seeds: Sequence[int], *_: Any, **__: Any) -> list[Utterance]:
            def say(text: str, speaker: str, seed: int) -> Utterance:
                codes = torch.tensor([[], [1], [1, 1], [11]][seed % 4], dtype=torch.int64)
                return Utterance(text, speaker, codes, torch.zeros(1024 * len(codes)), 22_050, 0.0, True, seed)

            return [say(text, voice.speaker, seed) for text, voice, seed in zip(texts, voices, seeds, strict=True)]

    parrot = Parrot(**vars(teacher()))
    whole = generate(tmp_path / "whole", parrot, n=40)
    kept = list(read_pairs(tmp_path / "whole"))
    assert sorted(p.codes.tolist() for p in kept) == [[1], [1, 1], [11]]
    assert whole.n_train + whole.n_test == 3
    assert whole.n_silent > 3
    assert whole.n_silent + whole.n_repeated == 37
    # What an earlier shard holds is known after an interruption, too.
    generate(tmp_path / "resumed", parrot, n=8)
    assert generate(tmp_path / "resumed", parrot, n=40) == whole
    assert content(tmp_path / "resumed") == content(tmp_path / "whole")


def test_repeated_sentences_are_said_once_a_round_and_by_the_next_voice(tmp_path: Path) -> None:
    said = ["The key was small.", "the key was small", "A tall stranger hid the lamp.", "The key, was small!"]
    generate(tmp_path, sentences=said, held_out_speakers=(), test_share=0.0, n=8, sampling=Sampling(max_tokens=9))
    found = {int(p.id): (p.text, p.speaker) for p in read_pairs(tmp_path)}
    first, second, names = said[0], said[2], [voice.speaker for voice in voices()]
    planned = [(text, names[(turn + again) % 3]) for again in range(4) for turn, text in enumerate((first, second))]
    assert len(found) >= 4
    assert all(planned[number] == row for number, row in found.items())
    assert len({seed.seed for seed in read_pairs(tmp_path)}) == len(found)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"n": 0}, ConfigError, "n = 0"),
        ({"test_share": 1.5}, ConfigError, "test_share = 1.5"),
        ({"voices": [], "held_out_speakers": ()}, ConfigError, "no voices"),
        ({"held_out_speakers": ["ann", "bob", "cy"]}, ConfigError, "no voices to train on"),
        ({"held_out_speakers": ["bop"]}, ConfigError, r"speaker 'bop' \(did you mean 'bob'\?\)"),
        ({"sentences": []}, DataError, "no sentences to say"),
        ({"sentences": ["Fine.", "so " * 500, "so " * 600]}, VqbenchError, "(?s)so so.*so so"),
    ],
    ids=["n", "share", "voices", "all held out", "unknown speaker", "no sentences", "two long sentences"],
)
def test_what_cannot_be_generated_is_said_before(
    tmp_path: Path, change: dict[str, Any], error: type[VqbenchError], says: str
) -> None:
    mute = replace(teacher(), gpt=None, clvp=None, diffusion=None, vocoder=None)
    with pytest.raises(error, match=says):
        generate(tmp_path / "pairs", mute, **change)
    assert not (tmp_path / "pairs").exists()


def test_a_file_of_sentences(tmp_path: Path) -> None:
    path = tmp_path / "sentences.txt"
    path.write_bytes("\ufeffOne.\r\n\n  Two ä.  \n".encode())
    assert read_sentences(path) == ["One.", "Two ä."]
    for broken, says in ((b"\n \n", "no sentences"), (b"\xff\xfe", "not UTF-8")):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=says):
            read_sentences(path)


# Filtering


def scored(folder: Path) -> Path:
    """Ten finished training pairs of rising score, three that are not fit, and two test pairs of bad scores."""
    pairs = [pair(number) for number in range(10)]
    pairs += [pair(10, clvp=99.0, finished=False), pair(11, finished=False), pair(12, finished=False)]
    pairs += [pair(13, split="test", clvp=-5.0), pair(14, split="test", finished=False)]
    random.Random(0).shuffle(pairs)
    return write(folder, pairs, seed=0)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [({"keep": 0.5}, 5), ({"keep": 0.31}, 4), ({"keep": 1.0}, 10), ({"top": 3}, 3), ({"top": 99}, 10)],
)
def test_the_best_training_pairs_and_all_test_pairs_are_kept(tmp_path: Path, asked: dict[str, Any], kept: int) -> None:
    source = scored(tmp_path / "all")
    counted = filter_pairs(source, tmp_path / "best", **asked)
    found = list(read_pairs(tmp_path / "best"))
    assert {p.id for p in found if p.split == "train"} == {f"{n:06d}" for n in range(10 - kept, 10)}
    assert {p.id for p in found if p.split == "test"} == {"000013", "000014"}
    assert (counted.n_train, counted.n_worse, counted.n_unfinished, counted.n_test) == (kept, 10 - kept, 3, 2)
    # As they were, and in their order.
    before = {p.id: p.flac for p in read_pairs(source)}
    assert all(p.flac == before[p.id] for p in found)
    assert [p.id for p in found] == [name for name in before if name in {p.id for p in found}]


def test_a_share_that_is_a_whole_number_of_pairs_keeps_that_many(tmp_path: Path) -> None:
    write(tmp_path / "all", [pair(number) for number in range(100)])
    assert 0.55 * 100 > 55  # in floating point
    assert filter_pairs(tmp_path / "all", tmp_path / "best", keep=0.55).n_train == 55


def test_the_folder_one_stands_in_can_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = scored(tmp_path / "all")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    filter_pairs(source, Path(), keep=0.5)
    assert len(list(read_pairs(tmp_path / "here"))) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "here"]


def test_of_equal_scores_the_earlier_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "all", [pair(number, clvp=1.0) for number in range(4)])
    filter_pairs(tmp_path / "all", tmp_path / "best", top=2)
    assert [p.id for p in read_pairs(tmp_path / "best")] == ["000000", "000001"]


def test_a_filtered_folder_says_so(tmp_path: Path) -> None:
    source = scored(tmp_path / "all")
    filter_pairs(source, tmp_path / "best", keep=0.5)
    filter_pairs(tmp_path / "best", tmp_path / "better", top=1)
    said = json.loads(pq.read_metadata(shard_path(tmp_path / "better", 0)).metadata[b"vqbench"])
    assert said["settings"] == {"seed": 0, "filters": [{"keep": 0.5, "top": None}, {"keep": None, "top": 1}]}


@pytest.mark.parametrize(
    "asked", [{}, {"keep": 0.5, "top": 3}, {"keep": 0.0}, {"keep": 1.5}, {"keep": math.nan}, {"top": 0}], ids=str
)
def test_a_filter_that_means_nothing_is_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be filtered"):
        filter_pairs(scored(tmp_path / "all"), tmp_path / "best", **asked)
    assert not (tmp_path / "best").exists()


def test_a_filter_never_writes_over_anything(tmp_path: Path) -> None:
    source = scored(tmp_path / "all")
    before = content(source)
    with pytest.raises(DataError, match="something already"):
        filter_pairs(source, source, keep=0.5)
    assert content(source) == before


def test_a_filter_that_fails_leaves_nothing(tmp_path: Path) -> None:
    source = scored(tmp_path / "all")
    last = shard_path(source, 3)
    last.write_bytes(last.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        filter_pairs(source, tmp_path / "best", keep=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all"]


def test_nothing_is_left(tmp_path: Path) -> None:
    write(tmp_path / "all", [pair(0, finished=False)])
    with pytest.raises(DataError, match="no pair is left"):
        filter_pairs(tmp_path / "all", tmp_path / "best", keep=0.5)
