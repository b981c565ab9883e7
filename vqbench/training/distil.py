"""Distils an encoder from a GPT: it learns to hear, in what was rendered from tokens, the tokens that were written.

The GPT's codebook is withheld, so it is learnt along the way: a code is the mean of the latents of its tokens, and the
encoder learns that each latent is nearest to its own. The decoder learns beside it to turn tokens into mels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vqbench.config.training import PairPhaseConfig
from vqbench.tokenizers.dvae.network import DVAE
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.loop import Term
from vqbench.training.processes import summed
from vqbench.training.reconstruct import in_parts
from vqbench.training.stream import MelTokens, PairStream

_FADED = 1e-30
"""Running counts below this say nothing more of where a code is."""

_FAR = 100.0
"""Codes that no token has lie so many times farther from the origin than all others."""

_START_BATCHES = 64
"""Batches whose latents a learnt codebook starts from."""


class Distillation:
    """Cross-entropy over the codes and mean squared error to the token's vector for the encoder; L1 and L2 of the mel
    for the decoder, which reads the tokens and not the encoder."""

    def __init__(
        self, config: PairPhaseConfig, dvae: DVAE, stream: PairStream, held_out: HeldOutPairs, *, learned: bool
    ) -> None:
        self.config, self.dvae, self.stream, self.held_out, self.learned = config, dvae, stream, held_out, learned
        self.best = ("agreement", True)
        counts = F.pad(stream.token_counts, (0, dvae.dimensions.codebook_size - len(stream.token_counts)))
        # What was learnt in an earlier phase stays, though these pairs have no such token.
        self._unheard = (counts.to(self._device) == 0) & (dvae.codebook.cluster_size < _FADED)
        self._any_unheard = bool(self._unheard.any())
        self._heard: list[tuple[Tensor, Tensor]] = []

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[list[MelTokens]]:
        """Whole utterances; from one longer than a crop, a crop."""
        self._heard.clear()
        size = self.config.batch_size // world
        places = torch.rand(self.config.batch_size, generator=draw)[rank * size : (rank + 1) * size].tolist()
        pairs = self.stream.batch(step, rank, world)
        cropped = [self._crop(pair, place) for pair, place in zip(pairs, places, strict=True)]
        return in_parts(cropped, self.config.accumulate)

    def counts(self, batch: Sequence[MelTokens]) -> Mapping[str, int]:
        """Every token and every frame counts alike."""
        per_token = self.dvae.dimensions.frames_per_token
        n_decoded = (min(per_token * len(pair.codes), pair.mel.shape[-1]) for pair in batch)
        return {"tokens": sum(len(pair.codes) for pair in batch), "frames": sum(n_decoded)}

    def loss(self, batch: Sequence[MelTokens], draw: torch.Generator) -> list[Term]:
        """The encoder's terms, and the decoder's where it is trained."""
        mel = pad_sequence([pair.mel.t() for pair in batch], batch_first=True).transpose(1, 2).to(self._device)
        codes = pad_sequence([pair.codes for pair in batch], batch_first=True).to(self._device)
        n_frames = torch.tensor([pair.mel.shape[-1] for pair in batch], device=self._device)
        n_tokens = torch.tensor([len(pair.codes) for pair in batch], device=self._device)
        return [*self._hearing(mel, n_frames, codes, n_tokens), *self._telling(mel, n_frames, codes, n_tokens)]

    def _hearing(self, mel: Tensor, n_frames: Tensor, codes: Tensor, n_tokens: Tensor) -> list[Term]:
        config, embed = self.config, self.dvae.codebook.embed
        latents = self.dvae.latents(mel, n_frames)[..., : codes.shape[1]]
        with torch.autocast(self._device.type, enabled=False):
            asked = _within(n_tokens, codes.shape[1])
            rows, tokens = latents.float().transpose(1, 2)[asked], codes[asked]
            self._heard.append((rows.detach(), tokens))
            # The latent's own square is the same in all logits of a token, and left out.
            logits = config.scale * (2 * rows @ embed - embed.square().sum(0))
            # Half the time of argmax on a CPU.
            right = (logits.detach().max(1).indices == tokens).float().mean()
            return [
                Term("agreement", right, of="tokens"),
                Term("cross_entropy", F.cross_entropy(logits, tokens), config.cross_entropy, of="tokens"),
                Term("vector_mse", F.mse_loss(rows, embed.t()[tokens]), config.vector_mse, of="tokens"),
            ]

    def _telling(self, mel: Tensor, n_frames: Tensor, codes: Tensor, n_tokens: Tensor) -> list[Term]:
        weights = self.config.loss
        if not weights.l1 and not weights.l2:
            return []
        decoded = self.dvae.mels(codes, n_tokens)[..., : mel.shape[-1]]
        mel = mel[..., : decoded.shape[-1]]
        n_decoded = (n_tokens * self.dvae.dimensions.frames_per_token).minimum(n_frames)
        with torch.autocast(self._device.type, enabled=False):
            error = (decoded.float() - mel).transpose(1, 2)[_within(n_decoded, mel.shape[-1])]
            return [
                Term("l1", error.abs().mean(), weights.l1, of="frames"),
                Term("l2", error.square().mean(), weights.l2, of="frames"),
            ]

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> dict[str, float]:
        """Moves the codes after the latents of their tokens."""
        if self.learned:
            rows, tokens = (torch.cat(part) for part in zip(*self._heard, strict=True))
            self._move_codes(rows, tokens, self.config.decay, fabric)
        return {}

    @torch.no_grad()
    def start_codebook(self) -> None:
        """Starts each code on the mean of what the encoder makes of its tokens."""
        rows, tokens = [], []
        for step in range(_START_BATCHES):
            for pair in self.stream.batch(step):
                rows.append(self.dvae.latents(pair.mel[None].to(self._device))[0].t()[: len(pair.codes)].float())
                tokens.append(pair.codes.to(self._device))
        self._move_codes(torch.cat(rows), torch.cat(tokens), decay=0.0)
        # As if it had been one step, however many pairs there are.
        codebook = self.dvae.codebook
        codebook.cluster_size.div_(_START_BATCHES)
        codebook.embed_avg.div_(_START_BATCHES)

    def validate(self) -> dict[str, float]:
        """Agreement on the held-out pairs, between floor and ceiling, and what else there is to see."""
        return self.held_out.figures(self.dvae)

    @torch.no_grad()
    def _move_codes(self, rows: Tensor, tokens: Tensor, decay: float, fabric: Fabric | None = None) -> None:
        codebook = self.dvae.codebook
        before = codebook.embed.clone()
        # Smoothed counts would draw seldom codes to the origin; without, one not heard for long stays where it was.
        over_processes = (lambda own: own) if fabric is None else (lambda own: summed(fabric, own))
        codebook.ema_update(rows, tokens, decay, eps=0.0, over_processes=over_processes)
        codebook.embed.copy_(torch.where(codebook.cluster_size < _FADED, before, codebook.embed))
        if not self._any_unheard:
            return
        farthest = codebook.embed[:, ~self._unheard].norm(dim=0).max()
        codebook.embed[:, self._unheard] = _FAR * farthest / math.sqrt(len(before))

    def _crop(self, pair: MelTokens, place: float) -> MelTokens:
        per_token = self.dvae.dimensions.frames_per_token
        n = self.config.crop_frames // per_token
        first = int(place * (max(0, len(pair.codes) - n) + 1))
        mel = pair.mel[:, first * per_token :][:, : n * per_token]
        return MelTokens(mel, pair.codes[first : first + n])

    @property
    def _device(self) -> torch.device:
        return self.dvae.codebook.embed.device


def _within(lengths: Tensor, n: int) -> Tensor:
    """Which of n places come before each row's end: (B,) → (B, n) bool."""
    return torch.arange(n, device=lengths.device) < lengths[:, None]
