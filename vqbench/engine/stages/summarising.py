"""Rows become figures with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vqbench.engine.bench import Bench
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Plan, Stage, Values
from vqbench.progress import Progress
from vqbench.records.forecast import Work
from vqbench.records.run import ClipRecord, Result, Table
from vqbench.records.summary import summarise_all


class Summarising(Stage):
    """No items: figures follow from rows within moments."""

    name = "intervals"

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Nothing that could be kept."""
        return []

    def count(self, bench: Bench, items: Sequence[Item]) -> Iterator[Work]:
        """Each metric."""
        yield Work(self.name, len(bench.specs))

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """Every metric of every table."""
        by_group: dict[str, list[Table]] = {}
        for table in found.all_tables:
            by_group.setdefault(table.group, []).append(table)
        clips, interval = clips_of(bench, found), bench.suite.interval.record(bench.suite.seed)
        results: list[Result] = []
        with plan.progress.task(self.name, len(bench.specs)) as advance:
            for spec in bench.specs:
                tables = [table for table in by_group.get(spec.group, []) if not table.lacks(spec)]
                results += summarise_all([(spec, table) for table in tables], clips, interval)
                advance()
        found.results = tuple(results)

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """All is done by `run`."""
        yield from ()

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Likewise."""


def clips_of(bench: Bench, found: Findings) -> tuple[ClipRecord, ...]:
    """All clips of a run: recordings, what was written, and what is said."""
    asked = bench.assignment
    return (
        *bench.clip_records,
        *(found.answer.clips if found.answer else ()),
        *((*asked.records, *asked.held_out_records) if asked else ()),
    )
