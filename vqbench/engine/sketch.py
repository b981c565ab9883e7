"""What is known of systems that are not loaded, and a shelf for the few that are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from vqbench.audio.mel import MelSpec
from vqbench.config.candidate import CandidateConfig
from vqbench.engine.systems import System
from vqbench.metrics.base import Output
from vqbench.metrics.stages import STAGES, WAVEFORM_STAGES
from vqbench.records.run import CandidateRecord

T = TypeVar("T")


class Shelf(Generic[T]):
    """Keeps the few things that were used last, and makes the others again when they are asked for."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """What is called so: kept, or made now."""
        if name not in self._kept:
            while len(self._kept) >= self._size:
                # Before, not after: at no time is there one more.
                self._kept.popitem(last=False)
            self._kept[name] = make()
        self._kept.move_to_end(name)
        return self._kept[name]

    def peek(self, name: Hashable) -> T | None:
        """What is called so, where it is kept; None elsewhere."""
        return self._kept.get(name)


@dataclass(frozen=True)
class Sketch:
    """What is to be known of a system while it is not loaded.

    Attributes:
        record: how results name it.
        mel_spec: the front end that it reads.
        identity: all that decides its renderings.
        gives: what its renderings hold.
        obstacle: why the teacher's GPT cannot be tuned to it; None where it can, or where none is to be.
        loaded: how its checkpoint was read, where it does not say all of itself.
    """

    record: CandidateRecord
    mel_spec: MelSpec
    identity: Mapping[str, object]
    gives: frozenset[Output]
    obstacle: str | None = None
    loaded: str | None = None

    @property
    def is_coded(self) -> bool:
        """Whether it is a tokenizer of waveforms, and no VQVAE on mels."""
        return self.is_candidate and "mel" not in self.gives

    @property
    def stages(self) -> tuple[str, ...]:
        """What of it is timed."""
        if not self.is_coded:
            return STAGES
        return WAVEFORM_STAGES if "copy" in self.gives else WAVEFORM_STAGES[:1]

    @property
    def is_candidate(self) -> bool:
        """Whether it is judged."""
        return self.record.role == "candidate"

    def as_another(self, config: CandidateConfig) -> Sketch:
        """The same as if it were another candidate, of which nothing is known but its name."""
        digest = f"to be: {config.name}"
        record = replace(self.record, name=config.name, source=config.source, family=config.family, digest=digest)
        return replace(self, record=record, identity={**self.identity, "digest": digest})


def sketched(system: System) -> Sketch:
    """What there is to know of a system that is loaded."""
    return Sketch(system.record, system.mel_spec, system.identity, system.gives)
