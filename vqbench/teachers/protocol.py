"""What a suite asks of a teacher: a text-to-speech model that speaks in codes.

Names of `TEACHERS` give a callable of the path as written and a device that opens one. TorToiSe's teachers can do more:
`tuned` (another GPT's weights), `tokenizer` (the true one, where it is known) and CLVP's scores, which stages ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vqbench.progress import Progress


@dataclass(frozen=True, eq=False)
class Foretold:
    """How well a teacher foretells codes, and the stop after them: each given the voice, the text and those before it.

    Attributes:
        nats: (L + 1,) float64, cross-entropy of each; the last is that of the stop.
        first: (L + 1,) bool, whether the teacher finds none likelier.
    """

    nats: Tensor
    first: Tensor


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

    def likelihood(self, texts: Sequence[str], voices: Sequence[Any], codes: Sequence[Tensor]) -> list[Foretold]:
        """How well it foretells codes, (L,) int64 each, in the text and the voice at their side."""
