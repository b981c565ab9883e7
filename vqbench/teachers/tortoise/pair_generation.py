"""`vqbench pairs generate`: a teacher says many sentences in many voices, and what it wrote and said is kept.

Which sentence, voice and seed an utterance has follows from its number alone, so an interrupted generation goes on
where it stopped and ends with the same bytes, and a larger one begins with the smaller one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqbench.audio.io import encode_waveform
from vqbench.errors import ConfigError, DataError, did_you_mean, raise_all
from vqbench.files import require_file, require_writable
from vqbench.progress import Progress
from vqbench.teachers.tortoise.pairs import find_shards, require_same_settings, shard_path
from vqbench.teachers.tortoise.sampling import Sampling
from vqbench.teachers.tortoise.shards import Pair, Shard, ShardHeader, Split, write_shard
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Utterance, Voice

TEST_SHARE = 0.1
"""Of all sentences, so much is held out."""

PAIRS_VERSION = 1
"""Raised whenever the same settings would make other pairs."""

_MOST_FAULTS = 100


@dataclass(frozen=True)
class Generated:
    """What a folder holds after `generate_pairs`.

    Attributes:
        n_train: pairs to train on.
        n_test: pairs held out.
        n_repeated: utterances left out because their tokens are another utterance's.
        n_silent: utterances left out because the GPT stopped at once.
    """

    n_train: int
    n_test: int
    n_repeated: int
    n_silent: int


@dataclass(frozen=True)
class Job:
    """One utterance to make; `voice` counts from 0."""

    number: int
    text: str
    voice: int
    split: Split
    seed: int


def generate_pairs(
    teacher: TortoiseTeacher,
    sentences: Iterable[str],
    voices: Sequence[Voice],
    folder: Path,
    n: int,
    seed: int,
    progress: Progress,
    *,
    held_out_speakers: Collection[str] = (),
    test_share: float = TEST_SHARE,
    sampling: Sampling | None = None,
    per_shard: int = 64,
) -> Generated:
    """Makes `n` utterances, in shards that `read_pairs` reads; what is there already is kept.

    A sentence is a test sentence by its own hash: in every folder, by every seed, it is on the same side. Test
    sentences are said by all voices, the others by those that are not held out; so neither a test sentence nor a
    held-out speaker is in `train`. Where the sentences are used up, they are said again by the next voice.

    Args:
        teacher: who says them.
        sentences: what to say, possibly without end; a sentence that came before, but for letter case and punctuation,
            is left out.
        voices: who shall seem to say them.
        folder: for the shards.
        n: utterances, all in all; those that are silent or repeat another's tokens are not kept.
        seed: decides all that is random.
        progress: is told of each shard, and of each step in it.
        held_out_speakers: are in `test` only.
        test_share: of the sentences, held out, in [0, 1].
        sampling: left out, the teacher's own.
        per_shard: utterances a shard.

    Raises:
        ConfigError: there are no voices for a split, a held-out speaker is nobody's, or a number is impossible.
        DataError: there is no sentence, one cannot be encoded (several: ManyErrors), a shard is damaged, nothing can
            be written, or the folder holds pairs of another teacher, of other settings, or more of them.
    """
    if n < 1 or per_shard < 1 or not 0 <= test_share <= 1:
        raise ConfigError(
            f"pairs cannot be made of n = {n}, per_shard = {per_shard}, test_share = {test_share}",
            expected="n and per_shard of at least 1, a share in [0, 1]",
        )
    sampling = sampling or teacher.sampling
    settings = {
        "version": PAIRS_VERSION,
        "teacher": teacher.digest,
        "device": teacher.device.type,
        "seed": seed,
        "sampling": asdict(sampling),
        "test_share": test_share,
        "held_out_speakers": sorted(set(held_out_speakers)),
        "per_shard": per_shard,
    }
    require_writable(shard_path(folder, 0))
    jobs = list(itertools.islice(_plan(sentences, voices, seed, held_out_speakers, test_share), n))
    shards = [jobs[start : start + per_shard] for start in range(0, n, per_shard)]
    whole = _find_whole_shards(folder, shards, voices, settings)
    _check_texts(teacher, jobs)

    seen: set[bytes] = set()
    counts: Counter[str] = Counter()
    n_done = sum(len(shards[index]) for index in whole)
    with progress.task("pairs", n, n_done) as advance:
        for index, shard in enumerate(shards):
            path = shard_path(folder, index)
            if index in whole:
                seen.update(_read_tokens(path))
                counts.update(whole[index])
                continue
            utterances = teacher.speak(
                [job.text for job in shard],
                [voices[job.voice] for job in shard],
                [job.seed for job in shard],
                sampling,
                progress=progress,
            )
            pairs, kinds = _pairs(teacher, shard, utterances, seen)
            counts.update(kinds)
            made = {"jobs": len(shard), "digest": _digest(shard, voices), "counts": dict(kinds)}
            write_shard(path, pairs, ShardHeader(settings, made))
            advance(len(shard))
    return Generated(counts["train"], counts["test"], counts["repeated"], counts["silent"])


def split_of(text: str, test_share: float = TEST_SHARE) -> Split:
    """The side that a sentence is on, whoever says it: by a hash of its words, so it never changes.

    >>> split_of("The old farmer found the key.") == split_of("the old farmer, found the key")
    True
    """
    fraction = int.from_bytes(hashlib.sha256(plain_words(text).encode()).digest()[:8], "big") / 2**64
    return "test" if fraction < test_share else "train"


def pair_name(number: int) -> str:
    """What the pair of a job is called in its folder."""
    return f"{number:06d}"


def held_out_sentences(sentences: Iterable[str], n: int, known: Iterable[str] = ()) -> list[str]:
    """The first `n` different sentences of the split `test` that are not among the known, or as many as there are."""
    found: dict[str, str] = {}
    barred = {plain_words(text) for text in known}
    for text in sentences:
        if len(found) == n:
            break
        if split_of(text) == "test" and plain_words(text) not in barred:
            found.setdefault(plain_words(text), text)
    return list(found.values())


def read_sentences(path: Path) -> list[str]:
    """Reads a text file with one sentence a line; empty lines are left out.

    Raises:
        DataError: no regular file, no UTF-8, or no sentence.
    """
    require_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8 text", where=str(path), fix="save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise DataError("there are no sentences in this file", where=str(path), expected="one sentence a line")
    return found


def plain_words(text: str) -> str:
    """A sentence as it is compared with others: neither case nor punctuation tells two apart.

    >>> plain_words("The old farmer, found!")
    'the old farmer found'
    """
    return re.sub(r"\W+", " ", text.casefold()).strip()


def _plan(
    sentences: Iterable[str],
    voices: Sequence[Voice],
    seed: int,
    held_out_speakers: Collection[str],
    test_share: float,
) -> Iterator[Job]:
    """All utterances in order, without end."""
    speakers = {voice.speaker for voice in voices}
    for name in held_out_speakers:
        if name not in speakers:
            raise ConfigError(
                f"no voice is of the speaker {name!r}{did_you_mean(name, speakers)}",
                where="held-out speakers",
                expected=f"one of {', '.join(sorted(speakers))}",
            )
    voices_of: dict[Split, list[int]] = {
        "train": [i for i, voice in enumerate(voices) if voice.speaker not in held_out_speakers],
        "test": list(range(len(voices))),
    }
    if not voices or not (voices_of["train"] or test_share == 1):
        raise ConfigError("there are no voices to train on", expected="at least one speaker who is not held out")

    numbers = itertools.count()

    def job(text: str, split: Split, turn: int) -> Job:
        number, allowed = next(numbers), voices_of[split]
        drawn = hashlib.sha256(f"{seed}:{number}".encode()).digest()[:6]
        return Job(number, text, allowed[turn % len(allowed)], split, int.from_bytes(drawn, "big"))

    known: set[str] = set()
    n_on: Counter[Split] = Counter()
    rows: list[tuple[str, Split, int]] = []
    for text in sentences:
        if (words := plain_words(text)) not in known:
            known.add(words)
            split = split_of(text, test_share)
            # Counted on each side alone, so that every voice has its share of both.
            rows.append((text, split, n_on[split]))
            n_on[split] += 1
            yield job(*rows[-1])
    if not rows:
        raise DataError("there are no sentences to say", expected="at least one")
    for again in itertools.count(1):
        for text, split, turn in rows:
            yield job(text, split, turn + again)


def _check_texts(teacher: TortoiseTeacher, jobs: Sequence[Job]) -> None:
    """Finds sentences that cannot be said before hours have gone into the others."""
    faults: list[DataError] = []
    for text in dict.fromkeys(job.text for job in jobs):
        try:
            teacher.encode(text)
        except DataError as error:
            faults.append(error)
        if len(faults) == _MOST_FAULTS:
            break
    raise_all(faults)


def _find_whole_shards(
    folder: Path, shards: Sequence[Sequence[Job]], voices: Sequence[Voice], settings: Mapping[str, Any]
) -> dict[int, dict[str, int]]:
    """The shards that are there and hold all that they should → what they count."""
    whole = {}
    for index, path in find_shards(folder).items():
        with Shard(path) as shard:
            header = shard.header
        require_same_settings(header, settings, path)
        n_made, n_wanted = header.shard["jobs"], len(shards[index]) if index < len(shards) else 0
        if n_made > n_wanted:
            raise DataError(
                "the folder holds more pairs than are asked for",
                where=str(path),
                expected=f"{sum(map(len, shards))} utterances in {len(shards)} shards",
                fix="ask for as many, or choose another folder",
            )
        if header.shard["digest"] != _digest(shards[index][:n_made], voices):
            raise DataError(
                "this shard was made of other sentences or other recordings of the voices",
                where=str(path),
                fix="choose another folder, or give the sentences and voices that it was made of",
            )
        if n_made == n_wanted:
            whole[index] = header.shard["counts"]
    return whole


def _pairs(
    teacher: TortoiseTeacher, jobs: Sequence[Job], utterances: Sequence[Utterance], seen: set[bytes]
) -> tuple[list[Pair], Counter[str]]:
    """What is kept, and how many are of each split or left out; `seen` grows by their tokens."""
    pairs: list[Pair] = []
    kinds: Counter[str] = Counter()
    for job, said in zip(jobs, utterances, strict=True):
        tokens = _key(said.codes.tolist())
        if not len(said.codes) or tokens in seen:
            kinds["repeated" if len(said.codes) else "silent"] += 1
            continue
        seen.add(tokens)
        kinds[job.split] += 1
        name = pair_name(job.number)
        flac = encode_waveform(said.waveform, said.sample_rate_hz, f"pair {name}")
        pairs.append(
            Pair(
                id=name,
                text=said.text,
                speaker=said.speaker,
                split=job.split,
                codes=said.codes,
                flac=flac,
                sample_rate_hz=said.sample_rate_hz,
                clvp=said.clvp,
                seed=said.seed,
                finished=said.finished,
                teacher=teacher.digest,
            )
        )
    return pairs, kinds


def _read_tokens(path: Path) -> Iterator[bytes]:
    with Shard(path) as shard:
        for table in shard.tables(["codes"]):
            yield from (_key(codes) for codes in table["codes"].to_pylist())


def _key(codes: Sequence[int]) -> bytes:
    return hashlib.sha256(" ".join(map(str, codes)).encode()).digest()[:16]


def _digest(jobs: Sequence[Job], voices: Sequence[Voice]) -> str:
    rows = [[job.text, voices[job.voice].speaker, voices[job.voice].digest, job.split, job.seed] for job in jobs]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
