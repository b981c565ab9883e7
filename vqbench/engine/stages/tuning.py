"""The teacher's GPT is tuned to every candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vqbench.config.downstream import ZERO_SHOT
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache, Place
from vqbench.engine.downstream import tune, tuning_folder
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Passing, Plan, Stage, Values
from vqbench.engine.sketch import Sketch
from vqbench.engine.stages.learning import Learning
from vqbench.engine.stages.speaking import Speaking
from vqbench.errors import DataError, DivergedError
from vqbench.progress import Named, Progress
from vqbench.records.forecast import Work
from vqbench.training.finetune import clips_that_fit

READING, FINETUNE = "reading and tokenising speech", "finetune"
"""The tasks that a training shows."""


class Tuning(Stage):
    """One item a candidate; a training shows itself, and goes on where it was broken off."""

    name = "tuning"
    shows_itself = True

    def applies(self, bench: Bench) -> bool:
        """Whether something is learnt."""
        return bench.assignment is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Each candidate that a GPT can be tuned to."""
        return [_item(sketch, bench) for sketch in bench.candidates if sketch.obstacle is None]

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """Those whose GPT has something left to say, or to foretell."""
        for sketch in bench.candidates:
            if sketch.obstacle is not None:
                found.said[sketch.record.name] = DataError(sketch.obstacle)
        left = {
            item.owner
            for stage in (Speaking(), Learning())
            for item in stage.prepare(bench, found)
            if item.owner != ZERO_SHOT and not plan.is_known(stage, item)
        }
        items = [item for item in self.prepare(bench, found) if item.owner in left]
        self.collect(bench, found, plan.carry_out(self, items))

    def count(self, bench: Bench, items: Sequence[Item]) -> Iterator[Work]:
        """What a training reports: the speech that it reads, and its steps."""
        for item in items:
            rate_hz = next(one.record.token_rate_hz for one in bench.candidates if one.record.name == item.owner)
            fitting = clips_that_fit(bench.the_assignment.clips, bench.max_tokens / (rate_hz or 1.0))
            yield Work(READING, len(fitting), item.owner)
            yield Work(FINETUNE, bench.the_assignment.finetune.steps, item.owner)

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """One after another."""
        for item in items:
            try:
                tune(bench.tokenizer(item.owner), bench.the_assignment, bench.cache, Named(progress, item.owner))
            except DivergedError as error:
                yield [(item, {"gpt": Passing(DataError(f"the GPT could not be tuned: {error.problem}"))})]
            else:
                yield [(item, {"gpt": None})]

    def look(self, item: Item, cache: Cache) -> Values:
        """Nothing: whether a training is finished its own folder knows."""
        return {}

    def keep(self, item: Item, values: Values, cache: Cache) -> Values:
        """The training kept itself."""
        return {name: value.value if isinstance(value, Passing) else value for name, value in values.items()}

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Who could not be tuned says nothing."""
        for (owner, _), value in values.items():
            if isinstance(value["gpt"], DataError):
                found.said[owner] = value["gpt"]

    def expect(self, bench: Bench, found: Findings) -> None:
        """Nothing but what is known before."""
        for sketch in bench.candidates:
            if sketch.obstacle is not None:
                found.said[sketch.record.name] = DataError(sketch.obstacle)


def _item(sketch: Sketch, bench: Bench) -> Item:
    folder = tuning_folder(sketch.record.digest, bench.the_assignment, bench.cache)
    return Item(sketch.record.name, "gpt", {"gpt": Place("trainings", folder.name)}, batch=folder.name)
