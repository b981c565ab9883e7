"""Where the program begins: it answers signals before anything is imported that takes time."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from vqbench.signals import SIGNALS


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing is begun yet, so nothing is lost."""
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    os._exit(128 + number)


def main() -> None:
    """Runs the command line."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from vqbench.cli import main as run

    run()
