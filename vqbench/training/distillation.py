"""Distils an encoder from a GPT: it learns to hear, in what was rendered from tokens, the tokens that were written.

The GPT's codebook is withheld, so it is learnt along the way: a code is the mean of the latents of its tokens, and the
encoder learns that each latent is nearest to its own. The decoder learns beside it to turn tokens into mels.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vqbench.audio.io import resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import ConfigError, TrainingError
from vqbench.progress import Progress
from vqbench.tokenizer.dvae import DVAE
from vqbench.tortoise.pair_generation import split_of
from vqbench.tortoise.pairs import read_pairs
from vqbench.tortoise.tokens import aligned
from vqbench.training.recipe import Recipe

DISTILLATION_VERSION = 1
"""Raised whenever the same recipe and pairs would give other weights."""

_FADED = 1e-30
"""Running counts below this say nothing more of where a code is."""

_FAR = 100.0
"""Codes that no token has lie so many times farther from the origin than all others."""


@dataclass(frozen=True)
class MelTokens:
    """A pair as the trainer reads it: token i stands for the frames 4 i to 4 i + 3.

    Attributes:
        mel: (n_mels, T) float32, log-mel / norms, whole.
        codes: (n,) int64, 1 <= n <= ceil(T / 4).
    """

    mel: Tensor
    codes: Tensor


@dataclass(frozen=True)
class PairCorpus:
    """What is trained on, and what is held out; a sentence is in one of them only."""

    training: tuple[MelTokens, ...]
    validation: tuple[MelTokens, ...]


def pairs_digest(folder: Path) -> str:
    """Sixteen hex digits over all of a folder's training pairs that decides what is learnt from them.

    Raises:
        DataError: where the pairs cannot be read.
    """
    digest = hashlib.sha256()
    for pair in read_pairs(folder, "train"):
        sound = [hashlib.sha256(pair.flac).hexdigest(), pair.sample_rate_hz]
        digest.update(json.dumps([pair.id, pair.teacher, pair.text, pair.codes.tolist(), sound]).encode())
    return digest.hexdigest()[:16]


def load_pairs(recipe: Recipe, folder: Path, spec: MelSpec, progress: Progress) -> PairCorpus:
    """Reads the training pairs of a folder; a sentence's side never depends on which others there are.

    Args:
        recipe: says how many codes there may be, and the share of the sentences to hold out.
        folder: of pairs; those of the split `test` are left alone.
        spec: the front end; waveforms of another rate are resampled.
        progress: shows how far it is.

    Raises:
        DataError: a pair cannot be read.
        ConfigError: a token is none of the recipe's codes.
        TrainingError: no pair is left to train on.
    """
    where, size = str(recipe.path or recipe.name), recipe.model.codebook_size
    lengths_and_largest = [
        (len(pair.codes), int(pair.codes.max())) for pair in read_pairs(folder, "train", waveforms=False)
    ]
    largest = max((token for _, token in lengths_and_largest), default=0)
    if largest >= size:
        raise ConfigError(
            f"the pairs hold the token {largest}, but model.codebook_size is {size}",
            where=where,
            expected=f"a codebook_size of at least {largest + 1}",
        )
    front_end, frames_per_token = MelFrontEnd(spec), 2**recipe.model.num_layers
    training: list[MelTokens] = []
    validation: list[MelTokens] = []
    with progress.task("reading pairs", len(lengths_and_largest)) as advance:
        for pair in read_pairs(folder, "train"):
            mel = front_end(resample(pair.waveform(), pair.sample_rate_hz, spec.sample_rate_hz))
            # An encoder writes a token for every four frames begun: compared is what both have written.
            codes, _ = aligned(pair.codes, torch.arange(-(-mel.shape[-1] // frames_per_token)))
            # By other words than the split `test`, or no sentence left for training would be on this side.
            held_out = split_of(f"validation: {pair.text}", recipe.training.validation_share) == "test"
            (validation if held_out else training).append(MelTokens(mel, codes))
            advance()
    if not training:
        raise TrainingError(
            f"no pair is left to train on: {len(validation)} of the split 'train', all of them held out",
            where=where,
            expected="sentences outside validation_share",
            fix="make more pairs, with more sentences",
        )
    return PairCorpus(tuple(training), tuple(validation))


class Distillation:
    """The objective of a recipe with pairs."""

    def __init__(self, recipe: Recipe, dvae: DVAE, corpus: PairCorpus, device: torch.device) -> None:
        self.weights, self.training = recipe.distillation, recipe.training
        self.dvae, self.corpus, self.device = dvae, corpus, device
        tokens = torch.cat([pair.codes for pair in corpus.training])
        self._unheard = torch.bincount(tokens, minlength=dvae.dimensions.codebook_size).to(device) == 0
        self._last: tuple[Tensor, Tensor] | None = None

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The encoder's loss on tokens, and the decoder's on mels, which reads the tokens and not the encoder."""
        return self.loss_of(self._batch(draw))

    def loss_of(self, batch: Sequence[MelTokens]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, every token and every frame alike, and its parts."""
        mel = pad_sequence([pair.mel.t() for pair in batch], batch_first=True).transpose(1, 2).to(self.device)
        codes = pad_sequence([pair.codes for pair in batch], batch_first=True).to(self.device)
        n_frames = torch.tensor([pair.mel.shape[-1] for pair in batch], device=self.device)
        n_tokens = torch.tensor([len(pair.codes) for pair in batch], device=self.device)
        latents = self.dvae.latents(mel, n_frames)[..., : codes.shape[1]]
        decoded = self.dvae.mels(codes, n_tokens)[..., : mel.shape[-1]]
        mel = mel[..., : decoded.shape[-1]]
        n_decoded = (n_tokens * self.dvae.dimensions.frames_per_token).minimum(n_frames)
        with torch.autocast(self.device.type, enabled=False):
            asked = _within(n_tokens, codes.shape[1])
            rows, tokens = latents.float().transpose(1, 2)[asked], codes[asked]
            embed = self.dvae.codebook.embed
            # The latent's own square is the same in all logits of a token, and left out.
            logits = self.weights.scale * (2 * rows @ embed - embed.square().sum(0))
            cross_entropy = F.cross_entropy(logits, tokens)
            vector_mse = F.mse_loss(rows, embed.t()[tokens])
            error = (decoded.float() - mel).transpose(1, 2)[_within(n_decoded, mel.shape[-1])]
            l1, l2 = error.abs().mean(), error.square().mean()
            loss = self.weights.cross_entropy * cross_entropy + self.weights.vector_mse * vector_mse
            loss = loss + self.training.loss.l1 * l1 + self.training.loss.l2 * l2
        self._last = rows.detach(), tokens
        return loss, {
            "agreement": (logits.argmax(1) == tokens).float().mean().item(),
            "cross_entropy": cross_entropy.item(),
            "vector_mse": vector_mse.item(),
            "l1": l1.item(),
            "l2": l2.item(),
        }

    def updated(self, step: int, draw: torch.Generator) -> dict[str, float]:
        """Moves the codes after the latents of their tokens."""
        assert self._last is not None
        self._move_codes(*self._last, self.training.codebook.decay)
        return {}

    @torch.no_grad()
    def start_codebook(self) -> None:
        """Starts each code on the mean of what the untrained encoder makes of its tokens."""
        pairs = self.corpus.training
        rows = [self.dvae.latents(pair.mel[None].to(self.device))[0].t()[: len(pair.codes)].float() for pair in pairs]
        self._move_codes(torch.cat(rows), torch.cat([pair.codes for pair in pairs]).to(self.device), decay=0.0)
        # As if it had been one step, however many pairs there are.
        codebook, share = self.dvae.codebook, self.training.batch_size / len(pairs)
        codebook.cluster_size.mul_(share)
        codebook.embed_avg.mul_(share)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Agreement and mean absolute error of the mel, both through the codes heard, on the held-out sentences."""
        agreed, n_tokens, error, n_values = 0, 0, 0.0, 0
        for pair in self.corpus.validation:
            mel, codes = pair.mel[None].to(self.device), pair.codes.to(self.device)
            heard = self.dvae.encode(mel)
            agreed += int((heard[0, : len(codes)] == codes).sum())
            n_tokens += len(codes)
            error += float((self.dvae.decode(heard)[..., : mel.shape[-1]] - mel).abs().sum())
            n_values += mel.numel()
        return {"agreement": agreed / n_tokens, "l1": error / n_values} if n_tokens else {}

    @torch.no_grad()
    def _move_codes(self, rows: Tensor, tokens: Tensor, decay: float) -> None:
        codebook = self.dvae.codebook
        before = codebook.embed.clone()
        # Smoothed counts would draw seldom codes to the origin; without, one not heard for long stays where it was.
        codebook.ema_update(rows, tokens, decay, eps=0.0)
        codebook.embed.copy_(torch.where(codebook.cluster_size < _FADED, before, codebook.embed))
        farthest = codebook.embed[:, ~self._unheard].norm(dim=0).max()
        codebook.embed[:, self._unheard] = _FAR * farthest / math.sqrt(len(before))

    def _batch(self, draw: torch.Generator) -> list[MelTokens]:
        """Whole utterances; from one longer than a crop, a crop."""
        pairs, per_token = self.corpus.training, self.dvae.dimensions.frames_per_token
        chosen = torch.randint(len(pairs), (self.training.batch_size,), generator=draw).tolist()
        places = torch.rand(len(chosen), generator=draw).tolist()
        n = self.training.crop_frames // per_token
        batch = []
        for index, place in zip(chosen, places, strict=True):
            pair = pairs[index]
            first = int(place * (max(0, len(pair.codes) - n) + 1))
            mel = pair.mel[:, first * per_token :][:, : n * per_token]
            batch.append(MelTokens(mel, pair.codes[first : first + n]))
        return batch


def _within(lengths: Tensor, n: int) -> Tensor:
    """Which of n places come before each row's end: (B,) → (B, n) bool."""
    return torch.arange(n, device=lengths.device) < lengths[:, None]
