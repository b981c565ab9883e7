"""A history for the terminal and for programs: what was found in each series, the runs, and every figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from vqbench.judging.history import Comparable, History, Point, Series
from vqbench.report import format as fmt
from vqbench.report.tables.documents import to_json
from vqbench.report.tables.findings import (
    change_text,
    commit_text,
    differing_facts,
    differing_text,
    drift_text,
    findings,
    for_the_better,
    precise_decimals,
    same_figure,
    time_text,
)
from vqbench.report.tables.grid import Cell, Column, Grid, Row
from vqbench.stats.changepoint import LEVEL

CHANGED = "◆"
"""Marks the first run of a new level."""

SHOWN = 24
"""Runs whose course fits into a line; of more, the newest are shown."""

_BARS = "▁▂▃▄▅▆▇█"

_STRIP = 17
"""Characters over which the figures of a series are spread."""

_GROUPS_SHOWN = 3
"""Groups of runs that do not compare with the newest before the rest is only counted."""


def history_grids(history: History, *, every: bool = False) -> list[Grid]:
    """Lays out the runs, and what was found in each series; before them, if asked for, every figure of each series."""
    shown = history.series if every else ()
    return [*(_series_grid(history, series) for series in shown), _runs_grid(history), _overview(history)]


def history_json(history: History) -> str:
    """All of it: the runs, and of each series its points, its groups of comparable runs, their changes and drifts."""
    return to_json(
        {
            "level": LEVEL,
            "n_tested": history.n_tested,
            "needed": history.needed,
            "runs": [
                {
                    "run": run.label,
                    "started": run.started.isoformat(),
                    **{key: run.provenance.get(key) for key in ("commit", "vqbench", "machine", "device")},
                }
                for run in history.runs
            ],
            "series": [_plain(history, series) for series in history.series],
            "notes": list(history.notes),
        }
    )


def sparkline(values: Sequence[float | None]) -> str:
    """Draws values as bars, one character each; a gap where there is none, one height where all are the same.

    >>> sparkline([1, 1, None, 2, 3]), sparkline([5, 5])
    ('▁▁ ▅█', '▄▄')
    """
    known = [value for value in values if value is not None]
    if not known or same_figure(min(known), max(known)):
        return "".join(" " if value is None else _BARS[3] for value in values)
    low, step = min(known), (max(known) - min(known)) / len(_BARS)
    return "".join(" " if value is None else _BARS[min(len(_BARS) - 1, int((value - low) / step))] for value in values)


def _overview(history: History) -> Grid:
    notes = fmt.Notes()
    newest = f"newest {SHOWN} of {len(history.runs)}" if len(history.runs) > SHOWN else ""
    return Grid(
        title="history",
        columns=(
            Column(("metric",), "candidate", width=26),
            Column(("newest",), "interval", "figure"),
            Column(("course",), newest, "figure"),
            Column(("found",), kind="text"),
        ),
        rows=tuple(_overview_row(history, series, notes) for series in history.series),
        caption=_method(history),
        notes=(*notes.lines(), *history.notes),
    )


def _method(history: History) -> str:
    if not history.n_tested:
        return f"found: nothing, as it takes {history.needed} runs that compare, and differ, to tell a shift"
    return (
        f"found: where the level shifted; p: permutation test, corrected (Holm) for the {history.n_tested} series that "
        f"could change, at most {LEVEL:g}"
    )


def _overview_row(history: History, series: Series, notes: fmt.Notes) -> Row:
    metric, newest = series.metric, series.points[-1]
    told = [text for group in reversed(series.groups) for text in _if_told(history, series, group, notes)]
    mark = notes.mark(_apart_text(history, series))
    return Row(
        (
            Cell(f"{metric.name} {fmt.arrow(metric)}".strip(), series.candidate),
            Cell(
                f"{fmt.figure(newest.value, metric)} {notes.mark(newest.reason)}".strip(),
                fmt.interval(newest.ci_low, newest.ci_high, metric.decimals),
            ),
            Cell(sparkline([point.value for point in series.points[-SHOWN:]])),
            Cell(f"{'; '.join(told) or 'no figure'} {mark}".strip(), mark=_direction(series)),
        )
    )


def _direction(series: Series) -> Literal["better", "worse"] | None:
    """Which way the newest figures went at the last thing found in them."""
    course = series.groups[-1].course if series.groups else None
    if course is None or not course.found:
        return None
    last = course.stretches[-1]
    before = last.first if last.drift_p is not None else course.changes[-1].before
    return for_the_better(series.metric, before, last.last)


def _if_told(history: History, series: Series, group: Comparable, notes: fmt.Notes) -> list[str]:
    """The findings of a group, but for those that do not compare with the newest and have none."""
    return findings(history, series, group, notes) if group.reason is None or group.course.found else []


def _apart_text(history: History, series: Series) -> str | None:
    """Which runs do not compare with the newest figure, and why; None where all do."""
    apart = [group for group in reversed(series.groups) if group.reason]
    if not apart:
        return None
    told = [f"{_runs_text(history, group)} ({group.reason})" for group in apart[:_GROUPS_SHOWN]]
    rest = sum(len(group.runs) for group in apart[_GROUPS_SHOWN:])
    more = f" and {fmt.counted(rest, 'other run')}" if rest else ""
    return f"not comparable with the newest figure: {', '.join(told)}{more}"


def _apart(group: Comparable) -> str:
    return f"not comparable with the newest figure: {group.reason}"


def _runs_text(history: History, group: Comparable) -> str:
    labels = [history.runs[index].label for index in group.runs]
    return ", ".join(labels) if len(labels) <= 2 else f"{len(labels)} runs from {labels[0]} to {labels[-1]}"


def _runs_grid(history: History) -> Grid:
    rows = []
    for run in history.runs:
        version, machine, device = (str(run.provenance.get(key) or "") for key in ("vqbench", "machine", "device"))
        cells = (run.label, time_text(run), commit_text(run), version, machine)
        below = "" if device == "cpu" or machine in device else device
        rows.append(Row((*(Cell(text or fmt.MISSING) for text in cells[:-1]), Cell(machine or fmt.MISSING, below))))
    columns = (
        Column(("run",), width=30),
        Column(("started",), "UTC", "figure"),
        Column(("commit",)),
        Column(("vqbench",)),
        Column(("machine",), "device", "text"),
    )
    return Grid(fmt.counted(len(rows), "run"), columns, tuple(rows))


def _series_grid(history: History, series: Series) -> Grid:
    metric, notes = series.metric, fmt.Notes()
    values = [point.value for point in series.points if point.value is not None]
    low, high = (fmt.number(end, metric.decimals) for end in (min(values, default=None), max(values, default=None)))
    columns = (
        Column(("run",)),
        Column(("started",), "UTC", "figure"),
        Column(("figure",), metric.unit, "figure"),
        Column(("interval",), kind="figure"),
        Column(("difference",), kind="figure"),
        Column((f"{low} {high:>{max(1, _STRIP - 1 - len(low))}}",), kind="figure"),
        Column(("found",)),
    )
    rows = [_series_row(history, series, index, notes) for index in range(len(history.runs))]
    return Grid(
        title=f"{metric.name} {fmt.arrow(metric)} of {series.candidate}".replace("  ", " "),
        columns=columns,
        rows=tuple(rows),
        caption=f"difference: from the run before that compares, = where it is the same; {CHANGED} found here",
        notes=notes.lines(),
    )


def _series_row(history: History, series: Series, index: int, notes: fmt.Notes) -> Row:
    metric, point = series.metric, series.points[index]
    run = history.runs[index]
    group = next((group for group in series.groups if index in group.runs), None)
    reasons = [point.reason]
    found = []
    if group is not None:
        reasons += [_apart(group) if group.reason else None, _other_n(series, group, point)]
        found = [notes.mark(text) for text in _found_at(history, series, group, index)]
    values = [point.value for point in series.points if point.value is not None]
    return Row(
        (
            Cell(run.label),
            Cell(time_text(run)),
            Cell(" ".join([fmt.number(point.value, metric.decimals), *filter(None, map(notes.mark, reasons))])),
            Cell(fmt.interval(point.ci_low, point.ci_high, metric.decimals)),
            Cell(_difference(series, group, index)),
            Cell(_strip(point.value, min(values, default=0.0), max(values, default=0.0))),
            Cell(f"{CHANGED} {' '.join(found)}" if found else ""),
        )
    )


def _other_n(series: Series, group: Comparable, point: Point) -> str | None:
    """Says so where a figure stands on another number of clips than most that it is compared with."""
    usual = Counter(series.points[index].n for index in group.runs).most_common(1)[0][0]
    if series.metric.resampled != "clip" or point.n == usual:
        return None
    return f"over {point.n:,} clips, most others over {usual:,}"


def _found_at(history: History, series: Series, group: Comparable, index: int) -> Iterator[str]:
    """What was found at a run, and what else differs there from the run before that compares."""
    place = group.runs.index(index)
    for change in group.course.changes:
        if change.index == place:
            yield f"{change_text(history, series, group, change)}; {differing_text(history, series, group, change)}"
    for stretch in group.course.stretches:
        if stretch.drift_p is not None and stretch.start == place:
            yield drift_text(history, series, group, stretch)


def _difference(series: Series, group: Comparable | None, index: int) -> str:
    place = group.runs.index(index) if group else 0
    value = series.points[index].value
    before = series.points[group.runs[place - 1]].value if group and place else None
    if value is None or before is None:
        return ""
    if same_figure(value, before):
        return "="
    return fmt.number(value - before, precise_decimals(series.metric, value - before, 0.0), signed=True)


def _strip(value: float | None, low: float, high: float) -> str:
    """Marks where a figure lies between the least and the greatest; in the middle where these are the same."""
    if value is None:
        return " " * _STRIP
    place = round((value - low) / (high - low) * (_STRIP - 1)) if not same_figure(low, high) else _STRIP // 2
    return "·" * place + "●" + "·" * (_STRIP - 1 - place)


def _plain(history: History, series: Series) -> dict[str, Any]:
    metric = series.metric
    labels = [run.label for run in history.runs]
    return {
        "metric": metric.name,
        "candidate": series.candidate,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "points": [{"run": label, **asdict(point)} for label, point in zip(labels, series.points, strict=True)],
        "groups": [
            {
                "runs": [labels[index] for index in group.runs],
                "reason": group.reason,
                "changes": [
                    {
                        "run": labels[group.runs[change.index]],
                        "run_before": labels[group.runs[change.index - 1]],
                        "before": change.before,
                        "after": change.after,
                        "p_value": change.p_value,
                        "differs": [
                            {"fact": name, "before": old, "after": new}
                            for name, old, new in differing_facts(history, series, group, change)
                        ],
                    }
                    for change in group.course.changes
                ],
                "drifts": [
                    {
                        "first_run": labels[group.runs[stretch.start]],
                        "last_run": labels[group.runs[stretch.stop - 1]],
                        "first": stretch.first,
                        "last": stretch.last,
                        "p_value": stretch.drift_p,
                    }
                    for stretch in group.course.stretches
                    if stretch.drift_p is not None
                ],
            }
            for group in series.groups
        ],
    }
