"""Lets workers in other processes have the tiny teacher and a judge who hears nothing: real ones take minutes."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tiny_teacher import make_teacher

from vqbench.engine.bench import Bench
from vqbench.engine.executors.worker import Opening
from vqbench.engine.groups import Groups
from vqbench.teachers.tortoise.teacher import Teacher


class Deaf:
    """Hears nothing, quickly."""

    identity: Mapping[str, str | int | float] = {"asr": "deaf"}
    languages = frozenset({"en"})

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        return ["" for _ in waveforms]


class DeafGroups(Groups):
    """The groups of a suite, with this judge."""

    recognizer = Deaf()  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        # In another process its judges are loaded anew.
        return DeafGroups, (self._suite, self.device, self.languages, self._clips)


def employ(patch: pytest.MonkeyPatch) -> None:
    """Has runs, and their workers, take these."""
    for module in ("assignment", "question"):
        patch.setattr(f"vqbench.engine.{module}.open_teacher", lambda *_: make_teacher())
    patch.setattr("vqbench.engine.bench.Groups", DeafGroups)
    # In another process it is made again.
    patch.setitem(copyreg.dispatch_table, Teacher, lambda teacher: (make_teacher, ()))
    of = Opening.of

    def with_tiny(bench: Bench) -> Opening:
        opening = of(bench)
        opened = {"question": bench.question, "assignment": bench.assignment, "groups": bench.groups}
        return replace(opening, known={**opening.known, **opened})

    patch.setattr(Opening, "of", with_tiny)
