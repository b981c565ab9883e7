"""Token agreement in a run: what candidates are held against, and how near each comes.

What a candidate makes of one recording is cached; floors, ceilings and relabellings depend on all recordings together
and are cheap, so they are counted anew in every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vqbench.audio.mel import MelSpec
from vqbench.engine.hearing import Encoding, Target, with_distances
from vqbench.engine.question import TRUE, Question
from vqbench.judging.plausibility import GPT_CODES
from vqbench.metrics.agreement import Codes, Encoded, GptSequence, agreement_columns
from vqbench.records.reference import NATURAL, WRITTEN
from vqbench.records.run import CandidateRecord, ClipRecord, Table
from vqbench.stats.columns import columns_of
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.tokens import SAMPLES_PER_TOKEN
from vqbench.tokenizers.protocol import MelTokenizer

TOKEN_RATE_HZ = MelSpec().sample_rate_hz / SAMPLES_PER_TOKEN

_GPT = "the GPT"


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


def truth_of(question: Question, reference: MelTokenizer | None) -> Truth | None:
    """Who writes the tokens of recordings; None where nobody is known who could."""
    teacher = question.teacher
    if reference is not None and question.reference is not None:
        return Truth(question.reference, reference, reference.codebook_size)
    if teacher is not None and teacher.tokenizer is not None:
        return Truth(TRUE, teacher.tokenizer, teacher.vocabulary.n_codes)
    return None


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


def unlike(record: CandidateRecord, whose: str, rate_hz: float) -> str | None:
    """Why a candidate's codes cannot stand beside somebody's, whatever it writes; None where they can."""
    if record.token_rate_hz is None:
        own = f"writes {len(record.streams)} streams of codes" if record.streams else "writes bits and no codes"
        return f"{own}, where {whose} writes one of tokens"
    if not follows(record.token_rate_hz, rate_hz):
        return f"writes {record.token_rate_hz:.2f} tokens a second, where {whose} writes {rate_hz:.2f}"
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
