"""What a worker is: the suite opened once more, elsewhere, where models are loaded once and batches come one by one."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vqbench.config.suite import Suite
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache
from vqbench.engine.plan import Item, Stage, Values
from vqbench.engine.provenance import PACKAGES, choose_device, package_version
from vqbench.errors import DataError
from vqbench.progress import Silent


@dataclass(frozen=True)
class Opening:
    """What a worker must be told of a run.

    Attributes:
        suite: what is asked for.
        cache: the folder where trainings and speech are kept; the same for all workers.
        read: whether what is there is believed.
        known: parts of the bench that need not be found again.
        trained: where the weights of recipes are.
        device: where it is measured.
        threads: of torch, where more than one is used at all.
        versions: of the packages that decide figures.
    """

    suite: Suite
    cache: Path
    read: bool
    known: Mapping[str, Any]
    trained: Mapping[str, Path]
    device: str
    threads: int
    versions: Mapping[str, str | None]

    @classmethod
    def of(cls, bench: Bench) -> Opening:
        """That of a bench whose recipes are trained."""
        return cls(
            bench.suite,
            bench.cache.folder.absolute(),
            bench.cache.read,
            {"clips": bench.clips, "systems": bench.systems},
            dict(bench.trained),
            str(bench.device),
            torch.get_num_threads(),
            _versions(),
        )

    @property
    def n_gpus(self) -> int:
        """GPUs that workers of this machine may share out among them; 0 where the suite names one, or none."""
        shared = self.device.startswith("cuda") and self.suite.device in ("auto", "cuda")
        return torch.cuda.device_count() if shared else 0

    def on_gpu(self, number: int) -> Opening:
        """The same on one of this machine's GPUs; on a CPU just the same."""
        return replace(self, device=f"cuda:{number % self.n_gpus}") if self.n_gpus else self


class Worker:
    """Does batches of items.

    Args:
        opening: of the run.

    Raises:
        DataError: other packages are installed here than where the run was begun, so figures might be others.
    """

    def __init__(self, opening: Opening) -> None:
        here = _versions()
        if others := {name: here[name] for name, version in opening.versions.items() if here[name] != version}:
            told = ", ".join(f"{name} {found}, not {opening.versions[name]}" for name, found in others.items())
            raise DataError(
                f"a worker has other packages than the run: {told}",
                where=platform.node(),
                fix="install the same packages everywhere: the same figures come of the same packages alone",
            )
        torch.set_num_threads(opening.threads)
        known = {**opening.known, "device": choose_device(opening.device, "the run")}
        self._bench = Bench(opening.suite, Cache(opening.cache, opening.read), Silent(), known)
        self._bench.trained.update(opening.trained)
        self._stage: tuple[int, Stage] | None = None

    def work(self, number: int, stage: Stage | None, items: Sequence[Item]) -> Iterator[list[tuple[int, Values]]]:
        """Does a batch.

        Args:
            number: of the stage; what was loaded for it is used again.
            stage: it, where this worker does not have it yet.
            items: the batch.

        Returns:
            the values of each item by its place in the batch, as they come.
        """
        if self._stage is None or self._stage[0] != number:
            assert stage is not None
            self._stage = number, stage
        places = {id(item): place for place, item in enumerate(items)}
        for done in self._stage[1].work(items, self._bench, Silent()):
            yield [(places[id(item)], values) for item, values in done]


def _versions() -> dict[str, str | None]:
    return {name: package_version(name) for name in PACKAGES}
