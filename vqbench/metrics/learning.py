"""How well a GPT foretells the tokens that a candidate writes of held-out recordings: before it was tuned, and after.

Beside them stands what comes for nothing: their cross-entropy under the frequencies of the tokens that it was tuned on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.judging.learning import BEFORE, CLIP_SET, GROUP, NATS, UNIGRAM
from vqbench.records.run import MetricSpec
from vqbench.teachers.tortoise.gpt import UnifiedVoice

SMOOTHING = 0.5
"""Added to the count of each token, so that one which was never written is possible (Krichevsky and Trofimov 1981)."""

_VERSION = 1


class TokenLearning:
    """Cross-entropies in nats a token, each recording's stop token among them."""

    name = GROUP
    specs = tuple(
        MetricSpec(
            name=name,
            group=GROUP,
            columns=(column, "tokens"),
            reduction="ratio",
            unit="nats",
            higher_is_better=better,
            version=_VERSION,
            description=description,
            decimals=2,
            clip_set=CLIP_SET,
            floor=UNIGRAM if name == NATS else None,
        )
        for name, column, better, description in (
            (NATS, "nats", False, "cross-entropy of the candidate's tokens of held-out recordings, by the tuned GPT"),
            (BEFORE, "nats_before", None, "the same by the GPT before it was tuned"),
            (
                UNIGRAM,
                "nats_unigram",
                None,
                f"the same by how often each token was written of the training speech, plus {SMOOTHING:g}",
            ),
        )
    )

    @property
    def identity(self) -> Mapping[str, object]:
        """What changes a row besides GPT, candidate and recording."""
        return {"version": _VERSION, "smoothing": SMOOTHING}


def unigram(counts: Sequence[int]) -> Tensor:
    """Log-probabilities of tokens by their counts, (K,) float64: (count + 1/2) / (N + K/2).

    >>> unigram([2, 0, 1]).exp()
    tensor([0.5556, 0.1111, 0.3333], dtype=torch.float64)
    """
    smoothed = torch.tensor(counts, dtype=torch.float64) + SMOOTHING
    return (smoothed / smoothed.sum()).log()


def unigram_nats(log_probabilities: Tensor, codes: Tensor) -> float:
    """Cross-entropy of codes (L,) and the stop after them, whose log-probability is the last one, in nats."""
    return -float(log_probabilities[codes.cpu()].sum() + log_probabilities[-1])


@torch.no_grad()
def foretold_nats(gpt: UnifiedVoice, voice: Tensor, text: Tensor, codes: Tensor) -> float:
    """Cross-entropy of codes and the stop after them, each given the voice, the text and the codes before it.

    Args:
        gpt: in evaluation mode.
        voice: (D,) float32, as its conditioning encoder gives it.
        text: (T,) int64.
        codes: (L,) int64.

    Returns:
        the sum over L + 1 tokens, in nats.
    """
    lengths = torch.tensor([len(text)], device=text.device)
    logits = gpt(voice[None], text[None], codes[None], lengths).mel[0, :-1]
    return float(F.cross_entropy(logits.double(), F.pad(codes, (0, 1), value=gpt.dimensions.stop_mel), reduction="sum"))
