"""Where the verbs speak: answers to stdout, notes and progress to stderr."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.notes import collected
from vqbench.progress import Advance, Progress, Silent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_WIDTH = 100
"""Columns of a table that goes to a file or a pipe."""

LEAST_WIDTH = 80
"""In a narrower terminal lines wrap, so that no figure is cut."""

SECONDS_BETWEEN_LINES = 10.0
"""How often progress is told where stderr is not a terminal."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write the answer as JSON.")]


def width() -> int:
    """Columns that an answer may take: the terminal's, $COLUMNS, or 100."""
    from rich.console import Console

    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return max(LEAST_WIDTH, Console(file=sys.stdout).width)
    return PLAIN_WIDTH


def answer(*parts: str | RenderableType) -> None:
    """Writes an answer to stdout: texts as they are, tables drawn.

    Raises:
        DataError: it cannot be written there, since the disk is full, say.
    """
    from rich.console import Console

    drawn = Console(file=sys.stdout, width=width(), highlight=False)
    try:
        for part in parts:
            if isinstance(part, str):
                sys.stdout.write(_ended(part))
            else:
                drawn.print(part)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from vqbench.errors import DataError

        # What is left of it would be tried again, in vain, as the program ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise DataError(f"the answer cannot be written to standard output: {error.strerror}") from error


def plain(*parts: str | RenderableType) -> str:
    """Draws an answer without colours, for a file."""
    from rich.console import Console

    text = io.StringIO()
    drawn = Console(file=text, width=PLAIN_WIDTH, highlight=False, color_system=None)
    for part in parts:
        if isinstance(part, str):
            text.write(_ended(part))
        else:
            drawn.print(part)
    return text.getvalue()


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def write(path: Path, text: str, *, quiet: bool) -> None:
    """Writes a file whole, and says so; a pipe or a device is written to as it is.

    Raises:
        DataError: it cannot be written.
    """
    from vqbench.files import write_text

    # Through a link the file itself is replaced; /dev/stdout is a link, too, but leads to no path.
    write_text(path if path.exists() and not path.is_file() else path.resolve(), text)
    note(f"wrote {path}", quiet=quiet)


def note(text: str, *, quiet: bool = False) -> None:
    """Writes one line to stderr, unless the user asked for quiet."""
    if not quiet:
        sys.stderr.write(f"{text}\n")


@contextmanager
def notes(quiet: bool) -> Iterator[None]:
    """Shows on stderr what is assumed, skipped or mended while the block runs."""
    with collected(lambda line: note(line, quiet=quiet)):
        yield


def is_first_process() -> bool:
    """Whether this is the one that speaks of several processes that torchrun started; True where there is but one."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def progress(quiet: bool) -> Progress:
    """Shows progress on stderr, or nothing."""
    return Silent() if quiet else RichProgress()


class RichProgress:
    """Progress on stderr: bars with the time left on a terminal, else a line now and then.

    Tasks may stand inside one another; on a terminal they share one display.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console or Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=self._console,
            transient=True,
        )
        self._open = 0

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Shows one task until the block ends."""
        started = time.monotonic()
        show = self._bar if self._console.is_terminal else self._plain
        with show(description, total, done) as advance:
            yield advance
        self._say(f"{description}: done in {time.monotonic() - started:.1f} s")

    @contextmanager
    def _bar(self, description: str, total: int, done: int) -> Iterator[Advance]:
        if not self._open:
            self._bars.start()
        self._open += 1
        bar = self._bars.add_task(description, total=total, completed=done, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            self._bars.advance(bar, steps)
            if note:
                self._bars.update(bar, note=note)

        try:
            yield advance
        finally:
            self._bars.refresh()  # a short task is over before the display's next turn
            self._bars.remove_task(bar)
            self._open -= 1
            if not self._open:
                self._bars.stop()

    @contextmanager
    def _plain(self, description: str, total: int, done: int) -> Iterator[Advance]:
        began = last = time.monotonic()
        done_before = done
        self._say(f"{description}: {done} of {total} done before" if done else f"{description}: {total} to do")

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, last
            done += steps
            if done < total and time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                left_s = (last - began) / max(1, done - done_before) * (total - done)
                left = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
                self._say(f"{description}: {done} of {total}, {left} left{f', {note}' if note else ''}")

        yield advance

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
