"""How well a GPT foretells tokens, each given the voice, the text and the tokens before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vqbench.teachers.protocol import Foretold
from vqbench.teachers.tortoise.gpt import UnifiedVoice


@torch.no_grad()
def foretell(
    gpt: UnifiedVoice, voices: Sequence[Tensor], texts: Sequence[Tensor], codes: Sequence[Tensor]
) -> list[Foretold]:
    """Asks for each token of each row, teacher-forced, in one pass over all rows.

    A row is what it would be alone, but for rounding: padding is masked.

    Args:
        gpt: in evaluation mode.
        voices: (D,) float each, as its conditioning encoder gives them.
        texts: (T,) int64 each.
        codes: (L,) int64 each, below the GPT's codes.
    """
    if not codes:
        return []
    device, stop = voices[0].device, gpt.dimensions.stop_mel
    lengths = torch.tensor([len(text) for text in texts], device=device)
    text = pad_sequence([one.to(device) for one in texts], batch_first=True)
    padded = pad_sequence([row.to(device) for row in codes], batch_first=True, padding_value=stop)
    logits = gpt(torch.stack(list(voices)), text, padded, lengths).mel[:, :-1].double()
    targets = F.pad(padded, (0, 1), value=stop)
    nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").cpu()
    first = (logits.argmax(2) == targets).cpu()
    ends = [len(written) + 1 for written in codes]
    return [Foretold(row[:end], is_first[:end]) for row, is_first, end in zip(nats, first, ends, strict=True)]
