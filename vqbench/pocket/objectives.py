"""What the parts of the pocket TorToiSe are trained to do, each as an objective of the training loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqbench.pocket.speech import Batches
from vqbench.tortoise.clvp import contrastive_loss, speech_latents, text_latents
from vqbench.tortoise.diffusion import MelRange, noise_schedule, training_loss
from vqbench.tortoise.gpt import UnifiedVoice

TEXT_WEIGHT = 0.01
"""Weight of the text loss beside the mel loss, as TorToiSe's fine-tuning has it."""

_IGNORED = -100


class NextToken:
    """The GPT's: predict every code of an utterance, and its text, from what came before."""

    def __init__(self, gpt: UnifiedVoice, batches: Batches) -> None:
        self.gpt, self.batches = gpt, batches

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of codes and text, each utterance up to its stop token."""
        rows, phase = self.batches.draw(draw)
        mel, text, right = self._losses(rows, phase, draw)
        return mel + TEXT_WEIGHT * text, {"mel": mel.item(), "text": text.item(), "right": right}

    def updated(self, step: int, draw: torch.Generator) -> dict[str, float]:
        """Nothing but the weights changes."""
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The same on the held-out utterances."""
        self.gpt.eval()
        draw, held_out = torch.Generator().manual_seed(0), self.batches.validation()
        parts = [held_out[i : i + self.batches.size] for i in range(0, len(held_out), self.batches.size)]
        figures = [(self._losses(rows, 0, draw), len(rows)) for rows in parts]
        self.gpt.train()
        n = sum(size for _, size in figures)
        return {
            "mel": sum(mel.item() * size for (mel, _, _), size in figures) / n,
            "right": sum(right * size for (_, _, right), size in figures) / n,
        }

    def _losses(self, rows: list[int], phase: int, draw: torch.Generator) -> tuple[Tensor, Tensor, float]:
        d = self.gpt.dimensions
        text, text_lengths = self.batches.texts(rows)
        codes, code_lengths = self.batches.codes(rows, phase, d.stop_mel)
        crops, which = self.batches.conditioning(rows, draw)
        logits = self.gpt(self.gpt.conditioning(crops)[which], text, codes, text_lengths)
        mel_logits, mel_targets = logits.mel[:, :-1], _targets(codes, code_lengths, d.stop_mel)
        mel = F.cross_entropy(mel_logits.transpose(1, 2).float(), mel_targets, ignore_index=_IGNORED)
        text_targets = _targets(text, text_lengths, 0)
        text_loss = F.cross_entropy(logits.text[:, :-1].transpose(1, 2).float(), text_targets, ignore_index=_IGNORED)
        asked = mel_targets != _IGNORED
        right = (mel_logits.detach().argmax(-1) == mel_targets)[asked].float().mean().item()
        return mel, text_loss, right


def _targets(tokens: Tensor, lengths: Tensor, stop: int) -> Tensor:
    """What comes after each position: (B, N) → (B, N + 1), a stop after the last token and nothing asked beyond.

    >>> _targets(torch.tensor([[5, 6], [7, 9]]), torch.tensor([2, 1]), stop=9).tolist()
    [[5, 6, 9], [7, 9, -100]]
    """
    shifted = F.pad(tokens, (0, 1), value=stop)
    at = torch.arange(shifted.shape[1], device=tokens.device)
    shifted = shifted.masked_fill(at == lengths[:, None], stop)
    return shifted.masked_fill(at > lengths[:, None], _IGNORED)


class Matching:
    """CLVP's: tell which text belongs to which codes within a batch."""

    def __init__(self, clvp: nn.Module, batches: Batches) -> None:
        self.clvp, self.batches = clvp, batches

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The symmetric contrastive loss."""
        rows, phase = self.batches.draw(draw)
        loss = contrastive_loss(self.clvp, *self._pairs(rows, phase))
        return loss, {"contrast": loss.item()}

    def updated(self, step: int, draw: torch.Generator) -> dict[str, float]:
        """Nothing but the weights changes."""
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """How often a held-out utterance's own text scores above another's: chance is a half."""
        self.clvp.eval()
        texts, codes = self._pairs(self.batches.validation(), 0)
        similarity = speech_latents(self.clvp, codes) @ text_latents(self.clvp, texts).T
        self.clvp.train()
        above = (similarity.diagonal()[:, None] > similarity).float()
        n = len(similarity)
        return {"above": (above.sum() / max(1, n * (n - 1))).item()}

    def _pairs(self, rows: list[int], phase: int) -> tuple[list[Tensor], list[Tensor]]:
        speech, device = self.batches.speech, self.batches.device
        texts = [speech.texts[row].long().to(device) for row in rows]
        return texts, [speech.codes[phase][row].long().to(device) for row in rows]


class Denoising:
    """The diffusion decoder's: undo noise on a mel, given the GPT's latents and a recording of the speaker."""

    def __init__(
        self, diffusion: Any, gpt: UnifiedVoice, batches: Batches, mel_range: MelRange, crop_tokens: int
    ) -> None:
        self.diffusion, self.gpt, self.batches = diffusion, gpt.eval(), batches
        self.mel_range, self.crop_tokens = mel_range, crop_tokens
        self._schedule = noise_schedule(predicted="mel")

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The mel that is told from a noisy one, its variance, and the mel that the latents alone foretell."""
        rows, phase = self.batches.draw(draw)
        return self._losses(rows, phase, draw)

    def updated(self, step: int, draw: torch.Generator) -> dict[str, float]:
        """Nothing but the weights changes."""
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The same on held-out utterances, with the same noise every time."""
        self.diffusion.eval()
        draw = torch.Generator().manual_seed(0)
        held_out, size = self.batches.validation(), self.batches.size
        parts = [held_out[i : i + size] for i in range(0, len(held_out), size)]
        figures = [(self._losses(rows, 0, draw)[1], len(rows)) for rows in parts]
        self.diffusion.train()
        n = sum(count for _, count in figures)
        return {name: sum(f[name] * count for f, count in figures) / n for name in figures[0][0]}

    def _losses(self, rows: list[int], phase: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        batches, n = self.batches, self.crop_tokens
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
        loss = training_loss(
            self.diffusion,
            self._schedule,
            unit,
            torch.stack([piece[:short] for piece in pieces]),
            self.diffusion.get_conditioning(crops)[which],
            draw,
        )
        figures = {"told": loss.told.item(), "variance": loss.variance.item(), "head": loss.mel.item()}
        return loss.total, figures
