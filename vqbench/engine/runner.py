"""Runs a suite: its stages in order, then figures, slices and exhibits.

What is measured is cached item by item, so an interrupted run goes on where it stopped, and an unchanged one is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vqbench.config.suite import Suite
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache, Place
from vqbench.engine.executors import open_executor
from vqbench.engine.executors.local import Local
from vqbench.engine.exhibits import Material, keep_exhibits
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Plan
from vqbench.engine.provenance import collect_provenance
from vqbench.engine.stages import measuring
from vqbench.engine.stages.summarising import clips_of
from vqbench.judging.languages import ASSUMED
from vqbench.judging.learning import with_doubts
from vqbench.notes import collected
from vqbench.progress import Progress
from vqbench.records.exhibits import Exhibits
from vqbench.records.run import ClipRecord, Run, SuiteRecord
from vqbench.records.slices import summarise_slices
from vqbench.records.transcripts import Transcript
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer


@dataclass(frozen=True)
class Outcome:
    """A run, and what a person reads, hears and sees beside it.

    Attributes:
        run: its figures.
        transcripts: what was heard.
        exhibits: some clips, as everybody gives them back.
        sounds: their sound files, by name.
    """

    run: Run
    transcripts: tuple[Transcript, ...]
    exhibits: Exhibits
    sounds: Mapping[str, bytes]


def run_suite(
    suite: Suite,
    cache: Cache,
    progress: Progress,
    command: Sequence[str] = (),
    executor: str = "local",
    workers: int | None = None,
) -> Outcome:
    """Measures everything a suite asks for.

    Args:
        suite: what to measure on what.
        cache: where rows and trainings are kept.
        progress: shows how far it is.
        command: what the user typed, for the provenance.
        executor: where missing items are done: `local`, `processes` or `ray`.
        workers: how many there may be; None is one a core, or one a GPU.

    Raises:
        VqbenchError: for rules about figures that are not measured, for clips, candidates and judges that cannot be
            loaded; all faults of a kind at once, and before anything is trained or measured.
    """
    with collected() as notes:
        bench = Bench(suite, cache, progress)
        bench.check()
    provenance = collect_provenance(bench.device, suite.path.parent if suite.path else Path.cwd(), list(command))
    found = Findings()
    plan = Plan(cache, Local(bench, progress), progress)
    first, *others = measuring()
    first.apply(bench, found, plan)
    _train(bench, plan)
    with open_executor(executor, workers, bench, progress) as elsewhere:
        for stage in others:
            stage.apply(bench, found, replace(plan, executor=elsewhere))
    run = _run(bench, found, {**provenance, "notes": notes})
    if run.slices:
        with progress.task("slices", len(run.slices)) as advance:
            run = replace(run, slice_results=summarise_slices(run, advance))
    material = Material(
        bench.systems, bench.system, bench.recording, bench.clips, found.answer, bench.assignment, found.said, plan.once
    )
    exhibits, sounds = keep_exhibits(run, material, suite.exhibits, progress)
    return Outcome(run, found.all_transcripts, exhibits, sounds)


def _train(bench: Bench, plan: Plan) -> None:
    """Trains those who have a recipe; one that another run is at is waited for."""
    for config in bench.asked:
        if (training := bench.training_of(config)) is not None:
            with plan.alone(Place("trainings", training)):
                bench.train(config)


def _run(bench: Bench, found: Findings, provenance: Mapping[str, object]) -> Run:
    suite, assignment = bench.suite, bench.assignment
    clips = clips_of(bench, found)
    judges = {**bench.groups.identities, **(found.answer.identity if found.answer else {})}
    if bench.inquiry is not None:
        judges[bench.inquiry.group.name] = dict(bench.inquiry.group.identity)
    if assignment:
        judges["downstream"] = assignment.identity(found.judges)
    timed = {} if found.conditions is None else {"throughput": found.conditions}
    measured = Run(
        suite=SuiteRecord(
            name=suite.name,
            digest=suite.digest,
            seed=suite.seed,
            gate=bench.rules,
            min_clips=suite.min_clips,
            allow_unscored=suite.allow_unscored,
            inconclusive=suite.inconclusive,
            plausibility=suite.plausibility,
            yardstick=suite.throughput.yardstick,
            reference=bench.reference.name if bench.reference else None,
        ),
        candidates=(*(one.record for one in bench.systems), *((assignment.zero_shot,) if assignment else ())),
        clips=clips,
        metrics=bench.specs,
        tables=found.all_tables,
        results=found.results,
        interval=suite.interval.record(suite.seed),
        provenance={**provenance, **timed, **_assumed(suite, clips), "judges": judges, **_checkpoints(bench)},
        slices=bench.slices(clips),
    )
    return with_doubts(measured)


def _checkpoints(bench: Bench) -> dict[str, dict[str, str]]:
    """How the checkpoints were read that do not say all of themselves; nothing where there is none."""
    teachers = [asked.teacher for asked in (bench.question, bench.assignment) if asked is not None]
    opened = [(f"the teacher {one.name}", one.tokenizer) for one in teachers if one is not None]
    lines = {name: one.loaded for name, one in opened if isinstance(one, DVAETokenizer) and one.loaded}
    lines |= {one.record.name: one.loaded for one in bench.candidates if one.loaded}
    return {"checkpoints": lines} if lines else {}


def _assumed(suite: Suite, clips: Sequence[ClipRecord]) -> dict[str, object]:
    """Of each set of clips that an ASR heard, how many name no language, so that English is assumed."""
    heard = [clip_set for clip_set in ("speech", "downstream") if clip_set in suite.metrics]
    counts = {name: sum(clip.clip_set == name and clip.language is None for clip in clips) for name in heard}
    unnamed = {name: n for name, n in counts.items() if n}
    return {ASSUMED: unnamed} if unnamed else {}
