"""From a table of statistics to a figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vqbench.results.check import check_table
from vqbench.results.record import ClipRecord, IntervalSpec, MetricSpec, Result, Table
from vqbench.stats.estimate import Statistic, estimate
from vqbench.stats.reductions import REDUCTIONS


def clusters_of(row_ids: Iterable[str], clips: Iterable[ClipRecord], interval: IntervalSpec) -> tuple[str, ...] | None:
    """The speaker of each row, where speakers are drawn whole, every row has one and there are at least two.

    Clips of one speaker are alike, so an interval that took each for new evidence would be too narrow, unless it is not
    meant to speak of other speakers.
    """
    single = {"speech", "downstream"} if interval.unit == "clip" else set()
    by_id = {clip.id: None if clip.clip_set in single else clip.speaker for clip in clips}
    speakers = tuple(by_id.get(row_id) for row_id in row_ids)
    named = tuple(speaker for speaker in speakers if speaker is not None)
    return named if len(named) == len(speakers) and len(set(named)) >= 2 else None


def prepare(spec: MetricSpec, table: Table, rows: Sequence[int] | None = None) -> Statistic:
    """The statistic of a metric over all rows of a table, or over the rows at the given positions, in that order."""
    columns = [table.columns[name] for name in spec.columns]
    if rows is not None:
        columns = [tuple(column[row] for row in rows) for column in columns]
    return REDUCTIONS[spec.reduction].prepare(columns, table.constants)


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
    check_table(spec, table)
    clusters = clusters_of(table.row_ids, clips, interval) if spec.resampled == "clip" else None
    statistic = prepare(spec, table)
    figure = estimate(statistic, clusters=clusters, resamples=interval.resamples, seed=interval.seed)
    reduction = REDUCTIONS[spec.reduction]
    ends = figure.interval(interval.confidence)
    low, high = (None, None) if ends is None else (max(ends[0], reduction.span[0]), min(ends[1], reduction.span[1]))
    defined = math.isfinite(figure.value)
    return Result(
        candidate=table.candidate,
        metric=spec.name,
        value=figure.value if defined else None,
        ci_low=low,
        ci_high=high,
        n=len(table.row_ids),
        n_clusters=None if clusters is None else figure.n_units,
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
