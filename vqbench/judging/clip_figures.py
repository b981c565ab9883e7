"""Figures clip by clip: what a metric comes to on one clip alone, and how two candidates differ there.

A figure over all clips says how good a candidate is; those of single clips say where to listen. Rows stay in the order
of their table, so that nothing is looked up twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from vqbench.judging.contrast import Matches, obstacle
from vqbench.judging.selection import Contender
from vqbench.records.check import check_columns
from vqbench.records.run import MetricSpec, Table
from vqbench.stats.columns import Array
from vqbench.stats.reductions import REDUCTIONS


def clip_values(metric: MetricSpec, table: Table) -> Array | None:
    """A metric's own reduction of each row alone.

    Args:
        metric: what is reduced.
        table: the statistics of one candidate in the metric's group.

    Returns:
        (rows,) in the metric's unit, NaN where it is undefined for that clip, as an error rate over no words is; None
        where one clip alone has no such figure: speeds, and what needs many clips (`Reduction.each`).

    Raises:
        ResultError: the columns do not hold what the metric reduces.
    """
    if _of_each_clip(metric) is None:
        return None
    check_columns(metric, table)
    return REDUCTIONS[metric.reduction].of_rows([table.columns[name] for name in metric.columns])


def clip_metrics(metrics: Iterable[MetricSpec]) -> list[MetricSpec]:
    """The metrics that have a figure for each clip, in their order; of those that come to the same, the first.

    Over clips mean and median of a column differ; of one clip both are the number that stands there.
    """
    distinct: dict[tuple[object, ...], MetricSpec] = {}
    for metric in metrics:
        each = _of_each_clip(metric)
        if each is not None:
            distinct.setdefault((metric.group, metric.columns, each), metric)
    return list(distinct.values())


def clip_differences(
    contender: Contender, reference: Contender, metric: str, matches: Matches | None = None
) -> tuple[tuple[str, ...], Array]:
    """How two contenders differ on a metric, clip by clip.

    Args:
        contender: of any run.
        reference: of the same run or another.
        metric: its name.
        matches: shared by many calls, it pairs the clips of two runs but once.

    Returns:
        Ids of clips, and contender minus reference on each, (clips,): those where both sides have a figure and that
        are the same clip, with the same audio and text. None at all where the metric does not compare, for which
        `obstacle` has the reason, or has no figure of one clip.

    Raises:
        ResultError: as `clip_values`.
    """
    nothing: tuple[tuple[str, ...], Array] = (), np.empty(0)
    spec = contender.metric(metric)
    our_table, their_table = (None if spec is None else one.measured(spec) for one in (contender, reference))
    if spec is None or our_table is None or their_table is None or obstacle(contender, reference, metric) is not None:
        return nothing
    ours, theirs = clip_values(spec, our_table), clip_values(spec, their_table)
    if ours is None or theirs is None:
        return nothing
    pairs = (matches or Matches()).pairs(contender.run, our_table, reference.run, their_table)
    ids = our_table.row_ids
    if pairs.ours is not None:
        ids = tuple(ids[row] for row in pairs.ours)
        ours, theirs = ours[pairs.ours], theirs[pairs.theirs]
    differences = ours - theirs
    known = np.flatnonzero(np.isfinite(differences))
    return tuple(ids[place] for place in known), differences[known]


def _of_each_clip(metric: MetricSpec) -> Callable[..., Array] | None:
    # A file may say anything of a metric that nobody was measured by.
    reduction = REDUCTIONS.get(metric.reduction)
    return reduction.each if reduction is not None and metric.resampled == "clip" else None
