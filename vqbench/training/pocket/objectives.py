"""What the parts of the pocket TorToiSe are trained to do, each as an objective of the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vqbench.teachers.tortoise.clvp import contrastive_loss, speech_latents, text_latents
from vqbench.teachers.tortoise.diffusion import DiffusionLoss, MelRange, noise_schedule, training_loss
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.training.loop import Term
from vqbench.training.speech import Batches

Rows = tuple[list[int], int]
"""Utterances, and the phase of their codes."""


class Matching:
    """CLVP's: tell which text belongs to which codes within a batch, which is of one process."""

    best = ("above", True)

    def __init__(self, clvp: nn.Module, batches: Batches) -> None:
        self.clvp, self._batches = clvp, batches

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Rows]:
        """Utterances of like length."""
        return [self._batches.draw(draw)]

    def counts(self, batch: Rows) -> Mapping[str, int]:
        """Utterances."""
        return {"rows": len(batch[0])}

    def loss(self, batch: Rows, draw: torch.Generator) -> list[Term]:
        """The symmetric contrastive loss."""
        return [Term("contrast", contrastive_loss(self.clvp, *self._pairs(*batch)), 1.0)]

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> dict[str, float]:
        """Nothing but the weights changes."""
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """How often a held-out utterance's own text scores above another's: chance is a half."""
        self.clvp.eval()
        texts, codes = self._pairs(self._batches.validation(), 0)
        similarity = speech_latents(self.clvp, codes) @ text_latents(self.clvp, texts).T
        self.clvp.train()
        above = (similarity.diagonal()[:, None] > similarity).float()
        n = len(similarity)
        return {"above": (above.sum() / max(1, n * (n - 1))).item()}

    def _pairs(self, rows: list[int], phase: int) -> tuple[list[Tensor], list[Tensor]]:
        speech, device = self._batches.speech, self._batches.device
        texts = [speech.texts[row].long().to(device) for row in rows]
        return texts, [speech.codes[phase][row].long().to(device) for row in rows]


class Denoising:
    """The diffusion decoder's: undo noise on a mel, given the GPT's latents and a recording of the speaker."""

    best = ("told", False)

    def __init__(
        self, diffusion: Any, gpt: UnifiedVoice, batches: Batches, mel_range: MelRange, crop_tokens: int
    ) -> None:
        self.diffusion, self.gpt, self._batches = diffusion, gpt.eval(), batches
        self.mel_range, self.crop_tokens = mel_range, crop_tokens
        self._schedule = noise_schedule(predicted="mel")

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Rows]:
        """Utterances of like length."""
        return [self._batches.draw(draw)]

    def counts(self, batch: Rows) -> Mapping[str, int]:
        """Utterances."""
        return {"rows": len(batch[0])}

    def loss(self, batch: Rows, draw: torch.Generator) -> list[Term]:
        """The mel that is told from a noisy one, its variance, and the mel that the latents alone foretell."""
        found = self._losses(*batch, draw)
        logged = [Term("told", found.told), Term("variance", found.variance), Term("head", found.mel)]
        return [*logged, Term("total", found.total, 1.0)]

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> dict[str, float]:
        """Nothing but the weights changes."""
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The same on held-out utterances, with the same noise every time."""
        self.diffusion.eval()
        draw = torch.Generator().manual_seed(0)
        held_out, size = self._batches.validation(), self._batches.size
        parts = [held_out[i : i + size] for i in range(0, len(held_out), size)]
        losses = [(self._losses(rows, 0, draw), len(rows)) for rows in parts]
        figures = [({"told": f.told.item(), "variance": f.variance.item(), "head": f.mel.item()}, n) for f, n in losses]
        self.diffusion.train()
        n = sum(count for _, count in figures)
        return {name: sum(f[name] * count for f, count in figures) / n for name in figures[0][0]}

    def _losses(self, rows: list[int], phase: int, draw: torch.Generator) -> DiffusionLoss:
        batches, n = self._batches, self.crop_tokens
        text, text_lengths = batches.texts(rows)
        codes, code_lengths = batches.codes(rows, phase, self.gpt.dimensions.stop_mel)
        with torch.no_grad():
            crops, which = batches.conditioning(rows, draw)
            latents = self.gpt.latents(self.gpt.conditioning(crops)[which], text, codes, text_lengths).float()
        pieces, mels = [], []
        for i, row in enumerate(rows):
            # The last code may stand for frames beyond the recording's end, so it is left out.
            room = max(1, int(code_lengths[i]) - 1 - n + 1)
            first = int(torch.randint(room, (1,), generator=draw))
            pieces.append(latents[i, first : first + n])
            mel = batches.speech.mels[row][:, phase + 4 * first : phase + 4 * (first + n)]
            mels.append(mel.float())
        short = min(min(len(piece) for piece in pieces), min(mel.shape[-1] // 4 for mel in mels))
        unit = self.mel_range.to_unit(torch.stack([mel[:, : 4 * short] for mel in mels]).to(batches.device))
        return training_loss(
            self.diffusion,
            self._schedule,
            unit,
            torch.stack([piece[:short] for piece in pieces]),
            self.diffusion.get_conditioning(crops)[which],
            draw,
        )
