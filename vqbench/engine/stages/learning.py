"""Whether every tuned GPT learnt its candidate's tokens is asked on held-out recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from vqbench.engine.bench import Bench
from vqbench.engine.cache import Place, content_key
from vqbench.engine.downstream import lesson_of, tuned_weights
from vqbench.engine.findings import Findings
from vqbench.engine.learning import FORETELLING, course_of, foretell, learning_keys
from vqbench.engine.plan import Done, Item, Passing, Stage, Values
from vqbench.engine.rows import make_table, pack_row, unpack_row
from vqbench.errors import DataError
from vqbench.metrics.learning import TokenLearning
from vqbench.progress import Named, Progress
from vqbench.records.rows import Measured

_COURSE = "course"
"""The item, and its value, that tells how a training went."""


class Learning(Stage):
    """One item a candidate and held-out recording, and one for the course of each training."""

    name = FORETELLING
    shows_itself = True

    def applies(self, bench: Bench) -> bool:
        """Whether something is learnt."""
        return bench.assignment is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """All of a candidate together: the GPT is loaded for it."""
        asked = bench.the_assignment
        items = []
        for sketch in bench.candidates:
            name, digest = sketch.record.name, sketch.record.digest
            if isinstance(found.said.get(name), DataError) or not asked.held_out:
                continue
            lesson = content_key(lesson_of(digest, asked))
            items.append(Item(name, _COURSE, {_COURSE: Place("learning", lesson)}, batch=name, units=0))
            for clip, key in learning_keys(digest, asked).items():
                place = Place(f"rows-{TokenLearning.name}", key)
                items.append(Item(name, clip, {"row": place}, asked.held_out[clip], name, units=2))
        return items

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """All recordings of a candidate together."""
        asked = bench.the_assignment
        for owner, of_owner in groupby(items, key=lambda item: item.owner):
            own, tokenizer = list(of_owner), bench.tokenizer(owner)
            weights = tuned_weights(tokenizer.digest, asked, bench.cache)
            assert weights is not None
            clips = {item.id: item.content for item in own if item.id != _COURSE}
            rows = (
                foretell(tokenizer, bench.speaker(weights), clips, asked, weights.parent, Named(progress, owner))
                if clips
                else {}
            )
            kept = {clip: row if isinstance(row, Measured) else Passing(row) for clip, row in rows.items()}
            yield [
                (item, {_COURSE: course_of(weights.parent)} if item.id == _COURSE else {"row": kept[item.id]})
                for item in own
            ]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """A row, or a course."""
        return dict(value) if name == _COURSE else pack_row(value)

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """A row, or a course."""
        return dict(entry) if name == _COURSE else unpack_row(entry)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """One table a candidate."""
        asked = bench.the_assignment
        judge = TokenLearning()
        for sketch in bench.candidates:
            name = sketch.record.name
            said = found.said.get(name)
            if isinstance(said, DataError):
                table, _ = make_table(sketch.record, judge, {clip: DataError(str(said)) for clip in asked.held_out})
                found.add("downstream", name, table)
                continue
            table, _ = make_table(sketch.record, judge, {clip: values[name, clip]["row"] for clip in asked.held_out})
            course = values[name, _COURSE][_COURSE] if asked.held_out else {}
            found.add("downstream", name, replace(table, constants={**table.constants, **course}))
