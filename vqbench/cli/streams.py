"""Standard output and error that outlive whoever reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TextIO, cast


class Forgiving:
    """A stream whose reader may go away: what is written after that goes nowhere, and the work goes on.

    Python ends a program that writes into a closed pipe, by exit code 1 where click sees it, which here says that a
    gate failed.

    Args:
        stream: all else is passed on to it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or not where nobody reads any more."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self.drop()
            return len(text)

    def flush(self) -> None:
        """Writes what is held back; likewise."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Lets all that is held back, and all that follows, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgive(stream: TextIO | None) -> TextIO:
    """The same stream, whose reader may go away; one that goes nowhere for one that was closed from the start."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    return cast(TextIO, Forgiving(stream))
