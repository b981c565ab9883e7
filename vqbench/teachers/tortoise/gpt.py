"""TorToiSe's autoregressive model, a GPT-2 over [voice, text, mel tokens], in plain torch.

Names and shapes of the weights are those of tortoise-tts's `UnifiedVoice`, so `autoregressive.pth` loads as it is; the
implementation is our own, so that neither sampling nor fine-tuning hangs on one release of `transformers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

STOP_TEXT = 0
"""Ends a text; also what padded texts are filled with, so a padded text ends where it should."""


@dataclass(frozen=True)
class GPTDimensions:
    """The sizes of a GPT; the defaults are the official checkpoint's (422 M parameters)."""

    n_layers: int = 30
    width: int = 1024
    n_heads: int = 16
    n_text_tokens: int = 255
    n_codes: int = 8192
    max_text_tokens: int = 402
    max_mel_tokens: int = 604
    max_conditioning_inputs: int = 2
    n_mels: int = 80

    @property
    def start_text(self) -> int:
        """The token that begins every text: the one after the vocabulary."""
        return self.n_text_tokens

    @property
    def start_mel(self) -> int:
        """The token that begins every sequence of codes."""
        return self.n_codes

    @property
    def stop_mel(self) -> int:
        """The token that ends every sequence of codes."""
        return self.n_codes + 1


@dataclass(frozen=True)
class Logits:
    """What a forward pass predicts, position for position what comes next.

    Attributes:
        text: (B, T + 2, n_text_tokens + 1) float; position 0 has read the start token and predicts the first.
        mel: (B, M + 2, n_codes + 2) float; likewise.
    """

    text: Tensor
    mel: Tensor


class UnifiedVoice(nn.Module):
    """Conditioning, text and codes in, distributions over the next token out.

    Shapes: conditioning (B, width); text (B, T) int64, filled with zeros to the longest; codes (B, M) int64 in
    [0, n_codes], filled with `stop_mel`.
    """

    def __init__(self, dimensions: GPTDimensions | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        d = self.dimensions = dimensions or GPTDimensions()
        self.conditioning_encoder = ConditioningEncoder(d.n_mels, d.width, d.n_heads)
        self.text_embedding = nn.Embedding(d.n_text_tokens + 1, d.width)
        self.mel_embedding = nn.Embedding(d.n_codes + 2, d.width)
        self.gpt = Transformer(d.n_layers, d.width, d.n_heads, dropout)
        self.mel_pos_embedding = Positions(d.max_mel_tokens + 2 + d.max_conditioning_inputs, d.width)
        self.text_pos_embedding = Positions(d.max_text_tokens + 2, d.width)
        self.final_norm = nn.LayerNorm(d.width)
        self.text_head = nn.Linear(d.width, d.n_text_tokens + 1)
        self.mel_head = nn.Linear(d.width, d.n_codes + 2)
        for embedding in (self.text_embedding, self.mel_embedding):
            nn.init.normal_(embedding.weight, std=0.02)

    def conditioning(self, mel: Tensor) -> Tensor:
        """Encodes reference recordings: mel (B, n_mels, S) float32 → (B, width); a voice is the mean of its clips."""
        encoded: Tensor = self.conditioning_encoder(mel)
        return encoded

    def forward(self, conditioning: Tensor, text: Tensor, codes: Tensor, text_lengths: Tensor | None = None) -> Logits:
        """Reads whole sequences at once, as in training.

        Args:
            conditioning: (B, width).
            text: (B, T) int64.
            codes: (B, M) int64.
            text_lengths: (B,) int64, the tokens of each text. Each row is then what it would be alone; without them
                the padding is read as stop tokens, as tortoise-tts does.

        Returns:
            distributions; positions beyond a row's own length mean nothing.
        """
        hidden, n_text = self._hidden(conditioning, text, codes, text_lengths)
        # The conditioning's own position predicts the start token, which is never asked for.
        return Logits(self.text_head(hidden[:, 1 : 1 + n_text]), self.mel_head(hidden[:, 1 + n_text :]))

    def latents(self, conditioning: Tensor, text: Tensor, codes: Tensor, text_lengths: Tensor | None = None) -> Tensor:
        """What the diffusion decoder reads: (B, M, width), latent m being the one from which code m was predicted.

        Arguments as in `forward`.
        """
        hidden, n_text = self._hidden(conditioning, text, codes, text_lengths)
        return hidden[:, 1 + n_text : -2]

    def prefix(self, conditioning: Tensor, text: Tensor) -> Tensor:
        """Embeddings of what comes before the codes: conditioning (B, width), text (B, T) → (B, 1 + T + 2, width)."""
        text = F.pad(F.pad(text, (0, 1), value=STOP_TEXT), (1, 0), value=self.dimensions.start_text)
        return torch.cat([conditioning[:, None], self.text_embedding(text) + self.text_pos_embedding(text)], dim=1)

    def _hidden(
        self, conditioning: Tensor, text: Tensor, codes: Tensor, text_lengths: Tensor | None
    ) -> tuple[Tensor, int]:
        """Normalised states (B, 1 + T + 2 + M + 2, width), and T + 2."""
        d = self.dimensions
        prefix = self.prefix(conditioning, text)
        codes = F.pad(F.pad(codes, (0, 1), value=d.stop_mel), (1, 0), value=d.start_mel)
        embedded = torch.cat([prefix, self.mel_embedding(codes) + self.mel_pos_embedding(codes)], dim=1)
        visible = None
        if text_lengths is not None:
            at = torch.arange(embedded.shape[1], device=embedded.device)
            # Conditioning, start token, text and stop token; then the codes, whose order is causal anyway.
            visible = (at < text_lengths[:, None] + 3) | (at >= prefix.shape[1])
        return self.final_norm(self.gpt(embedded, visible)), prefix.shape[1] - 1


class Positions(nn.Module):
    """Learned positions, counted from 0 in text and codes apart."""

    def __init__(self, n_positions: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(n_positions, width)
        nn.init.normal_(self.emb.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N) → (N, width)."""
        return self.emb.weight[: tokens.shape[1]]


class Projection(nn.Module):
    """x W + b with W (in, out), the orientation in which GPT-2's weights are stored."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out)."""
        return F.linear(x, self.weight.t(), self.bias)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention under a mask (True may be read), or under the causal one: (B, heads, N, D) each."""
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # Torch's own kernel takes four times as long as this in bf16 on a CPU, forward and backward.
        if mask is None:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        attended: Tensor = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
        return attended
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)


def _drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout of whole channels of (B, N, width): drawing one number a channel is far cheaper than one a value."""
    if not training or share == 0:
        return x
    return x * F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), share)


class SelfAttention(nn.Module):
    """Causal multi-head attention."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.c_attn = Projection(width, 3 * width)
        self.c_proj = Projection(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, width) → the same shape; `mask` (B, 1, N, N) bool holds what may be read, None all before."""
        q, k, v = self.heads(x)
        return self.merge(_attend(q, k, v, mask))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, width) → queries, keys, values, (B, heads, N, width / heads) each."""
        batch, n, width = x.shape
        q, k, v = self.c_attn(x).view(batch, n, 3, self.n_heads, width // self.n_heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def merge(self, y: Tensor) -> Tensor:
        """(B, heads, N, width / heads) → (B, N, width)."""
        merged: Tensor = self.c_proj(y.transpose(1, 2).flatten(2))
        return merged


class FeedForward(nn.Module):
    """Two projections with GPT-2's GELU (the tanh approximation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = Projection(width, 4 * width)
        self.c_proj = Projection(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) → the same shape."""
        y: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return y


class Block(nn.Module):
    """One layer of GPT-2: attention, then feed-forward, each on its normalised input and added to it."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, n_heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, width) → the same shape."""
        x = x + _drop(self.attn(self.ln_1(x), mask), self.dropout, self.training)
        return x + _drop(self.mlp(self.ln_2(x)), self.dropout, self.training)

    def step(self, x: Tensor, keys: Tensor, values: Tensor, at: int, mask: Tensor | None) -> Tensor:
        """The same for the positions `at` and after, the earlier ones being in the cache.

        Args:
            x: (B, n, width), the new positions.
            keys: (B, heads, room, width / heads), written at `at : at + n`.
            values: likewise.
            at: how many positions the cache holds.
            mask: (B, 1, n, at + n) bool, what may be read; None where n is 1 and all may be.
        """
        q, k, v = self.attn.heads(self.ln_1(x))
        end = at + x.shape[1]
        keys[:, :, at:end], values[:, :, at:end] = k, v
        y = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], mask)
        x = x + self.attn.merge(y)
        deeper: Tensor = self.mlp(self.ln_2(x))
        return x + deeper


class Transformer(nn.Module):
    """The stack of blocks; positions and embeddings belong to `UnifiedVoice`."""

    def __init__(self, n_layers: int, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.h = nn.ModuleList(Block(width, n_heads, dropout) for _ in range(n_layers))
        self.ln_f = nn.LayerNorm(width)
        self.dropout = dropout
        self.n_heads = n_heads
        self.head_width = width // n_heads
        self.recompute = False
        """Whether training computes each layer again on the way back, instead of keeping what is inside it."""

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, N, width) → the same shape; `visible` (B, N) bool marks what may be read at all."""
        mask = None if visible is None else causal(visible, x.shape[1])
        x = _drop(x, self.dropout, self.training)
        for block in self.h:
            x = checkpoint(block, x, mask, use_reentrant=False) if self.recompute and self.training else block(x, mask)
        normalised: Tensor = self.ln_f(x)
        return normalised


def causal(visible: Tensor, n: int) -> Tensor:
    """What the last n positions may read: visible (B, N) bool → (B, 1, n, N) bool, every position itself included."""
    total = visible.shape[1]
    at = torch.arange(total, device=visible.device)
    query = at[total - n :, None]
    # A padded position reads itself, so that its softmax is over something; nobody reads it.
    return ((at <= query) & (visible[:, None, :] | (at == query)))[:, None]


class KeyValueCache:
    """Keys and values of all layers for up to `room` positions, in place from the first step to the last."""

    def __init__(self, transformer: Transformer, batch: int, room: int, like: Tensor) -> None:
        shape = (len(transformer.h), batch, transformer.n_heads, room, transformer.head_width)
        # Nothing beyond `length` is ever read, so untouched memory is not even asked for.
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)
        self.length = 0
        self._transformer = transformer

    def spread(self, rows: Tensor, room: int) -> KeyValueCache:
        """A copy with more room whose row i is this one's row rows[i]; rows (A,) int64, also several times the same."""
        wider = KeyValueCache(self._transformer, len(rows), room, self.keys)
        wider.length = self.length
        for ours, theirs in ((self.keys, wider.keys), (self.values, wider.values)):
            for layer in range(len(ours)):
                theirs[layer, :, :, : self.length] = ours[layer, rows, :, : self.length]
        return wider

    def keep(self, rows: Tensor, since: int = 0) -> None:
        """Drops all rows but these: row i becomes what rows[i] was; only moved rows are copied.

        Args:
            rows: (A,) int64, also several times the same.
            since: positions before this one are taken to be alike in a row and the one that takes its place, as where
                beams of one text share its prefix, and are left as they are.
        """
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        for stored in (self.keys, self.values):
            if len(moved):
                stored[:, moved, :, since : self.length] = stored[:, rows[moved], :, since : self.length]
        self.keys, self.values = self.keys[:, : len(rows)], self.values[:, : len(rows)]

    def advance(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Reads n more positions: x (B, n, width) → states (B, n, width), after the transformer's own norm.

        Args:
            x: embeddings of the new positions.
            mask: (B, 1, n, length + n) bool, what they may read; None where n is 1 and all may be.
        """
        for layer, block in enumerate(self._transformer.h):
            assert isinstance(block, Block)
            x = block.step(x, self.keys[layer], self.values[layer], self.length, mask)
        self.length += x.shape[1]
        normalised: Tensor = self._transformer.ln_f(x)
        return normalised


class ConditioningEncoder(nn.Module):
    """Six attention blocks over a mel; what they gather at its first frame is the voice."""

    def __init__(self, n_mels: int, width: int, n_heads: int, n_blocks: int = 6) -> None:
        super().__init__()
        self.init = nn.Conv1d(n_mels, width, 1)
        self.attn = nn.Sequential(*(MelAttention(width, n_heads) for _ in range(n_blocks)))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, n_mels, S) → (B, width)."""
        voice: Tensor = self.attn(self.init(mel))[:, :, 0]
        return voice


class MelAttention(nn.Module):
    """Group norm and unmasked attention over time, added to the input (B, width, S)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.GroupNorm(_groups(width), width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)
        for parameter in self.proj_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, S) → the same shape."""
        batch, width, n = x.shape
        # The channels are ordered head by head, each head's queries before its keys and values.
        heads = self.qkv(self.norm(x)).view(batch, self.n_heads, 3, width // self.n_heads, n).transpose(3, 4)
        y = F.scaled_dot_product_attention(heads[:, :, 0], heads[:, :, 1], heads[:, :, 2])
        deeper: Tensor = self.proj_out(y.transpose(2, 3).reshape(batch, width, n))
        return x + deeper


def _groups(width: int) -> int:
    groups = 8 if width <= 16 else 16 if width <= 64 else 32
    while width % groups:
        groups //= 2
    return groups
