"""Workers in processes of this machine: one a core, or one a GPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from vqbench.engine.executors.crew import Computed, Crew, Died, End, Failed, Message
from vqbench.engine.plan import Item, Stage

if TYPE_CHECKING:
    from vqbench.engine.executors.worker import Opening

_PATIENCE_S = 5.0
"""So long a process may take to end before it is killed."""


@dataclass(eq=False)
class _Process:
    """A worker, its end of the line, and the stage that it was told last."""

    process: BaseProcess
    line: Connection
    stage: int = 0


class ProcessCrew(Crew):
    """Processes that begin afresh, so that nothing of this one's state is in them.

    Args:
        opening: of the run.
        workers: how many; None is one a GPU, or one a core that this process may use.
    """

    def __init__(self, opening: Opening, workers: int | None) -> None:
        super().__init__(workers or opening.n_gpus or n_cores())
        self._opening = opening
        self._context = multiprocessing.get_context("spawn")
        self._n_brought = 0

    def bring(self) -> _Process:
        """A process that waits for batches."""
        ours, theirs = self._context.Pipe()
        opening = self._opening.on_gpu(self._n_brought)
        process = self._context.Process(target=_serve, args=(theirs, opening), name="vqbench worker", daemon=True)
        process.start()
        theirs.close()  # so that its end is noticed here
        self._n_brought += 1
        return _Process(process, ours)

    def give(self, hand: _Process, number: int, stage: Stage, items: Sequence[Item]) -> None:
        """Of one that is dead by now, `listen` tells."""
        told, hand.stage = hand.stage, number
        try:
            hand.line.send((number, None if told == number else stage, items))
        except OSError:
            hand.process.kill()

    def listen(self, hands: Collection[_Process], timeout_s: float | None) -> Iterable[tuple[_Process, Message]]:
        """One message of each that has any."""
        of_line = {hand.line: hand for hand in hands}
        for line in wait(list(of_line), timeout_s):
            hand = of_line[line]  # type: ignore[index]
            try:
                yield hand, hand.line.recv()
            except (EOFError, OSError):
                yield hand, Died()

    def dismiss(self, hand: _Process) -> None:
        """Asks it to end, and ends it."""
        hand.line.close()
        hand.process.terminate()
        hand.process.join(_PATIENCE_S)
        if hand.process.is_alive():
            hand.process.kill()
            hand.process.join()


def n_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not told by every system
        return os.cpu_count() or 1


def _serve(line: Connection, opening: Opening) -> None:
    """A worker's whole life."""
    # Ctrl-C reaches all processes of a terminal: the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from vqbench.engine.executors.worker import Worker

    worker: Worker | None = None
    while True:
        try:
            number, stage, items = line.recv()
        except (EOFError, OSError):
            return
        try:
            worker = worker or Worker(opening)
            for values in worker.work(number, stage, items):
                line.send(Computed(values))
            message: Message = End()
        except Exception as error:
            message = Failed(error)
        line.send(message)


def _end_with_parent() -> None:
    """Nobody else would: what a killed run was at is another's from then on."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
