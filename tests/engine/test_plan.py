"""What is known is not done again, and what one run is at no other run does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from counted import Squares, computed, squares

from vqbench.engine import claims
from vqbench.engine.cache import Cache, Place
from vqbench.engine.claims import Claims
from vqbench.engine.executors.local import Local
from vqbench.engine.plan import Plan
from vqbench.progress import Silent

N = 10
EXPECTED = {number: number**2 for number in range(N)}
SPAWN = multiprocessing.get_context("spawn")


def test_each_item_is_done_once_and_then_known(tmp_path: Path) -> None:
    stage = Squares(tmp_path / "log", N)
    assert squares(stage, tmp_path / "cache") == squares(stage, tmp_path / "cache") == EXPECTED
    assert [number for number, _ in computed(stage.log)] == [*range(N)]
    assert squares(stage, tmp_path / "cache", read=False) == EXPECTED
    assert len(computed(stage.log)) == 2 * N


def test_only_what_is_missing_is_done(tmp_path: Path) -> None:
    squares(Squares(tmp_path / "first", 4), tmp_path / "cache")
    assert squares(stage := Squares(tmp_path / "log", N), tmp_path / "cache") == EXPECTED
    assert [number for number, _ in computed(stage.log)] == [*range(4, N)]


def test_two_runs_on_one_cache_share_the_work(tmp_path: Path) -> None:
    stage = Squares(tmp_path / "log", N, wait_s=0.1)
    runs = [SPAWN.Process(target=squares, args=(stage, tmp_path / "cache")) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    assert sorted(number for number, _ in computed(stage.log)) == [*range(N)]
    assert squares(Squares(tmp_path / "other", N), tmp_path / "cache") == EXPECTED
    assert not (tmp_path / "other").exists()


def test_what_a_killed_run_was_at_is_done_by_the_next(tmp_path: Path) -> None:
    stage = Squares(tmp_path / "log", N, deadly=(4, 1))
    killed = SPAWN.Process(target=squares, args=(stage, tmp_path / "cache"))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert [number for number, _ in computed(stage.log)] == [0, 1, 2, 3]
    assert [path for path in (tmp_path / "cache/claims").iterdir() if path.is_file()]
    assert squares(stage, tmp_path / "cache") == EXPECTED
    assert [number for number, _ in computed(stage.log)] == [*range(N)]
    assert not [path for path in (tmp_path / "cache/claims").rglob("*") if path.is_file()]


PLACE = Place("squares", "0" * 40)


def test_a_claim_is_one_owners_until_it_is_given_up(tmp_path: Path) -> None:
    with Claims(tmp_path) as one, Claims(tmp_path) as other:
        assert one.take([PLACE])
        assert not other.take([PLACE])
        assert not other.take([Place("squares", "1" * 40), PLACE])
        assert one.take([Place("squares", "1" * 40)])  # all or none
        one.release([PLACE])
        assert other.take([PLACE])
    with Claims(tmp_path) as third:
        assert third.take([PLACE])


def test_an_owner_on_another_machine_lives_as_long_as_it_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    with Claims(tmp_path) as far:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(claims, "_host", lambda: "another0")
            assert far.take([PLACE])
        (owner,) = (tmp_path / "claims/owners").iterdir()
        with Claims(tmp_path) as here:
            assert not here.take([PLACE])
            now[0] += claims.STALE_S - 1
            assert not here.take([PLACE])
            os.utime(owner, (1, 1))  # whatever its clock says, it was touched
            now[0] += 2
            assert not here.take([PLACE])
            now[0] += claims.STALE_S + 1
            assert here.take([PLACE])


def test_what_somebody_else_makes_meanwhile_is_waited_for(tmp_path: Path) -> None:
    made = SPAWN.Process(target=squares, args=(Squares(tmp_path / "log", 1, wait_s=1.0), tmp_path / "cache"))
    made.start()
    while not list((tmp_path / "cache/claims").glob("squares-*")):
        time.sleep(0.01)
        assert made.is_alive()
    cache = Cache(tmp_path / "cache")
    plan = Plan(cache, Local(None, Silent()), Silent())  # type: ignore[arg-type]
    assert plan.once(PLACE, lambda: pytest.fail("it is made already")) == {"value": 0}
    made.join()
