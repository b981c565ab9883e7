"""Token agreement in a run: tokens are written once, every candidate hears their recordings, and matches are counted.

They are written by a teacher's GPT; on recordings, by the suite's reference, or by the teacher's true tokenizer. What a
candidate makes of one recording is cached; floors, ceilings and relabellings depend on all recordings together and are
cheap, so they are counted anew in every run.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import resample
from vqbench.audio.mel import MelSpec
from vqbench.data.recordings import load_clip
from vqbench.engine.cache import content_key
from vqbench.engine.hearing import Encoding, Target, with_distances
from vqbench.engine.plan import Place, Plan
from vqbench.engine.question import TRUE, Question, Writing, pair_id
from vqbench.engine.teachers import listen, new_sentences
from vqbench.errors import CheckpointError, DataError
from vqbench.files import write_text
from vqbench.judging.plausibility import GPT_CODES
from vqbench.metrics.agreement import Codes, Encoded, GptSequence, agreement_columns
from vqbench.progress import Progress, Silent
from vqbench.records.reference import NATURAL, WRITTEN
from vqbench.records.run import CandidateRecord, ClipRecord, Table
from vqbench.stats.columns import columns_of
from vqbench.teachers.tortoise.pair_generation import PAIRS_VERSION, generate_pairs
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.tokens import SAMPLES_PER_TOKEN
from vqbench.threads import computed_on
from vqbench.tokenizers.protocol import MelTokenizer

_WHOLE = "whole"
"""Says in a cached folder how many pairs were made once all of them were."""

TOKEN_RATE_HZ = MelSpec().sample_rate_hz / SAMPLES_PER_TOKEN

_SILENCE_DB = -40.0
"""A token is silent where its samples are so far below the loudest token of its recording."""

_GPT = "the GPT"

_AT_ONCE = 32
"""Recordings that are read and tokenised together."""


@dataclass(frozen=True)
class Truth:
    """Who writes the tokens of recordings.

    Attributes:
        name: what people call it.
        tokenizer: it.
        n_codes: codes that are wanted of the candidates.
    """

    name: str
    tokenizer: MelTokenizer
    n_codes: int


@dataclass(frozen=True)
class AgreementData:
    """What all candidates of a run are held against.

    Attributes:
        question: what was asked for; what the GPT was silent in, or said in the tokens of another, is not in `written`.
        written: what the GPT wrote, with its rendering.
        natural: recordings with the tokens of `truth`.
        unscored: clip id → why a recording has none.
        ceiling: what the true tokenizer hears in each rendering; None where it is not known.
        truth: whose tokens those of recordings are; None where nobody's are known.
    """

    question: Question
    written: tuple[Target, ...]
    natural: tuple[Target, ...]
    unscored: Mapping[str, str]
    ceiling: tuple[Codes, ...] | None
    truth: Truth | None

    @property
    def teacher(self) -> TortoiseTeacher | None:
        """Who wrote; None where no GPT was asked."""
        return self.question.teacher

    @property
    def identity(self) -> dict[str, object]:
        """Group of metrics → who wrote, and how much."""
        found: dict[str, object] = {}
        if self.question.writing is not None:
            teacher, left_out = self.question.writing.teacher, self.question.writing.n - len(self.written)
            who = {"teacher": teacher.name, "digest": teacher.digest}
            found[WRITTEN] = {**who, "utterances": len(self.written), "left_out": left_out}
        if self.question.reference is not None and self.truth is not None:
            found[NATURAL] = {"reference": self.truth.tokenizer.digest}
        return found

    @property
    def clips(self) -> tuple[ClipRecord, ...]:
        """The recordings, as a run lists them, but for those of `data.speech`."""
        written = tuple(target.clip for target in self.written)
        if self.question.clip_set == "speech":
            return written
        records = map(self.question.natural_record, self.question.natural)
        unread = (record for record in records if record.id in self.unscored)
        return (*written, *(target.clip for target in self.natural), *unread)


class Hear(Protocol):
    """Has a tokenizer make something of recordings, as far as that is not known."""

    def __call__(
        self, name: str, tokenizer: MelTokenizer, targets: Sequence[Target], progress: Progress
    ) -> Sequence[Encoding | str]:
        """What it makes of each, or why nothing; `name` is what people call it."""


def truth_of(question: Question, reference: MelTokenizer | None) -> Truth | None:
    """Who writes the tokens of recordings; None where nobody is known who could."""
    teacher = question.teacher
    if reference is not None and question.reference is not None:
        return Truth(question.reference, reference, reference.codebook_size)
    if teacher is not None and teacher.tokenizer is not None:
        return Truth(TRUE, teacher.tokenizer, teacher.vocabulary.n_codes)
    return None


def answer_question(question: Question, truth: Truth | None, hear: Hear, plan: Plan) -> AgreementData:
    """Has the teacher write, and the reference; what was written for the same question before is in the cache.

    Args:
        question: what is asked.
        truth: who writes the tokens of recordings.
        hear: has tokenizers hear.
        plan: where pairs are kept, and who else makes them; shows how far it is.

    Raises:
        VqbenchError: a voice cannot be heard, or the teacher's weights give no speech.
    """
    natural, unscored = _natural(question, truth, hear, plan.progress) if truth else ([], {})
    written = _written(question.writing, plan) if question.writing else []
    true = question.teacher.tokenizer if question.teacher else None
    ceiling = None if true is None else _ceiling(true, written, hear, plan.progress)
    return AgreementData(question, tuple(written), tuple(natural), unscored, ceiling, truth)


def expected_answer(question: Question, truth: Truth | None) -> AgreementData:
    """As many recordings as there may be, for who only counts them: there is nothing in them."""

    def blank(record: ClipRecord) -> Target:
        nothing = np.empty(0, np.int64)
        return Target(
            replace(record, sha256=f"{record.id} to be"),
            torch.empty(0),
            GptSequence("", nothing, nothing.astype(bool), ""),
        )

    n = question.writing.n if question.writing else 0
    written = tuple(blank(ClipRecord(f"{number}", "", 0.0, "")) for number in range(n))
    natural = tuple(blank(question.natural_record(clip)) for clip in question.natural)
    return AgreementData(question, written, natural, {}, None, truth)


@dataclass(frozen=True)
class TargetSet:
    """A group of agreement: the recordings with their tokens, and whose they are."""

    group: str
    targets: Sequence[Target]
    ceiling: Sequence[Codes] | None
    unscored: Mapping[str, str]
    whose: str
    rate_hz: float
    n_codes: int


def asked_of(name: str, data: AgreementData) -> Iterator[TargetSet]:
    """What a candidate is asked: what the GPT wrote, and recordings; nothing where nobody wrote, nor of the reference,
    which would agree with itself, whatever it writes."""
    truth, reference = data.truth, data.question.reference
    if data.teacher is not None and data.written:
        n_codes = data.teacher.vocabulary.n_codes
        yield TargetSet(WRITTEN, data.written, data.ceiling, {}, _GPT, TOKEN_RATE_HZ, n_codes)
    if truth is not None and (data.natural or data.unscored) and name != reference:
        # The target's own tokens are as near as one can come.
        itself = tuple(target.sequence.codes for target in data.natural)
        rate_hz = truth.tokenizer.token_rate_hz
        yield TargetSet(NATURAL, data.natural, itself, data.unscored, reference or _GPT, rate_hz, truth.n_codes)


def unlike(record: CandidateRecord, asked: TargetSet) -> str | None:
    """Why a candidate's codes cannot stand beside those that are asked for, whatever it writes; None where they can."""
    if record.token_rate_hz is None:
        own = f"writes {len(record.streams)} streams of codes" if record.streams else "writes bits and no codes"
        return f"{own}, where {asked.whose} writes one of tokens"
    if not follows(record.token_rate_hz, asked.rate_hz):
        return f"writes {record.token_rate_hz:.2f} tokens a second, where {asked.whose} writes {asked.rate_hz:.2f}"
    return None


def agreement_table(
    record: CandidateRecord, tokenizer: MelTokenizer | None, asked: TargetSet, heard: Sequence[Encoding | str]
) -> Table:
    """How near a candidate came.

    Args:
        record: the candidate's.
        tokenizer: it; None where it is a tokenizer of waveforms, whose codebook nobody sees.
        asked: what.
        heard: what it made of each recording, or why nothing.
    """
    targets = asked.targets
    size = max(asked.n_codes, record.codebook_size or 0)
    places = [place for place, row in enumerate(heard) if isinstance(row, Encoding)]
    scored, made = [targets[place] for place in places], [row for row in heard if isinstance(row, Encoding)]
    if tokenizer is None:
        encoded = [Encoded(row.codes, None, None) for row in made]
    else:
        encoded = with_distances(made, scored, tokenizer, asked.n_codes)
    oracle = None if asked.ceiling is None else [asked.ceiling[place] for place in places]
    reasons = {target.clip.id: row for target, row in zip(targets, heard, strict=True) if isinstance(row, str)}
    return Table(
        candidate=record.name,
        group=asked.group,
        row_ids=tuple(target.clip.id for target in scored),
        columns=columns_of(agreement_columns([target.sequence for target in scored], encoded, oracle, size)),
        constants={
            "codebook_size": float(size),
            "token_rate_hz": record.token_rate_hz or asked.rate_hz,
            GPT_CODES: float(asked.n_codes),
        },
        unscored={**asked.unscored, **reasons},
    )


def follows(own_hz: float, rate_hz: float = TOKEN_RATE_HZ) -> bool:
    """Whether as many tokens a second are written as by the GPT, or by another, so that they stand side by side."""
    return math.isclose(own_hz, rate_hz)


def _ceiling(true: MelTokenizer, written: Sequence[Target], hear: Hear, progress: Progress) -> tuple[Codes, ...]:
    codes = []
    for target, row in zip(written, hear(TRUE, true, written, progress), strict=True):
        if isinstance(row, str):
            raise CheckpointError(f"the teacher's own VQVAE: {row}", where=target.clip.id, expected="finite weights")
        codes.append(row.codes)
    return tuple(codes)


def _written(writing: Writing, plan: Plan) -> list[Target]:
    teacher = writing.teacher
    sentences = new_sentences(writing.sentences, writing.n, writing.seed, "data.pairs.n")
    key = content_key(
        {
            "version": PAIRS_VERSION,
            "teacher": teacher.digest,
            "sampling": asdict(teacher.sampling),
            **computed_on(teacher.device),
            "packages": {package: metadata.version(package) for package in ("torch", "tortoise-tts", "soundfile")},
            "sentences": sentences,
            "voices": [[clip.speaker, clip.sha256] for clip in writing.voices],
            "seed": writing.seed,
        }
    )
    cache, progress = plan.cache, plan.progress
    folder = cache.pairs_folder(key)
    with plan.alone(Place("pairs", key)):
        if not (cache.read and _is_whole(folder)):
            if not cache.read or (folder / _WHOLE).exists():
                shutil.rmtree(folder, ignore_errors=True)  # damaged, or not to be believed
            voices = listen(teacher, writing.voices, progress)
            made = generate_pairs(teacher, sentences, voices, folder, writing.n, writing.seed, progress, test_share=1.0)
            write_text(folder / _WHOLE, str(made.n_test))
    return [
        _target(
            ClipRecord(pair_id(pair.id), "", 0.0, pair.text, None, "pairs"),
            _at_tokenizer_rate(pair.waveform(), pair.sample_rate_hz),
            pair.codes.numpy(),
            SAMPLES_PER_TOKEN,
        )
        for pair in read_pairs(folder)
    ]


def _is_whole(folder: Path) -> bool:
    """Whether all pairs that were made are still there to be read."""
    try:
        n_made = int((folder / _WHOLE).read_text(encoding="utf-8"))
        return sum(1 for _ in read_pairs(folder, waveforms=False)) == n_made
    except (OSError, ValueError, DataError):
        return False


def _natural(question: Question, truth: Truth, hear: Hear, progress: Progress) -> tuple[list[Target], dict[str, str]]:
    """Recordings with their tokens; and clip id → why there are none, of the others."""
    targets: list[Target] = []
    unscored: dict[str, str] = {}
    if not question.natural:
        return targets, unscored
    samples = round(MelSpec().sample_rate_hz / truth.tokenizer.token_rate_hz)
    with progress.task("tokenising recordings", len(question.natural)) as advance:
        for start in range(0, len(question.natural), _AT_ONCE):
            clips, blank = question.natural[start : start + _AT_ONCE], []
            for clip in clips:
                record = question.natural_record(clip)
                try:
                    waveform = load_clip(clip, MelSpec().sample_rate_hz)
                except DataError as error:
                    unscored[record.id] = error.problem
                    continue
                blank.append(_target(record, waveform, np.empty(0, np.int64), samples))
            heard = hear(truth.name, truth.tokenizer, blank, Silent())
            for target, row in zip(blank, heard, strict=True):
                if isinstance(row, str):
                    unscored[target.clip.id] = f"{truth.name}: {row}"
                else:
                    targets.append(_target(target.clip, target.waveform, row.codes, samples))
            advance(len(clips))
    return targets, unscored


def _target(clip: ClipRecord, waveform: Tensor, codes: Codes, samples: int) -> Target:
    """A recording, (N,) at `MelSpec`'s rate, with tokens of so many samples each."""
    digest = hashlib.sha256(waveform.numpy().tobytes() + codes.tobytes()).hexdigest()
    record = replace(clip, sha256=digest, duration_s=len(waveform) / MelSpec().sample_rate_hz)
    return Target(record, waveform, GptSequence(clip.id, codes, _audible(waveform, len(codes), samples), clip.text))


def _audible(waveform: Tensor, n_tokens: int, samples: int) -> np.ndarray:
    """Which tokens' samples are louder than silence: (n_tokens,) bool."""
    padded = torch.nn.functional.pad(waveform, (0, max(0, n_tokens * samples - len(waveform))))
    power = padded[: n_tokens * samples].view(n_tokens, samples).square().mean(1)
    loudest = power.max() if n_tokens else torch.tensor(0.0)
    return (power > loudest * 10 ** (_SILENCE_DB / 10)).numpy()


def _at_tokenizer_rate(waveform: Tensor, rate_hz: int) -> Tensor:
    wanted = MelSpec().sample_rate_hz
    return waveform if rate_hz == wanted else resample(waveform, rate_hz, wanted)
