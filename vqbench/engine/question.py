"""What a suite asks its candidates' tokens to be held against: a teacher's GPT, and on recordings a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from vqbench.config.suite import Suite
from vqbench.data.corpora import load_clips
from vqbench.data.manifest import Clip
from vqbench.engine.rows import clip_record
from vqbench.engine.teachers import open_teacher, teacher_voices
from vqbench.errors import ConfigError
from vqbench.metrics.agreement import AGREEMENT_SPECS
from vqbench.records.reference import NATURAL, WRITTEN
from vqbench.records.run import ClipRecord, MetricSpec
from vqbench.teachers.tortoise.pair_generation import pair_name
from vqbench.teachers.tortoise.teacher import TortoiseTeacher

TRUE = "true tokenizer"
"""What the teacher's own VQVAE is called."""

_NATURAL = (
    *("raw", "floor", "without_silence", "relabelled", "edit_rate"),
    *("top5", "codebook_distance", "mutual_information_share"),
)
"""What is shown of recordings, where a tokenizer's tokens stand in for the GPT's: its ceiling is 1."""


_THE_GPT = re.compile("(the )?GPT")


@dataclass(frozen=True)
class Writing:
    """What a suite's teacher is asked to write, all of it found and checked, nothing of it written yet.

    Attributes:
        teacher: who shall write.
        voices: recordings that tell it the voices.
        sentences: where its sentences come from: `pocket`, or a file.
        n: how many.
        seed: the suite's.
    """

    teacher: TortoiseTeacher
    voices: tuple[Clip, ...]
    sentences: str
    n: int
    seed: int


@dataclass(frozen=True)
class Question:
    """What candidates shall be held against.

    Attributes:
        writing: what the teacher is asked to write; None where no GPT is.
        natural: recordings for the reference, or for the true tokenizer; none where nobody is asked.
        reference: the suite's, by name; None where it has none.
        clip_set: which clips of the run the recordings are: `speech` where they are those of `data.speech`.
        device: where all of it is heard.
    """

    writing: Writing | None
    natural: tuple[Clip, ...]
    reference: str | None
    clip_set: Literal["natural", "speech"]
    device: torch.device

    @property
    def teacher(self) -> TortoiseTeacher | None:
        """Who writes."""
        return self.writing.teacher if self.writing else None

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures that will be had."""
        natural = natural_specs(self.reference, self.clip_set) if self.natural else ()
        return (*(AGREEMENT_SPECS if self.writing else ()), *natural)

    @property
    def clip_ids(self) -> Iterator[str]:
        """What the clips will be called, those among them that the GPT will be silent in."""
        yield from (pair_id(pair_name(number)) for number in range(self.writing.n if self.writing else 0))
        yield from (self.natural_record(clip).id for clip in self.natural)

    def natural_record(self, clip: Clip) -> ClipRecord:
        """A recording as a run lists it, before it is read."""
        clip_id = f"natural/{clip.id}" if self.clip_set == "natural" else clip.id
        return clip_record(clip, clip_id, "", clip.duration_s, clip.text or clip.id, self.clip_set)

    @property
    def natural_records(self) -> tuple[ClipRecord, ...]:
        """The recordings, as far as they are known before anybody has heard them, that are not `data.speech`'s."""
        return tuple(map(self.natural_record, self.natural)) if self.clip_set == "natural" else ()


def natural_specs(reference: str | None, clip_set: str) -> tuple[MetricSpec, ...]:
    """The figures on recordings.

    Args:
        reference: whose tokens stand in for the GPT's; None where they are the true tokenizer's.
        clip_set: which clips of the run the recordings are.
    """

    def described(text: str) -> str:
        return f"{text}; {TRUE} for GPT, recordings" if reference is None else _THE_GPT.sub(lambda _: reference, text)

    return tuple(
        replace(
            spec,
            name=f"{NATURAL}.{spec.name.split('.')[1]}",
            group=NATURAL,
            description=described(spec.description),
            headline=spec.name == f"{WRITTEN}.raw",
            clip_set=clip_set,
            floor=spec.floor and f"{NATURAL}.floor",
            ceiling=None,
        )
        for spec in AGREEMENT_SPECS
        if spec.name.split(".")[1] in _NATURAL
    )


def pose_question(suite: Suite, device: torch.device, speech: Sequence[Clip]) -> Question:
    """Opens the teacher and finds its voices and the recordings.

    Args:
        suite: what is asked for.
        device: where all of it is heard.
        speech: the recordings of `data.speech`.

    Raises:
        VqbenchError: where teacher, voices, sentences or recordings are at fault.
    """
    config, writing = suite.data.pairs, None
    if config is not None:
        assert suite.teacher is not None
        teacher, voices = open_teacher(suite.teacher, device), tuple(teacher_voices(suite.teacher, config.voices))
        writing = Writing(teacher, voices, config.sentences, config.n, suite.seed)
    natural: tuple[Clip, ...] = ()
    if suite.data.natural is not None:
        if suite.reference is None and (writing is None or writing.teacher.tokenizer is None):
            raise ConfigError(
                "data.natural: the true VQVAE of this teacher is not known, so its tokens of recordings are not either",
                where=str(suite.path or suite.name),
                fix="put dvae.pth into the teacher's folder, name a `reference`, or leave data.natural out",
            )
        natural = tuple(load_clips(suite.data.natural))
    elif suite.reference is not None:
        natural = tuple(speech)
    clip_set: Literal["natural", "speech"] = "speech" if suite.data.natural is None else "natural"
    reference = None if suite.reference is None else suite.reference.name
    return Question(writing, natural, reference, clip_set, device)


def pair_id(name: str) -> str:
    """What a pair is called in the run."""
    return f"pairs/{name}"
