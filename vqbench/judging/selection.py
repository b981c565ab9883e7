"""What a person names on the command line: a run, one of its candidates, or a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vqbench.errors import ResultError, did_you_mean
from vqbench.records.run import CandidateRecord, MetricSpec, Run, Table
from vqbench.records.store import BASELINES, RESULT_FILE, find_baseline, load_run


@dataclass(frozen=True)
class Selection:
    """A run under the name it is shown by, and the one candidate of it that is meant; None means all."""

    label: str
    run: Run
    candidate: str | None = None


@dataclass(frozen=True)
class Contender:
    """One candidate of one run, under the label of its row."""

    label: str
    run: Run
    name: str

    @property
    def record(self) -> CandidateRecord:
        """What the run says of the candidate."""
        return next(candidate for candidate in self.run.candidates if candidate.name == self.name)

    def metric(self, name: str) -> MetricSpec | None:
        """The run's own definition of a metric, or None where the run does not know it."""
        return next((spec for spec in self.run.metrics if spec.name == name), None)

    def measured(self, metric: MetricSpec) -> Table | None:
        """The candidate's statistics of a metric, or None where it was not measured for it."""
        table = self.table(metric.group)
        return None if table is None or table.lacks(metric) else table

    def table(self, group: str) -> Table | None:
        """The candidate's statistics in a group, or None where it was not measured."""
        return next((t for t in self.run.tables if (t.candidate, t.group) == (self.name, group)), None)


def load_selections(arguments: Sequence[str], baselines: Path = BASELINES) -> list[Selection]:
    """Reads what each `RUN`, `RUN:CANDIDATE`, `BASELINE` or `BASELINE:CANDIDATE` names; each file once.

    Args:
        arguments: RUN is a run folder, a result.json or a baseline's file; BASELINE a name in `baselines`.
        baselines: where the baselines are.

    Raises:
        ResultError: nothing is called so, the file is broken, or the run has no such candidate.
    """
    known: dict[Path, Run] = {}
    return [_select(argument, baselines, known) for argument in arguments]


def load_selection(argument: str, baselines: Path = BASELINES) -> Selection:
    """Reads what one argument names; see `load_selections`."""
    return load_selections([argument], baselines)[0]


def _select(argument: str, baselines: Path, known: dict[Path, Run]) -> Selection:
    try:
        place, candidate = find_baseline(argument, baselines), None
    except ResultError:
        name, colon, candidate = argument.rpartition(":")
        if not colon:
            raise
        place = find_baseline(name, baselines)
    path = place.resolve()
    run = known[path] = known[path] if path in known else load_run(place)
    label = place.resolve().parent.name if place.name == RESULT_FILE else place.resolve().name.removesuffix(".json")
    if candidate is not None:
        check_candidate(run, candidate, label)
    return Selection(label, run, candidate)


def load_baseline(asked: str | None, suites_own: Path | None, baselines: Path = BASELINES) -> Selection | None:
    """Reads the baseline that a person asked for, else the suite's own where it is there yet, else none.

    Raises:
        ResultError: as `load_selection` does.
    """
    if asked is not None:
        return load_selection(asked, baselines)
    return load_selection(str(suites_own), baselines) if suites_own is not None and suites_own.exists() else None


def check_candidate(run: Run, name: str, label: str) -> None:
    """Raises a ResultError where a run has no candidate of that name."""
    names = [candidate.name for candidate in run.candidates]
    if name not in names:
        raise ResultError(
            f"there is no candidate {name!r}{did_you_mean(name, names)}",
            where=label,
            expected=f"one of {', '.join(names)}",
        )


def candidates_of(run: Run) -> list[str]:
    """The names of what a run judges: its candidates without the references."""
    return [candidate.name for candidate in run.candidates if candidate.role == "candidate"]


def members(run: Run, name: str, label: str) -> tuple[str, ...]:
    """The candidates that a name means: the one of that name, or all seeds of a family.

    Raises:
        ResultError: the run has neither.
    """
    seeds = tuple(candidate.name for candidate in run.candidates if candidate.family == name)
    if not seeds:
        check_candidate(run, name, label)
    return seeds or (name,)


def headlined(run: Run, metrics: Sequence[str]) -> Run:
    """The same run, of whose metrics these and no others are the headline.

    Raises:
        ResultError: it does not have one of them; near names are suggested.
    """
    known = [spec.name for spec in run.metrics]
    for name in metrics:
        if name not in known:
            raise ResultError(
                f"the run has no metric {name!r}{did_you_mean(name, known)}", expected=f"one of {', '.join(known)}"
            )
    return replace(run, metrics=tuple(replace(spec, headline=spec.name in metrics) for spec in run.metrics))
