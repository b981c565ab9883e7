"""From a table of statistics to a figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vqbench.records.check import check_columns, check_table
from vqbench.records.clip_sets import named_set
from vqbench.records.run import ClipRecord, IntervalSpec, MetricSpec, Result, Table
from vqbench.stats.columns import Column, Indices, take
from vqbench.stats.estimate import Estimate, Sample, Statistic, estimate_all
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.units import Units, units_of


def clusters_of(row_ids: Iterable[str], clips: Iterable[ClipRecord], interval: IntervalSpec) -> tuple[str, ...] | None:
    """The speaker, or sentence, of each row, where they are drawn whole, every row has one and there are at least two.

    Clips of one speaker are alike, so an interval that took each for new evidence would be too narrow, unless it is not
    meant to speak of other speakers. Likewise one sentence in several voices.
    """
    of_clip = {clip.id: clip.text or None if interval.unit == "sentence" else clip.speaker for clip in clips}
    if interval.unit == "clip":
        of_clip.update({clip.id: None for clip in clips if named_set(clip.clip_set).single})
    clusters = tuple(of_clip.get(row_id) for row_id in row_ids)
    named = tuple(cluster for cluster in clusters if cluster is not None)
    return named if len(named) == len(clusters) and len(set(named)) >= 2 else None


def prepare(spec: MetricSpec, table: Table, rows: Indices | None = None) -> Statistic:
    """The statistic of a metric over all rows of a table, or over the rows at the given positions, in that order."""
    columns = [table.columns[name] for name in spec.columns]
    if rows is not None:
        columns = [take(column, rows) for column in columns]
    return REDUCTIONS[spec.reduction].prepare(columns, table.constants)


class Samples:
    """What figures are estimated from, made of the tables of runs, which must outlive it.

    Whatever several figures have in common is made once, so that estimating them together is fast: columns, units, and
    whole samples, where the same figure over the same rows is asked for again.
    """

    def __init__(self) -> None:
        self._columns: dict[object, Column] = {}
        self._units: dict[object, tuple[Units, int | None]] = {}
        self._samples: dict[object, Sample] = {}

    def units(
        self,
        spec: MetricSpec,
        table: Table,
        clips: Sequence[ClipRecord],
        interval: IntervalSpec,
        rows: Indices | None = None,
    ) -> tuple[Units, int | None]:
        """What of the rows is drawn whole, and how many speakers that are, where it is speakers."""
        key = table.row_ids, _key(rows), spec.resampled, id(clips), interval.unit
        if key not in self._units:
            ids = table.row_ids if rows is None else [table.row_ids[row] for row in rows]
            clusters = clusters_of(ids, clips, interval) if spec.resampled == "clip" else None
            units = units_of(len(ids), clusters)
            self._units[key] = units, None if clusters is None else units.n
        return self._units[key]

    def sample(
        self,
        spec: MetricSpec,
        table: Table,
        units: Units,
        interval: IntervalSpec,
        rows: Indices | None = None,
        *,
        seed: int | None = None,
    ) -> Sample:
        """A figure over all rows of a table, or over the rows at the given positions, in that order.

        Args:
            spec: the metric.
            table: the statistics of one candidate.
            units: of these rows, as `units` gives them.
            interval: how to resample.
            rows: positions of rows; None means all.
            seed: of the draws, where it is not the interval's.
        """
        seed = interval.seed if seed is None else seed
        key = id(table), spec.columns, spec.reduction, _key(rows), units, interval.resamples, seed, interval.bootstrap
        if key not in self._samples:
            check_columns(spec, table)  # columns of a file are looked at where they are first used
            columns = [self._column(table, name, rows) for name in spec.columns]
            statistic = REDUCTIONS[spec.reduction].prepare(columns, table.constants)
            self._samples[key] = Sample(statistic, units, interval.resamples, seed, interval.bootstrap)
        return self._samples[key]

    def _column(self, table: Table, name: str, rows: Indices | None) -> Column:
        key = id(table), name, _key(rows)
        if key not in self._columns:
            self._columns[key] = table.columns[name] if rows is None else take(table.columns[name], rows)
        return self._columns[key]


def _key(rows: Indices | None) -> bytes | None:
    return None if rows is None else rows.tobytes()


def summarise(spec: MetricSpec, table: Table, clips: Sequence[ClipRecord], interval: IntervalSpec) -> Result:
    """Reduces a table to one figure with its interval.

    Args:
        spec: the metric.
        table: the statistics of one candidate in the metric's group.
        clips: the clips of the run, for their speakers, which are drawn whole where the interval wants it.
        interval: how to make the interval.

    Returns:
        The figure; without a value, or without an interval, with the reason.

    Raises:
        ResultError: the table cannot be reduced; see `check_table`.
    """
    return summarise_all([(spec, table)], clips, interval)[0]


def summarise_all(
    figures: Sequence[tuple[MetricSpec, Table]], clips: Sequence[ClipRecord], interval: IntervalSpec
) -> list[Result]:
    """Reduces tables to figures with intervals, all together, which is much faster than one by one.

    Args:
        figures: metrics, each with the statistics of one candidate.
        clips: as for `summarise`.
        interval: as for `summarise`.

    Returns:
        One result a figure, as `summarise` gives it.

    Raises:
        ResultError: a table cannot be reduced; see `check_table`.
    """
    samples = Samples()
    asked = []
    for spec, table in figures:
        check_table(spec, table)
        units, n_clusters = samples.units(spec, table, clips, interval)
        asked.append((spec, table, samples.sample(spec, table, units, interval), n_clusters))
    estimates = estimate_all(sample for _, _, sample, _ in asked)
    return [_result(spec, table, estimates[sample], n_clusters, interval) for spec, table, sample, n_clusters in asked]


def _result(spec: MetricSpec, table: Table, figure: Estimate, n_clusters: int | None, interval: IntervalSpec) -> Result:
    reduction = REDUCTIONS[spec.reduction]
    ends = figure.interval(interval.confidence)
    least, most = reduction.span
    low, high = (None, None) if ends is None else (min(max(end, least), most) for end in ends)
    defined = math.isfinite(figure.value)
    return Result(
        candidate=table.candidate,
        metric=spec.name,
        value=figure.value if defined else None,
        ci_low=low,
        ci_high=high,
        n=len(table.row_ids),
        n_clusters=n_clusters,
        bounds=reduction.bounds([table.columns[name] for name in spec.columns], table.constants),
        reason=_reason(spec, table, defined, ends is not None, figure.n_units),
    )


def _reason(spec: MetricSpec, table: Table, defined: bool, has_interval: bool, n_units: int) -> str | None:
    if has_interval:
        return None
    if not table.row_ids:
        clip, why = next(iter(table.unscored.items()), ("", "there was nothing to measure"))
        return f"nothing was scored; {clip}: {why}" if clip else f"nothing was scored: {why}"
    if not defined:
        return f"{spec.reduction} of {' and '.join(spec.columns)} is undefined: it divides by 0, or there are no tokens"
    if n_units < 2:
        return f"no interval from one {spec.resampled} alone"
    return "no interval: the figure is undefined on some resamples"
