"""What the parts are trained to do: which targets count, and which frames belong to which tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqbench.pocket import objectives
from vqbench.pocket.objectives import TEXT_WEIGHT, Denoising, Matching, NextToken
from vqbench.pocket.speech import PHASES, Batches, Ragged, Speech
from vqbench.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.tortoise.diffusion import DiffusionLoss, MelRange
from vqbench.tortoise.gpt import GPTDimensions, UnifiedVoice

CPU = torch.device("cpu")
SIZES = GPTDimensions(n_layers=2, width=16, n_heads=2, n_text_tokens=20, n_codes=12, n_mels=5)


def speech(rows: list[tuple[list[int], list[int]]], n_validation: int = 0) -> Speech:
    """(text tokens, codes) of each utterance, all of one speaker who sounds the same throughout."""
    mels = [torch.ones(5, 4 * len(codes)).half() for _, codes in rows]
    codes = Ragged.of([torch.tensor(codes, dtype=torch.int16) for _, codes in rows])
    texts = Ragged.of([torch.tensor(text, dtype=torch.int16) for text, _ in rows])
    return Speech(Ragged.of(mels), (codes,) * PHASES, texts, torch.zeros(len(rows), dtype=torch.long), n_validation)


LONG = ([3, 1, 4, 1, 5, 9, 0], [1, 2, 3, 4, 5, 6])
SHORT = ([2, 7, 0], [8, 9])


def gpt() -> UnifiedVoice:
    torch.manual_seed(0)
    model = UnifiedVoice(SIZES).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)
    return model


def next_token(*rows: tuple[list[int], list[int]]) -> tuple[float, dict[str, float]]:
    objective = NextToken(gpt(), Batches(speech(list(rows)), 4, CPU, conditioning_frames=4))
    with torch.no_grad():
        loss, figures = objective.loss(0, torch.Generator().manual_seed(0))
    return loss.item(), dict(figures)


def test_padding_is_no_target() -> None:
    """A batch's loss is that of its rows alone, each weighted by its tokens and its stop, and by nothing else."""
    (_, both), (_, long), (_, short) = next_token(LONG, SHORT), next_token(LONG), next_token(SHORT)
    for figure, counts in (("mel", (7, 3)), ("right", (7, 3)), ("text", (8, 4))):
        expected = (counts[0] * long[figure] + counts[1] * short[figure]) / sum(counts)
        assert both[figure] == pytest.approx(expected, rel=1e-4), figure


def test_the_loss_is_mostly_that_of_the_codes() -> None:
    loss, figures = next_token(LONG, SHORT)
    assert loss == pytest.approx(figures["mel"] + TEXT_WEIGHT * figures["text"], rel=1e-5)


def test_the_gpt_learns_to_stop_where_each_row_ends() -> None:
    model = gpt()
    batches = Batches(speech([LONG, SHORT], n_validation=0), 4, CPU, conditioning_frames=4)
    objective = NextToken(model, batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        loss, figures = objective.loss(step, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert figures["right"] == 1.0  # of all seven and all three tokens, the stops among them


def test_validation_is_of_held_out_utterances_and_repeats_itself() -> None:
    batches = Batches(speech([LONG, SHORT, SHORT], n_validation=1), 4, CPU, conditioning_frames=4)
    objective = NextToken(gpt().train(), batches)
    figures = objective.validate()
    assert figures == objective.validate()
    assert objective.gpt.training
    alone = next_token(SHORT)[1]
    assert figures["mel"] == pytest.approx(alone["mel"], rel=1e-4)


def test_clvp_learns_which_text_is_whose() -> None:
    torch.manual_seed(0)
    clvp = build_clvp(CLVPDimensions(n_layers=1, width=64, n_heads=1, n_text_tokens=20, n_codes=12))
    pairs = [([i + 1, i + 2, 0], [i, i, i + 1, i]) for i in range(8)]
    objective = Matching(clvp, Batches(speech([*pairs, *pairs], n_validation=8), 8, CPU, conditioning_frames=4))
    before = objective.validate()["above"]
    optimizer = torch.optim.AdamW(clvp.parameters(), lr=2e-3)
    for step in range(60):
        loss, _ = objective.loss(step, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = objective.validate()["above"]
    assert before < 0.8 < 0.95 < after <= 1.0


class _Positions(nn.Module):
    """In the GPT's place: the latent of each code is the code, the voice is nothing."""

    dimensions = SIZES

    def conditioning(self, mel: Tensor) -> Tensor:
        return mel.new_zeros(len(mel), 1)

    def latents(self, conditioning: Tensor, text: Tensor, codes: Tensor, text_lengths: Tensor) -> Tensor:
        return codes[:, :, None].float()


class _Deaf(nn.Module):
    """In the diffusion's place, which the test does not ask for noise."""

    def get_conditioning(self, mel: Tensor) -> Tensor:
        return mel.new_zeros(len(mel), 2)


@pytest.mark.parametrize("crop_tokens", [4, 16, 64])
def test_the_diffusion_hears_the_frames_of_the_very_tokens_that_it_reads(
    crop_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each code is its own place in the utterance, each frame its own number: token i of a phase begins at frame
    phase + 4 i."""
    n_frames = (50, 67, 83, 101)
    counted = [torch.arange(n).repeat(5, 1).half() for n in n_frames]
    codes = tuple(
        Ragged.of([torch.arange(-(-(n - phase) // 4), dtype=torch.int16) for n in n_frames]) for phase in range(PHASES)
    )
    texts = Ragged.of([torch.tensor([1, 0], dtype=torch.int16)] * len(n_frames))
    data = Speech(Ragged.of(counted), codes, texts, torch.zeros(len(n_frames), dtype=torch.long), 0)
    seen: list[tuple[Tensor, Tensor]] = []

    def remember(model: Any, schedule: Any, mel: Tensor, latents: Tensor, *rest: Any) -> DiffusionLoss:
        seen.append((mel, latents))
        return DiffusionLoss(*torch.zeros(3))

    monkeypatch.setattr(objectives, "training_loss", remember)
    identity = MelRange((-1.0,), (1.0,))
    gpt: Any = _Positions()
    objective = Denoising(_Deaf(), gpt, Batches(data, 3, CPU, 8), identity, crop_tokens)
    firsts, phases = set(), set()
    for step in range(100):
        objective.loss(step, torch.Generator().manual_seed(step))
        mel, latents = seen[-1]
        n_tokens = latents.shape[1]
        assert mel.shape == (3, 5, 4 * n_tokens)
        assert n_tokens <= crop_tokens
        for frames, places in zip(mel.round(), latents[:, :, 0], strict=True):
            phase = int(frames[0, 0] - 4 * places[0])
            assert 0 <= phase < PHASES
            assert torch.equal(frames[0].view(-1, 4)[:, 0], 4 * places + phase)
            assert torch.equal(frames[0], torch.arange(4 * n_tokens) + frames[0, 0])
            firsts.add(int(places[0]))
            phases.add(phase)
    assert phases == set(range(PHASES))
    assert len(firsts) > 3 or crop_tokens == 64
