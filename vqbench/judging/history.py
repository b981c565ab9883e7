"""A metric through time: the figures of many runs in the order they were started, and where their level shifted.

Figures that do not compare (other clips, another version of the metric, another front end, timings of another machine)
are never looked at together: each set of runs that compare is a series of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.errors import ResultError, did_you_mean, raise_all
from vqbench.judging.contrast import definition
from vqbench.judging.excerpts import Excerpt
from vqbench.records.run import MetricSpec
from vqbench.stats.changepoint import Course, search_all


@dataclass(frozen=True)
class Point:
    """One run's figure in a series.

    Attributes:
        n: rows behind it.
        reason: why there is no figure, or no interval.
        failed: it was measured, and yet there is no figure; other runs without one did not measure it.
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    reason: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class Comparable:
    """The runs of a series whose figures compare with each other.

    Attributes:
        runs: their positions in the history, in order of time.
        reason: why they do not compare with the newest figure; None where they do.
        course: where the level shifted; positions in it count these runs alone, p-values are corrected for all series.
    """

    runs: tuple[int, ...]
    reason: str | None
    course: Course


@dataclass(frozen=True)
class Series:
    """One metric of one candidate, a point a run.

    Attributes:
        metric: as the newest run that has it defines it.
        groups: the newest runs' last; none where no run has a figure.
    """

    metric: MetricSpec
    candidate: str
    points: tuple[Point, ...]
    groups: tuple[Comparable, ...]

    @property
    def found(self) -> bool:
        """Whether there is a change or a drift anywhere in it."""
        return any(group.course.found for group in self.groups)


@dataclass(frozen=True)
class History:
    """Several series over the same runs.

    Attributes:
        runs: in order of time.
        series: by metric, then candidate.
        n_tested: how many groups of comparable runs could change, and so share the level of the test.
        needed: how many runs that compare it takes to tell a change from chance, where none was found.
        notes: what was left out, and why.
    """

    runs: tuple[Excerpt, ...]
    series: tuple[Series, ...]
    n_tested: int
    needed: int
    notes: tuple[str, ...] = ()


def make_history(
    excerpts: Sequence[Excerpt], metrics: Sequence[str] | None = None, candidates: Sequence[str] | None = None
) -> History:
    """Puts runs in order of time and looks for changes in each series.

    All series share the level of the test, as `search_all` says: fewer metrics or candidates find smaller changes, and
    in fewer runs.

    Args:
        excerpts: at least one run.
        metrics: their names; without any, the headline metrics of the newest run that most runs measured.
        candidates: names, of candidates or of all seeds of a recipe; without any, the candidates of the newest run.

    Raises:
        ResultError: no run has such a metric or candidate, or none has them together.
    """
    runs = tuple(sorted(excerpts, key=lambda run: run.started))
    names, notes = (list(dict.fromkeys(metrics)), []) if metrics else _headline(runs)
    chosen = _members(runs, candidates) if candidates else _judged(runs[-1])
    _check_known(names, [name for run in runs for name in run.metrics], "metric")
    collected = [series for name in names for who in chosen if (series := _collect(runs, name, who)) is not None]
    if not collected:
        raise ResultError(f"no run has measured {', '.join(names)} for {', '.join(chosen)}")
    search = search_all([series.values(group) for series in collected for group in series.groups])
    courses = iter(search.courses)
    searched = [
        Series(
            series.metric,
            series.candidate,
            series.points,
            tuple(Comparable(group.runs, group.reason, next(courses)) for group in series.groups),
        )
        for series in collected
    ]
    return History(runs, tuple(searched), search.n_tested, search.needed, tuple(notes))


def _headline(runs: Sequence[Excerpt]) -> tuple[list[str], list[str]]:
    """The newest run's headline metrics that more than half of the runs have, and a note on the others."""
    newest = [name for name, spec in runs[-1].metrics.items() if spec.headline] or list(runs[-1].metrics)
    counts = {name: sum(name in run.metrics for run in runs) for name in newest}
    common = [name for name, count in counts.items() if 2 * count > len(runs)]
    rare = [f"{name} ({count} of {len(runs)})" for name, count in counts.items() if name not in common]
    if not common:
        return newest, []
    return common, [f"left out unless named, as most runs do not measure them: {', '.join(rare)}"] if rare else []


def _judged(run: Excerpt) -> list[str]:
    return [candidate.name for candidate in run.candidates.values() if candidate.role == "candidate"]


def _members(runs: Sequence[Excerpt], names: Sequence[str]) -> list[str]:
    """The candidates that are called so, or all seeds of a family, in any run."""
    known = {candidate.name: candidate for run in runs for candidate in run.candidates.values()}
    families = [candidate.family for candidate in known.values() if candidate.family is not None]
    _check_known(names, [*known, *families], "candidate")
    asked = [[who for who in known.values() if who.family == name] or [known[name]] for name in names]
    return list(dict.fromkeys(who.name for members in asked for who in members))


def _check_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    listed = list(dict.fromkeys(known))
    raise_all(
        [
            ResultError(
                f"no run has the {what} {name!r}{did_you_mean(name, listed)}", expected=f"one of {', '.join(listed)}"
            )
            for name in names
            if name not in listed
        ]
    )


@dataclass(frozen=True)
class _Group:
    """The positions of runs that compare, and why they do not compare with the newest."""

    runs: tuple[int, ...]
    reason: str | None


@dataclass(frozen=True)
class _Collected:
    """A series before it is searched."""

    metric: MetricSpec
    candidate: str
    points: tuple[Point, ...]
    groups: tuple[_Group, ...]

    def values(self, group: _Group) -> list[float]:
        """The figures of a group, in order of time."""
        return [value for index in group.runs if (value := self.points[index].value) is not None]


def _collect(runs: Sequence[Excerpt], metric: str, candidate: str) -> _Collected | None:
    """The series of one candidate; None where no run measured it."""
    if not any((candidate, metric) in run.results for run in runs):
        return None
    newest = next(run.metrics[metric] for run in reversed(runs) if metric in run.metrics)
    points = tuple(_point(run, newest, candidate) for run in runs)
    groups: list[tuple[dict[str, object], list[int]]] = []
    for index, (run, point) in enumerate(zip(runs, points, strict=True)):
        if point.value is None:
            continue
        conditions = _conditions(run, metric, candidate)
        own = next((members for others, members in groups if others == conditions), None)
        if own is None:
            groups.append((conditions, [index]))
        else:
            own.append(index)
    groups.sort(key=lambda group: group[1][-1])
    told = tuple(_Group(tuple(members), _unlike(conditions, groups[-1][0])) for conditions, members in groups)
    return _Collected(newest, candidate, points, told)


def _point(run: Excerpt, newest: MetricSpec, candidate: str) -> Point:
    spec, result = run.metrics.get(newest.name), run.results.get((candidate, newest.name))
    if candidate not in run.candidates:
        return Point(None, reason=f"{candidate} is not in this run")
    if spec is None or result is None:
        return Point(None, reason="not measured in this run")
    if spec.unit != newest.unit:
        return Point(None, reason=f"measured in {spec.unit or 'no unit'}, not in {newest.unit or 'no unit'}")
    return Point(result.value, result.ci_low, result.ci_high, result.n, result.reason, result.value is None)


def _conditions(run: Excerpt, metric: str, candidate: str) -> dict[str, object]:
    """What must be the same for two figures to compare."""
    spec = run.metrics[metric]
    conditions: dict[str, object] = {
        "version": spec.version,
        "definition": definition(spec),
        "clips": run.clips.get(spec.clip_set),
    }
    if spec.needs_same_front_end:
        conditions["mel front end"] = run.candidates[candidate].front_end
    if spec.resampled == "repetition":
        conditions |= {key: run.provenance.get(key) for key in ("machine", "device")}
    return conditions


def _unlike(ours: Mapping[str, Any], newest: Mapping[str, Any]) -> str | None:
    """Why figures do not compare with the newest, or None where they do."""
    said = []
    for key, theirs in newest.items():
        mine = ours.get(key)
        if mine == theirs:
            continue
        if key == "definition":
            said.append("the metric was defined otherwise")
        elif key == "clips":
            counts = [clips[0] if clips else 0 for clips in (mine, theirs)]
            said.append(f"other clips, {counts[0]} there and {counts[1]} in the newest")
        else:
            said.append(f"another {key}, {mine} and not {theirs}")
    return "; ".join(said) or None
