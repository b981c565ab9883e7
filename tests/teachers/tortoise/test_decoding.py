"""Tokens of recordings by encoder and GPT together: the likeliest of all sequences, whatever the neighbours."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from vqbench.errors import CheckpointError, ConfigError
from vqbench.teachers.tortoise.decoding import Joining, decode_jointly, log_posterior
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.tokens import MelVocabulary

CODES = 4
VOCABULARY = MelVocabulary(n_codes=CODES, start=CODES, stop=CODES + 1, calm=0, tail=(0,))
SIZES = GPTDimensions(n_layers=2, width=16, n_heads=2, n_codes=CODES, max_mel_tokens=8, max_text_tokens=20)


@pytest.fixture(scope="module")
def gpt() -> UnifiedVoice:
    """In double precision, and louder than a new model, so that its context matters."""
    torch.manual_seed(1)
    model = UnifiedVoice(SIZES).eval().double()
    for parameter in model.parameters():
        parameter.data.mul_(6 if parameter.ndim > 1 else 1)
    return model


def asked(lengths: tuple[int, ...]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    draw = torch.Generator().manual_seed(2)
    voices = torch.randn(len(lengths), SIZES.width, generator=draw, dtype=torch.float64)
    texts = [torch.randint(1, 200, (3 + row,), generator=draw) for row in range(len(lengths))]
    emissions = [torch.randn(n, CODES, generator=draw, dtype=torch.float64).log_softmax(1) for n in lengths]
    return voices, texts, emissions


def score(gpt: UnifiedVoice, voice: Tensor, text: Tensor, emission: Tensor, codes: Tensor, weight: float) -> float:
    """Of one sequence: no cache, no batch, one whole reading for each token."""
    heard = float(emission[torch.arange(len(codes)), codes].sum())
    written = 0.0
    for place in range(len(codes) + 1):
        logits = gpt(voice[None], text[None], codes[None, :place]).mel[0, place]
        target = int(codes[place]) if place < len(codes) else VOCABULARY.stop
        written += float(logits.log_softmax(0)[target])
    return heard + weight * written


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.3, 1.0, 5.0])
def test_with_enough_beams_the_best_of_all_sequences_is_found(gpt: UnifiedVoice, weight: float) -> None:
    voices, texts, emissions = asked((4, 2, 3))
    found = decode_jointly(gpt, voices, texts, emissions, Joining(weight, 1.0, CODES**4), VOCABULARY)
    for row, emission in enumerate(emissions):
        every = [torch.tensor(codes) for codes in itertools.product(range(CODES), repeat=len(emission))]
        best = max(every, key=lambda codes: score(gpt, voices[row], texts[row], emission, codes, weight))
        assert found[row].tolist() == best.tolist()
    alone = [emission.argmax(1).tolist() for emission in emissions]
    assert [codes.tolist() for codes in found] != alone, "the GPT has a say here"


@torch.no_grad()
def test_one_beam_takes_the_best_next_token_each_time(gpt: UnifiedVoice) -> None:
    voices, texts, (emission,) = asked((5,))
    codes = torch.empty(0, dtype=torch.int64)
    for place in range(5):
        logits = gpt(voices, texts[0][None], codes[None]).mel[0, place]
        codes = torch.cat([codes, (emission[place] + logits.log_softmax(0)[:CODES]).argmax()[None]])
    assert (
        decode_jointly(gpt, voices, texts, [emission], Joining(1.0, 1.0, 1), VOCABULARY)[0].tolist() == codes.tolist()
    )


def test_no_recording_depends_on_its_neighbours(gpt: UnifiedVoice) -> None:
    voices, texts, emissions = asked((3, 6, 1, 0, 5))
    joining = Joining(1.0, 1.0, 3)
    together = decode_jointly(gpt, voices, texts, emissions, joining, VOCABULARY)
    for row in range(5):
        part = slice(row, row + 1)
        alone = decode_jointly(gpt, voices[part], texts[part], emissions[part], joining, VOCABULARY)
        assert together[row].tolist() == alone[0].tolist()
    assert [len(codes) for codes in together] == [3, 6, 1, 0, 5]


def test_more_beams_find_what_is_at_least_as_likely(gpt: UnifiedVoice) -> None:
    voices, texts, emissions = asked((6, 6, 6, 6))
    scores = []
    with torch.no_grad():
        for beams in (1, 4, 64):
            found = decode_jointly(gpt, voices, texts, emissions, Joining(2.0, 1.0, beams), VOCABULARY)
            scores.append(sum(score(gpt, voices[row], texts[row], emissions[row], found[row], 2.0) for row in range(4)))
    assert scores[0] < scores[1] <= scores[2]


def test_without_weight_the_gpt_is_not_asked(gpt: UnifiedVoice) -> None:
    voices, texts, emissions = asked((6, 2))
    found = decode_jointly(gpt, voices, texts, emissions, Joining(weight=0.0), VOCABULARY)
    assert [codes.tolist() for codes in found] == [emission.argmax(1).tolist() for emission in emissions]


def test_the_posterior_is_a_softmax_of_distances() -> None:
    latents, codebook = torch.tensor([[1.0, 0.0], [0.5, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]])
    distances = torch.cdist(latents, codebook).square()
    torch.testing.assert_close(log_posterior(latents, codebook, 0.7), (-0.7 * distances).log_softmax(1))


def test_what_does_not_fit_the_gpt_is_refused(gpt: UnifiedVoice) -> None:
    voices, texts, _ = asked((1,))
    with pytest.raises(ConfigError, match="a recording has 9 tokens"):
        decode_jointly(gpt, voices, texts, [torch.zeros(9, CODES).double()], Joining(), VOCABULARY)
    with pytest.raises(ConfigError, match="the encoder has 5 codes"):
        decode_jointly(gpt, voices, texts, [torch.zeros(2, 5).double()], Joining(), VOCABULARY)
    with pytest.raises(ConfigError, match="cannot be joined"):
        Joining(beams=0)


def test_weights_that_are_no_numbers_are_named(gpt: UnifiedVoice) -> None:
    voices, texts, emissions = asked((2,))
    with pytest.raises(CheckpointError, match="not numbers"):
        decode_jointly(gpt, voices * torch.nan, texts, emissions, Joining(), VOCABULARY)
