"""What must hold between the parts of a run, whoever made it: the engine before it writes, the store after it reads.

A figure that is not finite never gets into a table: whoever measures names that clip in `unscored`, with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from vqbench.errors import ResultError, did_you_mean, raise_all
from vqbench.records.run import MetricSpec, Result, Run, Table
from vqbench.stats.columns import Column, Ragged
from vqbench.stats.reductions import REDUCTIONS


def check_table(spec: MetricSpec, table: Table) -> None:
    """Sees to it that a metric can be reduced from a table.

    Raises:
        ResultError: an unknown reduction, a missing column or constant, columns of another length than the rows, a cell
            that is not finite or of the wrong kind, a code outside the codebook. All faults at once.
    """
    raise_all(list(_faults_of_metric(spec, table)))


def check_columns(spec: MetricSpec, table: Table) -> None:
    """Sees to it that the columns of a metric hold what it reduces.

    Raises:
        ResultError: what `check_table` finds, but for the ids of rows. All faults at once.
    """
    raise_all(list(_faults_of_names(spec, table)) or list(_faults_of_columns(spec, table)))


def check_codes(table: Table, *names: str) -> None:
    """Sees to it that columns of a table hold codes, of a codebook whose size the table knows.

    Raises:
        ResultError: what `check_table` finds. All faults at once.
    """
    faults = list(_faults_of_constants(table, ("codebook_size",)))
    for name in names:
        if name in table.columns:
            faults += _faults_of_column(table, name, "codes")
        else:
            near = did_you_mean(name, table.columns)
            faults.append(ResultError(f"the column is missing{near}", where=f"{_place(table)}, column {name}"))
    raise_all(faults)


def check_run(run: Run) -> None:
    """Sees to it that a run is whole and agrees with itself.

    Raises:
        ResultError: what `check_structure` finds, and what `check_table` finds. All faults at once.
    """
    raise_all([*_faults_of_structure(run), *_faults_of_tables(run)])


def check_structure(run: Run) -> None:
    """Sees to it that the parts of a run belong together, without looking into its columns.

    Raises:
        ResultError: names used twice; tables and results of unknown candidates, groups or metrics; metrics that cannot
            be reduced; columns that are missing; rows of unknown clips; clips that are neither scored nor unscored. All
            faults at once.
    """
    raise_all(list(_faults_of_structure(run)))


def _faults_of_structure(run: Run) -> Iterator[ResultError]:
    candidates = [candidate.name for candidate in run.candidates]
    metrics = {spec.name: spec for spec in run.metrics}
    groups = {spec.group for spec in run.metrics}
    yield from _faults_of_settings(run)
    yield from _twice("candidates", candidates)
    yield from _twice("clips", (clip.id for clip in run.clips))
    yield from _twice("metrics", (spec.name for spec in run.metrics))
    yield from _twice("tables", (f"{table.candidate} / {table.group}" for table in run.tables))
    yield from _twice("results", (f"{result.candidate} / {result.metric}" for result in run.results))
    for table in run.tables:
        yield from _unknown("candidate", table.candidate, candidates, f"table {table.group}")
        yield from _unknown("group", table.group, groups, f"table of {table.candidate}")
    yield from _faults_of_rows(run)
    for result in (*run.results, *run.slice_results):
        yield from _unknown("candidate", result.candidate, candidates, "results")
        yield from _unknown("metric", result.metric, metrics, f"results of {result.candidate}")
        yield from _faults_of_figure(result)
    yield from _faults_of_slices(run)
    figures = {(result.candidate, result.metric) for result in run.results}
    for spec in run.metrics:
        for table in run.tables:
            # What a candidate does not have is not measured; what has a figure was, and its columns must be there.
            absent = table.lacks(spec) and (table.candidate, spec.name) not in figures
            if table.group == spec.group and not absent:
                yield from _faults_of_names(spec, table)


def _faults_of_figure(result: Result) -> Iterator[ResultError]:
    where = f"{result.candidate}, {result.metric}"
    if result.n < 0:
        yield ResultError(f"has n = {result.n}", where=where, expected="0 or more")
    if (result.ci_low is None) != (result.ci_high is None):
        yield ResultError("has half an interval", where=where, expected="both ends, or none")
    elif result.ci_low is not None and result.ci_high is not None and result.ci_low > result.ci_high:
        yield ResultError(f"has the interval {result.ci_low:g} to {result.ci_high:g}", where=where)


def _faults_of_slices(run: Run) -> Iterator[ResultError]:
    names = {one.name for one in run.slices}
    yield from _twice("slices", (one.name for one in run.slices))
    figures = (f"{result.candidate} / {result.metric} / {result.slice}" for result in run.slice_results)
    yield from _twice("slice_results", figures)
    known = {clip.id for clip in run.clips} if run.slices else set()
    for one in run.slices:
        if unknown := set(one.clips) - known:
            yield ResultError(f"has unknown clips: {_some(sorted(unknown))}", where=f"slice {one.name}")
    for name in dict.fromkeys(str(result.slice) for result in run.slice_results):
        yield from _unknown("slice", name, names, "slice_results")
    # A run that is a slice of another has no others' figures beside its own.
    if run.slice_results and any(result.slice is not None for result in run.results):
        yield ResultError("figures of slices stand among those of all clips", where="results")


def _faults_of_settings(run: Run) -> Iterator[ResultError]:
    """What decides how a run is judged is held to what a suite may ask for."""
    interval, suite = run.interval, run.suite
    for where, value, holds, expected in (
        ("interval.confidence", interval.confidence, 0.5 <= interval.confidence < 1, "from 0.5 to below 1"),
        ("interval.resamples", interval.resamples, 1 <= interval.resamples <= 1_000_000, "from 1 to 1,000,000"),
        ("interval.seed", interval.seed, 0 <= interval.seed < 2**63, "from 0 to below 2**63"),
        ("suite.min_clips", suite.min_clips, suite.min_clips >= 1, "at least 1"),
        ("suite.allow_unscored", suite.allow_unscored, suite.allow_unscored >= 0, "at least 0"),
        *((f"metric {m.name}, decimals", m.decimals, 0 <= m.decimals <= 12, "from 0 to 12") for m in run.metrics),
    ):
        if not holds:
            yield ResultError(f"is {value}", where=where, expected=expected)


def _faults_of_rows(run: Run) -> Iterator[ResultError]:
    """Each clip has one place in a table. Tables may share their tuple of row ids, which then is looked at once."""
    counted: dict[int, list[ResultError]] = {}
    of_set: dict[str, set[str]] = {}
    for clip in run.clips:
        of_set.setdefault(clip.clip_set, set()).add(clip.id)
    compared: set[tuple[int, str]] = set()
    for table in run.tables:
        if id(table.row_ids) not in counted:
            counted[id(table.row_ids)] = list(_twice("rows", table.row_ids))
        yield from (ResultError(f.problem, where=f"{_place(table)}, rows") for f in counted[id(table.row_ids)])
        sets = {spec.clip_set for spec in run.metrics if spec.group == table.group and spec.resampled == "clip"}
        key = (id(table.row_ids), " ".join(sorted(sets)))
        if not sets or (key in compared and not table.unscored):
            continue
        known = set().union(*(of_set.get(name, set()) for name in sets))
        found = list(_faults_of_clips(table, known))
        if not found and not table.unscored:
            compared.add(key)
        yield from found


def _faults_of_clips(table: Table, known: set[str]) -> Iterator[ResultError]:
    scored, unscored = set(table.row_ids), set(table.unscored)
    for fault, ids in (
        ("has rows of unknown clips", (scored | unscored) - known),
        ("has clips that are both scored and unscored", scored & unscored),
        ("says nothing of some clips, neither a row nor why there is none", known - scored - unscored),
    ):
        if ids:
            yield ResultError(f"{fault}: {_some(sorted(ids))}", where=_place(table))


def _faults_of_tables(run: Run) -> Iterator[ResultError]:
    found: dict[str, ResultError] = {}  # several metrics may reduce the same column
    for spec in run.metrics:
        for table in run.tables:
            if table.group == spec.group and not any(_faults_of_names(spec, table)):
                found.update({str(fault): fault for fault in _faults_of_columns(spec, table)})
    yield from found.values()


def _faults_of_metric(spec: MetricSpec, table: Table) -> Iterator[ResultError]:
    yield from _twice(f"{_place(table)}, rows", table.row_ids)
    found = list(_faults_of_names(spec, table))
    yield from found or _faults_of_columns(spec, table)


def _faults_of_names(spec: MetricSpec, table: Table) -> Iterator[ResultError]:
    """What can be said without looking into columns."""
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
    yield from _faults_of_constants(table, reduction.constants)
    for name in spec.columns:
        if name not in table.columns:
            near = did_you_mean(name, table.columns)
            where = f"{_place(table)}, column {name}"
            yield ResultError(f"the column that {spec.name} reduces is missing{near}", where=where)


def _faults_of_columns(spec: MetricSpec, table: Table) -> Iterator[ResultError]:
    """What is wrong within columns that are all there."""
    for name in spec.columns:
        yield from _faults_of_column(table, name, REDUCTIONS[spec.reduction].cell)
    if spec.reduction in _COUNTED:
        name = spec.columns[-1]
        column = table.columns[name]
        if not isinstance(column, Ragged) and len(bad := np.flatnonzero(column < 0)):
            where = f"{_place(table)}, column {name}"
            yield ResultError(f"row {table.row_ids[bad[0]]} holds {column[bad[0]]}", where=where, expected="0 or more")


_COUNTED = ("ratio", "root_ratio")
"""Reductions that divide by how much there is of something, by their last column."""

MAX_NUMBER = 1e15
"""No sum of a clip is larger, and the square of one can still be added up."""


def _faults_of_column(table: Table, name: str, cell: str) -> Iterator[ResultError]:
    column, where = table.columns[name], f"{_place(table)}, column {name}"
    if len(column) != len(table.row_ids):
        yield ResultError(f"has {len(column)} cells for {len(table.row_ids)} rows", where=where)
    elif len(column) == 0:
        return
    elif cell == "number":
        yield from _faults_of_numbers(table, column, where)
    elif not isinstance(column, Ragged):
        yield ResultError(f"row {table.row_ids[0]} holds {column[0]}", where=where, expected=_EXPECTED[cell])
    elif cell == "codes":
        yield from _faults_of_codes(table, column, where)
    else:
        yield from _faults_of_scores(table, column, where)
        if cell == "vectors" and len(np.unique(column.lengths)) > 1:
            yield ResultError("holds vectors of several lengths", where=where)


_EXPECTED = {
    "codes": "a list of codes",
    "scores": "a list of finite numbers",
    "vectors": "a list of finite numbers",
}


def _faults_of_constants(table: Table, names: Sequence[str]) -> Iterator[ResultError]:
    for name in names:
        value = table.constants.get(name)
        if value is None or not math.isfinite(value) or value <= 0:
            came = "is missing" if value is None else f"is {value}"
            yield ResultError(f"the constant {name} {came}", where=_place(table), expected="a number above 0")


def _faults_of_numbers(table: Table, column: Column, where: str) -> Iterator[ResultError]:
    if isinstance(column, Ragged):
        came = "a list"
        row = 0
    else:
        bad = np.flatnonzero(~(np.abs(column) <= MAX_NUMBER))
        if not len(bad):
            return
        row = int(bad[0])
        came = str(column[row])
    yield ResultError(
        f"row {table.row_ids[row]} holds {came}",
        where=where,
        expected=f"a finite number, at most {MAX_NUMBER:.0e} in size",
        fix="a clip that cannot be scored belongs into `unscored`, with its reason",
    )


def _faults_of_scores(table: Table, column: Ragged, where: str) -> Iterator[ResultError]:
    bad = np.flatnonzero(~(np.abs(column.values) <= MAX_NUMBER))
    if len(bad):
        yield ResultError(
            f"row {table.row_ids[column.row_of[bad[0]]]} holds {column.values[bad[0]]}",
            where=where,
            expected=_EXPECTED["scores"],
        )


def _faults_of_codes(table: Table, column: Ragged, where: str) -> Iterator[ResultError]:
    if not len(column.values):
        return
    if not column.whole:
        uneven = np.flatnonzero(column.values != np.rint(column.values))
        place = int(uneven[0]) if len(uneven) else 0
        row_id = table.row_ids[column.row_of[place]]
        yield ResultError(f"row {row_id} holds {column.values[place]}", where=where, expected=_EXPECTED["codes"])
        return
    size = table.constants.get("codebook_size", math.inf)
    if not 0 <= column.values.min() <= column.values.max() < size:
        bad = int(np.flatnonzero((column.values < 0) | (column.values >= size))[0])
        row = int(column.row_of[bad])
        codes = column.values[column.row_of == row]
        yield ResultError(
            f"row {table.row_ids[row]} holds codes from {codes.min()} to {codes.max()}",
            where=where,
            expected=f"0 to {size - 1:.0f}",
        )


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
