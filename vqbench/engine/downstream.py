"""What a candidate does to the TorToiSe: the teacher's GPT is tuned on the candidate's tokens, speaks, and is judged.

The tuned GPT, what it said and what the judges made of it are cached apart, each by all that decides it: another judge
hears the same recordings, and a killed run goes on in the middle of a training or among the sentences.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vqbench.audio.io import load_waveform
from vqbench.audio.mel import MelSpec
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.data.manifest import Clip
from vqbench.data.source import POCKET
from vqbench.downstream import ZERO_SHOT, DownstreamConfig
from vqbench.engine.agreement import TOKEN_RATE_HZ
from vqbench.engine.cache import Cache, content_key
from vqbench.engine.rows import Row, Transcript, make_table, rows_by_content
from vqbench.engine.speaking import Line, Recorded, read_lines, speak_lines
from vqbench.engine.teachers import listen, new_sentences, open_teacher, teacher_voices
from vqbench.errors import DataError, DivergedError, VqbenchError, raise_all
from vqbench.judges.asr import SpeechRecognizer
from vqbench.judges.speaker import SpeakerEncoder
from vqbench.metrics.downstream import CLIP_SET, Enrolled, Spoken, SpokenVoice, SpokenWords
from vqbench.progress import Named, Progress
from vqbench.results.record import CandidateRecord, ClipRecord, Table
from vqbench.suite import Suite
from vqbench.tokenizer.protocol import SpeechTokenizer
from vqbench.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.tortoise.teacher import Teacher
from vqbench.tortoise.utterance import Voice
from vqbench.training.finetune import finetune_gpt, tuned_teacher
from vqbench.training.settings import FinetuneConfig
from vqbench.training.trainer import TRAINER_VERSION

Judges = tuple[SpokenWords, SpokenVoice]


@dataclass(frozen=True)
class Assignment:
    """What everybody is to learn and to say, all of it found and checked, nothing of it done yet.

    Attributes:
        teacher: whose GPT is tuned.
        finetune: how.
        clips: on what.
        voices: recordings that tell the teacher its voices.
        enrolment: recordings of the same speakers that what is spoken is compared with.
        lines: what is said.
        k: tries of the GPT for each, of which CLVP chooses.
        seed: the suite's.
    """

    teacher: Teacher
    finetune: FinetuneConfig
    clips: tuple[Clip, ...]
    voices: tuple[Clip, ...]
    enrolment: tuple[Clip, ...]
    lines: tuple[Line, ...]
    k: int
    seed: int

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
        """What is said, as a run lists it. There is no recording yet, so its sha256 is that of all that is asked."""
        asked = {
            "lesson": self.lesson,
            "sampling": asdict(self.teacher.sampling),
            "voices": _content(self.voices),
            "enrolment": _content(self.enrolment),
            "k": self.k,
        }
        return tuple(
            ClipRecord(line.id, _sha256({**asked, "line": asdict(line)}), 0.0, line.text, line.speaker, CLIP_SET)
            for line in self.lines
        )

    @property
    def zero_shot(self) -> CandidateRecord:
        """The row of the teacher as it is."""
        return CandidateRecord(ZERO_SHOT, "reference", self.teacher.digest, f"the teacher {self.teacher.name} as it is")

    def identity(self, judges: Judges) -> dict[str, object]:
        """Who spoke and who listened, for the provenance."""
        told = {clip.sha256 for clip in self.voices}
        return {
            "teacher": self.teacher.name,
            "digest": self.teacher.digest,
            "steps": self.finetune.steps,
            "training_clips": len(self.clips),
            "k": self.k,
            "enrolment_that_told_the_voices": sum(clip.sha256 in told for clip in self.enrolment),
            "words": dict(judges[0].identity),
            # Which recordings it compared with is too long to be read.
            "voice": {**judges[1].identity, "enrolment": len(self.enrolment)},
        }


def make_assignment(suite: Suite, device: torch.device, opened: Teacher | None) -> Assignment:
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
    clips = [clip for source in config.finetune.data for clip in load_clips(source)]
    raise_all([DataError("the clip has no transcript", where=clip.id) for clip in clips if not clip.text])
    voices = teacher_voices(suite.teacher, config.voices)
    enrolment = _find_enrolment(suite.teacher, config, voices)
    known = [clip.text for clip in clips if clip.text]
    texts = new_sentences(config.sentences, config.n, suite.seed, "downstream.n", known)
    faults: list[VqbenchError] = []
    for text in texts:
        try:
            teacher.encode(text)
        except DataError as error:
            faults.append(error)
    raise_all(faults)
    lines = _lines(texts, _speakers(voices), suite.seed)
    return Assignment(
        teacher, config.finetune, tuple(clips), tuple(voices), tuple(enrolment), tuple(lines), config.k, suite.seed
    )


def choose_judges(
    assignment: Assignment, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, cache: Cache, progress: Progress
) -> Judges:
    """Who listens, with the recordings that they compare with.

    Raises:
        DataError: a recording cannot be read, or has no voice (several: ManyErrors).
    """
    enrolled: list[Enrolled] = []
    faults: list[VqbenchError] = []
    with progress.task("listening to enrolment", len(assignment.enrolment)) as advance:
        for clip in assignment.enrolment:
            key = content_key({"encoder": dict(encoder.identity), "clip": clip.sha256})
            known = cache.get("enrolled", key)
            try:
                embedding = (
                    encoder.embed(load_waveform(clip.path, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
                    if known is None
                    else np.array(known["embedding"], np.float32)
                )
            except DataError as error:
                faults.append(DataError(error.problem, where=f"downstream.enrolment: {clip.path}"))
                continue
            if known is None:
                cache.put("enrolled", key, {"embedding": [float(value) for value in embedding]})
            enrolled.append(Enrolled(clip.speaker or "", clip.sha256, embedding))
            advance()
    raise_all(faults)
    return SpokenWords(recognizer), SpokenVoice(encoder, enrolled)


def measure_downstream(
    record: CandidateRecord,
    tokenizer: SpeechTokenizer | None,
    assignment: Assignment,
    judges: Judges,
    cache: Cache,
    progress: Progress,
) -> Iterator[tuple[Table, list[Transcript]]]:
    """Tunes, has spoken and judges, or finds that it was done before; one table a judge, with what was heard.

    Args:
        record: how results name who speaks.
        tokenizer: the candidate; None is the teacher as it is.
        assignment: what to learn and to say.
        judges: who listens.
        cache: where all of it is kept.
        progress: shows how far it is.

    Raises:
        VqbenchError: a training clip cannot be read, none is left to train on, or a file is damaged.
    """
    progress = Named(progress, record.name)
    rows: dict[str, dict[str, Row]] = {judge.name: {} for judge in judges}
    reason = None if tokenizer is None else _obstacle(tokenizer, assignment.teacher)
    if reason is None:
        try:
            folder = _speak(tokenizer, assignment, cache, progress)
        except DivergedError as error:
            reason = f"the GPT could not be tuned: {error.problem}"
    if reason is None:
        with progress.task("listening", len(assignment.lines)) as advance:
            for recorded in read_lines(folder, assignment.lines):
                for judge in judges:
                    rows[judge.name].update(_judge(judge, recorded, cache))
                advance(len(recorded))
    for judge in judges:
        found = rows[judge.name] if reason is None else {line.id: DataError(reason) for line in assignment.lines}
        yield make_table(record, judge, found)


def _speak(tokenizer: SpeechTokenizer | None, assignment: Assignment, cache: Cache, progress: Progress) -> Path:
    teacher = assignment.teacher
    # Rounding differs between devices, and with it what is learnt and said.
    lesson = {**assignment.lesson, "tokenizer": tokenizer and tokenizer.digest, "device": teacher.device.type}
    said_by = {
        "teacher": teacher.digest,
        "sampling": asdict(teacher.sampling),
        "device": teacher.device.type,
        "voices": _content(assignment.voices),
        "lesson": None if tokenizer is None else content_key(lesson),
    }

    def prepare() -> tuple[Teacher, list[Voice]]:
        speaks = teacher
        if tokenizer is not None:
            folder = cache.training_folder(f"{content_key(lesson)[:16]}-{teacher.device.type}")
            config, clips, seed = assignment.finetune, assignment.clips, assignment.seed
            speaks = tuned_teacher(teacher, finetune_gpt(config, teacher, tokenizer, clips, folder, seed, progress))
        return speaks, listen(speaks, assignment.voices, progress)

    return speak_lines(assignment.lines, assignment.k, said_by, prepare, cache, progress)


def _judge(judge: SpokenWords | SpokenVoice, recorded: Sequence[Recorded], cache: Cache) -> Mapping[str, Row]:
    """One row a line."""
    heard: dict[str, tuple[Spoken, str]] = {}
    for one in recorded:
        if isinstance(one.spoken, Spoken):
            key = {
                "identity": dict(judge.identity),
                "recording": one.sha256,
                "text": one.spoken.text,
                "speaker": one.spoken.speaker,
                "finished": one.spoken.finished,
            }
            heard[one.line.id] = one.spoken, content_key(key)
    spoken, keys = [one for one, _ in heard.values()], [key for _, key in heard.values()]
    rows = dict(zip(heard, rows_by_content(cache, judge.name, spoken, keys, judge.measure), strict=True))
    return {
        one.line.id: DataError(f"nothing could be spoken: {one.spoken}")
        if isinstance(one.spoken, str)
        else rows[one.line.id]
        for one in recorded
    }


def _obstacle(tokenizer: SpeechTokenizer, teacher: Teacher) -> str | None:
    """Why a GPT cannot be tuned to a candidate; None where it can."""
    if tokenizer.codebook_size > teacher.vocabulary.n_codes:
        return f"has {tokenizer.codebook_size} codes, where the teacher's GPT can write {teacher.vocabulary.n_codes}"
    if not math.isclose(tokenizer.token_rate_hz, TOKEN_RATE_HZ):
        return f"writes {tokenizer.token_rate_hz:.2f} tokens a second, where the GPT writes {TOKEN_RATE_HZ:.2f}"
    if tokenizer.mel_spec != MelSpec():
        return "reads another mel than the one by which the GPT is told a voice"
    return None


def _lines(texts: Sequence[str], speakers: Sequence[str], seed: int) -> Iterator[Line]:
    for number, text in enumerate(texts):
        speaker = speakers[number % len(speakers)]
        drawn = hashlib.sha256(f"downstream:{seed}:{number}".encode()).digest()[:6]
        yield Line(f"downstream/{number:04d}-{speaker}", text, speaker, int.from_bytes(drawn, "big"))


def _find_enrolment(teacher: str, config: DownstreamConfig, voices: Sequence[Clip]) -> list[Clip]:
    """Recordings of each voice's speaker; those that told the voice only where there are no others."""
    if config.enrolment is not None:
        clips: Sequence[Clip] = load_clips(config.enrolment)
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


def _content(clips: Sequence[Clip]) -> list[list[str | None]]:
    return [[clip.speaker, clip.sha256] for clip in clips]


def _sha256(content: Mapping[str, object]) -> str:
    return hashlib.sha256(content_key(content).encode()).hexdigest()
