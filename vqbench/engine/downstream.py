"""What a candidate does to the TorToiSe: the teacher's GPT is tuned on the candidate's tokens, speaks, and is judged.

The tuned GPT, what it said and what the judges made of it are cached apart, each by all that decides it: another judge
hears the same recordings, and a killed run goes on in the middle of a training or among the sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqbench.audio.mel import MelSpec
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.engine.agreement import TOKEN_RATE_HZ, follows
from vqbench.engine.assignment import Assignment, content_of
from vqbench.engine.cache import Cache, content_key
from vqbench.engine.further_judges import further_judges
from vqbench.engine.rows import Row, finite
from vqbench.errors import DataError, VqbenchError, raise_all
from vqbench.judges.asr.recognizer import SpeechRecognizer
from vqbench.judges.protocol import CLIP_SET, Asked, Heard, Judge
from vqbench.judges.speaker.encoder import SpeakerEncoder
from vqbench.judges.voice import Enrolled, SpokenVoice
from vqbench.judges.words import SpokenWords
from vqbench.progress import Progress
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.threads import computed_on, one_thread
from vqbench.tokenizers.protocol import MelTokenizer
from vqbench.training.finetune import GPT_WEIGHTS, finetune_gpt

Embedding = NDArray[np.float32]


def embed_enrolled(clip: Clip, encoder: SpeakerEncoder) -> Embedding | DataError:
    """A recording as the speaker encoder hears it, (256,) float32; or why it has no voice."""
    try:
        with one_thread():
            return encoder.embed(load_clip(clip, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
    except DataError as error:
        return DataError(error.problem, where=f"downstream.enrolment: {clip.path}")


def compared_with(
    assignment: Assignment, embeddings: Sequence[Embedding | DataError]
) -> tuple[tuple[Enrolled, ...], tuple[Clip, ...]]:
    """With whom, and with which recordings, speech is compared.

    Recordings that cannot be read or have no voice are left out, unless the suite names them to be compared with.

    Args:
        assignment: what is to be said.
        embeddings: of its enrolment, in order.

    Raises:
        DataError: one that the suite names is left out (several: ManyErrors), or none is left of a speaker.
    """
    enrolled: list[Enrolled] = []
    compared: list[Clip] = []
    faults: list[VqbenchError] = []
    for clip, found in zip(assignment.enrolment, embeddings, strict=True):
        if isinstance(found, DataError):
            faults.append(found)
        else:
            enrolled.append(Enrolled(clip.speaker or "", clip.sha256, found))
            compared.append(clip)
    lacking = {line.speaker for line in assignment.lines} - {one.speaker for one in enrolled}
    if assignment.named_enrolment or lacking:
        raise_all(faults)
    return tuple(enrolled), tuple(compared)


def choose_judges(
    assignment: Assignment,
    recognizer: SpeechRecognizer,
    encoder: SpeakerEncoder,
    enrolled: Sequence[Enrolled],
    compared: Sequence[Clip],
) -> tuple[Judge, ...]:
    """Who listens.

    Args:
        assignment: what is to be said.
        recognizer: the ASR.
        encoder: tells voices apart.
        enrolled: with whom voices are compared.
        compared: the recordings of these.

    Raises:
        MissingExtraError: the package of a further judge is not installed.
    """
    asked = Asked(CLIP_SET, assignment.teacher, compared, "downstream.judges")
    further = further_judges(assignment.further_judges, asked)
    return SpokenWords(recognizer), SpokenVoice(encoder, enrolled), *further


def lesson_of(digest: str, assignment: Assignment) -> dict[str, object]:
    """All that decides the GPT that is tuned to the candidate of this digest."""
    # Rounding differs between devices and numbers of threads, and with it what is learnt and said.
    return {**assignment.lesson, "tokenizer": digest, **computed_on(assignment.teacher.device)}


def tuning_folder(digest: str, assignment: Assignment, cache: Cache) -> Path:
    """Where the GPT that is tuned to a candidate lies, or grows."""
    lesson = content_key(lesson_of(digest, assignment))
    return cache.training_folder(f"{lesson[:16]}-{assignment.teacher.device.type}")


def tune(tokenizer: MelTokenizer, assignment: Assignment, cache: Cache, progress: Progress) -> Path:
    """The weights of the GPT that is tuned to a candidate; it is tuned only where that was not done before."""
    folder = tuning_folder(tokenizer.digest, assignment, cache)
    config, teacher, clips, seed = assignment.finetune, assignment.teacher, assignment.clips, assignment.seed
    return finetune_gpt(config, teacher, tokenizer, clips, folder, seed, progress)


def tuned_weights(digest: str | None, assignment: Assignment, cache: Cache) -> Path | None:
    """Where the weights lie of the GPT that was tuned to the candidate of this digest; None is the teacher's own."""
    return None if digest is None else tuning_folder(digest, assignment, cache) / GPT_WEIGHTS


def said_by(digest: str | None, assignment: Assignment) -> dict[str, object]:
    """All that decides what somebody says: a teacher tuned to the tokenizer of this digest, or as it is."""
    teacher = assignment.teacher
    return {
        "teacher": teacher.digest,
        "sampling": asdict(teacher.sampling),
        **computed_on(teacher.device),
        "voices": content_of(assignment.voices),
        "lesson": None if digest is None else content_key(lesson_of(digest, assignment)),
    }


def judgement_key(
    judge: Judge,
    text: str,
    speaker: str,
    finished: bool,
    own: str | None,
    language: str,
    whose: Mapping[str, object],
) -> str:
    """Names what a judge makes of an utterance.

    Args:
        judge: who listens.
        text: what is to be said.
        speaker: in whose voice.
        finished: whether it was ended where it should be.
        own: sha256 of the speaker's own recording of the sentence, where there is one.
        language: the code of the sentence's.
        whose: decides the sound.
    """
    return content_key(
        {
            "identity": dict(judge.identity),
            **whose,
            "text": text,
            "speaker": speaker,
            "finished": finished,
            "own": own,
            "language": language,
        }
    )


@one_thread()
def judge_all(judge: Judge, spoken: Sequence[Heard]) -> list[Row]:
    """A row an utterance."""
    return [finite(row) for row in judge.measure(spoken)] if spoken else []


def find_obstacle(tokenizer: MelTokenizer, teacher: TortoiseTeacher) -> str | None:
    """Why a GPT cannot be tuned to a candidate; None where it can."""
    if tokenizer.codebook_size > teacher.vocabulary.n_codes:
        return f"has {tokenizer.codebook_size} codes, where the teacher's GPT can write {teacher.vocabulary.n_codes}"
    if not follows(tokenizer.token_rate_hz):
        return f"writes {tokenizer.token_rate_hz:.2f} tokens a second, where the GPT writes {TOKEN_RATE_HZ:.2f}"
    if tokenizer.mel_spec != MelSpec():
        return "reads another mel than the one by which the GPT is told a voice"
    return None
