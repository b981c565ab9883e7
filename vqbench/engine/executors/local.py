"""All in this process, one batch after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from vqbench.engine.bench import Bench
from vqbench.engine.plan import PAUSE_S, Done, Item, Stage
from vqbench.progress import Progress


class Local:
    """The default.

    Args:
        bench: with what is measured.
        progress: shows how far the parts of an item are, where a stage shows them.
    """

    is_local = True

    def __init__(self, bench: Bench, progress: Progress) -> None:
        self._bench, self._progress = bench, progress

    def work(self, stage: Stage, batches: Iterator[Sequence[Item] | None]) -> Iterator[Done]:
        """Waits where nothing can be begun."""
        for batch in batches:
            if batch is None:
                time.sleep(PAUSE_S)
            else:
                yield from stage.work(batch, self._bench, self._progress)
