"""What tokens are held against is written: by the teacher's GPT, and on recordings by the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vqbench.engine.agreement import AgreementData, Truth, expected_answer, truth_of
from vqbench.engine.bench import Bench
from vqbench.engine.findings import Findings
from vqbench.engine.hearing import Encoding, Target
from vqbench.engine.plan import Done, Item, Plan, Stage, Values
from vqbench.engine.question import TRUE, Question
from vqbench.engine.stages.hearing import Hearing, heard_item
from vqbench.engine.writing import answer_question
from vqbench.progress import Progress
from vqbench.records.forecast import Work
from vqbench.tokenizers.protocol import MelTokenizer


class Answering(Stage):
    """The GPT writes all in one go, in this process; what tokenizers make of recordings are items of `Hearing`."""

    name = "hearing tokens"

    def applies(self, bench: Bench) -> bool:
        """Whether tokens are held against any."""
        return bench.question is not None

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """Has them written, where they are not known."""

        def hear(
            name: str, tokenizer: MelTokenizer, targets: Sequence[Target], progress: Progress
        ) -> list[Encoding | str]:
            items = [heard_item(name, tokenizer.digest, bench, n, target) for n, target in enumerate(targets)]
            values = replace(plan, progress=progress).carry_out(Hearing(), items)
            return [values[item.owner, item.id]["heard"] for item in items]

        found.answer = answer_question(_question(bench), _truth(bench), hear, plan)

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """What the true tokenizer will make of what the GPT will write."""
        teacher = _question(bench).teacher
        true = teacher.tokenizer if teacher else None
        if true is None:
            return []
        written = _expected(bench).written
        return [heard_item(TRUE, true.digest, bench, number, target) for number, target in enumerate(written)]

    def count(self, bench: Bench, items: Sequence[Item]) -> Iterator[Work]:
        """Besides that, what is written."""
        if _question(bench).natural and _truth(bench):
            yield Work("tokenising recordings", len(_question(bench).natural))
        if (writing := _question(bench).writing) is not None:
            yield Work("listening to voices", len(writing.voices))
            yield Work("pairs", writing.n)
        yield from super().count(bench, items)

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """Nothing but what `Hearing` does."""
        yield from Hearing().work(items, bench, progress)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """All is done by `run`."""

    def expect(self, bench: Bench, found: Findings) -> None:
        """As many recordings as there may be."""
        found.answer = _expected(bench)


def _truth(bench: Bench) -> Truth | None:
    return truth_of(_question(bench), None if bench.reference is None else bench.tokenizer(bench.reference.name))


def _expected(bench: Bench) -> AgreementData:
    return expected_answer(_question(bench), _truth(bench))


def _question(bench: Bench) -> Question:
    assert bench.question is not None
    return bench.question
