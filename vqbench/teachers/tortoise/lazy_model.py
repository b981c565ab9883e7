"""Models that are in memory when they are needed, and only then where memory is small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Model = TypeVar("Model")


class LazyModel(Generic[Model]):
    """A model that is loaded when it is first needed.

    Args:
        load: gives it in evaluation mode, on its device.
        keep: False drops it after each use, so that one model at a time is in memory.
    """

    def __init__(self, load: Callable[[], Model], keep: bool = True) -> None:
        self._load = load
        self._keep = keep
        self._kept: Model | None = None

    @contextmanager
    def loaded(self) -> Iterator[Model]:
        """Gives the model. Its user lets go of it at the end, too, by leaving the function that asked for it."""
        model = self._load() if self._kept is None else self._kept
        if self._keep:
            self._kept = model
        yield model

    def release(self) -> None:
        """Lets go of a model that is kept; it is loaded again when it is next needed."""
        self._kept = None

    def another(self, load: Callable[[], Model]) -> LazyModel[Model]:
        """Another model that takes this one's place; kept in memory where this one is."""
        return LazyModel(load, self._keep)
