"""The recordings that voices are compared with are listened to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vqbench.engine.bench import Bench
from vqbench.engine.cache import Place, content_key
from vqbench.engine.downstream import choose_judges, compared_with, embed_enrolled
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Passing, Stage, Values
from vqbench.errors import DataError
from vqbench.progress import Progress

_AT_ONCE = 8
_SIZE = 256


class Enrolling(Stage):
    """One item a recording of `downstream.enrolment`."""

    name = "listening to enrolment"

    def applies(self, bench: Bench) -> bool:
        """Whether something is spoken."""
        return bench.assignment is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Each recording once."""
        encoder = dict(bench.groups.speaker_encoder.identity)
        return [
            Item(
                "",
                str(number),
                {"embedding": Place("enrolled", content_key({"encoder": encoder, "clip": clip.sha256}))},
                clip,
                batch=number // _AT_ONCE,
            )
            for number, clip in enumerate(bench.the_assignment.enrolment)
        ]

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """One by one."""
        for item in items:
            heard = embed_enrolled(item.content, bench.groups.speaker_encoder)
            yield [(item, {"embedding": Passing(heard) if isinstance(heard, DataError) else heard})]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """As a list of numbers."""
        return {"embedding": [float(number) for number in value]}

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """(256,) float32."""
        return np.array(entry["embedding"], np.float32)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Chooses the judges, who compare with these."""
        n = len(bench.the_assignment.enrolment)
        embeddings = [values["", str(number)]["embedding"] for number in range(n)]
        found.enrolled, found.compared = compared_with(bench.the_assignment, embeddings)
        found.judges = judges_of(bench, found)

    def expect(self, bench: Bench, found: Findings) -> None:
        """Judges who compare with nothing in particular."""
        nothing = np.zeros(_SIZE, np.float32)
        found.enrolled, found.compared = compared_with(
            bench.the_assignment, [nothing] * len(bench.the_assignment.enrolment)
        )
        found.judges = judges_of(bench, found)


def judges_of(bench: Bench, found: Findings) -> Any:
    """Who listens to what is said."""
    groups = bench.groups
    return choose_judges(
        bench.the_assignment, groups.recognizer, groups.speaker_encoder, found.enrolled, found.compared
    )
