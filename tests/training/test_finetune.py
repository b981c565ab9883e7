"""The GPT's own objective: which targets count, and what a fine-tuned GPT is."""

from __future__ import annotations

import pytest
import torch
from tiny_speech import Row, speech_of

from vqbench.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.training.finetune import TEXT_WEIGHT, NextToken
from vqbench.training.loop import Term
from vqbench.training.speech import Batches

CPU = torch.device("cpu")
SIZES = GPTDimensions(n_layers=2, width=16, n_heads=2, n_text_tokens=20, n_codes=12, n_mels=5)

LONG: Row = ([3, 1, 4, 1, 5, 9, 0], [1, 2, 3, 4, 5, 6])
SHORT: Row = ([2, 7, 0], [8, 9])


def gpt() -> UnifiedVoice:
    torch.manual_seed(0)
    model = UnifiedVoice(SIZES).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)
    return model


def terms_of(objective: NextToken, step: int = 0) -> dict[str, Term]:
    draw = torch.Generator().manual_seed(step)
    (batch,) = objective.batches(step, draw, 0, 1)
    return {term.name: term for term in objective.loss(batch, draw)}


@torch.no_grad()
def next_token(*rows: Row) -> dict[str, float]:
    objective = NextToken(gpt(), Batches(speech_of(rows), 4, CPU, conditioning_frames=4))
    return {name: term.mean.item() for name, term in terms_of(objective).items()}


# What is minimised


def test_padding_is_no_target() -> None:
    """A batch's loss is that of its rows alone, each weighted by its tokens and its stop, and by nothing else."""
    both, long, short = next_token(LONG, SHORT), next_token(LONG), next_token(SHORT)
    for figure, counts in (("mel", (7, 3)), ("right", (7, 3)), ("text", (8, 4))):
        expected = (counts[0] * long[figure] + counts[1] * short[figure]) / sum(counts)
        assert both[figure] == pytest.approx(expected, rel=1e-4), figure


def test_what_its_means_are_over_is_counted_so() -> None:
    objective = NextToken(gpt(), Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4))
    (batch,) = objective.batches(0, torch.Generator().manual_seed(0), 0, 1)
    assert objective.counts(batch) == {"codes": 7 + 3, "text": 8 + 4}
    assert {name: term.of for name, term in terms_of(objective).items()} == {
        "mel": "codes",
        "text": "text",
        "right": "codes",
    }


@pytest.mark.parametrize("weight", [TEXT_WEIGHT, 0.5])
def test_the_loss_is_mostly_that_of_the_codes(weight: float) -> None:
    terms = terms_of(NextToken(gpt(), Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4), weight))
    assert {name: term.weight for name, term in terms.items()} == {"mel": 1.0, "text": weight, "right": 0.0}


@pytest.mark.parametrize(("parts", "world"), [(2, 1), (1, 2), (2, 2), (3, 1)])
def test_parts_and_processes_share_out_one_batch(parts: int, world: int) -> None:
    rows: list[Row] = [([i + 1, 0], [i, i + 1]) for i in range(8)]
    speech = speech_of(rows)

    def drawn(accumulate: int, rank: int, world: int) -> list[int]:
        objective = NextToken(gpt(), Batches(speech, 4, CPU, conditioning_frames=4), accumulate=accumulate)
        batches = objective.batches(3, torch.Generator().manual_seed(3), rank, world)
        assert len(batches) == min(accumulate, 4 // world)
        for batch in batches:
            assert len(batch.rows) == len(batch.which)
        return [row for batch in batches for row in batch.rows]

    whole = drawn(1, 0, 1)
    assert [row for rank in range(world) for row in drawn(parts, rank, world)] == whole
    assert len(set(whole)) == 4


def test_the_gpt_learns_to_stop_where_each_row_ends() -> None:
    model = gpt()
    objective = NextToken(model, Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        terms = terms_of(objective, step)
        optimizer.zero_grad()
        sum(term.weight * term.mean for term in terms.values() if term.weight).backward()
        optimizer.step()
    assert terms["right"].mean == 1.0  # of all seven and all three tokens, the stops among them


def test_validation_is_of_held_out_utterances_and_repeats_itself() -> None:
    batches = Batches(speech_of([LONG, SHORT, SHORT], n_validation=1), 4, CPU, conditioning_frames=4)
    objective = NextToken(gpt().train(), batches)
    figures = objective.validate()
    assert figures == objective.validate()
    assert objective.gpt.training
    assert figures["mel"] == pytest.approx(next_token(SHORT)["mel"], rel=1e-4)


def test_nothing_held_out_is_nothing_to_validate() -> None:
    assert NextToken(gpt(), Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4)).validate() == {}
