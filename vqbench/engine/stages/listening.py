"""Every system gives every recording back, and the metric groups measure what they got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from vqbench.data.manifest import Clip
from vqbench.engine.bench import CLIPS_AT_ONCE, Bench
from vqbench.engine.cache import Place, content_key
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Passing, Stage, Values
from vqbench.engine.rows import Row, finite, make_table, pack_row, unpack_row
from vqbench.engine.sketch import Sketch
from vqbench.engine.stages.turns import in_turns, parts_by_length
from vqbench.engine.systems import Recording, System
from vqbench.errors import DataError
from vqbench.languages import ENGLISH
from vqbench.metrics.base import MetricGroup, Rendering
from vqbench.progress import Progress
from vqbench.threads import one_thread

SECONDS_AT_ONCE = 300.0
"""So much speech is held, in all that systems make of it, at once."""


class Listening(Stage):
    """One item a system and recording; its values are the rows of the groups."""

    name = "listening"

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Some recordings of like length at a time, and the systems by turns."""
        # Clips of like length make short ASR windows and little padding.
        clips = sorted(bench.clips, key=lambda clip: clip.duration_s)
        of_systems = []
        for sketch in bench.systems:
            if groups := bench.groups_of(sketch):
                of_systems.append([_item(sketch, groups, clip) for clip in clips])
        parts = parts_by_length([clip.duration_s for clip in clips], CLIPS_AT_ONCE, SECONDS_AT_ONCE)
        return in_turns(of_systems, parts)

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """All recordings of a system together."""
        for owner, of_owner in groupby(items, key=lambda item: item.owner):
            own = list(of_owner)
            system = bench.system(owner)
            renderings, errors = _render(system, [item.content for item in own], bench)
            values: dict[str, Values] = {item.id: {} for item in own}
            for group in bench.groups.of(system.mel_spec):
                asked = {item.id for item in own if group.name in item.places}
                if group.needs not in system.gives or not asked:
                    continue
                fresh = [one for one in renderings if one.clip.id in asked]
                with one_thread():
                    rows = [finite(row) for row in group.measure(fresh)] if fresh else []
                for rendering, row in zip(fresh, rows, strict=True):
                    values[rendering.clip.id][group.name] = row
                for clip in asked & errors.keys():
                    values[clip][group.name] = Passing(errors[clip])
            yield [(item, values[item.id]) for item in own]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """A row."""
        return pack_row(value)

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """A row."""
        return unpack_row(entry)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """One table a system and group that has something to say of it."""
        for sketch in bench.systems:
            name = sketch.record.name
            for group in bench.groups_of(sketch):
                rows: dict[str, Row] = {clip.id: values[name, clip.id][group.name] for clip in bench.clips}
                found.add("recordings", name, *make_table(sketch.record, group, rows))


def _item(sketch: Sketch, groups: Sequence[MetricGroup], clip: Clip) -> Item:
    places = {group.name: Place(f"rows-{group.name}", _key(sketch, group, clip)) for group in groups}
    return Item(sketch.record.name, clip.id, places, clip)


def _key(sketch: Sketch, group: MetricGroup, clip: Clip) -> str:
    return content_key(
        {
            "system": sketch.identity,
            "group": group.name,
            "identity": dict(group.identity),
            "clip": clip.sha256,
            "text": clip.text,
            "language": clip.language or ENGLISH,
            # A decoder is named in there, with its version.
            **({"notes": clip.notes} if clip.notes else {}),
        }
    )


def _render(system: System, clips: Sequence[Clip], bench: Bench) -> tuple[list[Rendering], dict[str, DataError]]:
    recordings: list[Recording] = []
    errors: dict[str, DataError] = {}
    for clip in clips:
        try:
            recordings.append(bench.recording(clip, system.mel_spec))
        except DataError as error:
            errors[clip.id] = error
    renderings = []
    for recording, rendering in zip(recordings, system.render(recordings), strict=True):
        if isinstance(rendering, DataError):
            errors[recording.clip.id] = rendering
        else:
            renderings.append(rendering)
    return renderings, errors
