"""What was found in a history, in words."""

from __future__ import annotations

import math
from typing import Literal

from vqbench.judging.excerpts import Excerpt
from vqbench.judging.history import Comparable, History, Series
from vqbench.records.run import MetricSpec
from vqbench.report import format as fmt
from vqbench.stats.changepoint import Change, Stretch

_FACTS_SHOWN = 6
"""Facts that differ between two runs before the rest is only counted."""

_ALWAYS_DIFFERENT = ("started", "command")
"""Facts of any run that tell nothing about its figures."""

_ROUNDING = 1e-9

_COMMIT = 8
"""Characters of a commit."""


def for_the_better(metric: MetricSpec, before: float, after: float) -> Literal["better", "worse"] | None:
    """Which way a figure went; None where neither end is better."""
    if metric.higher_is_better is None or before == after:
        return None
    return "better" if (after > before) == metric.higher_is_better else "worse"


def change_text(history: History, series: Series, group: Comparable, change: Change) -> str:
    """Says what a change is, e.g. `worse: 0.125 → 0.130 at run-11 (p 0.002)`."""
    run = history.runs[group.runs[change.index]]
    levels = _span(change.before, change.after, series.metric)
    return f"{levels} at {run.label} (p {fmt.p_value(change.p_value)})"


def drift_text(history: History, series: Series, group: Comparable, stretch: Stretch) -> str:
    """Says what a drift is, e.g. `worse: drifts 0.125 → 0.140 from run-1 to run-9 (p 0.002)`."""
    first, last = (history.runs[group.runs[index]].label for index in (stretch.start, stretch.stop - 1))
    span = _span(stretch.first, stretch.last, series.metric, "drifts ")
    return f"{span} from {first} to {last} (p {fmt.p_value(stretch.drift_p)})"


def findings(history: History, series: Series, group: Comparable, notes: fmt.Notes | None = None) -> list[str]:
    """Says what was found in a group of comparable runs, in order of time; or why nothing was.

    Args:
        history: all series.
        series: that of the group.
        group: the runs.
        notes: takes up what else differs at a change; None leaves that out.
    """
    found = []
    for change in group.course.changes:
        mark = notes.mark(differing_text(history, series, group, change)) if notes else ""
        found.append((change.index, f"{change_text(history, series, group, change)} {mark}".rstrip()))
    for stretch in group.course.stretches:
        if stretch.drift_p is not None:
            found.append((stretch.start, drift_text(history, series, group, stretch)))
    if found:
        return [text for _, text in sorted(found)]
    values = [value for index in group.runs if (value := series.points[index].value) is not None]
    if len(values) > 1 and same_figure(min(values), max(values)):
        return [f"the same in {len(group.runs)} runs"]
    if len(group.runs) < history.needed:
        return [f"too few runs to tell: {len(group.runs)} of {history.needed}"]
    return ["no change found"]


def precise_decimals(metric: MetricSpec, *values: float) -> int:
    """The metric's decimals, or as many more as it takes for different values to look different, at most 9.

    >>> from dataclasses import replace
    >>> wer = MetricSpec("wer", "speech", (), "ratio", "", False, 1, "", decimals=3)
    >>> precise_decimals(wer, 0.125, 0.13), precise_decimals(wer, 0.125, 0.12501)
    (3, 5)
    """
    decimals = metric.decimals
    while decimals < 9 and len({round(value, decimals) for value in values}) < len(set(values)):
        decimals += 1
    return decimals


def differing_facts(
    history: History, series: Series, group: Comparable, change: Change
) -> list[tuple[str, str | None, str | None]]:
    """What else the run of a change and the one before tell differently: name, before, after; None where not told.

    The candidate's digest, the commit, versions, the machine: whatever is in their provenance.
    """
    before, after = (history.runs[group.runs[place]] for place in (change.index - 1, change.index))
    old, new = (
        {"digest": run.candidates[series.candidate].digest, **dict(fmt.flat(run.provenance))} for run in (before, after)
    )
    return [
        (name, old.get(name), new.get(name))
        for name in (old | new)
        if name not in _ALWAYS_DIFFERENT and old.get(name) != new.get(name)
    ]


def differing_text(history: History, series: Series, group: Comparable, change: Change) -> str:
    """The first few of these facts in one line."""
    before, after = (history.runs[group.runs[place]].label for place in (change.index - 1, change.index))
    facts = differing_facts(history, series, group, change)
    told = ", ".join(f"{name} {_short(old)} → {_short(new)}" for name, old, new in facts[:_FACTS_SHOWN])
    rest = f" and {len(facts) - _FACTS_SHOWN} more" if len(facts) > _FACTS_SHOWN else ""
    return f"between {before} and {after} {series.candidate} differs in: {told or 'nothing that the runs tell'}{rest}"


def same_figure(value: float, other: float) -> bool:
    """Whether two figures differ by no more than what sums round to in another order."""
    return math.isclose(value, other, rel_tol=_ROUNDING)


def _short(fact: str | None) -> str:
    if fact is None:
        return fmt.MISSING
    return fact if len(fact) <= 24 else f"{fact[:12]}…"


def _span(before: float, after: float, metric: MetricSpec, how: str = "") -> str:
    decimals = precise_decimals(metric, before, after)
    word = for_the_better(metric, before, after)
    return f"{f'{word}: ' if word else ''}{how}{fmt.number(before, decimals)} → {fmt.number(after, decimals)}"


def time_text(run: Excerpt) -> str:
    """When a run was started, to the minute, in UTC."""
    return run.started.strftime("%Y-%m-%d %H:%M")


def commit_text(run: Excerpt) -> str:
    """The commit of a run, short; empty where none is known."""
    return str(run.provenance.get("commit") or "")[:_COMMIT]
