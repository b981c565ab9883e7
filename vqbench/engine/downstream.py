"""What a candidate does to the TorToiSe: the teacher's GPT is tuned on the candidate's tokens, speaks, and is judged.

The tuned GPT, what it said and what the judges made of it are cached apart, each by all that decides it: another judge
hears the same recordings, and a killed run goes on in the middle of a training or among the sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.engine.agreement import TOKEN_RATE_HZ, follows
from vqbench.engine.assignment import Assignment, content_of
from vqbench.engine.cache import Cache, content_key
from vqbench.engine.further_judges import further_judges
from vqbench.engine.rows import Row, finite, keep_row, known_row, make_table
from vqbench.engine.speaking import Recorded, read_lines, speak_lines
from vqbench.engine.systems import System, read_recording
from vqbench.engine.teachers import listen
from vqbench.errors import DataError, DivergedError, VqbenchError, raise_all
from vqbench.judges.asr.recognizer import SpeechRecognizer
from vqbench.judges.protocol import CLIP_SET, Asked, Heard, Judge
from vqbench.judges.speaker.encoder import SpeakerEncoder
from vqbench.judges.voice import Enrolled, SpokenVoice
from vqbench.judges.words import SpokenWords
from vqbench.languages import ENGLISH
from vqbench.progress import Named, Progress
from vqbench.records.run import CandidateRecord, Table
from vqbench.records.transcripts import Transcript
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.teacher import Teacher
from vqbench.teachers.tortoise.utterance import Voice
from vqbench.threads import computed_on, one_thread
from vqbench.tokenizers.protocol import SpeechTokenizer
from vqbench.training.finetune import finetune_gpt

_AT_ONCE = 16


@dataclass(frozen=True)
class _Utterance:
    """What somebody says of a line, known by all that decides it before it is heard.

    Attributes:
        line_id: of the line.
        text: what is to be said.
        speaker: in whose voice.
        finished: whether it was ended where it should be.
        recording: sha256 of the speaker's own recording of the sentence, where there is one.
        language: the code of the sentence's.
        decides: whose sound it is.
        hear: brings the sound; a DataError says why there is none.
    """

    line_id: str
    text: str
    speaker: str
    finished: bool
    recording: str | None
    language: str
    decides: Mapping[str, object]
    hear: Callable[[], Heard | DataError]

    def key(self, judge: Judge) -> str:
        """Names what a judge makes of it."""
        return content_key(
            {
                "identity": dict(judge.identity),
                **self.decides,
                "text": self.text,
                "speaker": self.speaker,
                "finished": self.finished,
                "own": self.recording,
                "language": self.language,
            }
        )


def choose_judges(
    assignment: Assignment, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, cache: Cache, progress: Progress
) -> tuple[Judge, ...]:
    """Who listens, with the recordings that they compare with.

    Recordings that cannot be read or have no voice are left out, unless the suite names them to be compared with.

    Raises:
        DataError: one that the suite names is left out (several: ManyErrors), or none is left of a speaker.
        MissingExtraError: the package of a further judge is not installed.
    """
    enrolled: list[Enrolled] = []
    compared: list[Clip] = []
    faults: list[VqbenchError] = []
    with progress.task("listening to enrolment", len(assignment.enrolment)) as advance:
        for clip in assignment.enrolment:
            key = content_key({"encoder": dict(encoder.identity), "clip": clip.sha256})
            known = cache.get("enrolled", key)
            try:
                with one_thread():
                    embedding = (
                        encoder.embed(load_clip(clip, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
                        if known is None
                        else np.array(known["embedding"], np.float32)
                    )
            except DataError as error:
                faults.append(DataError(error.problem, where=f"downstream.enrolment: {clip.path}"))
                continue
            if known is None:
                cache.put("enrolled", key, {"embedding": [float(value) for value in embedding]})
            enrolled.append(Enrolled(clip.speaker or "", clip.sha256, embedding))
            compared.append(clip)
            advance()
    lacking = {line.speaker for line in assignment.lines} - {one.speaker for one in enrolled}
    if assignment.named_enrolment or lacking:
        raise_all(faults)
    asked = Asked(CLIP_SET, assignment.teacher, compared, "downstream.judges")
    further = further_judges(assignment.further_judges, asked)
    return SpokenWords(recognizer), SpokenVoice(encoder, enrolled), *further


def have_spoken(
    record: CandidateRecord,
    tokenizer: SpeechTokenizer | None,
    assignment: Assignment,
    cache: Cache,
    progress: Progress,
) -> Path | DataError:
    """Tunes and has spoken, or finds that it was done before.

    Args:
        record: how results name who speaks.
        tokenizer: the candidate; None is the teacher as it is.
        assignment: what to learn and to say.
        cache: where all of it is kept.
        progress: shows how far it is.

    Returns:
        the folder that `read_lines` reads, or why nothing can be spoken.

    Raises:
        VqbenchError: a training clip cannot be read, none is left to train on, or a file is damaged.
    """
    reason = None if tokenizer is None else find_obstacle(tokenizer, assignment.teacher)
    if reason is not None:
        return DataError(reason)
    try:
        return _speak(tokenizer, assignment, cache, Named(progress, record.name))
    except DivergedError as error:
        return DataError(f"the GPT could not be tuned: {error.problem}")


def lesson_of(tokenizer: SpeechTokenizer, assignment: Assignment) -> dict[str, object]:
    """All that decides the GPT that is tuned to a candidate."""
    # Rounding differs between devices and numbers of threads, and with it what is learnt and said.
    return {**assignment.lesson, "tokenizer": tokenizer.digest, **computed_on(assignment.teacher.device)}


def tuning_folder(tokenizer: SpeechTokenizer, assignment: Assignment, cache: Cache) -> Path:
    """Where the GPT that is tuned to a candidate lies, or grows."""
    lesson = content_key(lesson_of(tokenizer, assignment))
    return cache.training_folder(f"{lesson[:16]}-{assignment.teacher.device.type}")


def tune(tokenizer: SpeechTokenizer, assignment: Assignment, cache: Cache, progress: Progress) -> Teacher:
    """The teacher whose GPT is tuned to a candidate; it is tuned only where that was not done before."""
    folder = tuning_folder(tokenizer, assignment, cache)
    config, teacher, clips, seed = assignment.finetune, assignment.teacher, assignment.clips, assignment.seed
    return teacher.tuned(finetune_gpt(config, teacher, tokenizer, clips, folder, seed, progress))


def measure_downstream(
    record: CandidateRecord,
    spoken: Path | DataError,
    assignment: Assignment,
    judges: Sequence[Judge],
    cache: Cache,
    progress: Progress,
) -> Iterator[tuple[Table, list[Transcript]]]:
    """Judges what somebody said; one table a judge, with what was heard.

    Args:
        record: how results name who speaks.
        spoken: what `have_spoken` gave.
        assignment: what was to be said.
        judges: who listens.
        cache: where rows are kept.
        progress: shows how far it is.

    Raises:
        DataError: what was said has been damaged since.
    """
    if isinstance(spoken, DataError):
        for judge in judges:
            yield make_table(record, judge, {line.id: spoken for line in assignment.lines})
        return
    progress = Named(progress, record.name)
    said = ([_spoken(one, assignment) for one in recorded] for recorded in read_lines(spoken, assignment.lines))
    yield from _judge(record, said, assignment, judges, cache, progress)


def measure_recordings(
    system: System, assignment: Assignment, judges: Sequence[Judge], cache: Cache, progress: Progress
) -> Iterator[tuple[Table, list[Transcript]]]:
    """Judges the speakers' own recordings of the sentences, as a reference gives them back.

    Args:
        system: the recordings as they are, or through the vocoder.
        assignment: its sentences are those of recordings.
        judges: who listens.
        cache: where it is kept.
        progress: shows how far it is.
    """
    front_end = MelFrontEnd(system.mel_spec)
    said = [_recorded(line_id, clip, system, front_end) for line_id, clip in assignment.recordings.items()]
    parts = (said[at : at + _AT_ONCE] for at in range(0, len(said), _AT_ONCE))
    yield from _judge(system.record, parts, assignment, judges, cache, Named(progress, system.record.name))


def _spoken(said: Recorded, assignment: Assignment) -> _Utterance:
    recording = assignment.recordings.get(said.line.id)
    own = None if recording is None else recording.sha256
    language = assignment.language_of(said.line.id) or ENGLISH
    spoken = (
        DataError(f"nothing could be spoken: {said.spoken}")
        if isinstance(said.spoken, str)
        else replace(said.spoken, recording=own, language=language)
    )
    finished = isinstance(spoken, Heard) and spoken.finished
    decides = {"recording": said.sha256}
    return _Utterance(said.line.id, said.line.text, said.line.speaker, finished, own, language, decides, lambda: spoken)


def _recorded(line_id: str, clip: Clip, system: System, front_end: MelFrontEnd) -> _Utterance:
    text, speaker, language = clip.text or "", clip.speaker or "", clip.language or ENGLISH

    def hear() -> Heard | DataError:
        try:
            (rendering,) = system.render([read_recording(clip, front_end)])
        except DataError as error:
            return error
        if isinstance(rendering, DataError):
            return rendering
        rate_hz = system.mel_spec.sample_rate_hz
        return Heard(text, speaker, rendering.waveform_hat, rate_hz, recording=clip.sha256, language=language)

    decides = {"recording": clip.sha256, "system": dict(system.identity)}
    return _Utterance(line_id, text, speaker, True, clip.sha256, language, decides, hear)


def _speak(tokenizer: SpeechTokenizer | None, assignment: Assignment, cache: Cache, progress: Progress) -> Path:
    teacher = assignment.teacher
    said_by = {
        "teacher": teacher.digest,
        "sampling": asdict(teacher.sampling),
        **computed_on(teacher.device),
        "voices": content_of(assignment.voices),
        "lesson": None if tokenizer is None else content_key(lesson_of(tokenizer, assignment)),
    }

    def prepare() -> tuple[Teacher, list[Voice]]:
        speaks = teacher if tokenizer is None else tune(tokenizer, assignment, cache, progress)
        return speaks, listen(speaks, assignment.voices, progress)

    return speak_lines(assignment.lines, assignment.k, said_by, prepare, cache, progress)


def _judge(
    record: CandidateRecord,
    said: Iterable[Sequence[_Utterance]],
    assignment: Assignment,
    judges: Sequence[Judge],
    cache: Cache,
    progress: Progress,
) -> Iterator[tuple[Table, list[Transcript]]]:
    """One table a judge, some utterances at a time."""
    rows: dict[str, dict[str, Row]] = {judge.name: {} for judge in judges}
    with progress.task("listening to speech", len(assignment.lines)) as advance:
        for part in said:
            heard: dict[str, Heard | DataError] = {}
            for judge in judges:
                rows[judge.name].update(_rows(judge, part, heard, cache))
            advance(len(part))
    for judge in judges:
        yield make_table(record, judge, rows[judge.name])


@one_thread()
def _rows(
    judge: Judge, part: Sequence[_Utterance], heard: dict[str, Heard | DataError], cache: Cache
) -> dict[str, Row]:
    """A row an utterance; only what is not known is heard, and by all judges together once."""
    rows: dict[str, Row] = {}
    missing: list[tuple[_Utterance, str, Heard]] = []
    for one in part:
        key = one.key(judge)
        row = known_row(cache, judge.name, key)
        if row is None:
            sound = heard.get(one.line_id) or heard.setdefault(one.line_id, one.hear())
            if isinstance(sound, Heard):
                missing.append((one, key, sound))
                continue
            row = sound
        rows[one.line_id] = row
    fresh = judge.measure([sound for _, _, sound in missing]) if missing else []
    for (one, key, _), row in zip(missing, map(finite, fresh), strict=True):
        rows[one.line_id] = row
        keep_row(cache, judge.name, key, row)
    return {one.line_id: rows[one.line_id] for one in part}


def find_obstacle(tokenizer: SpeechTokenizer, teacher: Teacher) -> str | None:
    """Why a GPT cannot be tuned to a candidate; None where it can."""
    if tokenizer.codebook_size > teacher.vocabulary.n_codes:
        return f"has {tokenizer.codebook_size} codes, where the teacher's GPT can write {teacher.vocabulary.n_codes}"
    if not follows(tokenizer):
        return f"writes {tokenizer.token_rate_hz:.2f} tokens a second, where the GPT writes {TOKEN_RATE_HZ:.2f}"
    if tokenizer.mel_spec != MelSpec():
        return "reads another mel than the one by which the GPT is told a voice"
    return None
