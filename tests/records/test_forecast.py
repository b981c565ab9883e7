"""From the times of a rehearsal to an estimate, by a clock that the test sets."""

from __future__ import annotations

import pytest

from vqbench.progress import Silent, TaskTimes, Timekeeper
from vqbench.records.forecast import Pace, Work, pace_of, stages_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_times_of_tasks_are_kept_but_not_of_those_inside_them() -> None:
    clock, readings = Clock(), iter([3, 1, 7, 2, 5, 4])
    keeper = Timekeeper(Silent(), lambda: next(readings), clock)
    with keeper.task("outer", 3) as advance:
        clock.now = 2.0
        with keeper.task("inner", 9) as inner:
            inner(9)
        advance(2)
        clock.now = 5.0
        advance()
    with pytest.raises(ValueError, match="broke"), keeper.task("broken", 1):
        clock.now = 6.0
        raise ValueError("broke")
    assert keeper.tasks == [
        TaskTimes("outer", 3, 0.0, 5.0, [(2.0, 2), (3.0, 1)]),
        TaskTimes("broken", 1, 5.0, 6.0, []),
    ]
    assert keeper.most == 7


@pytest.mark.parametrize(
    ("task", "pace"),
    [
        # Begun 3 s after what came before; the first unit takes 4 s more than the others do.
        (TaskTimes("x", 3, 13.0, 20.0, [(5.0, 1), (1.0, 1), (1.0, 1)]), Pace(7.0, 1.0)),
        # A unit that took long for once is none to count on.
        (TaskTimes("x", 4, 10.0, 43.0, [(1.0, 1), (1.0, 1), (30.0, 1), (1.0, 1)]), Pace(0.0, 1.0)),
        # Several at once.
        (TaskTimes("x", 6, 10.0, 14.0, [(2.0, 4), (2.0, 2)]), Pace(0.0, 1.0)),
        # Of one advance nothing can be told apart.
        (TaskTimes("x", 4, 11.0, 19.0, [(8.0, 4)]), Pace(1.0, 2.0)),
        # A first advance that was faster than the others saves nothing.
        (TaskTimes("x", 2, 10.0, 14.0, [(1.0, 1), (3.0, 1)]), Pace(0.0, 3.0)),
        (TaskTimes("x", 0, 12.0, 13.0, []), Pace(3.0, 0.0)),
    ],
)
def test_pace(task: TaskTimes, pace: Pace) -> None:
    assert pace_of(task, 10.0) == pace


def test_of_units_that_are_not_alike_all_count() -> None:
    task = TaskTimes("x", 3, 12.0, 21.0, [(1.0, 1), (7.0, 1), (1.0, 1)])
    assert pace_of(task, 10.0, alike=False) == Pace(2.0, 3.0)
    (stage,) = stages_of([Work("x", 6, alike=False)], [task])
    assert stage.seconds == pytest.approx(18.0)


def test_the_first_of_tasks_with_one_description_counts() -> None:
    tasks = [TaskTimes("x", 1, 0.0, 1.0, [(1.0, 1)]), TaskTimes("x", 1, 1.0, 9.0, [(8.0, 1)])]
    (stage,) = stages_of([Work("x", 2)], tasks)
    assert (stage.unit_s, stage.rehearsed) == (1.0, 1)


def test_a_stage_is_all_its_tasks_and_one_that_was_not_rehearsed_has_no_time() -> None:
    tasks = [
        TaskTimes("a: read", 2, 0.0, 4.0, [(2.0, 1), (2.0, 1)]),
        TaskTimes("reference: read", 2, 5.0, 7.0, [(1.0, 1), (1.0, 1)]),
    ]
    work = [
        Work("read", 10, "reference"),
        Work("read", 10, "a", "a: read"),
        Work("read", 10, "b", "a: read", share=0.5),
        Work("write", 3, "a", "a: write"),
    ]
    read, write = stages_of(work, tasks)
    assert (read.name, read.tasks, read.units, read.rehearsed) == ("read", 3, 30, 4)
    assert read.seconds == pytest.approx(10 * 1.0 + 1.0 + 10 * 2.0 + 10 * 2.0 * 0.5)
    assert (write.tasks, write.units, write.unit_s, write.seconds) == (1, 3, None, None)
