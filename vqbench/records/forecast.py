"""What a run will take: the work that it will report, times the seconds that a rehearsal took for a unit of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vqbench.progress import TaskTimes


@dataclass(frozen=True)
class Work:
    """One task that a run will report.

    Attributes:
        stage: what is done, as the task says behind its owner's name.
        total: how many units of it.
        owner: for whom; empty where it is done for the whole run.
        like: the task of the rehearsal that was the same for less, where it is not this very one.
        share: how long a unit is, as a share of a unit of the rehearsal.
        alike: whether its units are alike, so that one that takes longer is an exception; otherwise all of them count.
    """

    stage: str
    total: int
    owner: str = ""
    like: str = ""
    share: float = 1.0
    alike: bool = True

    @property
    def description(self) -> str:
        """The task's."""
        return f"{self.owner}: {self.stage}" if self.owner else self.stage


@dataclass(frozen=True)
class Pace:
    """How long a task takes: seconds before its first unit, and for each unit."""

    begin_s: float
    unit_s: float


@dataclass(frozen=True)
class StageForecast:
    """A row of the estimate: all tasks of one kind.

    Attributes:
        name: of the stage.
        tasks: how many there will be.
        units: in all of them.
        unit_s: seconds a unit, on average.
        begin_s: seconds before the first unit of a task, on average: what is loaded and saved for it.
        seconds: all in all; None where it was not rehearsed.
        rehearsed: units that it is concluded from.
    """

    name: str
    tasks: int
    units: int
    unit_s: float | None
    begin_s: float | None
    seconds: float | None
    rehearsed: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of the rehearsal, `more` that the suite's own recordings take, and what there is."""

    where: str
    peak_bytes: int
    more_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Forecast:
    """What a run from an empty cache will take on the machine that this was taken on.

    Attributes:
        suite: its name.
        machine: device, cores and threads.
        candidate: who was rehearsed.
        opening_s: seconds until the first task: weights and recordings are read and checked.
        stages: of the run, in order.
        seconds: all of it.
        memory: of the process, and of its CUDA device.
        disk: what the run leaves in the cache, bytes by kind.
        disk_free_bytes: where the cache is.
        rehearsal_s: how long this took.
        notes: what it does not tell.
    """

    suite: str
    machine: str
    candidate: str
    opening_s: float
    stages: tuple[StageForecast, ...]
    seconds: float
    memory: tuple[Memory, ...]
    disk: Mapping[str, int]
    disk_free_bytes: int
    rehearsal_s: float
    notes: tuple[str, ...]


def pace_of(task: TaskTimes, since_s: float, alike: bool = True) -> Pace:
    """The pace of a task.

    Args:
        task: as it was rehearsed.
        since_s: when the task before it ended; what comes between the two is loading for this one.
        alike: where units are alike, the first advance is apart, since it holds what is done but once, and of the
            others the middle one counts. Of a task of one advance nothing can be told apart.
    """
    gap_s = max(0.0, task.began_s - since_s)
    if not task.total or not task.marks:
        return Pace(gap_s + task.ended_s - task.began_s, 0.0)
    if not alike:
        return Pace(gap_s, (task.ended_s - task.began_s) / task.total)
    each_s = [seconds / steps for seconds, steps in task.marks]
    unit_s = median(each_s[1:] or each_s)
    return Pace(gap_s + max(0.0, (each_s[0] - unit_s) * task.marks[0][1]), unit_s)


def stages_of(work: Sequence[Work], tasks: Sequence[TaskTimes]) -> tuple[StageForecast, ...]:
    """Joins the work of a run with the times of its rehearsal, a row a stage."""
    since_s = [*(task.began_s for task in tasks[:1]), *(task.ended_s for task in tasks)]
    # Of several with one description the first counts: what the others are told is known then.
    found = dict(reversed([(task.description, (task, since)) for task, since in zip(tasks, since_s, strict=False)]))
    rows = []
    for name in dict.fromkeys(one.stage for one in work):
        own = [(one, one.like or one.description) for one in work if one.stage == name]
        units, like = sum(one.total for one, _ in own), {model for _, model in own}
        basis = sum(found[model][0].total for model in like if model in found)
        if not like <= found.keys():
            rows.append(StageForecast(name, len(own), units, None, None, None, basis))
            continue
        paces = [(one, pace_of(*found[model], one.alike)) for one, model in own]
        units_s = sum(one.total * one.share * pace.unit_s for one, pace in paces)
        begin_s = sum(pace.begin_s for _, pace in paces)
        each_s = units_s / units if units else 0.0
        rows.append(StageForecast(name, len(own), units, each_s, begin_s / len(own), units_s + begin_s, basis))
    return tuple(rows)
