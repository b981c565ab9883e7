"""Which clips of a run people hear: those that the suite names, those where figures are worst, and some drawn ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from vqbench.judging.clip_figures import clip_metrics, clip_values
from vqbench.judging.selection import Contender, candidates_of
from vqbench.records.run import MetricSpec, Run, Table

MOST_REASONS = 3
"""So many of them a reader takes in."""


@dataclass(frozen=True)
class Chosen:
    """A clip, and why it was chosen: at least one reason, e.g. `worst speech.wer of drifted: 1.400`."""

    clip: str
    why: tuple[str, ...]


def choose_clips(run: Run, clip_set: str, named: Sequence[str], drawn: int, worst: int, seed: int) -> list[Chosen]:
    """Chooses clips of a set; the same run gives the same clips.

    The worst ones are found in rounds: in the first, each headline metric with a direction names each candidate's worst
    clip, in the second the second worst, and so on. Clips on which a candidate is as good as anywhere are never named:
    where all error rates are 0, none is.

    Args:
        run: with its tables.
        clip_set: e.g. `speech`.
        named: ids that the suite wants; those that are not in the set are passed over.
        drawn: how many to draw of the rest; clips that not everybody scored come last.
        worst: how many of the worst to take, beside those that are named.
        seed: of the draw.

    Returns:
        Each clip once: the named ones, the worst, the drawn ones. They are fewer where the set has no more.

    Raises:
        ResultError: the columns of a table do not hold what a metric reduces.
    """
    clips = [clip.id for clip in run.clips if clip.clip_set == clip_set]
    known = set(clips)
    why = {clip: ["named in the suite"] for clip in named if clip in known}
    wanted = len(why) + worst
    for nominated in _rounds(run, clip_set):
        if len(why) == wanted:
            break
        for clip, reason in nominated:
            if clip in why or len(why) < wanted:
                why.setdefault(clip, []).append(reason)
    unscored = _unscored(run, clip_set)
    rest = [clip for clip in clips if clip not in why]
    rest.sort(key=lambda clip: (clip in unscored, _lot(seed, clip)))
    why.update({clip: [f"drawn by seed {seed}"] for clip in rest[:drawn]})
    return [Chosen(clip, tuple(reasons[:MOST_REASONS])) for clip, reasons in why.items()]


def _rounds(run: Run, clip_set: str) -> Iterator[list[tuple[str, str]]]:
    """Yields what each metric and candidate nominates, (clip, why): their worst, then their second worst, …"""
    metrics = [
        metric
        for metric in clip_metrics(run.metrics)
        if metric.clip_set == clip_set and metric.headline and metric.higher_is_better is not None
    ]
    candidates = [Contender(name, run, name) for name in candidates_of(run)]
    nominations = []
    # Along the diagonals: even the first few come from different metrics and from different candidates.
    for shift in range(len(candidates)):
        for place, metric in enumerate(metrics):
            table = candidates[(place + shift) % len(candidates)].measured(metric)
            if table is not None:
                nominations.append(_worst_first(metric, table))
    for nominated in zip_longest(*nominations):
        yield [one for one in nominated if one is not None]


def _worst_first(metric: MetricSpec, table: Table) -> Iterator[tuple[str, str]]:
    """Yields (clip, why) from the worst clip on, but for those that are as good as the best."""
    values = clip_values(metric, table)
    if values is None:
        return
    losses = -values if metric.higher_is_better else values
    rows = np.flatnonzero(losses > np.min(losses[np.isfinite(losses)], initial=np.inf))
    rank, last = 0, np.inf
    for place, row in enumerate(rows[np.argsort(-losses[rows], kind="stable")], 1):
        if losses[row] < last:
            rank, last = place, losses[row]
        unit = f" {metric.unit}" if metric.unit else ""
        figure = f"{values[row]:,.{metric.decimals}f}{unit}"
        yield table.row_ids[row], f"{_nth(rank)}worst {metric.name} of {table.candidate}: {figure}"


def _nth(rank: int) -> str:
    """What stands before a superlative: nothing for the first.

    >>> [_nth(rank) + "worst" for rank in (1, 2, 3, 11, 21)]
    ['worst', '2nd worst', '3rd worst', '11th worst', '21st worst']
    """
    if rank == 1:
        return ""
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending} "


def _unscored(run: Run, clip_set: str) -> set[str]:
    """The clips of a set that somebody has no row for."""
    groups = {spec.group for spec in run.metrics if spec.clip_set == clip_set and spec.resampled == "clip"}
    return {clip for table in run.tables if table.group in groups for clip in table.unscored}


def _lot(seed: int, clip: str) -> bytes:
    # By hash, so that another clip in the set moves no other clip's lot.
    return hashlib.sha256(f"{seed} {clip}".encode("utf-8", "surrogatepass")).digest()
