"""Lays out figures by slice: who, over which of the clips, and the headline metrics as columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from vqbench.records.clip_sets import named_set
from vqbench.records.run import MetricSpec, Result, Run, Slice
from vqbench.report import format as fmt
from vqbench.report.tables.figures import (
    Named,
    figure_cell,
    figure_column,
    good_side,
    named_columns,
    split_columns,
    width_of,
)
from vqbench.report.tables.grid import NAME_WIDTH, WIDTH, Cell, Column, Grid, Row, Span

FEW = 3
"""Values of a field that stand in a table for people, where it has many."""

_MANY = 5
"""So many of them stand there all."""

_ALL = "all clips"

_GAP = 2

_Figures = Mapping[tuple[str, str, str | None], Result]
"""(candidate, metric, slice) → the figure."""


def slice_grids(run: Run, *, width: int = WIDTH, whole: bool = False) -> list[Grid]:
    """Lays out the headline metrics of each candidate and reference by slice; nothing where a run has no slices.

    Args:
        run: the run.
        width: a table that would be wider is split.
        whole: all slices; else of a field of many values those that are worst by the first metric.
    """
    if not run.slices:
        return []
    figures = {(r.candidate, r.metric, r.slice): r for r in (*run.results, *run.slice_results)}
    sliced = {r.metric for r in run.slice_results}
    metrics = [spec for spec in run.metrics if spec.headline and spec.name in sliced]
    metrics = metrics or [spec for spec in run.metrics if spec.name in sliced]
    names = sorted(run.candidates, key=lambda candidate: candidate.role == "reference")
    shown = {one.name: list(_shown(run, metrics, figures, one.name, whole)) for one in names}
    label = max([_ALL, *(one.name for one in run.slices)], key=len)
    room = width - min(NAME_WIDTH, len(label)) - _GAP - len("000–000") - _GAP

    def column_width(metric: MetricSpec, name: str) -> int:
        cells = [
            figure_cell(metric, r, fmt.Notes(), best=False) for (_, of, _), r in figures.items() if of == metric.name
        ]
        return width_of(metric, name, cells)

    parts = split_columns(
        [[named] for named in named_columns(metrics)], column_width, room, ["candidate", *(one.name for one in names)]
    )
    notes = tuple(_notes(run, metrics, whole))
    grids = []
    for number, part in enumerate(parts):
        marks = fmt.Notes()
        rows = [
            row
            for one in names
            for name in shown[one.name]
            if (row := _row(run, part, figures, one.name, name, marks)) is not None
        ]
        grids.append(
            Grid(
                title="slices",
                columns=(
                    Column(("candidate",)),
                    Column(("slice",)),
                    Column(("n",), kind="figure"),
                    *(figure_column(metric, name) for metric, name in part),
                ),
                rows=tuple(rows),
                caption=f"under each figure its {fmt.share(run.interval.confidence)} interval",
                notes=(*marks.lines(), *(notes if number == len(parts) - 1 else ())),
            )
        )
    return [grid for grid in grids if grid.rows]


def slice_line(run: Run) -> str:
    """Says what a run is a slice of, e.g. `slice short: duration_s < 2; 12 clips`."""
    one = run.slices[0]
    counts = _counts(run, one) or ["no clips"]
    return f"slice {one.name}: {one.where}; {', '.join(counts)}"


def _row(
    run: Run, part: Sequence[Named], figures: _Figures, candidate: str, name: str | None, marks: fmt.Notes
) -> Row | None:
    """The figures of a candidate over a slice, or over all clips; None where there is none."""
    found = [figures.get((candidate, metric.name, name)) for metric, _ in part]
    counts = [result.n for result in found if result is not None]
    if not counts:
        return None
    few = min(counts) < run.suite.min_clips
    mark = marks.mark(f"fewer clips than min_clips, {run.suite.min_clips}: no rule is decided on them") if few else ""
    cells = [
        Cell(fmt.MISSING) if result is None else _cell(metric, result, marks)
        for (metric, _), result in zip(part, found, strict=True)
    ]
    reference = next(one.role == "reference" for one in run.candidates if one.name == candidate)
    return Row(
        (
            Cell(candidate, "reference" if reference else ""),
            Cell(_ALL if name is None else name),
            Cell(f"{fmt.span(counts)} {mark}".rstrip()),
            *cells,
        ),
        reference,
    )


def _cell(metric: MetricSpec, result: Result, marks: fmt.Notes) -> Cell:
    cell = figure_cell(metric, result, marks, best=False)
    if result.value is None:
        return cell
    span = Span(result.value, result.ci_low, result.ci_high, result.bounds, good_side(metric))
    return Cell(cell.text, cell.below, span=span)


def _shown(
    run: Run, metrics: Sequence[MetricSpec], figures: _Figures, candidate: str, whole: bool
) -> Iterator[str | None]:
    """The slices that a candidate's rows are of; of a field of many values those on which it is worst."""
    yield None
    for field, slices in _by_field(run).items():
        if field is None or whole or len(slices) <= _MANY:
            yield from (one.name for one in slices)
        else:
            spec = _ranking(metrics)
            yield from sorted((one.name for one in slices), key=lambda name: _badness(spec, figures, candidate, name))[
                :FEW
            ]


def _by_field(run: Run) -> dict[str | None, list[Slice]]:
    fields: dict[str | None, list[Slice]] = {}
    for one in run.slices:
        fields.setdefault(one.by, []).append(one)
    return fields


def _ranking(metrics: Sequence[MetricSpec]) -> MetricSpec:
    """The first metric of which one end is worse."""
    return next((spec for spec in metrics if spec.higher_is_better is not None), metrics[0])


def _badness(spec: MetricSpec, figures: _Figures, candidate: str, name: str) -> tuple[float, str]:
    """Sorts the worst first, those without a figure last."""
    result = figures.get((candidate, spec.name, name))
    if result is None or result.value is None:
        return math.inf, name
    return (result.value if spec.higher_is_better else -result.value), name


def _notes(run: Run, metrics: Sequence[MetricSpec], whole: bool) -> Iterator[str]:
    """What slices are, which hold of no clip, and of which clips nobody knows."""
    for one in run.slices:
        if one.by is None:
            counts = _counts(run, one)
            yield f"{one.name}: {one.where}; {', '.join(counts) if counts else 'it holds of no clip'}"
    for field, slices in _by_field(run).items():
        if field is not None and not whole and len(slices) > _MANY:
            yield (
                f"{field}: the {FEW} of {len(slices):,} with the worst {_ranking(metrics).name} of each candidate; "
                f"all {len(slices):,} are in the page, and in --format csv or json"
            )
    yield from _unknown(run)
    lengths = {clip.id for clip in run.clips if named_set(clip.clip_set).spoken_by_teacher}
    if any("duration_s" in one.where and not lengths.isdisjoint(one.clips) for one in run.slices):
        yield "what is spoken counts by the length of the recording whose sentence it is"


def _counts(run: Run, one: Slice) -> list[str]:
    """How many clips of each set are in a slice, e.g. `12 clips`."""
    of_set = {clip.id: clip.clip_set for clip in run.clips}
    counts: dict[str, int] = {}
    for clip in one.clips:
        counts[of_set[clip]] = counts.get(of_set[clip], 0) + 1
    return [_counted(n, clip_set) for clip_set, n in counts.items()]


def _unknown(run: Run) -> Iterator[str]:
    told: dict[tuple[str, str, int], list[str]] = {}
    for one in run.slices:
        for clip_set, fields in one.unknown.items():
            for field, n in fields.items():
                told.setdefault((clip_set, field, n), []).append(one.name)
    for (clip_set, field, n), names in told.items():
        more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
        verb = "has" if n == 1 else "have"
        yield f"{_counted(n, clip_set)} {verb} no {field}, and so no place in {', '.join(names[:FEW])}{more}"


def _counted(n: int, clip_set: str) -> str:
    noun = named_set(clip_set).noun
    return f"{n:,} {noun.removesuffix('s') if n == 1 else noun}"
