"""What token agreement asks of all sequences together: floors, and the relabelling that is fitted on other sentences.

Of some of the sequences they are another number than of all, so that they are counted anew wherever some are taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqbench.stats.columns import Array
from vqbench.stats.relabelling import Codes, crossfitted_matches

OWN, TARGET = "codes", "gpt_codes"
"""Columns: the candidate's tokens, and those they are held against, as many in each row."""

TOGETHER = ("floor_matches", "floor_unigram_matches", "relabelled_matches", "relabelled_tokens")
"""Columns that depend on all rows."""


def counted_together(
    own: Sequence[Codes], target: Sequence[Codes], sentences: Sequence[str], codebook_size: int
) -> dict[str, Array]:
    """Counts the columns `TOGETHER`.

    Args:
        own: the candidate's tokens, a sequence each.
        target: those they are held against, as many.
        sentences: what is said in each.
        codebook_size: codes of the larger of the two codebooks.

    Returns:
        (n_sequences,) each: tokens that the most frequent of all targets would agree with, those that a token drawn
        from the other targets would agree with on average, those that agree under the relabelling, and those that it
        was scored on: none where there are fewer than two sentences.
    """
    written = np.concatenate([np.empty(0, np.int64), *target])
    counts = np.bincount(written, minlength=codebook_size)
    best_constant = int(counts.argmax())
    # Drawn from all tokens but the one that it is held against: with few tokens that one would raise the odds.
    draws = np.maximum(counts - 1, 0) / max(len(written) - 1, 1)
    relabelled = crossfitted_matches(own, target, sentences, codebook_size)
    nothing = np.zeros(len(own))
    columns = (
        [(row == best_constant).sum() for row in target],
        [draws[row].sum() for row in target],
        nothing if relabelled is None else relabelled,
        nothing if relabelled is None else [len(row) for row in target],
    )
    return {name: np.array(column, dtype=np.float64) for name, column in zip(TOGETHER, columns, strict=True)}
