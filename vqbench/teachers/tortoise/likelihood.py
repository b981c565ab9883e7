"""How likely a GPT finds tokens: their cross-entropy, each given the voice, the text and the tokens before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vqbench.teachers.tortoise.gpt import UnifiedVoice


@torch.no_grad()
def token_nats(
    gpt: UnifiedVoice, voices: Sequence[Tensor], texts: Sequence[Tensor], codes: Sequence[Tensor]
) -> list[Tensor]:
    """Cross-entropy of each token of each row, teacher-forced, in one pass over all rows.

    A row is what it would be alone, but for rounding: padding is masked.

    Args:
        gpt: in evaluation mode.
        voices: (D,) float each, as its conditioning encoder gives them.
        texts: (T,) int64 each.
        codes: (L,) int64 each, below the GPT's codes.

    Returns:
        (L + 1,) float64 each, nats on the CPU; the last one is that of the stop after the codes.
    """
    if not codes:
        return []
    device, stop = voices[0].device, gpt.dimensions.stop_mel
    lengths = torch.tensor([len(text) for text in texts], device=device)
    text = pad_sequence([one.to(device) for one in texts], batch_first=True)
    padded = pad_sequence([row.to(device) for row in codes], batch_first=True, padding_value=stop)
    logits = gpt(torch.stack(list(voices)), text, padded, lengths).mel[:, :-1]
    targets = F.pad(padded, (0, 1), value=stop)
    nats = F.cross_entropy(logits.double().transpose(1, 2), targets, reduction="none").cpu()
    return [row[: len(written) + 1] for row, written in zip(nats, codes, strict=True)]
