import io
import re

import pytest
from rich.console import Console

from vqbench.cli import console
from vqbench.cli.console import RichProgress
from vqbench.progress import Silent


def shown(*, terminal: bool) -> tuple[RichProgress, io.StringIO]:
    text = io.StringIO()
    return RichProgress(Console(file=text, force_terminal=terminal, width=100, color_system=None)), text


def test_a_log_gets_a_line_at_the_start_and_one_at_the_end():
    progress, text = shown(terminal=False)
    with progress.task("encode good", total=3) as advance:
        for _ in range(3):
            advance(note="clip")
    start, end = text.getvalue().splitlines()
    assert start == "encode good: 3 to do"
    assert re.fullmatch(r"encode good: done in \d+\.\d s", end)


def test_a_log_gets_a_line_now_and_then_with_the_time_left(monkeypatch):
    times = iter([0.0, 0.0, 4.0, 11.0, 11.0, 15.0, 22.0, 22.0, 30.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    progress, text = shown(terminal=False)
    with progress.task("encode", total=9, done=2) as advance:
        for step in range(4):
            advance(note=f"clip {step}")
    assert text.getvalue().splitlines()[:3] == [
        "encode: 2 of 9 done before",
        "encode: 4 of 9, 28 s left, clip 1",
        "encode: 6 of 9, 16 s left, clip 3",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_task_that_broke_is_not_called_done(terminal):
    progress, text = shown(terminal=terminal)
    with pytest.raises(ValueError, match="broke"), progress.task("encode", total=3):
        raise ValueError("broke")
    assert "done in" not in text.getvalue()


def test_a_terminal_gets_a_bar_with_the_note():
    progress, text = shown(terminal=True)
    with progress.task("speech [good]", total=4, done=1) as advance:
        advance(2, note="clip [b]7")
    assert "speech [good]" in text.getvalue()
    assert "3/4" in text.getvalue()
    assert "clip [b]7" in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_tasks_stand_inside_one_another(terminal):
    progress, text = shown(terminal=terminal)
    with progress.task("suite", total=2) as outer:
        for name in ("a", "b"):
            with progress.task(f"candidate {name}", total=1) as inner:
                inner()
            outer()
    done = re.findall(r"(suite|candidate \w): done", text.getvalue())
    assert done == ["candidate a", "candidate b", "suite"]


def test_quiet_shows_nothing(capsys):
    assert isinstance(console.progress(quiet=True), Silent)
    with console.progress(quiet=True).task("x", total=1) as advance:
        advance()
    assert capsys.readouterr().err == ""
