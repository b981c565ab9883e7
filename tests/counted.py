"""A stage whose work is counted, whichever process does it, and that kills its worker where a test says so."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache, Place
from vqbench.engine.executors.local import Local
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Executor, Item, Plan, Stage, Values
from vqbench.progress import Progress, Silent

DEADLY = "deadly"


class Squares(Stage):
    """The squares of some numbers, each of which is written down when it is computed.

    Args:
        log: a line for each number that is computed, with the process that did it.
        n: numbers.
        wait_s: how long each takes.
        deadly: of which number the worker dies, and how often.
    """

    name = "squaring"

    def __init__(self, log: Path, n: int, wait_s: float = 0.0, deadly: tuple[int, int] | None = None) -> None:
        self.log, self.n, self.wait_s, self.deadly = log, n, wait_s, deadly

    def prepare(self, bench: Any, found: Any) -> Sequence[Item]:
        return [
            Item("", str(number), {"square": Place("squares", f"{number:040x}")}, number, batch=number // 3)
            for number in range(self.n)
        ]

    def work(self, items: Sequence[Item], bench: Any, progress: Progress) -> Iterator[Done]:
        for item in items:
            if self.deadly and item.content == self.deadly[0] and self._dies():
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.wait_s)
            with self.log.open("a") as stream:
                stream.write(f"{item.content} {os.getpid()}\n")
            yield [(item, {"square": item.content**2})]

    def _dies(self) -> bool:
        deaths = self.log.with_suffix(".deaths")
        with deaths.open("a") as stream:
            stream.write("x")
        return deaths.stat().st_size <= (self.deadly or (0, 0))[1]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        return {"value": value}

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        return entry["value"]

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Nothing."""


def squares(stage: Squares, folder: Path, executor: Executor | None = None, read: bool = True) -> dict[int, int]:
    """Has them computed."""
    plan = Plan(Cache(folder, read), executor or Local(None, Silent()), Silent())  # type: ignore[arg-type]
    found = plan.carry_out(stage, stage.prepare(None, None))
    return {int(number): values["square"] for (_, number), values in found.items()}


def computed(log: Path) -> list[tuple[int, int]]:
    """Which numbers were computed, and by whom."""
    return [(int(number), int(process)) for number, process in map(str.split, log.read_text().splitlines())]
