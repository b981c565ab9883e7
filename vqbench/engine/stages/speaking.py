"""The teacher speaks: as it is, and with the GPT that was tuned to each candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vqbench.config.downstream import ZERO_SHOT
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache, Place
from vqbench.engine.downstream import said_by, tuned_weights
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Passing, Plan, Stage, Values
from vqbench.engine.speaking import Said, find_said, keep_said, say, shards_of
from vqbench.engine.teachers import listen
from vqbench.errors import DataError
from vqbench.progress import Named, Progress
from vqbench.teachers.tortoise.utterance import Voice


class Speaking(Stage):
    """One item a shard of the lines, of each who speaks.

    Args:
        voices: of each who speaks; needed for work alone.
    """

    name = "speaking"

    def __init__(self, voices: Mapping[str, list[Voice]] | None = None) -> None:
        self._voices = dict(voices or {})

    def applies(self, bench: Bench) -> bool:
        """Whether something is said."""
        return bench.assignment is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """The teacher as it is first, then each candidate that is not known to be mute."""
        asked = bench.the_assignment
        items = []
        for name, digest in _speakers(bench, found).items():
            for number, shard in enumerate(shards_of(asked.lines, asked.k, said_by(digest, asked), bench.cache)):
                place = Place("spoken", f"{shard.path.parent.name}-{number:06d}")
                items.append(Item(name, str(number), {"said": place}, shard, (name, number), len(shard.lines)))
        return items

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """With the voices that were heard for it."""
        with_voices = Speaking(found.voices)
        self.collect(bench, found, plan.carry_out(with_voices, self.prepare(bench, found)))

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """One shard after another."""
        for item in items:
            teacher = bench.speaker(tuned_weights(_digest(item.owner, bench), bench.the_assignment, bench.cache))
            said = say(teacher, self._voices[item.owner], item.content.lines, bench.the_assignment.k, progress)
            yield [(item, {"said": said})]

    def look(self, item: Item, cache: Cache) -> Values:
        """What is there."""
        found = find_said(item.content)
        return {} if found is None else {"said": found}

    def keep(self, item: Item, values: Values, cache: Cache) -> Values:
        """Writes it; the sound is not held."""
        keep_said(item.content, values["said"])
        found = find_said(item.content)
        if found is None:
            raise DataError("the recording was damaged as it was written", where=str(item.content.path))
        return {"said": found}

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Of each who speaks, what is known of each line."""
        for item in self.prepare(bench, found):
            said = found.said.setdefault(item.owner, [])
            assert isinstance(said, list)
            said += values[item.owner, item.id]["said"]

    def expect(self, bench: Bench, found: Findings) -> None:
        """Everybody says everything, and otherwise than the others, but for a teacher that learns nothing."""
        tuned = bench.the_assignment.finetune.steps > 0
        for item in self.prepare(bench, found):
            said = found.said.setdefault(item.owner, [])
            assert isinstance(said, list)
            whose = item.places["said"].key if tuned else ""
            said += [Said(line, item.content, f"to be: {whose} {line.id}") for line in item.content.lines]


class Voicing(Stage):
    """One item for each who has something left to say: whom the teacher hears is kept only until it is said."""

    name = "listening to voices"
    shows_itself = True

    def applies(self, bench: Bench) -> bool:
        """Whether something is said."""
        return bench.assignment is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Everybody who speaks; those who are the same by another name once."""
        n = len(bench.the_assignment.voices)
        items: dict[object, Item] = {}
        for item in Speaking().prepare(bench, found):
            items.setdefault(item.identity, Item(item.owner, "voices", {}, batch=item.owner, units=n))
        # By what they say first, everybody is known.
        return list({item.owner: item for item in items.values()}.values())

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """Only those who have something left to say."""
        speaking = Speaking()
        left = {item.owner for item in speaking.prepare(bench, found) if not plan.is_known(speaking, item)}
        items = [item for item in self.prepare(bench, found) if item.owner in left]
        self.collect(bench, found, plan.carry_out(self, items))

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """One after another."""
        for item in items:
            teacher = bench.speaker(tuned_weights(_digest(item.owner, bench), bench.the_assignment, bench.cache))
            voices = listen(teacher, bench.the_assignment.voices, Named(progress, item.owner))
            yield [(item, {"voices": Passing(voices)})]

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """For `Speaking`."""
        found.voices = {owner: value["voices"] for (owner, _), value in values.items()}


def _speakers(bench: Bench, found: Findings) -> dict[str, str | None]:
    """Who speaks, and to the tokenizer of which digest the teacher is tuned for it."""
    speakers = {ZERO_SHOT: None, **{sketch.record.name: sketch.record.digest for sketch in bench.candidates}}
    return {name: digest for name, digest in speakers.items() if not isinstance(found.said.get(name), DataError)}


def _digest(name: str, bench: Bench) -> str | None:
    return next((sketch.record.digest for sketch in bench.candidates if sketch.record.name == name), None)
