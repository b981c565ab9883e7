"""What the pocket's own parts are trained to do: which text is whose, and which frames belong to which tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_speech import PHASES, speech_of
from torch import Tensor, nn

from vqbench.teachers.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.teachers.tortoise.diffusion import DiffusionLoss, MelRange
from vqbench.teachers.tortoise.gpt import GPTDimensions
from vqbench.training.pocket import objectives
from vqbench.training.pocket.objectives import Denoising, Matching
from vqbench.training.speech import Batches, RaggedTensor, Speech

CPU = torch.device("cpu")
SIZES = GPTDimensions(n_layers=2, width=16, n_heads=2, n_text_tokens=20, n_codes=12, n_mels=5)


def test_clvp_learns_which_text_is_whose() -> None:
    torch.manual_seed(0)
    clvp = build_clvp(CLVPDimensions(n_layers=1, width=64, n_heads=1, n_text_tokens=20, n_codes=12))
    pairs = [([i + 1, i + 2, 0], [i, i, i + 1, i]) for i in range(8)]
    objective = Matching(clvp, Batches(speech_of([*pairs, *pairs], n_validation=8), 8, CPU, conditioning_frames=4))
    before = objective.validate()["above"]
    optimizer = torch.optim.AdamW(clvp.parameters(), lr=2e-3)
    for step in range(60):
        draw = torch.Generator().manual_seed(step)
        (batch,) = objective.batches(step, draw, 0, 1)
        (term,) = objective.loss(batch, draw)
        optimizer.zero_grad()
        (term.weight * term.mean).backward()
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
        RaggedTensor.of([torch.arange(-(-(n - phase) // 4), dtype=torch.int16) for n in n_frames])
        for phase in range(PHASES)
    )
    texts = RaggedTensor.of([torch.tensor([1, 0], dtype=torch.int16)] * len(n_frames))
    data = Speech(RaggedTensor.of(counted), codes, texts, torch.zeros(len(n_frames), dtype=torch.long), 0)
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
        draw = torch.Generator().manual_seed(step)
        (batch,) = objective.batches(step, draw, 0, 1)
        objective.loss(batch, draw)
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
