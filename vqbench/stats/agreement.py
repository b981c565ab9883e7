"""What token agreement asks of all sequences together: floors, and the relabelling that is fitted on other sentences.

Of some of the sequences they are another number than of all, so that they are counted anew wherever some are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vqbench.stats.columns import Array
from vqbench.stats.relabelling import Codes, crossfitted_matches

OWN, TARGET = "codes", "gpt_codes"
"""Columns: the candidate's tokens, and those they are held against, as many in each row."""

FLOORS = ("floor_matches", "floor_unigram_matches")
RELABELLED = ("relabelled_matches", "relabelled_tokens")
"""Columns that depend on all rows."""

Counted = Mapping[str, Array]
"""Name of a column → (n_sequences,) its cells."""


def count_floors(target: Sequence[Codes], codebook_size: int) -> Counted:
    """Counts tokens that come for nothing.

    Args:
        target: what the candidate's tokens are held against, a sequence each.
        codebook_size: codes of the larger of the two codebooks.

    Returns:
        The columns `FLOORS`: tokens that the most frequent of all would agree with, and how many one that is drawn from
        the others would agree with on average.
    """
    written = np.concatenate([np.empty(0, np.int64), *target])
    counts = np.bincount(written, minlength=codebook_size)
    best_constant = int(counts.argmax())
    # Drawn from all tokens but the one that it is held against: with few tokens that one would raise the odds.
    draws = np.maximum(counts - 1, 0) / max(len(written) - 1, 1)
    columns = [(row == best_constant).sum() for row in target], [draws[row].sum() for row in target]
    return {name: np.array(column, dtype=np.float64) for name, column in zip(FLOORS, columns, strict=True)}


def count_relabelled(
    own: Sequence[Codes], target: Sequence[Codes], sentences: Sequence[str], codebook_size: int
) -> Counted:
    """Counts tokens that agree under the best relabelling. It takes SciPy.

    Args:
        own: the candidate's tokens, a sequence each.
        target: those they are held against, as many.
        sentences: what is said in each.
        codebook_size: codes of the larger of the two codebooks.

    Returns:
        The columns `RELABELLED`: tokens that agree, and those it was scored on: none where there are fewer than two
        sentences.
    """
    matches = crossfitted_matches(own, target, sentences, codebook_size)
    nothing = np.zeros(len(own))
    columns = (nothing, nothing) if matches is None else (matches, [len(row) for row in target])
    return {name: np.array(column, dtype=np.float64) for name, column in zip(RELABELLED, columns, strict=True)}
