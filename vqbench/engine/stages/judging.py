"""Judges listen to what was said, and to recordings of the same sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from vqbench.data.manifest import Clip
from vqbench.engine.bench import CLIPS_AT_ONCE, Bench
from vqbench.engine.cache import Place
from vqbench.engine.downstream import judge_all, judgement_key
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Passing, Plan, Stage, Values, batches_of
from vqbench.engine.rows import Row, make_table, pack_row, unpack_row
from vqbench.engine.sketch import Sketch
from vqbench.engine.speaking import Said, hear_said
from vqbench.engine.stages.enrolling import judges_of
from vqbench.engine.stages.turns import in_turns, parts_of
from vqbench.errors import DataError
from vqbench.judges.protocol import Heard, Judge
from vqbench.languages import ENGLISH
from vqbench.progress import Progress


class Judging(Stage):
    """One item an utterance; its values are the rows of the judges.

    Args:
        found: with whom judges compare what they hear; needed for work alone.
    """

    name = "listening to speech"

    def __init__(self, found: Findings | None = None) -> None:
        self._enrolment = None if found is None else Findings(found.enrolled, found.compared)
        self._judges: tuple[Judge, ...] = () if found is None else found.judges

    def __getstate__(self) -> dict[str, Any]:
        # Judges are chosen anew wherever they listen.
        return {**self.__dict__, "_judges": ()}

    def applies(self, bench: Bench) -> bool:
        """Whether something is said."""
        return bench.assignment is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Recordings of the sentences first, as the references give them back; then what everybody says."""
        recordings = bench.the_assignment.recordings
        references = [one for one in bench.systems if not one.is_candidate] if recordings else []
        of_references = [
            [_recording(sketch, line, clip, found.judges) for line, clip in recordings.items()] for sketch in references
        ]
        items = in_turns(of_references, parts_of(len(recordings), CLIPS_AT_ONCE))
        for name, said in found.said.items():
            if not isinstance(said, DataError):
                own = [_utterance(name, one, bench, found.judges) for one in said]
                items += batches_of(own, CLIPS_AT_ONCE)
        return items

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """With those who were chosen to listen."""
        self.collect(bench, found, plan.carry_out(Judging(found), self.prepare(bench, found)))

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """All utterances of one system together, and each sound for all judges."""
        if not self._judges:
            assert self._enrolment is not None
            self._judges = judges_of(bench, self._enrolment)
        for owner, of_owner in groupby(items, key=lambda item: item.owner):
            own = list(of_owner)
            heard = _hear(owner, own, bench)
            values: dict[str, Values] = {item.id: {} for item in own}
            for judge in self._judges:
                asked = [item.id for item in own if judge.name in item.places]
                values_of = {one: sound for one in asked if isinstance(sound := heard[one], Heard)}
                rows = judge_all(judge, list(values_of.values()))
                for one, row in zip(values_of, rows, strict=True):
                    values[one][judge.name] = row
                for one in asked:
                    if isinstance(sound := heard[one], DataError):
                        values[one][judge.name] = Passing(sound)
            yield [(item, values[item.id]) for item in own]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """A row."""
        return pack_row(value)

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """A row."""
        return unpack_row(entry)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """One table a system and judge."""
        asked = bench.the_assignment
        order = [one.record for one in bench.systems if not one.is_candidate] if asked.recordings else []
        order += [asked.zero_shot, *(sketch.record for sketch in bench.candidates)]
        for record in order:
            said = found.said.get(record.name)
            for judge in found.judges:
                rows: dict[str, Row] = {
                    line.id: said if isinstance(said, DataError) else values[record.name, line.id][judge.name]
                    for line in asked.lines
                }
                found.add("downstream", record.name, *make_table(record, judge, rows))


@dataclass(frozen=True)
class _Recorded:
    """The speaker's own recording of a sentence."""

    clip: Clip


def _recording(sketch: Sketch, line_id: str, clip: Clip, judges: Sequence[Judge]) -> Item:
    whose = {"recording": clip.sha256, "system": dict(sketch.identity)}
    of = (clip.text or "", clip.speaker or "", True, clip.sha256, clip.language or ENGLISH, whose)
    return Item(sketch.record.name, line_id, _places(judges, *of), _Recorded(clip))


def _utterance(name: str, said: Said, bench: Bench, judges: Sequence[Judge]) -> Item:
    line, recording = said.line, bench.the_assignment.recordings.get(said.line.id)
    own, language = recording and recording.sha256, bench.the_assignment.language_of(line.id) or ENGLISH
    finished = said.fault is None and said.finished
    of = (line.text, line.speaker, finished, own, language, {"recording": said.sha256})
    return Item(name, line.id, _places(judges, *of), said)


def _places(judges: Sequence[Judge], *of: Any) -> dict[str, Place]:
    return {judge.name: Place(f"rows-{judge.name}", judgement_key(judge, *of)) for judge in judges}


def _hear(owner: str, items: Sequence[Item], bench: Bench) -> dict[str, Heard | DataError]:
    """The sound of each utterance by its item's id, or why there is none."""
    if isinstance(items[0].content, _Recorded):
        return {item.id: _give_back(owner, item.content.clip, bench) for item in items}
    heard: dict[str, Heard | DataError] = {}
    for shard in dict.fromkeys(item.content.shard for item in items):
        for one in hear_said(shard):
            if isinstance(one.spoken, str):
                heard[one.line.id] = DataError(f"nothing could be spoken: {one.spoken}")
                continue
            recording = bench.the_assignment.recordings.get(one.line.id)
            language = bench.the_assignment.language_of(one.line.id) or ENGLISH
            heard[one.line.id] = replace(
                one.spoken, recording=recording.sha256 if recording else None, language=language
            )
    return heard


def _give_back(owner: str, clip: Clip, bench: Bench) -> Heard | DataError:
    system = bench.system(owner)
    try:
        (rendering,) = system.render([bench.recording(clip, system.mel_spec)])
    except DataError as error:
        return error
    if isinstance(rendering, DataError):
        return rendering
    assert rendering.waveform_hat is not None, "references give waveforms back"
    return Heard(
        clip.text or "",
        clip.speaker or "",
        rendering.waveform_hat,
        system.mel_spec.sample_rate_hz,
        recording=clip.sha256,
        language=clip.language or ENGLISH,
    )
