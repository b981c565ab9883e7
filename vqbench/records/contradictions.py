"""Figures of a result held against the rows that they were made of: for files whose bytes say nothing of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from vqbench.errors import ResultError, VqbenchError
from vqbench.records.check import check_columns
from vqbench.records.run import MetricSpec, Result, Run, Table
from vqbench.records.slices import narrowed
from vqbench.records.summary import prepare

_RELATIVE, _ABSOLUTE = 1e-9, 1e-12
"""Rounding differs between processors; an edit that is smaller changes nothing that anybody sees."""


def contradictions(run: Run) -> Iterator[ResultError]:
    """Yields a fault for each figure that is not what its rows come to, or whose interval does not hold it.

    Args:
        run: its parts belong together (`check_structure`).
    """
    yield from _of_figures(run, run.results)
    for one in run.slices:
        figures = [result for result in run.slice_results if result.slice == one.name]
        if figures:
            yield from _of_figures(narrowed(run, one.clips), figures)


def _of_figures(run: Run, figures: Iterable[Result]) -> Iterator[ResultError]:
    specs = {spec.name: spec for spec in run.metrics}
    tables = {(table.candidate, table.group): table for table in run.tables}
    for result in figures:
        spec = specs.get(result.metric)
        if spec is None:
            yield ResultError("is of timings, which are of no slice", where=f"{result.candidate}, {result.metric}")
            continue
        table = tables.get((result.candidate, spec.group))
        if (problem := _problem(result, spec, table)) is not None:
            yield ResultError(problem, where=f"{result.candidate}, {result.metric}")


def _problem(result: Result, spec: MetricSpec, table: Table | None) -> str | None:
    if table is None:
        return "has a figure, and no rows"
    try:
        check_columns(spec, table)
    except VqbenchError as error:
        return f"has rows that cannot be: {error}"
    if result.n != len(table.row_ids):
        return f"says n = {result.n}, and there are {len(table.row_ids)} rows"
    value = prepare(spec, table).value
    if (result.value is None) != (not math.isfinite(value)):
        return f"is {result.value}, where the rows give {value:g}"
    if result.value is None:
        return None
    if not math.isclose(result.value, value, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
        return f"is {result.value:g}, where the rows give {value:g}"
    return None
