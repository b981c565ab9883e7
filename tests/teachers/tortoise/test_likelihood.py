"""How likely a GPT finds tokens is what tortoise-tts's own GPT says of each row alone."""

from __future__ import annotations

import pytest
import torch
from tiny_teacher import teacher, voices
from torch import Tensor
from tortoise_reference import SMALL, same_weights, upstream_gpt

from vqbench.errors import DataError
from vqbench.teachers.tortoise.likelihood import foretell

TEXTS = ("Hello there.", "The old farmer found the small box near the harbor.", "No.", "I think so.", "Yes.", "No.")


def drawn(lengths: list[int], below: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, below, (length,), generator=generator) for length in lengths]


def test_each_token_costs_what_upstreams_gpt_says_of_the_row_alone() -> None:
    upstream = upstream_gpt(SMALL)
    heard = list(torch.randn(4, SMALL.width, generator=torch.Generator().manual_seed(1)))
    texts = drawn([11, 4, 7, 1], SMALL.n_text_tokens, 2)
    codes = drawn([23, 9, 0, 40], SMALL.n_codes, 3)
    found = foretell(same_weights(upstream, SMALL), heard, texts, codes)
    assert [len(row.nats) for row in found] == [24, 10, 1, 41]
    for voice, text, row, told in zip(heard, texts, codes, found, strict=True):
        written, said, first = row.tolist(), [], []
        for at, token in enumerate([*written, SMALL.stop_mel]):
            # Only what came before is shown; upstream appends stops of its own, which a causal GPT cannot see.
            before = torch.tensor([written[:at]], dtype=torch.int64)
            sizes = torch.tensor([len(text)]), torch.tensor([1024 * at])
            *_, logits = upstream(voice[None], text[None], sizes[0], before, sizes[1])
            said.append(-float(logits[0, :, at].double().log_softmax(0)[token]))
            first.append(int(logits[0, :, at].argmax()) == token)
        torch.testing.assert_close(told.nats, torch.tensor(said, dtype=torch.float64), atol=1e-4, rtol=1e-4)
        assert told.first.tolist() == first
        # A GPT that found everything equally likely would prove nothing.
        assert len(said) == 1 or torch.tensor(said).std() > 0.1


def test_a_teachers_batches_change_neither_figures_nor_their_order() -> None:
    codes = drawn([30, 2, 17, 60, 5, 17], 64, 4)
    heard = [voices()[i % 3] for i in range(len(TEXTS))]
    together = teacher().likelihood(TEXTS, heard, codes)
    for i, told in enumerate(together):
        (alone,) = teacher().likelihood(TEXTS[i : i + 1], heard[i : i + 1], codes[i : i + 1])
        assert len(told.nats) == len(codes[i]) + 1
        torch.testing.assert_close(told.nats, alone.nats, atol=1e-4, rtol=1e-4)
    # The voice and the text are heard in it.
    (other,) = teacher().likelihood(TEXTS[1:2], [voices()[0]], codes[1:2])
    assert not torch.allclose(other.nats, together[1].nats, atol=1e-3)


@pytest.mark.parametrize(
    ("codes", "fault"),
    [(torch.zeros(61, dtype=torch.int64), "61 codes"), (torch.tensor([3, 64]), "3 to 64"), (torch.tensor([-1]), "-1")],
)
def test_codes_that_the_gpt_cannot_have_written_are_refused(codes: Tensor, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        teacher().likelihood(["No."], [voices()[0]], [codes])
    with pytest.raises(ValueError, match="no rows"):
        teacher().likelihood(["No.", "No."], [voices()[0]] * 2, [codes])
