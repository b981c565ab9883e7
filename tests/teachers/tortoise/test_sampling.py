"""Tokens as tortoise-tts draws them, each row as if it were alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from tortoise_reference import SMALL, VOCABULARY, bare_head, same_weights, speak_upstream, upstream_gpt
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from vqbench.errors import CheckpointError, ConfigError, DataError
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.teachers.tortoise.sampling import Sampled, Sampling, sample

START, STOP = VOCABULARY.start, VOCABULARY.stop
GREEDY = Sampling(temperature=0.0, max_tokens=40)


@pytest.fixture(scope="module")
def gpt() -> UnifiedVoice:
    """In double precision, where no rounding decides between two tokens; it stops now and then."""
    upstream = upstream_gpt(SMALL, seed=3)
    upstream.mel_head.bias.data[STOP] += 1.5
    return same_weights(upstream, SMALL).double()


@pytest.fixture(scope="module")
def voices() -> Tensor:
    return torch.randn(6, SMALL.width, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.fixture(scope="module")
def texts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(1, SMALL.n_text_tokens, (n,), generator=generator) for n in (9, 2, 30, 14, 5, 9)]


def speak(gpt: UnifiedVoice, voices: Tensor, texts: list[Tensor], seeds, sampling: Sampling | None = None) -> Sampled:
    return sample(gpt, voices, texts, seeds, sampling or Sampling(max_tokens=40), VOCABULARY)


def greedy_reference(gpt: UnifiedVoice, voice: Tensor, text: Tensor, n: int, penalty: float) -> list[int]:
    """No cache and no batch: the whole sequence is read again for each token."""
    codes: list[int] = []
    while len(codes) < n and STOP not in codes:
        logits = gpt(voice[None], text[None], torch.tensor([codes], dtype=torch.int64)).mel[0, len(codes)]
        for token in {1, START, *codes}:
            logits[token] *= penalty if logits[token] < 0 else 1 / penalty
        codes.append(int(logits.argmax()))
    return codes


def trimmed(row: Tensor) -> list[int]:
    """A row up to its first stop, that one included."""
    codes: list[int] = row.tolist()
    return codes[: codes.index(STOP) + 1] if STOP in codes else codes


@pytest.mark.parametrize(("seed", "penalty"), [(1, 1.0), (2, 2.0), (3, 2.0)])
def test_greedy_tokens_are_upstreams(seed: int, penalty: float, voices: Tensor, texts: list[Tensor]) -> None:
    upstream = upstream_gpt(SMALL, seed)
    gpt = same_weights(upstream, SMALL)
    voice, text = voices[seed].float(), texts[seed]
    theirs = speak_upstream(upstream, voice, text, 40, do_sample=False, repetition_penalty=penalty)
    greedy = dataclasses.replace(GREEDY, repetition_penalty=penalty)
    ours = sample(gpt, voice[None], [text], [0], greedy, VOCABULARY)
    assert trimmed(ours.codes[0]) == trimmed(theirs[0])
    assert len(set(trimmed(theirs[0]))) > 5


@pytest.mark.parametrize("penalty", [1.0, 2.0])
def test_the_cache_and_the_batch_change_nothing(gpt, voices, texts, penalty: float) -> None:
    batch = speak(gpt, voices, texts, range(6), dataclasses.replace(GREEDY, repetition_penalty=penalty))
    for row, codes in enumerate(batch.codes):
        assert trimmed(codes) == greedy_reference(gpt, voices[row], texts[row], 40, penalty), row


def test_upstreams_cache_skips_a_position_and_ours_does_not(voices: Tensor, texts: list[Tensor]) -> None:
    upstream = upstream_gpt(SMALL, seed=2)
    voice, text = voices[2].float(), texts[0]
    greedy = {"do_sample": False, "repetition_penalty": 2.0}
    cached = speak_upstream(upstream, voice, text, 40, kv_cache=True, **greedy)
    uncached = speak_upstream(upstream, voice, text, 40, **greedy)
    assert not torch.equal(cached, uncached)

    ours = same_weights(upstream, SMALL)
    assert trimmed(sample(ours, voice[None], [text], [0], GREEDY, VOCABULARY).codes[0]) == trimmed(uncached[0])
    # With every position after the first moved down by one, the right positions are what upstream's cache uses.
    positions = ours.mel_pos_embedding.emb
    positions.weight = torch.nn.Parameter(torch.cat([positions.weight[:1], positions.weight[2:]]), requires_grad=False)
    assert trimmed(sample(ours, voice[None], [text], [0], GREEDY, VOCABULARY).codes[0]) == trimmed(cached[0])


@pytest.mark.parametrize(
    ("likely", "others", "penalty", "expected"),
    [
        pytest.param({1: 3.0, 9: 2.0}, 0.0, 2.0, [9, 1, 1, 1], id="code 1 counts as written from the beginning"),
        pytest.param({START: 3.0, 9: 2.0}, 0.0, 2.0, [9, START, START, START], id="so does the start token"),
        pytest.param({1: 3.0, 9: 2.0}, 0.0, 1.0, [1, 1, 1, 1], id="no penalty"),
        pytest.param({5: 3.0, 9: 2.0, 7: 1.8}, 0.0, 2.0, [5, 9, 7, 5], id="codes count once written"),
        pytest.param({5: -0.5, 9: -0.9}, -9.0, 2.0, [5, 9, 5, 5], id="negative logits are multiplied"),
    ],
)
def test_the_repetition_penalty_sees_what_upstreams_does(likely, others, penalty, expected) -> None:
    upstream = upstream_gpt(SMALL)
    logits = torch.full((VOCABULARY.size,), others)
    for token, logit in likely.items():
        logits[token] = logit
    bare_head(upstream, logits)
    voice, text = torch.zeros(SMALL.width), torch.tensor([4, 5])
    theirs = speak_upstream(upstream, voice, text, 4, do_sample=False, repetition_penalty=penalty)
    greedy = Sampling(temperature=0.0, repetition_penalty=penalty, max_tokens=4)
    ours = sample(same_weights(upstream, SMALL), voice[None], [text], [0], greedy, VOCABULARY)
    assert ours.codes.tolist() == theirs.tolist() == [expected]


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(max_tokens=1),
        Sampling(max_tokens=1, temperature=1.0, top_p=1.0, top_k=0, repetition_penalty=1.0),
        Sampling(max_tokens=1, temperature=2.0, top_p=1.0, top_k=7),
        Sampling(max_tokens=1, temperature=0.5, top_p=0.3, top_k=0),
        Sampling(max_tokens=1, temperature=1.0, top_p=1e-6),
    ],
    ids=str,
)
def test_tokens_are_drawn_from_transformers_distribution(settings: Sampling) -> None:
    logits = 2 * torch.randn(VOCABULARY.size, generator=torch.Generator().manual_seed(6))
    logits[1] = logits.max() + 1
    steps = [
        RepetitionPenaltyLogitsProcessor(settings.repetition_penalty),
        TemperatureLogitsWarper(settings.temperature),
    ]
    steps += [TopKLogitsWarper(settings.top_k)] if settings.top_k else []
    steps += [TopPLogitsWarper(settings.top_p)] if settings.top_p < 1 else []
    seen = torch.tensor([[1, 1, START]])
    expected = LogitsProcessorList(steps)(seen, logits[None].clone())[0].softmax(0).double()

    upstream = upstream_gpt(SMALL)
    bare_head(upstream, logits)
    n = 4000
    voice, text = torch.zeros(1, SMALL.width), torch.tensor([4, 5])
    drawn = sample(
        same_weights(upstream, SMALL), voice.expand(n, -1), [text] * n, range(n), settings, VOCABULARY
    ).codes[:, 0]
    counts = torch.bincount(drawn, minlength=VOCABULARY.size)
    assert not counts[expected == 0].any()
    # Four standard errors of a binomial share, and one draw for the rarest.
    allowed = 4 * (expected * (1 - expected) / n).sqrt() + 1 / n
    assert ((counts / n - expected).abs() <= allowed).all()


def test_neighbours_do_not_change_a_row(gpt, voices, texts) -> None:
    together = speak(gpt, voices, texts, range(6))
    lengths = [len(trimmed(row)) for row in together.codes]
    # They leave at different times, some never.
    assert len(set(lengths)) > 2
    assert together.finished.any()
    for row in range(6):
        alone = speak(gpt, voices[row : row + 1], [texts[row]], [row])
        assert torch.equal(alone.codes[0], together.codes[row])
        assert alone.finished[0] == together.finished[row]
    order = [4, 0, 3]
    mixed = speak(gpt, voices[order], [texts[row] for row in order], order)
    assert torch.equal(mixed.codes, together.codes[order])


def test_a_seed_decides_a_row(gpt, voices, texts) -> None:
    same = speak(gpt, voices[:1].expand(3, -1), [texts[0]] * 3, [7, 8, 7])
    assert torch.equal(same.codes[0], same.codes[2])
    assert not torch.equal(same.codes[0], same.codes[1])


def test_global_randomness_is_neither_used_nor_touched(gpt, voices, texts) -> None:
    torch.manual_seed(0)
    first = speak(gpt, voices[:2], texts[:2], [1, 2])
    untouched = torch.rand(1)
    second = speak(gpt, voices[:2], texts[:2], [1, 2])
    assert torch.equal(first.codes, second.codes)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), untouched)


def test_more_room_only_lengthens(gpt, voices, texts) -> None:
    short = speak(gpt, voices, texts, range(6), Sampling(max_tokens=9))
    long = speak(gpt, voices, texts, range(6))
    assert torch.equal(short.codes, long.codes[:, :9])
    assert torch.equal(short.finished, (long.codes[:, :9] == STOP).any(1))


def test_shape_padding_and_finished(gpt, voices, texts) -> None:
    sampled = speak(gpt, voices, texts, range(6))
    assert sampled.codes.shape == (6, 40)
    assert sampled.codes.dtype == torch.int64
    for row, finished in zip(sampled.codes, sampled.finished, strict=True):
        n = len(trimmed(row))
        assert finished == (STOP in row.tolist())
        assert (row[n:] == STOP).all()
    # What comes out can be trained on: not a tensor of inference mode.
    assert not sampled.codes.is_inference()


def test_a_batch_of_none(gpt) -> None:
    nothing = speak(gpt, torch.zeros(0, SMALL.width), [], [])
    assert nothing.codes.shape == (0, 40)
    assert nothing.finished.shape == (0,)


def test_half_precision_is_drawn_from_in_single(voices, texts) -> None:
    # As bfloat16 the logits are the same numbers, but their probabilities would be coarse.
    upstream = upstream_gpt(SMALL)
    bare_head(upstream, torch.randn(VOCABULARY.size).bfloat16().float())
    single = same_weights(upstream, SMALL)
    once = Sampling(max_tokens=1, temperature=1.0, repetition_penalty=1.0)
    voice, repeated, seeds = voices[:1].float().expand(500, -1), texts[:1] * 500, range(500)
    expected = sample(single, voice, repeated, seeds, once, VOCABULARY)
    half = sample(single.bfloat16(), voice.bfloat16(), repeated, seeds, once, VOCABULARY)
    assert torch.equal(half.codes, expected.codes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
        {"max_tokens": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="cannot be drawn"):
        Sampling(**wrong)


def test_what_the_gpt_cannot_hold_is_refused(gpt, voices, texts) -> None:
    with pytest.raises(ConfigError, match="max_tokens is 51"):
        speak(gpt, voices, texts, range(6), Sampling(max_tokens=51))
    with pytest.raises(DataError, match="a text has 31 tokens"):
        speak(gpt, voices[:1], [torch.ones(31, dtype=torch.int64)], [0])
    with pytest.raises(ConfigError, match="8192 codes"):
        sample(gpt, voices, texts, range(6), Sampling(max_tokens=9))


def test_logits_that_are_no_numbers_are_an_error(voices, texts) -> None:
    upstream = upstream_gpt(SMALL)
    upstream.mel_head.bias.data[7] = float("nan")
    with pytest.raises(CheckpointError, match="not numbers"):
        sample(same_weights(upstream, SMALL), voices[:1].float(), texts[:1], [0], GREEDY, VOCABULARY)


def test_the_longest_sequence_uses_every_position(voices, texts) -> None:
    upstream = upstream_gpt(SMALL)
    upstream.mel_head.bias.data[STOP] = -100
    full = Sampling(max_tokens=SMALL.max_mel_tokens)
    sampled = sample(same_weights(upstream, SMALL), voices.float(), texts, range(6), full, VOCABULARY)
    assert sampled.codes.shape == (6, 50)
    assert not sampled.finished.any()
