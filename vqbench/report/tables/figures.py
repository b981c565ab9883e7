"""Lays figures out: candidates, or families over their seeds, as rows; metrics as columns; groups of them as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vqbench.judging.compare import ComparisonTable, best_by_metric
from vqbench.judging.families import FamilyResult, summarise_families
from vqbench.judging.languages import language_notes
from vqbench.judging.selection import Contender
from vqbench.records.clip_sets import named_set
from vqbench.records.reference import NATURAL
from vqbench.records.run import IntervalSpec, MetricSpec, Result, Run
from vqbench.report import format as fmt
from vqbench.report.tables.grid import NAME_WIDTH, WIDTH, Cell, Column, Grid, Row, Span

HEADER_WIDTH = 13
"""Characters of a metric's name before it wraps."""

GAP = 2
"""Characters between two columns."""

Named = tuple[MetricSpec, str]
"""A metric and what its column is called."""


@dataclass(frozen=True)
class Unscored:
    """The clips of one candidate that could not be scored in some groups of metrics, each with its reason."""

    candidate: str
    groups: tuple[str, ...]
    clips: tuple[tuple[str, str], ...]


def run_grids(run: Run, *, headline: bool = False, width: int = WIDTH) -> list[Grid]:
    """Lays out all metrics of a run, group by group, or its headline metrics together; then, over seeds, its families.

    Args:
        run: the run.
        headline: only the metrics that are marked so; all of them where none is.
        width: a table that would be wider is split.
    """
    contenders = [Contender(candidate.name, run, candidate.name) for candidate in run.candidates]
    results = {(result.candidate, result.metric): result for result in run.results}
    figures = _Figures(contenders, results, best_by_metric(run), run.interval)
    chosen = [metric for metric in run.metrics if metric.headline]
    if headline and chosen:
        grids = figures.together(chosen, width, "headline figures")
    else:
        grids = figures.by_group(run.metrics, width)
    return [*grids, *_over_seeds(run, width)]


def contender_grids(table: ComparisonTable, *, width: int = WIDTH) -> list[Grid]:
    """Lays out the figures of all who are compared, each over all clips of its own run; in one table if it fits."""
    figures = _Figures(table.contenders, table.results, table.best, table.contenders[0].run.interval)
    together = figures.together(table.metrics, width, "figures")
    return together if len(together) == 1 else figures.by_group(table.metrics, width)


def unscored(run: Run) -> list[Unscored]:
    """Lists the clips without a row, by candidate; groups that lost the same clips stand together."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for table in run.tables:
        if table.unscored:
            groups = found.setdefault((table.candidate, tuple(table.unscored.items())), [])
            if _top(table.group) not in groups:
                groups.append(_top(table.group))
    return [Unscored(candidate, tuple(groups), clips) for (candidate, clips), groups in found.items()]


def rows_called(metric: MetricSpec) -> str:
    """What the rows behind a metric are: `repetitions`, or what the clips of its set are called."""
    return "repetitions" if metric.resampled == "repetition" else named_set(metric.clip_set).noun


_DRAWN = {
    "speaker": "whole speakers where every clip names one",
    "sentence": "whole sentences where every clip has a text",
    "clip": "speech clip by clip",
}


def read_as(run: Run) -> list[str]:
    """How checkpoints were read that do not say all of themselves, and on whose mel norms: one line each."""
    lines = run.provenance.get("checkpoints")
    return [f"{name}: {line}" for name, line in lines.items()] if isinstance(lines, Mapping) else []


def legend(interval: IntervalSpec) -> str:
    """Says what the mark means and how the intervals were made."""
    return f"{fmt.BEST} best of its column among the candidates; {intervals_made(interval)}"


def intervals_made(interval: IntervalSpec) -> str:
    """Says how the intervals were made."""
    return (
        f"{fmt.share(interval.confidence)} intervals: {interval.method}, {_DRAWN[interval.unit]}, "
        f"{fmt.counted(interval.resamples, 'resample')}, seed {interval.seed}"
    )


@dataclass(frozen=True)
class _Figures:
    """What the grids are cut from: results by (label, metric), and the labels that are best on each metric."""

    contenders: Sequence[Contender]
    results: Mapping[tuple[str, str], Result]
    best: Mapping[str, Sequence[str]]
    interval: IntervalSpec

    def together(self, metrics: Sequence[MetricSpec], width: int, title: str) -> list[Grid]:
        """Metrics of several groups side by side; columns leave the group out where names stay distinct without it."""
        return [self._grid(part, title) for part in self._split([[named] for named in named_columns(metrics)], width)]

    def by_group(self, metrics: Sequence[MetricSpec], width: int) -> list[Grid]:
        """One grid or more a group, titled by what the names in it have in common; columns leave that out."""
        grids = []
        for group in dict.fromkeys(_top(metric.group) for metric in metrics):
            tables: dict[str, list[Named]] = {}
            for metric in metrics:
                if _top(metric.group) == group:
                    tables.setdefault(metric.group, []).append((metric, _without_group(metric.name)))
            for part in self._split(list(tables.values()), width):
                prefix = _common_prefix([metric.name for metric, _ in part])
                named = [(metric, metric.name.removeprefix(prefix)) for metric, _ in part]
                grids.append(self._grid(named, prefix.rstrip(".") or group))
        return grids

    def _split(self, tables: Sequence[Sequence[Named]], width: int) -> list[list[Named]]:
        return split_columns(
            tables, self._width, width, ["candidate", *(contender.label for contender in self.contenders)]
        )

    def _width(self, metric: MetricSpec, name: str) -> int:
        return width_of(metric, name, [figure_cell(metric, r, fmt.Notes(), best=True) for r in self._results(metric)])

    def _results(self, metric: MetricSpec) -> list[Result]:
        keys = [(contender.label, metric.name) for contender in self.contenders]
        return [self.results[key] for key in keys if key in self.results]

    def _grid(self, columns: Sequence[Named], title: str) -> Grid:
        metrics = [metric for metric, _ in columns]
        notes = fmt.Notes()
        rows = []
        for contender in sorted(self.contenders, key=_is_reference):
            reference = _is_reference(contender)
            results = [self.results.get((contender.label, metric.name)) for metric in metrics]
            if reference and not any(results):
                continue
            cells = [
                self._cell(metric, result, contender, notes)
                if result
                else Cell(f"{fmt.MISSING} {notes.mark(_absent(metric, contender))}")
                for metric, result in zip(metrics, results, strict=True)
            ]
            rows.append(Row((Cell(contender.label, "reference" if reference else ""), *cells), reference))
        return Grid(
            title=title,
            columns=(Column(("candidate",)), *(figure_column(metric, name) for metric, name in columns)),
            rows=tuple(rows),
            caption=self._caption(metrics),
            notes=(*notes.lines(), *self._references(metrics), *self._bounds(metrics), *self._languages(metrics)),
        )

    def _cell(self, metric: MetricSpec, result: Result, contender: Contender, notes: fmt.Notes) -> Cell:
        cell = figure_cell(metric, result, notes, best=contender.label in self.best.get(metric.name, ()))
        if result.value is None:
            return cell
        lines = dict(result.bounds) | {
            name: other.value
            for name, named in (("floor", metric.floor), ("ceiling", metric.ceiling))
            if named and (other := self.results.get((contender.label, named))) and other.value is not None
        }
        return replace(cell, span=Span(result.value, result.ci_low, result.ci_high, lines, good_side(metric)))

    def _caption(self, metrics: Sequence[MetricSpec]) -> str:
        counted: dict[str, list[Result]] = {}
        for metric in metrics:
            counted.setdefault(rows_called(metric), []).extend(r for r in self._results(metric) if r.value is not None)
        counts = []
        for what, scored in counted.items():
            if scored:
                drawn = fmt.span(result.n_clusters for result in scored if result.n_clusters is not None)
                text = f"n = {fmt.span(result.n for result in scored)} {what}"
                counts.append(f"{text} of {drawn} {self.interval.cluster}s" if drawn else text)
        return "; ".join([*counts, f"under each figure its {fmt.share(self.interval.confidence)} interval"])

    def _references(self, metrics: Sequence[MetricSpec]) -> list[str]:
        """Whose tokens figures of agreement on recordings are about, where a suite names somebody."""
        names = ", ".join(_without_group(metric.name) for metric in metrics if metric.group == NATURAL)
        found = dict.fromkeys(contender.run.suite.reference for contender in self.contenders)
        return [f"{names}: agreement with the tokens of {name}" for name in found if names and name is not None]

    def _languages(self, metrics: Sequence[MetricSpec]) -> list[str]:
        """What is said of the clips' languages, of several runs each thing once."""
        runs = {id(contender.run): contender.run for contender in self.contenders}.values()
        return list(dict.fromkeys(note for run in runs for note in language_notes(run, metrics)))

    def _bounds(self, metrics: Sequence[MetricSpec]) -> list[str]:
        """What figures are out of, told once for the metrics and once for the candidates that share it."""
        told: dict[str, list[str]] = {}
        for metric in metrics:
            found: dict[str, dict[str, list[str]]] = {}
            for contender in self.contenders:
                result = self.results.get((contender.label, metric.name))
                limits = dict(result.bounds) if result else {}
                for limit, name in (("floor", metric.floor), ("ceiling", metric.ceiling)):
                    other = self.results.get((contender.label, name)) if name else None
                    if result and other and other.value is not None:
                        limits[limit] = other.value
                for bound, value in limits.items():
                    text = fmt.number(value, metric.decimals)
                    found.setdefault(bound, {}).setdefault(text, []).append(contender.label)
            if found:
                told.setdefault("; ".join(map(_bound, found, found.values())), []).append(_without_group(metric.name))
        return [f"{', '.join(names)}: {bounds}" for bounds, names in told.items()]


def _over_seeds(run: Run, width: int) -> list[Grid]:
    """Families as rows, headline metrics as columns; nothing where no candidate has several seeds."""
    results = {(result.family, result.metric): result for result in summarise_families(run)}
    families = {family: fmt.counted(result.n, "seed") for (family, _), result in results.items()}

    def column_width(metric: MetricSpec, name: str) -> int:
        return width_of(metric, name, [_mean(metric, results[family, metric.name], fmt.Notes()) for family in families])

    grids = []
    tables = (
        [[named] for named in named_columns([metric for metric in run.metrics if metric.headline])] if families else []
    )
    for part in split_columns(tables, column_width, width, ["family", *families, *families.values()]):
        notes = fmt.Notes()
        rows = []
        for family, seeds in families.items():
            means = [_mean(metric, results[family, metric.name], notes) for metric, _ in part]
            rows.append(Row((Cell(family, seeds), *means)))
        caption = (
            f"means over seeds; under each its {fmt.share(run.interval.confidence)} interval by Student's t, "
            "which is for other seeds on these clips, not for other clips"
        )
        columns = (Column(("family",)), *(figure_column(metric, name) for metric, name in part))
        grids.append(Grid("over seeds", columns, tuple(rows), caption, notes.lines()))
    return grids


def named_columns(metrics: Sequence[MetricSpec]) -> list[Named]:
    """Metrics of several groups with their columns' names, which leave the group out where they stay distinct so."""
    names = [_without_group(metric.name) for metric in metrics]
    if len(set(names)) < len(names):
        names = [metric.name for metric in metrics]
    return list(zip(metrics, names, strict=True))


def split_columns(
    tables: Sequence[Sequence[Named]],
    column_width: Callable[[MetricSpec, str], int],
    width: int,
    first_column: Sequence[str],
) -> list[list[Named]]:
    """Fills grids with columns in order; those of one table stay together where a grid has room for them all.

    Args:
        tables: the columns.
        column_width: characters that a column takes, gap included.
        width: of a grid.
        first_column: what stands in front of the columns: a heading, and names.
    """
    names = [line for name in first_column for line in fmt.wrap_name(name, NAME_WIDTH)]
    room = width - GAP - min(NAME_WIDTH, max(map(len, names)))
    parts: list[list[Named]] = []
    left = 0
    for table in tables:
        widths = [column_width(metric, name) for metric, name in table]
        for position, (named, needed) in enumerate(zip(table, widths, strict=True)):
            if not parts or needed > left or (position == 0 and sum(widths) > left):
                parts.append([])
                left = room
            parts[-1].append(named)
            left -= needed
    return parts


def width_of(metric: MetricSpec, name: str, cells: Sequence[Cell]) -> int:
    """Characters that a column takes with these cells, gap included."""
    column = figure_column(metric, name)
    texts = [*column.lines, column.below, *(text for cell in cells for text in (cell.text, cell.below))]
    return max(map(len, texts)) + GAP


def good_side(metric: MetricSpec) -> Literal["above", "below"] | None:
    """On which side of a line figures of a metric are better; None where on neither."""
    return {True: "above", False: "below", None: None}[metric.higher_is_better]


def _is_reference(contender: Contender) -> bool:
    return contender.record.role == "reference"


def _absent(metric: MetricSpec, contender: Contender) -> str:
    """Why somebody has no figure."""
    if metric.group == NATURAL and contender.run.suite.reference == contender.name:
        return "the reference: the others are held against its tokens"
    return "not measured for references" if _is_reference(contender) else "not measured"


def _top(group: str) -> str:
    return group.partition(".")[0]


def _without_group(name: str) -> str:
    return name.partition(".")[2] or name


def _common_prefix(names: Sequence[str]) -> str:
    """Returns the dotted beginning that all names share, with its last dot.

    >>> _common_prefix(["throughput.encode.b1.speed", "throughput.encode.b8.speed"])
    'throughput.encode.'
    """
    shared = ""
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared += f"{parts[0]}."
    return shared


def figure_column(metric: MetricSpec, name: str) -> Column:
    """The head of a metric's column."""
    lines = fmt.wrap_name(name, HEADER_WIDTH)
    lines[-1] = f"{lines[-1]} {fmt.arrow(metric)}".rstrip()
    about = f"{metric.name}: {metric.description} ({fmt.direction(metric)})"
    return Column(tuple(lines), metric.unit, "figure", about=about)


def figure_cell(metric: MetricSpec, result: Result, notes: fmt.Notes, *, best: bool) -> Cell:
    """A figure over its interval; where there is none, its reason is noted."""
    text = f"{fmt.number(result.value, metric.decimals)} {notes.mark(result.reason)}".rstrip()
    below = fmt.interval(result.ci_low, result.ci_high, metric.decimals)
    return Cell(f"{fmt.BEST} {text}", below, "best") if best else Cell(text, below)


def _mean(metric: MetricSpec, result: FamilyResult, notes: fmt.Notes) -> Cell:
    text = f"{fmt.number(result.mean, metric.decimals)} {notes.mark(result.reason)}".rstrip()
    return Cell(text, fmt.interval(result.ci_low, result.ci_high, metric.decimals))


def _bound(bound: str, values: Mapping[str, Sequence[str]]) -> str:
    """One bound, with the names of the candidates behind each value where it is not the same for all."""
    told = [text if len(values) == 1 else f"{text} ({', '.join(names)})" for text, names in values.items()]
    return f"{bound} = {', '.join(told)}"
