"""How well tokens are foretold, against plain computations."""

from __future__ import annotations

import math

import pytest
import torch

from vqbench.metrics.learning import foretold_nats, unigram, unigram_nats
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice

SIZES = GPTDimensions(n_layers=2, width=16, n_heads=2, n_text_tokens=20, n_codes=12, n_mels=5)


def test_the_floor_by_hand() -> None:
    """Three codes and the stop: written 3, 0, 1 and 2 times; a half is added to each, so they are out of eight."""
    log_probabilities = unigram([3, 0, 1, 2])
    assert log_probabilities.exp().tolist() == pytest.approx([3.5 / 8, 0.5 / 8, 1.5 / 8, 2.5 / 8])
    codes = torch.tensor([0, 1, 1])
    assert unigram_nats(log_probabilities, codes) == pytest.approx(-math.log((3.5 * 0.5 * 0.5 * 2.5) / 8**4))
    assert unigram_nats(log_probabilities, torch.tensor([], dtype=torch.long)) == pytest.approx(-math.log(2.5 / 8))


def test_nothing_written_is_uniform() -> None:
    assert unigram_nats(unigram([0] * 9), torch.tensor([4, 7])) == pytest.approx(3 * math.log(9))


@torch.no_grad()
def test_each_token_is_foretold_from_those_before_it_alone() -> None:
    torch.manual_seed(0)
    gpt = UnifiedVoice(SIZES).eval()
    for parameter in gpt.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)
    voice, text, codes = torch.randn(16), torch.tensor([3, 1, 4, 1, 5]), torch.tensor([2, 7, 1, 8])
    expected = 0.0
    for n in range(len(codes) + 1):
        logits = gpt(voice[None], text[None], codes[None, :n], torch.tensor([5])).mel[0, n].double()
        target = codes[n] if n < len(codes) else SIZES.stop_mel
        expected -= math.log(float(logits[target].exp() / logits.exp().sum()))
    assert foretold_nats(gpt, voice, text, codes) == pytest.approx(expected, rel=1e-5)
