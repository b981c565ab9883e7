"""Slices: figures of a part of the clips, made from the same rows by the same way as those of all.

A run's slice is a run itself, as if nothing but these clips had been measured: whatever can be done with a run (shown,
compared, judged) can be done with each of its slices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vqbench.errors import ConfigError, ResultError, VqbenchError, did_you_mean, raise_all
from vqbench.records.conditions import FIELDS, Condition, parse_condition, value_of
from vqbench.records.run import ClipRecord, MetricSpec, Result, Run, Slice, Table
from vqbench.records.summary import summarise_all
from vqbench.stats.agreement import FLOORS, OWN, RELABELLED, TARGET, count_floors, count_relabelled
from vqbench.stats.columns import Column, Indices, take, whole_rows

MOST_VALUES = 1000
"""So many values of a field make slices; of more nobody would read."""

LANGUAGE = "language"


def make_slices(
    named: Mapping[str, str], by: Sequence[str], clips: Sequence[ClipRecord], source: str = "slices"
) -> tuple[Slice, ...]:
    """Makes the slices of a run's clips.

    Where the clips of a set are in several languages, each makes a slice of that set, asked for or not: a figure over
    several languages never stands alone.

    Args:
        named: name → condition.
        by: fields of which each value makes a slice.
        clips: of the run.
        source: what asks for them, for errors.

    Returns:
        The named ones, those by value, and those by language; one that holds of no clip is there, too.

    Raises:
        ConfigError: a condition that cannot be read; a field that no clip has; too many values.
        DataError: a column that a condition holds against a number is none.
    """
    conditions = {name: parse_condition(text) for name, text in named.items()}
    _check_fields(conditions, by, clips, source)
    slices = [_of_condition(name, condition, clips) for name, condition in conditions.items()]
    for field in by:
        slices += _by_value(field, clips, source)
    if LANGUAGE not in by:
        spoken: dict[str, set[str]] = {}
        for clip in clips:
            if clip.language is not None:
                spoken.setdefault(clip.clip_set, set()).add(clip.language)
        mixed = {clip_set for clip_set, languages in spoken.items() if len(languages) > 1}
        slices += _by_value(LANGUAGE, [clip for clip in clips if clip.clip_set in mixed], source)
    return tuple(slices)


def summarise_slices(run: Run, done: Callable[[], None] = lambda: None) -> tuple[Result, ...]:
    """The figures of each slice of a run, as a suite of these clips alone would give them.

    Timings have none: their rows are repetitions. Nor has a metric on whose set of clips a slice has nobody.

    Args:
        run: with tables and slices.
        done: is called after each slice.
    """
    results: list[Result] = []
    for one in run.slices:
        results += summarised(narrowed(run, one.clips), one.name)
        done()
    return tuple(results)


def of_slice(run: Run, name: str, label: str = "the run") -> Run:
    """A slice of a run, as a run by itself: its clips, their rows, and their figures.

    Args:
        run: the run.
        name: of one of its slices.
        label: what the run is called, for the error.

    Raises:
        ResultError: the run has no such slice.
    """
    found = next((one for one in run.slices if one.name == name), None)
    if found is None:
        names = [one.name for one in run.slices]
        raise ResultError(
            f"there is no slice {name!r}{did_you_mean(name, names)}",
            where=label,
            expected=f"one of {some_of(names)}" if names else "a run of a suite with `slices:`",
        )
    part = narrowed(run, found.clips)
    figures = tuple(result for result in run.slice_results if result.slice == name)
    return replace(part, metrics=metrics_of_clips(part), results=figures, slices=(found,))


def narrowed(run: Run, clips: Collection[str]) -> Run:
    """A run as if only some of its clips had been measured; it has no timings, and no figures yet.

    Args:
        run: it must outlive what is made of it.
        clips: ids; those that it does not have are passed over.
    """
    kept = frozenset(clips)
    metrics = tuple(spec for spec in run.metrics if spec.resampled == "clip")
    groups = {spec.group for spec in metrics}
    texts = {clip.id: clip.text for clip in run.clips}
    positions: dict[tuple[str, ...], Indices] = {}  # many tables have the same rows

    def narrow(table: Table) -> Table:
        if table.row_ids not in positions:
            found = [row for row, row_id in enumerate(table.row_ids) if row_id in kept]
            positions[table.row_ids] = np.array(found, dtype=np.int64)
        rows = positions[table.row_ids]
        row_ids = tuple(table.row_ids[row] for row in rows)
        return replace(
            table,
            row_ids=row_ids,
            columns=_Rows(table, rows, [texts[row_id] for row_id in row_ids]),
            unscored={clip: why for clip, why in table.unscored.items() if clip in kept},
        )

    return replace(
        run,
        clips=tuple(clip for clip in run.clips if clip.id in kept),
        metrics=metrics,
        tables=tuple(narrow(table) for table in run.tables if table.group in groups),
        results=(),
        slices=(),
        slice_results=(),
    )


def metrics_of_clips(run: Run) -> tuple[MetricSpec, ...]:
    """The metrics on whose set of clips there is anybody."""
    sets = {clip.clip_set for clip in run.clips}
    return tuple(spec for spec in run.metrics if spec.clip_set in sets)


def summarised(part: Run, name: str) -> tuple[Result, ...]:
    """The figures of a run of nothing but a slice's clips, as those of the slice."""
    figures = [
        (spec, table)
        for spec in metrics_of_clips(part)
        for table in part.tables
        if table.group == spec.group and (table.row_ids or table.unscored) and not table.lacks(spec)
    ]
    return tuple(replace(result, slice=name) for result in summarise_all(figures, part.clips, part.interval))


class _Rows(Mapping[str, Column]):
    """Some rows of a table's columns, each taken when it is asked for.

    Columns that depend on all rows together, `FLOORS` and `RELABELLED`, are counted anew.
    """

    def __init__(self, table: Table, rows: Indices, texts: Sequence[str]) -> None:
        self._table, self._rows, self._texts = table, rows, texts
        self._taken: dict[str, Column] = {}
        self._size = int(table.constants.get("codebook_size", 0))
        counted = (
            *(FLOORS if {TARGET, *FLOORS} <= table.columns.keys() else ()),
            *(RELABELLED if {OWN, TARGET, *RELABELLED} <= table.columns.keys() else ()),
        )
        self._counted = frozenset(counted if self._size > 0 else ())

    def __getitem__(self, name: str) -> Column:
        if name not in self._taken:
            if name in self._counted and name in FLOORS:
                self._taken.update(count_floors(whole_rows(self[TARGET]), self._size))
            elif name in self._counted:
                own, target = whole_rows(self[OWN]), whole_rows(self[TARGET])
                self._taken.update(count_relabelled(own, target, self._texts, self._size))
            else:
                self._taken[name] = take(self._table.columns[name], self._rows)
        return self._taken[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.columns)

    def __len__(self) -> int:
        return len(self._table.columns)


def _of_condition(name: str, condition: Condition, clips: Sequence[ClipRecord]) -> Slice:
    members, unknown = [], []
    for clip in clips:
        holds = condition.holds(clip)
        if holds is None:
            unknown.append(clip)
        elif holds:
            members.append(clip.id)
    return Slice(name, condition.text, tuple(members), _lacking(unknown, condition.fields))


def _by_value(field: str, clips: Sequence[ClipRecord], source: str) -> list[Slice]:
    members: dict[str, list[str]] = {}
    unknown = []
    for clip in clips:
        value = value_of(clip, field)
        if value is None:
            unknown.append(clip)
        else:
            members.setdefault(str(value), []).append(clip.id)
    if len(members) > MOST_VALUES:
        raise ConfigError(
            f"{field} has {len(members):,} values, each of which would make a slice",
            where=source,
            expected=f"at most {MOST_VALUES:,}",
        )
    lacking = _lacking(unknown, (field,))
    return [
        Slice(f"{field}={value}", f'{field} == "{value}"', tuple(ids), lacking, field)
        for value, ids in sorted(members.items())
    ]


def _lacking(unknown: Sequence[ClipRecord], fields: Sequence[str]) -> dict[str, dict[str, int]]:
    """Clip set → field → how many lack it, of clips of which nobody knows whether they belong to a slice."""
    counts: dict[str, dict[str, int]] = {}
    for clip in unknown:
        of_set = counts.setdefault(clip.clip_set, {})
        for field in fields:
            if value_of(clip, field) is None:
                of_set[field] = of_set.get(field, 0) + 1
    return counts


def _check_fields(
    conditions: Mapping[str, Condition], by: Sequence[str], clips: Sequence[ClipRecord], source: str
) -> None:
    """Sees to it that some clip has each field: a misspelt one would make an empty slice."""
    columns = dict.fromkeys(name for clip in clips for name in clip.columns)
    known = [*FIELDS, *columns]
    asked = [(name, field) for name, condition in conditions.items() for field in condition.fields]
    errors: list[VqbenchError] = []
    for name, field in [*asked, *(("by", field) for field in by)]:
        if any(value_of(clip, field) is not None for clip in clips):
            continue
        near = "" if field in known else did_you_mean(field, known)
        problem = f"slices.{name}: no clip has a {field}{near}"
        errors.append(ConfigError(problem, where=source, expected=f"one of {some_of(known)}"))
    raise_all(errors)


def some_of(names: Sequence[str], most: int = 20) -> str:
    """The first names of a list that may be long, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
