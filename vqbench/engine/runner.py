"""Runs a suite: every system renders every clip, every metric group turns renderings into rows, rows become figures.

Rows are cached one clip at a time, so an interrupted run goes on where it stopped and an unchanged one is read, not
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.candidate import Candidate as CandidateConfig
from vqbench.config.suite import Suite
from vqbench.data.corpora import load_clips
from vqbench.data.manifest import Clip
from vqbench.engine.agreement import answer_question, measure_agreement
from vqbench.engine.assignment import Assignment, make_assignment
from vqbench.engine.cache import Cache, content_key
from vqbench.engine.candidates import check_recipes, prepare_candidate
from vqbench.engine.downstream import choose_judges, have_spoken, measure_downstream, measure_recordings
from vqbench.engine.exhibits import Material, check_named, keep_exhibits
from vqbench.engine.further_judges import further_specs
from vqbench.engine.groups import Groups
from vqbench.engine.learning import measure_learning
from vqbench.engine.provenance import choose_device, collect_provenance
from vqbench.engine.question import Question, pose_question
from vqbench.engine.recipes import SourceFinder
from vqbench.engine.rows import Row, clip_record, finite, keep_row, known_row, make_table
from vqbench.engine.systems import Candidate, Original, Recording, System, Vocoded, read_recording
from vqbench.errors import DataError, VqbenchError, raise_all
from vqbench.judges.asr.recognizer import require_languages
from vqbench.judges.protocol import CLIP_SET
from vqbench.judges.voice import SpokenVoice
from vqbench.judges.words import SpokenWords
from vqbench.judging.asked import check_rules
from vqbench.judging.languages import ASSUMED
from vqbench.judging.learning import with_doubts
from vqbench.languages import ENGLISH
from vqbench.metrics.base import MetricGroup, Rendering
from vqbench.metrics.learning import TokenLearning
from vqbench.metrics.throughput import Entrant, Load, Timings, measure_throughput, throughput_specs
from vqbench.notes import collected
from vqbench.progress import Progress
from vqbench.records.exhibits import Exhibits
from vqbench.records.run import ClipRecord, GateRule, IntervalSpec, MetricSpec, Result, Run, Slice, SuiteRecord, Table
from vqbench.records.slices import make_slices, summarise_slices
from vqbench.records.summary import summarise_all
from vqbench.records.transcripts import Transcript
from vqbench.threads import one_thread
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

CLIPS_AT_ONCE = 16
"""Recordings that are rendered and judged together."""


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


@dataclass(frozen=True)
class Prepared:
    """A suite with all that it needs, found and checked; nothing of it is trained or measured yet.

    Attributes:
        suite: what is asked for.
        device: where it is measured.
        groups: its metric groups of recordings, with their judges.
        load: what speed is measured with.
        question: what tokens are held against; None where that is not measured.
        assignment: what everybody is to learn and to say; likewise.
        specs: the figures that there will be.
        rules: what they are held against.
        clips: the recordings of `data.speech`.
        bring: of each candidate in order, what gives its tokenizer; a recipe is trained only then.
        bring_reference: likewise of the suite's reference; None where nothing is held against one.
    """

    suite: Suite
    device: torch.device
    groups: Groups
    load: Load
    question: Question | None
    assignment: Assignment | None
    specs: tuple[MetricSpec, ...]
    rules: tuple[GateRule, ...]
    clips: tuple[Clip, ...]
    bring: tuple[Callable[[], DVAETokenizer], ...]
    bring_reference: Callable[[], DVAETokenizer] | None


def prepare_suite(suite: Suite, cache: Cache, progress: Progress) -> Prepared:
    """Finds and checks all that a suite needs. Arguments and errors as for `run_suite`."""
    reference = suite.reference if "token_agreement" in suite.metrics else None
    alone = () if reference is None or reference in suite.candidates else (reference,)
    asked = (*suite.candidates, *alone)
    check_recipes(asked)
    source = str(suite.path or suite.name)
    device = choose_device(suite.device, source)
    clips = tuple(load_clips(suite.data.speech))
    groups = Groups(suite, device, {clip.language or ENGLISH for clip in clips}, clips)
    load = Load(**suite.throughput.model_dump(exclude={"yardstick"}))
    question = pose_question(suite, device, clips) if "token_agreement" in suite.metrics else None
    opened = question.teacher if question else None
    assignment = make_assignment(suite, device, opened) if "downstream" in suite.metrics else None
    if assignment:
        require_languages(groups.recognizer, assignment.languages)
    specs = (
        *(question.specs if question else ()),
        *groups.specs,
        *(
            (*SpokenWords.specs_for(assignment.languages), *SpokenVoice.specs, *TokenLearning.specs)
            if assignment
            else ()
        ),
        *(further_specs(assignment.further_judges, CLIP_SET) if assignment else ()),
        *(throughput_specs(load) if "throughput" in suite.metrics else ()),
    )
    rules = tuple(GateRule(entry.rule, tuple(entry.candidates), entry.slice) for entry in suite.gate)
    check_named(suite.exhibits.clips, clips, question, assignment, source)
    # What the teacher will write makes no further slices: nobody knows more of it than its text and its length.
    known = (
        *map(_record, clips),
        *(question.natural_records if question else ()),
        *(assignment.records if assignment else ()),
    )
    slices = _slices(suite, assignment, known)
    check_rules(rules, specs, source, [one.name for one in slices])
    bring = _prepare_candidates(asked, cache, device, progress)
    bring_reference = None if reference is None else bring[asked.index(reference)]
    own = bring[: len(suite.candidates)]
    return Prepared(suite, device, groups, load, question, assignment, specs, rules, clips, own, bring_reference)


def _slices(suite: Suite, assignment: Assignment | None, clips: Sequence[ClipRecord]) -> tuple[Slice, ...]:
    """The slices that a suite asks for.

    Args:
        suite: the suite.
        assignment: what is said downstream. It counts by the length of the recording whose sentence it is, since
            everybody takes another time to say it.
        clips: of the run.

    Raises:
        VqbenchError: as `make_slices` does.
    """
    recordings = assignment.recordings if assignment else {}
    lengths = {line: recording.duration_s for line, recording in recordings.items()}
    told = [replace(clip, duration_s=lengths[clip.id]) if clip.id in lengths else clip for clip in clips]
    return make_slices(suite.slices.named, suite.slices.by, told, str(suite.path or suite.name))


def run_suite(suite: Suite, cache: Cache, progress: Progress, command: Sequence[str] = ()) -> Outcome:
    """Measures everything a suite asks for.

    Args:
        suite: what to measure on what.
        cache: where rows and trainings are kept.
        progress: shows how far it is.
        command: what the user typed, for the provenance.

    Raises:
        VqbenchError: for rules about figures that are not measured, for clips, candidates and judges that cannot be
            loaded; all faults of a kind at once, and before anything is trained or measured.
    """
    with collected() as notes:
        ready = prepare_suite(suite, cache, progress)
    device, groups, question, assignment = ready.device, ready.groups, ready.question, ready.assignment
    clips, specs = ready.clips, ready.specs
    provenance = collect_provenance(device, suite.path.parent if suite.path else Path.cwd(), list(command))
    judges = groups.identities
    listeners = assignment and choose_judges(assignment, groups.recognizer, groups.speaker_encoder, cache, progress)
    systems = _systems(ready)

    tables: list[Table] = []
    transcripts: list[Transcript] = []
    written: tuple[ClipRecord, ...] = ()
    records = [system.record for system in systems]

    def keep(measured: Iterable[tuple[Table, list[Transcript]]]) -> None:
        for table, texts in measured:
            tables.append(table)
            transcripts.extend(texts)

    answer = None
    if question:
        answer = answer_question(question, cache, progress, ready.bring_reference and ready.bring_reference())
        written = answer.clips
        for system in systems:
            if isinstance(system, Candidate):
                tables += measure_agreement(system, answer, cache, progress)
        judges |= answer.identity
    for system in systems:
        keep(_measure(system, clips, groups.of(system.mel_spec), cache, progress))
    spoken: dict[str, Path | DataError] = {}
    if assignment and listeners:
        speakers = [(system.record, system.tokenizer) for system in systems if isinstance(system, Candidate)]
        for system in systems:
            if assignment.recordings and not isinstance(system, Candidate):
                keep(measure_recordings(system, assignment, listeners, cache, progress))
        for record, tokenizer in [(assignment.zero_shot, None), *speakers]:
            said = spoken[record.name] = have_spoken(record, tokenizer, assignment, cache, progress)
            keep(measure_downstream(record, said, assignment, listeners, cache, progress))
            if tokenizer is not None:
                tables.append(measure_learning(record, tokenizer, said, assignment, cache, progress))
        judges["downstream"] = assignment.identity(listeners)
        written += (*assignment.records, *assignment.held_out_records)
        records.append(assignment.zero_shot)
    timings = _time(ready, systems, progress) if "throughput" in suite.metrics else None
    if timings is not None:
        tables += timings.tables
        provenance["throughput"] = timings.conditions
    interval = suite.interval.record(suite.seed)
    recordings = (*map(_record, clips), *written)
    measured = Run(
        suite=SuiteRecord(
            name=suite.name,
            digest=suite.digest,
            seed=suite.seed,
            gate=ready.rules,
            min_clips=suite.min_clips,
            allow_unscored=suite.allow_unscored,
            inconclusive=suite.inconclusive,
            plausibility=suite.plausibility,
            yardstick=suite.throughput.yardstick,
            reference=question.reference if question else None,
        ),
        candidates=tuple(records),
        clips=recordings,
        metrics=specs,
        tables=tuple(tables),
        results=tuple(_results(specs, tables, recordings, interval, progress)),
        interval=interval,
        provenance={
            **provenance,
            **_assumed(suite, recordings),
            "notes": notes,
            "judges": judges,
            **_checkpoints(ready, systems),
        },
        slices=_slices(suite, assignment, recordings),
    )
    run = with_doubts(measured)
    if run.slices:
        with progress.task("slices", len(run.slices)) as advance:
            run = replace(run, slice_results=summarise_slices(run, advance))
    material = Material(systems, clips, answer, assignment, spoken)
    exhibits, sounds = keep_exhibits(run, material, suite.exhibits, cache, progress)
    return Outcome(run, tuple(transcripts), exhibits, sounds)


def _checkpoints(ready: Prepared, systems: Sequence[System]) -> dict[str, dict[str, str]]:
    """How the checkpoints were read that do not say all of themselves; nothing where there is none."""
    known = {system.record.name: system.tokenizer for system in systems if isinstance(system, Candidate)}
    teachers = [asked.teacher for asked in (ready.question, ready.assignment) if asked is not None]
    read = [(f"the teacher {one.name}", one.tokenizer) for one in teachers if one is not None] + [*known.items()]
    lines = {name: one.loaded for name, one in read if isinstance(one, DVAETokenizer) and one.loaded}
    return {"checkpoints": lines} if lines else {}


def _time(ready: Prepared, systems: Sequence[System], progress: Progress) -> Timings:
    """Speed of all candidates, on as much speech as is timed."""
    speech = {}
    for spec in {system.mel_spec for system in systems}:
        speech[spec] = readable_waveforms(ready.clips, spec, ready.load.audio_s)
    entrants = [
        Entrant(system.record.name, system.tokenizer, speech[system.mel_spec])
        for system in systems
        if isinstance(system, Candidate) and speech[system.mel_spec]
    ]
    return measure_throughput(entrants, ready.load, ready.device, ready.suite.seed, progress)


def _assumed(suite: Suite, clips: Sequence[ClipRecord]) -> dict[str, object]:
    """Of each set of clips that an ASR heard, how many name no language, so that English is assumed."""
    heard = [clip_set for clip_set in ("speech", "downstream") if clip_set in suite.metrics]
    counts = {name: sum(clip.clip_set == name and clip.language is None for clip in clips) for name in heard}
    unnamed = {name: n for name, n in counts.items() if n}
    return {ASSUMED: unnamed} if unnamed else {}


def _record(clip: Clip) -> ClipRecord:
    return clip_record(clip, clip.id, clip.sha256, clip.duration_s, clip.text or "")


def _prepare_candidates(
    candidates: Sequence[CandidateConfig], cache: Cache, device: torch.device, progress: Progress
) -> tuple[Callable[[], DVAETokenizer], ...]:
    prepared: list[Callable[[], DVAETokenizer]] = []
    faults: list[VqbenchError] = []
    find = SourceFinder(device, progress)
    for config in candidates:
        try:
            prepared.append(prepare_candidate(config, find, cache, device, progress))
        except VqbenchError as error:
            faults.append(error)
    raise_all(faults)
    return tuple(prepared)


def _systems(ready: Prepared) -> list[System]:
    iterations = ready.suite.vocoder.iterations
    vocoder = GriffinLim(MelSpec(), iterations)
    references: dict[str, System] = {"original": Original(MelSpec()), "vocoded": Vocoded(MelSpec(), vocoder)}
    systems = [references[name] for name in ready.suite.references]
    for config, bring in zip(ready.suite.candidates, ready.bring, strict=True):
        tokenizer = bring()
        # A candidate with a front end of its own is vocoded from its own mel.
        own = vocoder if tokenizer.mel_spec == MelSpec() else GriffinLim(tokenizer.mel_spec, iterations)
        systems.append(Candidate(config.name, config.source, tokenizer, own, ready.device, config.family))
    return systems


def _measure(
    system: System, clips: Sequence[Clip], groups: Sequence[MetricGroup], cache: Cache, progress: Progress
) -> Iterator[tuple[Table, list[Transcript]]]:
    """Yields one table a group that has something to say of the system."""
    groups = [group for group in groups if group.needs in system.gives]
    keys = {(group.name, clip.id): _key(system, group, clip) for group in groups for clip in clips}
    rows: dict[tuple[str, str], Row] = {
        place: row for place, key in keys.items() if (row := known_row(cache, place[0], key)) is not None
    }
    missing = [clip for clip in clips if any((group.name, clip.id) not in rows for group in groups)]
    if missing:
        # Clips of like length make short ASR windows and little padding.
        missing.sort(key=lambda clip: clip.duration_s)
        front_end = MelFrontEnd(system.mel_spec)
        with progress.task(f"{system.record.name}: listening", len(missing)) as advance:
            for start in range(0, len(missing), CLIPS_AT_ONCE):
                chunk = missing[start : start + CLIPS_AT_ONCE]
                renderings, errors = _render(system, chunk, front_end)
                for group in groups:
                    fresh = [r for r in renderings if (group.name, r.clip.id) not in rows]
                    with one_thread():
                        measured = [finite(row) for row in group.measure(fresh)]
                    for rendering, row in zip(fresh, measured, strict=True):
                        place = (group.name, rendering.clip.id)
                        rows[place] = row
                        keep_row(cache, group.name, keys[place], row)
                    rows.update({(group.name, clip_id): error for clip_id, error in errors.items()})
                advance(len(chunk))
    for group in groups:
        yield make_table(system.record, group, {clip.id: rows[group.name, clip.id] for clip in clips})


def _render(
    system: System, clips: Sequence[Clip], front_end: MelFrontEnd
) -> tuple[list[Rendering], dict[str, DataError]]:
    recordings: list[Recording] = []
    errors: dict[str, DataError] = {}
    for clip in clips:
        try:
            recordings.append(read_recording(clip, front_end))
        except DataError as error:
            errors[clip.id] = error
    renderings = []
    for recording, rendering in zip(recordings, system.render(recordings), strict=True):
        if isinstance(rendering, DataError):
            errors[recording.clip.id] = rendering
        else:
            renderings.append(rendering)
    return renderings, errors


def _key(system: System, group: MetricGroup, clip: Clip) -> str:
    return content_key(
        {
            "system": system.identity,
            "group": group.name,
            "identity": dict(group.identity),
            "clip": clip.sha256,
            "text": clip.text,
            "language": clip.language or ENGLISH,
            # A decoder is named in there, with its version.
            **({"notes": clip.notes} if clip.notes else {}),
        }
    )


def _results(
    specs: Sequence[MetricSpec],
    tables: Sequence[Table],
    clips: Sequence[ClipRecord],
    interval: IntervalSpec,
    progress: Progress,
) -> Iterator[Result]:
    by_group: dict[str, list[Table]] = {}
    for table in tables:
        by_group.setdefault(table.group, []).append(table)
    with progress.task("intervals", len(specs)) as advance:
        for spec in specs:
            yield from summarise_all([(spec, table) for table in by_group.get(spec.group, [])], clips, interval)
            advance()


def readable_waveforms(clips: Sequence[Clip], mel_spec: MelSpec, enough_s: float) -> list[torch.Tensor]:
    """Clips as (N,) float32 each, in their order, without those that cannot be read, until there are `enough_s`."""
    front_end = MelFrontEnd(mel_spec)
    waveforms: list[torch.Tensor] = []
    missing = enough_s * mel_spec.sample_rate_hz
    for clip in clips:
        if missing <= 0:
            break
        try:
            waveform = read_recording(clip, front_end).waveform
        except DataError:
            continue  # it is named as unscored by every other metric
        waveforms.append(waveform)
        missing -= len(waveform)
    return waveforms
