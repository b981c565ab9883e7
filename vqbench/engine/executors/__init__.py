"""Where the missing items of a stage are done: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vqbench.engine.bench import Bench
from vqbench.engine.executors.local import Local
from vqbench.engine.plan import Executor
from vqbench.progress import Progress


@contextmanager
def open_executor(name: str, workers: int | None, bench: Bench, progress: Progress) -> Iterator[Executor]:
    """Brings workers, and sends them away in the end.

    Args:
        name: `local`, `processes` or `ray`.
        workers: how many there may be; None is one a core, or one a GPU.
        bench: the suite, with its recipes trained.
        progress: shows how far the parts of an item are, where they are done here.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if name == "local":
        yield Local(bench, progress)
        return
    from vqbench.engine.executors.crew import Crew
    from vqbench.engine.executors.worker import Opening

    crew: Crew
    if name == "ray":
        from vqbench.engine.executors.ray import RayCrew

        crew = RayCrew(Opening.of(bench), workers)
    else:
        from vqbench.engine.executors.processes import ProcessCrew

        crew = ProcessCrew(Opening.of(bench), workers)
    try:
        yield crew
    finally:
        crew.close()
