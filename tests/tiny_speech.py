"""Tokenised speech without any sound in it, for what is trained on texts and codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vqbench.training.speech import RaggedTensor, Speech

PHASES = 4

Row = tuple[list[int], list[int]]
"""Text tokens and codes of an utterance."""


def speech_of(rows: Sequence[Row], n_validation: int = 0) -> Speech:
    """Utterances of one speaker, who sounds the same throughout."""
    mels = [torch.ones(5, 4 * len(codes)).half() for _, codes in rows]
    codes = RaggedTensor.of([torch.tensor(codes, dtype=torch.int16) for _, codes in rows])
    texts = RaggedTensor.of([torch.tensor(text, dtype=torch.int16) for text, _ in rows])
    return Speech(
        RaggedTensor.of(mels), (codes,) * PHASES, texts, torch.zeros(len(rows), dtype=torch.long), n_validation
    )
