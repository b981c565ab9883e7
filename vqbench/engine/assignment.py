"""What everybody in a suite is to learn and to say: found and checked before anything is tuned."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch

from vqbench.config.downstream import ZERO_SHOT, DownstreamConfig
from vqbench.config.source import POCKET
from vqbench.config.suite import Suite
from vqbench.config.training import FinetuneConfig
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.data.manifest import Clip
from vqbench.engine.cache import content_key
from vqbench.engine.further_judges import check_further_judges
from vqbench.engine.rows import clip_record
from vqbench.engine.speaking import SpokenLine
from vqbench.engine.teachers import new_sentences, open_teacher, teacher_voices
from vqbench.errors import DataError, VqbenchError, raise_all
from vqbench.judges.protocol import CLIP_SET, Asked, Judge
from vqbench.judging.learning import CLIP_SET as HELD_OUT
from vqbench.judging.learning import GROUP as LEARNING
from vqbench.languages import ENGLISH
from vqbench.metrics.learning import TokenLearning
from vqbench.records.run import CandidateRecord, ClipRecord, Slice
from vqbench.records.slices import make_slices
from vqbench.teachers.tortoise.pair_generation import plain_words
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.training.finetune import is_held_out
from vqbench.training.trainer import TRAINER_VERSION


@dataclass(frozen=True)
class Assignment:
    """What everybody is to learn and to say, all of it found and checked, nothing of it done yet.

    Attributes:
        teacher: whose GPT is tuned.
        finetune: how.
        clips: on what.
        voices: recordings that tell the teacher its voices.
        enrolment: recordings of the same speakers that what is spoken is compared with.
        named_enrolment: whether the suite names them, so that each must be fit for that.
        lines: what is said.
        recordings: of each line the speaker's own recording, by the line's id; none where the sentences are others.
        language: code of that of the sentences which are no recording's; None where nobody says.
        k: tries of the GPT for each, of which CLVP chooses.
        seed: the suite's.
        further_judges: who listens besides those who always do.
    """

    teacher: TortoiseTeacher
    finetune: FinetuneConfig
    clips: tuple[Clip, ...]
    voices: tuple[Clip, ...]
    enrolment: tuple[Clip, ...]
    named_enrolment: bool
    lines: tuple[SpokenLine, ...]
    recordings: Mapping[str, Clip]
    k: int
    seed: int
    further_judges: tuple[str, ...] = ()
    language: str | None = None

    def language_of(self, line_id: str) -> str | None:
        """The code of the language of a line: its recording's, where it has one; None where nobody says."""
        clip = self.recordings.get(line_id)
        return clip.language if clip else self.language

    @property
    def languages(self) -> frozenset[str]:
        """The codes of all languages that are spoken, English where nobody says."""
        return frozenset(self.language_of(line.id) or ENGLISH for line in self.lines)

    @cached_property
    def lesson(self) -> dict[str, object]:
        """All that decides a tuned GPT, besides the tokenizer and the device."""
        # Defaults are left out, so that a setting which is new to vqbench changes no training that does not use it.
        settings = self.finetune.model_dump(mode="json", exclude={"data", "checkpoint_every"}, exclude_defaults=True)
        return {
            "version": TRAINER_VERSION,
            "teacher": self.teacher.digest,
            "settings": settings,
            "clips": content_key({"clips": [[clip.sha256, clip.text, clip.speaker] for clip in self.clips]}),
            "seed": self.seed,
        }

    @property
    def records(self) -> tuple[ClipRecord, ...]:
        """What is said, as a run lists it: everybody says it otherwise, so its sha256 is that of all that is asked."""
        asked = {
            "lesson": self.lesson,
            "sampling": asdict(self.teacher.sampling),
            "voices": content_of(self.voices),
            "enrolment": content_of(self.enrolment),
            "k": self.k,
        }
        return tuple(self._record(line, _sha256({**asked, "line": asdict(line)})) for line in self.lines)

    def _record(self, line: SpokenLine, sha256: str) -> ClipRecord:
        recording = self.recordings.get(line.id)
        if recording is None:
            return ClipRecord(line.id, sha256, 0.0, line.text, line.speaker, CLIP_SET, self.language)
        return clip_record(recording, line.id, sha256, 0.0, line.text, CLIP_SET)

    @cached_property
    def held_out(self) -> dict[str, Clip]:
        """Recordings, by their ids in a run, that no GPT is tuned on, of speakers whose voices are taken.

        They are those of the sentences that are said; where these are others, what the tuning is validated with.
        """
        share, speakers = self.finetune.validation_share, _speakers(self.voices)
        clips = list(self.recordings.values()) or [
            clip for clip in self.clips if clip.speaker in speakers and is_held_out(clip, share)
        ]
        return {f"{HELD_OUT}/{number:04d}-{clip.id}": clip for number, clip in enumerate(clips)}

    @property
    def held_out_records(self) -> tuple[ClipRecord, ...]:
        """The same as a run lists them; another training is another question, so it is in their sha256."""
        asked = {"lesson": self.lesson, "voices": content_of(self.voices)}
        return tuple(
            ClipRecord(
                name,
                _sha256({**asked, "clip": clip.sha256}),
                clip.duration_s,
                clip.text or "",
                clip.speaker,
                HELD_OUT,
                clip.language,
                dict(clip.columns),
            )
            for name, clip in self.held_out.items()
        )

    @property
    def zero_shot(self) -> CandidateRecord:
        """The row of the teacher as it is."""
        return CandidateRecord(ZERO_SHOT, "reference", self.teacher.digest, f"the teacher {self.teacher.name} as it is")

    def identity(self, judges: Sequence[Judge]) -> dict[str, object]:
        """Who spoke and who listened, for the provenance."""
        told = {clip.sha256 for clip in self.voices}
        return {
            "teacher": self.teacher.name,
            "digest": self.teacher.digest,
            "steps": self.finetune.steps,
            "training_clips": len(self.clips),
            "k": self.k,
            "enrolment_that_told_the_voices": sum(clip.sha256 in told for clip in self.enrolment),
            "enrolment": len(self.enrolment),
            # Said under a group's name of its own: it was the same question before this was told.
            LEARNING: {
                **TokenLearning().identity,
                "held_out": len(self.held_out),
                "warmup_steps": self.finetune.warmup_steps,
            },
            **{judge.name: dict(map(_shortened, judge.identity.items())) for judge in judges},
        }


def make_assignment(suite: Suite, device: torch.device, opened: TortoiseTeacher | None) -> Assignment:
    """Finds what a suite asks for.

    Args:
        suite: it has a teacher and a section `downstream`.
        device: where everything runs.
        opened: its teacher, where it is open already.

    Raises:
        VqbenchError: where teacher, voices, sentences or recordings are at fault.
    """
    config = suite.downstream
    assert suite.teacher is not None and config is not None
    teacher = opened or open_teacher(suite.teacher, device)
    check_further_judges(config.judges, Asked(CLIP_SET, teacher, (), "downstream.judges"))
    clips = [clip for source in config.finetune.data for clip in load_clips(source)]
    raise_all([DataError("the clip has no transcript", where=clip.id) for clip in clips if not clip.text])
    voices = teacher_voices(suite.teacher, config.voices)
    known = [clip.text for clip in clips if clip.text]
    speech: list[Clip] = []
    recorded: list[Clip] = []
    if config.sentences is None:
        speech = load_clips(suite.data.speech)
        recorded = _own_sentences(speech, _speakers(voices), config.n, known)
        said = [(clip.id, clip.text or "", clip.speaker or "") for clip in recorded]
    else:
        texts = new_sentences(config.sentences, config.n, suite.seed, "downstream.n", known)
        turns = itertools.cycle(_speakers(voices))
        said = [
            (f"{at:04d}-{speaker}", text, speaker) for at, (text, speaker) in enumerate(zip(texts, turns, strict=False))
        ]
    lines = [_line(suite.seed, number, *one) for number, one in enumerate(said)]
    recordings = {line.id: clip for line, clip in zip(lines, recorded, strict=True)} if recorded else {}
    enrolment = _find_enrolment(suite.teacher, config, voices, speech)
    faults: list[VqbenchError] = []
    for line in lines:
        try:
            teacher.encode(line.text)
        except DataError as error:
            faults.append(error)
    raise_all(faults)
    return Assignment(
        teacher,
        config.finetune,
        tuple(clips),
        tuple(voices),
        tuple(enrolment),
        config.enrolment is not None,
        tuple(lines),
        recordings,
        config.k,
        suite.seed,
        config.judges,
        ENGLISH if config.sentences == POCKET else suite.data.speech.language,
    )


def _shortened(item: tuple[str, object]) -> tuple[str, object]:
    """Which recordings a judge compares with is too long to be read, so that it is told how many they are."""
    key, value = item
    return (key, len(value)) if key in ("enrolment", "recordings") and isinstance(value, list) else item


def _own_sentences(speech: Sequence[Clip], speakers: Sequence[str], n: int, known: Sequence[str]) -> list[Clip]:
    """Recordings whose sentences are said, the speakers taking turns."""
    place, fix = "data.speech", "give downstream `sentences: pocket`, or a text file"
    found = [clip for clip in speech if clip.speaker in speakers and clip.text]
    if len(found) < n:
        problem = f"{len(found)} of {len(speech)} clips have a transcript and a speaker whose voice is taken"
        expected = f"at least the {n} that downstream.n asks for, by {', '.join(speakers)}"
        raise DataError(problem, where=place, expected=expected, fix=fix)
    so_far: Counter[str | None] = Counter()
    turns: dict[str, int] = {}
    for clip in found:
        turns[clip.id] = so_far[clip.speaker]
        so_far[clip.speaker] += 1
    chosen = sorted(found, key=lambda clip: turns[clip.id])[:n]
    barred = {plain_words(text) for text in known}
    if learnt := [clip for clip in chosen if plain_words(clip.text or "") in barred]:
        problem = f"{len(learnt)} sentences are those of downstream.finetune.data, too, e.g. that of {learnt[0].id}"
        raise DataError(problem, where=place, expected="sentences that the GPT is not tuned on", fix=fix)
    return chosen


def _line(seed: int, number: int, name: str, text: str, speaker: str) -> SpokenLine:
    drawn = hashlib.sha256(f"downstream:{seed}:{number}".encode()).digest()[:6]
    return SpokenLine(f"downstream/{name}", text, speaker, int.from_bytes(drawn, "big"))


def _find_enrolment(
    teacher: str, config: DownstreamConfig, voices: Sequence[Clip], speech: Sequence[Clip]
) -> list[Clip]:
    """Recordings of each voice's speaker; those that told the voice only where there are no others."""
    if config.enrolment is not None:
        clips: Sequence[Clip] = load_clips(config.enrolment)
    elif speech:
        clips = speech
    elif teacher == POCKET and config.voices is None:
        clips = corpus_clips("pocket", "test")
    else:
        clips = voices
    speakers, told = _speakers(voices), {clip.sha256 for clip in voices}
    if not any(clip.speaker in speakers for clip in clips):
        raise DataError(
            "no recording is of a speaker whose voice is taken",
            where="downstream.enrolment",
            expected=f"recordings of {', '.join(speakers)}",
        )
    chosen: list[Clip] = []
    for speaker in speakers:
        new = [clip for clip in clips if clip.speaker == speaker and clip.sha256 not in told]
        chosen += new or [clip for clip in voices if clip.speaker == speaker]
    return chosen


def _speakers(voices: Sequence[Clip]) -> list[str]:
    return list(dict.fromkeys(clip.speaker or "" for clip in voices))


def content_of(clips: Sequence[Clip]) -> list[list[str | None]]:
    """Who speaks in recordings, and which they are."""
    return [[clip.speaker, clip.sha256] for clip in clips]


def _sha256(content: Mapping[str, object]) -> str:
    return hashlib.sha256(content_key(content).encode()).hexdigest()


def find_slices(suite: Suite, assignment: Assignment | None, clips: Iterable[ClipRecord]) -> tuple[Slice, ...]:
    """`Bench.slices` of a suite that is not opened."""
    recordings = assignment.recordings if assignment else {}
    lengths = {line: recording.duration_s for line, recording in recordings.items()}
    told = [replace(clip, duration_s=lengths[clip.id]) if clip.id in lengths else clip for clip in clips]
    return make_slices(suite.slices.named, suite.slices.by, told, str(suite.path or suite.name))
