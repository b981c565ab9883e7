"""Stages of a run one at a time, on tokenizers and judges that a test has at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from vqbench.config.downstream import ZERO_SHOT
from vqbench.engine.agreement import AgreementData
from vqbench.engine.assignment import Assignment
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache
from vqbench.engine.downstream import find_obstacle
from vqbench.engine.executors.local import Local
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Plan, Stage
from vqbench.engine.question import Question
from vqbench.engine.sketch import Sketch
from vqbench.engine.stages.answering import Answering
from vqbench.engine.stages.enrolling import Enrolling
from vqbench.engine.stages.hearing import Hearing
from vqbench.engine.stages.judging import Judging
from vqbench.engine.stages.learning import Learning
from vqbench.engine.stages.speaking import Speaking, Voicing
from vqbench.engine.stages.tuning import Tuning
from vqbench.engine.systems import MelCandidate, System
from vqbench.errors import DataError
from vqbench.judges.asr.recognizer import SpeechRecognizer
from vqbench.judges.protocol import Judge
from vqbench.judges.speaker.encoder import SpeakerEncoder
from vqbench.progress import Progress, Silent
from vqbench.records.run import CandidateRecord, Table
from vqbench.records.transcripts import Transcript
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer


class SmallBench(Bench):
    """A bench whose parts are given, not found."""

    def __init__(self, cache: Cache, tokenizers: Mapping[str, DVAETokenizer], **parts: Any) -> None:
        suite = SimpleNamespace(references=(), candidates=(), metrics=(), reference=None)
        given = {"suite": suite, "device": torch.device("cpu"), "question": None, "assignment": None, "systems": ()}
        super().__init__(suite, cache, Silent(), {**given, **parts})  # type: ignore[arg-type]
        self.made, self.given = dict(tokenizers), {}  # type: ignore[var-annotated]

    def tokenizer(self, name: str) -> DVAETokenizer:
        return self.made[name]

    def system(self, name: str) -> System:
        found: System = self.given[name]
        return found


def sketched(record: CandidateRecord, made: DVAETokenizer, assignment: Assignment | None = None) -> Sketch:
    obstacle = find_obstacle(made, assignment.teacher) if assignment else None
    return Sketch(record, made.mel_spec, {"digest": made.digest}, MelCandidate.gives, obstacle)


def answered(question: Question, cache: Cache) -> AgreementData:
    """What the teacher writes, and the true tokenizer of recordings."""
    bench, found = SmallBench(cache, {}, question=question), Findings()
    _run(Answering(), bench, found)
    assert found.answer is not None
    return found.answer


def agreement_of(system: MelCandidate, answer: AgreementData, cache: Cache) -> list[Table]:
    """The tables of a candidate."""
    name = system.record.name
    sketch = sketched(system.record, system.tokenizer)  # type: ignore[arg-type]
    bench = SmallBench(cache, {name: system.tokenizer}, question=answer.question, systems=(sketch,))  # type: ignore[dict-item]
    found = Findings(answer=answer)
    _run(Hearing(), bench, found)
    return found.tables["agreement"].get(name, [])


def judges_for(
    assignment: Assignment, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, cache: Cache
) -> tuple[Judge, ...]:
    """Who listens, with the recordings that they compare with."""
    groups = SimpleNamespace(recognizer=recognizer, speaker_encoder=encoder)
    found = Findings()
    _run(Enrolling(), SmallBench(cache, {}, assignment=assignment, groups=groups), found)
    return found.judges


def spoken_by(
    record: CandidateRecord,
    made: DVAETokenizer | None,
    assignment: Assignment,
    judges: Sequence[Judge],
    cache: Cache,
    progress: Progress,
) -> tuple[list[Table], list[Transcript]]:
    """Has one tuned, and speak, and judged; None is the teacher as it is."""
    systems = () if made is None else (sketched(record, made, assignment),)
    bench = SmallBench(cache, {} if made is None else {record.name: made}, assignment=assignment, systems=systems)
    found = Findings(judges=tuple(judges))
    if made is not None:
        found.said[ZERO_SHOT] = DataError("is not asked")
        bench.__dict__["assignment"] = _without_learning(assignment)
    for stage in (Tuning(), Voicing(), Speaking(), Judging()):
        _run(stage, bench, found, progress)
    return found.tables["downstream"][record.name], found.transcripts["downstream"][record.name]


def judged_recordings(system: System, assignment: Assignment, judges: Sequence[Judge], cache: Cache) -> list[Table]:
    """The speakers' own recordings, as a reference gives them back."""
    name = system.record.name
    sketch = Sketch(system.record, system.mel_spec, system.identity, system.gives)
    bench = SmallBench(cache, {}, assignment=assignment, systems=(sketch,))
    bench.given[name] = system
    found = Findings(judges=tuple(judges), said={ZERO_SHOT: DataError("is not asked")})
    _run(Judging(), bench, found)
    return found.tables["downstream"][name]


def learnt_by(
    record: CandidateRecord,
    made: DVAETokenizer,
    said: DataError | None,
    assignment: Assignment,
    cache: Cache,
    progress: Progress,
) -> Table:
    """Asks the GPT that is tuned to a candidate for its tokens."""
    sketch = sketched(record, made, assignment)
    bench = SmallBench(cache, {record.name: made}, assignment=assignment, systems=(sketch,))
    found = Findings(said={} if said is None else {record.name: said})
    for stage in (Tuning(), Learning()):
        _run(stage, bench, found, progress)
    (table,) = found.tables["downstream"][record.name]
    return table


def _run(stage: Stage, bench: Bench, found: Findings, progress: Progress | None = None) -> None:
    shown = progress or Silent()
    stage.run(bench, found, Plan(bench.cache, Local(bench, shown), shown))


def _without_learning(assignment: Assignment) -> Assignment:
    """The same where nobody asks what was learnt: nothing is held out."""
    made = object.__new__(Assignment)
    made.__dict__.update(assignment.__dict__)
    made.__dict__["held_out"] = {}
    return made
