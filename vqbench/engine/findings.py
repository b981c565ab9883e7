"""What the stages of a run find out, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from vqbench.data.manifest import Clip
from vqbench.engine.agreement import AgreementData
from vqbench.engine.speaking import Said
from vqbench.errors import DataError
from vqbench.judges.protocol import Judge
from vqbench.judges.voice import Enrolled
from vqbench.records.run import Result, Table
from vqbench.records.transcripts import Transcript
from vqbench.teachers.tortoise.utterance import Voice

T = TypeVar("T")

SECTIONS = ("agreement", "likelihood", "recordings", "downstream", "throughput")
"""The parts of a run whose tables stand together, in their order."""


@dataclass
class Findings:
    """What is known so far.

    Attributes:
        enrolled: with whom voices are compared.
        compared: the recordings of these.
        judges: who listens to what is said.
        answer: what tokens are held against.
        voices: of each who speaks, and has not spoken yet, whom the teacher that is tuned to them hears.
        said: of each who speaks, what was said of each line; or why nothing was.
        tables: section → system → its tables.
        transcripts: likewise.
        conditions: the state of the machine while it was timed.
        results: the figures.
    """

    enrolled: tuple[Enrolled, ...] = ()
    compared: tuple[Clip, ...] = ()
    judges: tuple[Judge, ...] = ()
    answer: AgreementData | None = None
    voices: dict[str, list[Voice]] = field(default_factory=dict)
    said: dict[str, list[Said] | DataError] = field(default_factory=dict)
    tables: dict[str, dict[str, list[Table]]] = field(default_factory=lambda: {name: {} for name in SECTIONS})
    transcripts: dict[str, dict[str, list[Transcript]]] = field(default_factory=lambda: {name: {} for name in SECTIONS})
    conditions: Mapping[str, object] | None = None
    results: tuple[Result, ...] = ()

    def add(self, section: str, system: str, table: Table, transcripts: Sequence[Transcript] = ()) -> None:
        """Adds a table of a system, and what was heard in its rows."""
        self.tables[section].setdefault(system, []).append(table)
        self.transcripts[section].setdefault(system, []).extend(transcripts)

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """All tables, in the order of a run."""
        return tuple(_flat(self.tables))

    @property
    def all_transcripts(self) -> tuple[Transcript, ...]:
        """Likewise."""
        return tuple(_flat(self.transcripts))


def _flat(sections: Mapping[str, Mapping[str, Sequence[T]]]) -> Iterable[T]:
    return (one for section in SECTIONS for of_system in sections[section].values() for one in of_system)
