"""What must hold between the parts of a run, whoever made it: the engine before it writes, the store after it reads.

A figure that is not finite never gets into a table: whoever measures names that clip in `unscored`, with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vqbench.errors import ResultError, did_you_mean, raise_all
from vqbench.results.record import Cell, ClipRecord, MetricSpec, Run, Table
from vqbench.stats.reductions import REDUCTIONS


def check_table(spec: MetricSpec, table: Table) -> None:
    """Sees to it that a metric can be reduced from a table.

    Raises:
        ResultError: an unknown reduction, a missing column or constant, columns of another length than the rows, a cell
            that is not finite or of the wrong kind, a code outside the codebook. All faults at once.
    """
    raise_all(list(_faults_of_metric(spec, table)))


def check_run(run: Run) -> None:
    """Sees to it that a run is whole and agrees with itself.

    Raises:
        ResultError: names used twice; tables and results of unknown candidates, groups or metrics; rows of unknown
            clips; clips that are neither scored nor unscored; what `check_table` finds. All faults at once.
    """
    raise_all(list(_faults_of_run(run)))


def _faults_of_run(run: Run) -> Iterator[ResultError]:
    candidates = [candidate.name for candidate in run.candidates]
    metrics = {spec.name: spec for spec in run.metrics}
    groups = {spec.group for spec in run.metrics}
    yield from _twice("candidates", candidates)
    yield from _twice("clips", (clip.id for clip in run.clips))
    yield from _twice("metrics", (spec.name for spec in run.metrics))
    yield from _twice("tables", (f"{table.candidate} / {table.group}" for table in run.tables))
    yield from _twice("results", (f"{result.candidate} / {result.metric}" for result in run.results))
    for table in run.tables:
        yield from _unknown("candidate", table.candidate, candidates, f"table {table.group}")
        yield from _unknown("group", table.group, groups, f"table of {table.candidate}")
        sets = {spec.clip_set for spec in run.metrics if spec.group == table.group and spec.resampled == "clip"}
        if sets:
            yield from _faults_of_clips(table, [clip for clip in run.clips if clip.clip_set in sets])
    for result in run.results:
        yield from _unknown("candidate", result.candidate, candidates, "results")
        yield from _unknown("metric", result.metric, metrics, f"results of {result.candidate}")
    for spec in run.metrics:
        for table in run.tables:
            if table.group == spec.group:
                yield from _faults_of_metric(spec, table)


def _faults_of_clips(table: Table, clips: Sequence[ClipRecord]) -> Iterator[ResultError]:
    known = {clip.id for clip in clips}
    scored, unscored = set(table.row_ids), set(table.unscored)
    for fault, ids in (
        ("has rows of unknown clips", (scored | unscored) - known),
        ("has clips that are both scored and unscored", scored & unscored),
        ("says nothing of some clips, neither a row nor why there is none", known - scored - unscored),
    ):
        if ids:
            yield ResultError(f"{fault}: {_some(sorted(ids))}", where=_place(table))


def _faults_of_metric(spec: MetricSpec, table: Table) -> Iterator[ResultError]:
    reduction = REDUCTIONS.get(spec.reduction)
    if reduction is None:
        near = did_you_mean(spec.reduction, REDUCTIONS)
        yield ResultError(
            f"unknown reduction {spec.reduction!r}{near}",
            where=f"metric {spec.name}",
            expected=f"one of {', '.join(REDUCTIONS)}",
        )
        return
    if len(spec.columns) != reduction.n_columns:
        yield ResultError(
            f"names {len(spec.columns)} columns, but {spec.reduction} takes {reduction.n_columns}",
            where=f"metric {spec.name}",
        )
        return
    if reduction.cell == "codes" and spec.resampled != "clip":
        yield ResultError("codes are counted over clips, not over repetitions", where=f"metric {spec.name}")
    yield from _twice(f"{_place(table)}, rows", table.row_ids)
    yield from _faults_of_constants(table, reduction.constants)
    for name in spec.columns:
        column = table.columns.get(name)
        where = f"{_place(table)}, column {name}"
        if column is None:
            near = did_you_mean(name, table.columns)
            yield ResultError(f"the column that {spec.name} reduces is missing{near}", where=where)
        elif len(column) != len(table.row_ids):
            yield ResultError(f"has {len(column)} cells for {len(table.row_ids)} rows", where=where)
        elif reduction.cell == "codes":
            yield from _faults_of_codes(table, column, where)
        elif reduction.cell in ("scores", "vectors"):
            yield from _faults_of_scores(table, column, where)
            if reduction.cell == "vectors" and len({len(cell) for cell in column if isinstance(cell, tuple)}) > 1:
                yield ResultError("holds vectors of several lengths", where=where)
        else:
            yield from _faults_of_numbers(table, column, where)


def _faults_of_constants(table: Table, names: Sequence[str]) -> Iterator[ResultError]:
    for name in names:
        value = table.constants.get(name)
        if value is None or not math.isfinite(value) or value <= 0:
            came = "is missing" if value is None else f"is {value}"
            yield ResultError(f"the constant {name} {came}", where=_place(table), expected="a number above 0")


def _faults_of_numbers(table: Table, column: Sequence[Cell], where: str) -> Iterator[ResultError]:
    for row_id, cell in zip(table.row_ids, column, strict=True):
        if isinstance(cell, tuple) or not math.isfinite(cell):
            yield ResultError(
                f"row {row_id} holds {'a list' if isinstance(cell, tuple) else cell}",
                where=where,
                expected="a finite number",
                fix="a clip that cannot be scored belongs into `unscored`, with its reason",
            )
            return


def _faults_of_scores(table: Table, column: Sequence[Cell], where: str) -> Iterator[ResultError]:
    for row_id, cell in zip(table.row_ids, column, strict=True):
        if not isinstance(cell, tuple) or not all(map(math.isfinite, cell)):
            yield ResultError(f"row {row_id} holds {cell}", where=where, expected="a list of finite numbers")
            return


def _faults_of_codes(table: Table, column: Sequence[Cell], where: str) -> Iterator[ResultError]:
    size = table.constants.get("codebook_size", math.inf)
    for row_id, cell in zip(table.row_ids, column, strict=True):
        if not isinstance(cell, tuple) or float in map(type, cell):
            yield ResultError(f"row {row_id} holds {cell}", where=where, expected="a list of codes")
            return
        if cell and not 0 <= min(cell) <= max(cell) < size:
            yield ResultError(
                f"row {row_id} holds codes from {min(cell)} to {max(cell)}",
                where=where,
                expected=f"0 to {size - 1:.0f}",
            )
            return


def _twice(what: str, names: Iterable[str]) -> Iterator[ResultError]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        yield ResultError(f"named more than once: {_some(repeated)}", where=what)


def _unknown(kind: str, name: str, known: Iterable[str] | Mapping[str, object], where: str) -> Iterator[ResultError]:
    names = list(known)
    if name not in names:
        yield ResultError(f"unknown {kind} {name!r}{did_you_mean(name, names)}", where=where)


def _place(table: Table) -> str:
    return f"{table.candidate} / {table.group}"


def _some(names: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
