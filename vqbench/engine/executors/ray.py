"""Workers as actors of a Ray cluster: that of $RAY_ADDRESS, or one that Ray starts on this machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from importlib import import_module
from typing import Any

from vqbench.engine.executors.crew import Computed, Crew, Died, End, Failed, Hand, Message
from vqbench.engine.executors.worker import Opening, Worker
from vqbench.engine.plan import Item, Stage, Values
from vqbench.errors import DataError, MissingExtraError


class RayCrew(Crew):
    """Actors, each with a core, or a GPU where there are any.

    Suite, recordings, checkpoints and cache must lie under the same paths on all nodes, and the same packages be
    installed there.

    Args:
        opening: of the run.
        workers: how many; None is as many as the cluster has cores, or GPUs.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, opening: Opening, workers: int | None) -> None:
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise MissingExtraError("ray", "ray", "the executor ray") from error
        self._ray, self._is_ours = ray, not ray.is_initialized()
        if self._is_ours:
            ray.init(
                address=os.environ.get("RAY_ADDRESS"),
                log_to_driver=False,
                logging_level="error",
                include_dashboard=None,
            )
        gpu = opening.device.startswith("cuda")
        super().__init__(workers or int(ray.cluster_resources().get("GPU" if gpu else "CPU", 1)))
        asked: dict[str, Any] = {"num_cpus": 0 if gpu else 1, "num_gpus": 1 if gpu else 0}
        # A worker that dies is replaced here, so that its batch goes to whoever is free.
        self._actor = ray.remote(_Actor).options(max_restarts=0, max_task_retries=0, **asked)
        self._opening = ray.put(opening)
        self._stages: dict[int, Any] = {}
        self._at: dict[Any, Any] = {}

    def bring(self) -> Hand:
        """An actor, on whichever node has room for it."""
        return self._actor.remote(self._opening)

    def give(self, hand: Hand, number: int, stage: Stage, items: Sequence[Item]) -> None:
        """The stage is sent to each node once."""
        if number not in self._stages:
            self._stages = {number: self._ray.put(stage)}
        self._at[hand] = hand.work.remote(number, self._stages[number], list(items))

    def listen(self, hands: Collection[Hand], timeout_s: float | None) -> Iterable[tuple[Hand, Message]]:
        """What came of one batch."""
        of_answer = {self._at[hand]: hand for hand in hands}
        ready, _ = self._ray.wait(list(of_answer), num_returns=1, timeout=timeout_s)
        for answer in ready:
            hand = of_answer[answer]
            try:
                found = self._ray.get(answer)
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.WorkerCrashedError):
                yield hand, Died()
                continue
            except self._ray.exceptions.RayError as error:
                # The batch never came to the worker, a module missing there say: it would be so for everybody.
                yield hand, Failed(DataError(f"a worker of the Ray cluster cannot work: {error}"))
                continue
            if isinstance(found, BaseException):
                yield hand, Failed(found)
                continue
            yield from ((hand, Computed(values)) for values in found)
            yield hand, End()

    def dismiss(self, hand: Hand) -> None:
        """Ends an actor."""
        self._at.pop(hand, None)
        self._ray.kill(hand)

    def close(self) -> None:
        """Leaves a cluster that was joined, or started, for this."""
        super().close()
        if self._is_ours:
            self._ray.shutdown()


class _Actor:
    """A worker on some node."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._worker: Worker | None = None

    def work(self, number: int, stage: Stage, items: Sequence[Item]) -> list[list[tuple[int, Values]]] | Exception:
        """A whole batch, or why it cannot be done."""
        try:
            self._worker = self._worker or Worker(self._opening)
            return list(self._worker.work(number, stage, items))
        except Exception as error:
            return error
