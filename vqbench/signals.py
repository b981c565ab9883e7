"""Signals that end the program in order: what is finished is kept."""

from __future__ import annotations

import signal
from types import FrameType


class Ended(KeyboardInterrupt):
    """A signal asked the program to end; as by Ctrl-C, what is finished is kept.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__(signal.Signals(number).name)


SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""What ends the program in order. Of SIGHUP, nohup is respected."""


def end_by_signals() -> None:
    """From here on a signal raises `Ended` where the program is."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
