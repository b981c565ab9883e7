"""What a suite asks of a teacher: a text-to-speech model that speaks in codes.

Names of `TEACHERS` give a callable of the path as written and a device that opens one. What only some have are further
protocols; who needs one of them asks for it, and says so where it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from vqbench.progress import Progress


class Teacher(Protocol):
    """Writes codes of texts in voices, makes speech of codes, and says how likely it finds codes.

    Voices and what it writes are of its own making (`Any` here): they are only handed back to it.
    """

    @property
    def name(self) -> str:
        """How people call it."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits over whatever decides its utterances."""

    @property
    def device(self) -> torch.device:
        """Where its parts are."""

    def voices(self, recordings: Mapping[str, Sequence[Tensor]]) -> list[Any]:
        """Listens to speakers: of each, at least one (N,) float32 recording at 22,050 Hz → a voice each, in order."""

    def write(self, texts: Sequence[str], voices: Sequence[Any], seeds: Sequence[int]) -> list[Any]:
        """Writes the codes of each text in the voice, and by the seed, at its side."""

    def render(self, written: Sequence[Any], progress: Progress | None = None) -> list[Any]:
        """Makes waveforms of what it wrote."""

    def likelihood(self, texts: Sequence[str], voices: Sequence[Any], codes: Sequence[Tensor]) -> list[Tensor]:
        """Cross-entropy of codes (L,) int64 each in a text and a voice → (L + 1,) float64 each, nats, the stop last."""


@runtime_checkable
class Tunable(Protocol):
    """A teacher whose GPT can be trained on: `vqbench.training.finetune` makes the weights."""

    def tuned(self, weights: Path) -> Teacher:
        """The same teacher with the GPT whose weights lie in a file.

        Raises:
            CheckpointError: the file is damaged, or of another GPT.
        """


@runtime_checkable
class KnownTokenizer(Protocol):
    """A teacher whose true tokenizer may be known: None where it was withheld."""

    @property
    def tokenizer(self) -> Any | None:
        """The tokenizer that defines its codes."""
