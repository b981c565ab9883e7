"""What a run will report as it works, task by task, counted before any of it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from vqbench.audio.mel import MelSpec
from vqbench.config.downstream import ZERO_SHOT
from vqbench.data.manifest import Clip
from vqbench.engine.agreement import TOKEN_RATE_HZ, follows
from vqbench.engine.assignment import Assignment
from vqbench.engine.downstream import find_obstacle
from vqbench.engine.learning import FORETELLING
from vqbench.engine.question import TRUE
from vqbench.engine.runner import Prepared
from vqbench.engine.systems import Candidate, Original, Vocoded
from vqbench.metrics.base import Part
from vqbench.metrics.throughput import n_timings
from vqbench.records.forecast import Work
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.finetune import clips_that_fit, is_held_out

FINETUNE, READING, SPEAKING, PAIRS, SPEED = "finetune", "reading and tokenising speech", "speaking", "pairs", "speed"
LISTENING, HEARING, VOICES, JUDGED = "listening", "hearing tokens", "listening to voices", "listening to speech"

_GIVEN = {"original": Original.gives, "vocoded": Vocoded.gives}


@dataclass(frozen=True)
class Entrant:
    """A candidate as far as it is known before its training.

    Attributes:
        name: its own.
        tokenizer: it, or an untrained one of its size.
        key: two with the same are the same, so that what is known of the one is known of the other.
    """

    name: str
    tokenizer: DVAETokenizer
    key: str


@dataclass(frozen=True)
class Workload:
    """Counts the work of a suite whose cache is empty.

    Attributes:
        ready: the suite.
        entrants: its candidates.
        like: the candidate whose times are taken for everybody's.
        max_tokens: what the teacher's GPT can write at once.
        reference: whose tokens the candidates' are held against; None where the suite names nobody.
        step_share: how long a step of fine-tuning is, as a share of a rehearsed one.
    """

    ready: Prepared
    entrants: Sequence[Entrant]
    like: str
    max_tokens: int
    reference: Entrant | None = None
    step_share: float = 1.0

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """All tasks, in the order of the run."""
        return (*self._agreement(), *self._listening(), *self._downstream(), *self._speed(), *self._intervals())

    @cached_property
    def tuned(self) -> tuple[Entrant, ...]:
        """Those to whom a GPT is tuned, each once."""
        assignment = self.ready.assignment
        if assignment is None:
            return ()
        fit = [one for one in self.entrants if find_obstacle(one.tokenizer, assignment.teacher) is None]
        return tuple({one.key: one for one in reversed(fit)}.values())[::-1]

    @property
    def validates(self) -> bool:
        """Whether some of the speech that the GPTs are tuned on is held out."""
        assignment = self.ready.assignment
        if assignment is None or not assignment.finetune.steps:
            return False
        return any(is_held_out(clip, assignment.finetune.validation_share) for clip in assignment.clips)

    def _of(self, owner: str, stage: str, total: int, share: float = 1.0) -> Work:
        return Work(stage, total, owner, f"{self.like}: {stage}", share)

    def _agreement(self) -> Iterator[Work]:
        question = self.ready.question
        if self.ready.assignment:
            yield Work("listening to enrolment", len(self.ready.assignment.enrolment))
        if question is None:
            return
        if question.natural:
            yield Work("tokenising recordings", len(question.natural))
        like, known = f"{self.like}: {HEARING}", set()
        natural_hz = self.reference.tokenizer.token_rate_hz if self.reference else TOKEN_RATE_HZ
        heard = [("natural", len(question.natural), natural_hz)]
        if (writing := question.writing) is not None:
            yield Work(VOICES, len(writing.voices))
            yield Work(PAIRS, writing.n)
            heard.insert(0, ("pairs", writing.n, TOKEN_RATE_HZ))
            if writing.teacher.tokenizer is not None:
                like = f"{TRUE}: {HEARING}"
                yield Work(HEARING, writing.n, TRUE)
                known.add(("pairs", writing.teacher.tokenizer.digest))
        for one in self.entrants:
            for what, n, rate_hz in heard:
                itself = what == "natural" and one.name == question.reference
                if n and not itself and follows(one.tokenizer, rate_hz) and (what, one.key) not in known:
                    known.add((what, one.key))
                    yield Work(HEARING, n, one.name, like)

    def _listening(self) -> Iterator[Work]:
        n, known = len(self.ready.clips), set()
        for name in self.ready.suite.references:
            if self._is_judged(_GIVEN[name], MelSpec()):
                yield Work(LISTENING, n, name)
        for one in self.entrants:
            if one.key not in known and self._is_judged(Candidate.gives, one.tokenizer.mel_spec):
                known.add(one.key)
                yield self._of(one.name, LISTENING, n)

    def _is_judged(self, gives: frozenset[Part], mel_spec: MelSpec) -> bool:
        return any(group.needs in gives for group in self.ready.groups.of(mel_spec))

    def _downstream(self) -> Iterator[Work]:
        assignment = self.ready.assignment
        if assignment is None:
            return
        n, tuned = len(assignment.lines), {one.name for one in self.tuned}
        if assignment.recordings:
            yield from (Work(JUDGED, n, name) for name in self.ready.suite.references)
        yield from (Work(stage, total, ZERO_SHOT) for stage, total in _utterances(assignment))
        yield Work(JUDGED, n, ZERO_SHOT)
        for one in self.entrants:
            if one.name in tuned:
                yield self._of(one.name, READING, len(training_clips(assignment, one.tokenizer, self.max_tokens)))
                yield self._of(one.name, FINETUNE, assignment.finetune.steps, self.step_share)
                yield from (self._of(one.name, stage, total) for stage, total in _utterances(assignment))
                if assignment.held_out:
                    yield self._of(one.name, FORETELLING, 2 * len(assignment.held_out))
            if find_obstacle(one.tokenizer, assignment.teacher) is None:
                # Of one who is another one by a second name, all rows are known.
                yield self._of(one.name, JUDGED, n, 1.0 if one.name in tuned else 0.0)

    def _speed(self) -> Iterator[Work]:
        if "throughput" in self.ready.suite.metrics:
            yield Work(SPEED, n_timings(self.ready.load) * len(self.entrants), alike=False)

    def _intervals(self) -> Iterator[Work]:
        yield Work("intervals", len(self.ready.specs))


def training_clips(assignment: Assignment, tokenizer: DVAETokenizer, max_tokens: int) -> list[Clip]:
    """What a GPT of so many tokens is tuned on, and validated with."""
    return clips_that_fit(assignment.clips, max_tokens / tokenizer.token_rate_hz)


def _utterances(assignment: Assignment) -> tuple[tuple[str, int], ...]:
    return (VOICES, len(assignment.voices)), (SPEAKING, len(assignment.lines))
