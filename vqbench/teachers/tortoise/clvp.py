"""CLVP: how well a sequence of speech tokens fits a text, the score by which TorToiSe ranks what its GPT wrote.

The network is tortoise-tts's. Its own `forward` has no lengths; here rows of any lengths share a batch, and each gets
the score that it would get alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqbench.teachers.tortoise.upstream import upstream_module


@dataclass(frozen=True)
class CLVPDimensions:
    """The sizes of a CLVP; the defaults are those of the official `clvp2.pth`.

    Every head is 64 wide, whatever `width` is. `n_text_tokens` counts start and stop.
    """

    n_layers: int = 20
    width: int = 768
    n_heads: int = 12
    n_text_tokens: int = 256
    n_codes: int = 8192


def build_clvp(dimensions: CLVPDimensions | None = None) -> nn.Module:
    """Builds tortoise-tts's CLVP with random weights, in training mode (dropout 0.1).

    Raises:
        MissingExtraError: where tortoise-tts is not installed.
    """
    sizes = dimensions or CLVPDimensions()
    clvp: nn.Module = upstream_module("models.clvp").CLVP(
        dim_text=sizes.width,
        dim_speech=sizes.width,
        dim_latent=sizes.width,
        num_text_tokens=sizes.n_text_tokens,
        text_enc_depth=sizes.n_layers,
        text_heads=sizes.n_heads,
        num_speech_tokens=sizes.n_codes,
        speech_enc_depth=sizes.n_layers,
        speech_heads=sizes.n_heads,
        use_xformers=True,
    )
    return clvp


@torch.no_grad()
def score(clvp: nn.Module, texts: Sequence[Tensor], codes: Sequence[Tensor]) -> Tensor:
    """Scores each text against the speech tokens at its side.

    Args:
        clvp: from `build_clvp`, in evaluation mode.
        texts: of each row, (T,) int64 text tokens, T >= 1.
        codes: of each row, (L,) int64 in [0, n_codes), L >= 1: without start and stop tokens.

    Returns:
        (B,) float32: the cosine of the two latents times the exponential of the learned temperature; higher is better.
    """
    cosines = (text_latents(clvp, texts) * speech_latents(clvp, codes)).sum(-1)
    return cosines * _temperature(clvp)


def contrastive_loss(clvp: nn.Module, texts: Sequence[Tensor], codes: Sequence[Tensor]) -> Tensor:
    """Computes what CLVP is trained on: each text should pick its own speech out of the batch, and the other way round.

    Args:
        clvp: from `build_clvp`.
        texts: as for `score`.
        codes: as for `score`.

    Returns:
        () float32: the mean of both cross-entropies in nats; log(B) is chance.
    """
    logits = text_latents(clvp, texts) @ speech_latents(clvp, codes).T * _temperature(clvp)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def text_latents(clvp: Any, texts: Sequence[Tensor]) -> Tensor:
    """Embeds texts: sequences of (T,) int64 → (B, width) float32 of length 1."""
    return _latents(clvp.text_emb, clvp.text_transformer, clvp.to_text_latent, texts)


def speech_latents(clvp: Any, codes: Sequence[Tensor]) -> Tensor:
    """Embeds speech tokens: sequences of (L,) int64 → (B, width) float32 of length 1."""
    return _latents(clvp.speech_emb, clvp.speech_transformer, clvp.to_speech_latent, codes)


def _latents(embedding: nn.Module, transformer: nn.Module, to_latent: nn.Module, rows: Sequence[Tensor]) -> Tensor:
    device = next(embedding.parameters()).device
    lengths = torch.tensor([len(row) for row in rows], device=device)
    padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(device)
    mask = torch.arange(padded.shape[1], device=device) < lengths[:, None]
    encoded = transformer(embedding(padded), mask=mask)
    mean = encoded.masked_fill(~mask[:, :, None], 0).sum(1) / lengths[:, None]
    return F.normalize(to_latent(mean), dim=-1)


def _temperature(clvp: Any) -> Tensor:
    temperature: Tensor = clvp.temperature
    return temperature.exp()
