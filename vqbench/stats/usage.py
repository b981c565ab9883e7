"""How much of a codebook is used: statistics of the histogram of codes, with the delete-one jackknife.

Usage depends on how much was encoded: more clips reach more codes. Every figure here is therefore a figure *of that
much speech*, and its interval is one of what the same figure would come to, on average, over other draws of as many
clips. For `entropy_corrected`, where the codes are seen often enough, that is the entropy of the source itself.

Why not the bootstrap: a resample repeats clips, so it holds fewer distinct codes than any real sample of that size,
and its percentiles lie below the value itself. Leaving one clip out hardly disturbs the histogram. The jackknife errs
on the wide side, most for a codebook that is used so evenly that hardly any code is missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vqbench.stats.estimate import Array, Indices, Resampling

Transform = Callable[[Indices], Array]
"""Counts of codes → one number each, summed over the codebook; 0 for a count of 0."""

Finish = Callable[[Array, Array], Array]
"""(n_tokens, the sum over the codebook) → the figure."""

EULER_GAMMA = 0.5772156649015329


def present(counts: Indices) -> Array:
    """1 for a code that is used: the sum is the number of distinct codes."""
    return np.asarray(counts > 0, dtype=np.float64)


def count_log2_count(counts: Indices) -> Array:
    """c·log2(c): the sum S gives the plug-in entropy, log2(n) - S / n."""
    return np.asarray(counts * np.log2(np.maximum(counts, 1)), dtype=np.float64)


def count_grassberger(counts: Indices) -> Array:
    """c·G(c), in nats: the sum S gives Grassberger's entropy, ln(n) - S / n.

    Source: P. Grassberger, "Entropy estimates from insufficient samplings", arXiv:physics/0307138, equations 27-30:
    G(1) = -γ - ln 2, G(2) = 2 - γ - ln 2, G(2m+1) = G(2m), G(2m+2) = G(2m) + 2 / (2m + 1).
    """
    top = max(int(counts.max(initial=0)), 2)
    even = 2 - EULER_GAMMA - math.log(2) + np.cumsum(np.concatenate(([0.0], 2 / np.arange(3, top + 1, 2))))
    table = np.repeat(np.concatenate(([-EULER_GAMMA - math.log(2)], even)), 2)  # G(0) unused, G(1), G(2), G(2), …
    return np.asarray(counts * table[counts], dtype=np.float64)


def count_miller_madow(counts: Indices) -> Array:
    """c·log2(c) - log2(e) / 2 for a code that is used: the sum S gives `miller_madow_entropy`."""
    return count_log2_count(counts) - present(counts) * (math.log2(math.e) / 2)


@dataclass(frozen=True)
class UsageStatistic:
    """A figure of the histogram of all codes of all rows.

    Attributes:
        codes: every token, row after row; the numbers may be large and far between (pairs of codes, say).
        row_of: the row of each token.
        n_rows: rows of data, those without tokens included.
        transform: what is summed over the codebook.
        finish: makes the figure of it.
    """

    codes: Indices
    row_of: Indices
    n_rows: int
    transform: Transform
    finish: Finish
    resampling: Resampling = "jackknife"

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[int]], transform: Transform, finish: Finish) -> UsageStatistic:
        """One row of codes a clip."""
        lengths = [len(row) for row in rows]
        codes = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]) if rows else np.empty(0, np.int64)
        return cls(codes, np.repeat(np.arange(len(rows)), lengths), len(rows), transform, finish)

    @property
    def value(self) -> float:
        """The figure over all rows; NaN without tokens."""
        if not len(self.codes):
            return float("nan")
        total = self.transform(_counts(self.codes)).sum()
        return float(self.finish(np.array([float(len(self.codes))]), np.array([total]))[0])

    def replicates(self, units: Indices, resamples: int, seed: int) -> Array:
        """The figure with each unit of rows left out in turn, (n_units,); nothing random."""
        n_units = int(units.max()) + 1
        unit_of = units[self.row_of]
        # Sorted by code and then by unit, so that each code's total is the sum of a run.
        pairs, within = np.unique(self.codes * n_units + unit_of, return_counts=True)
        code_of, unit_of_pair = np.divmod(pairs, n_units)
        starts = np.flatnonzero(np.diff(code_of, prepend=-1))
        totals = np.add.reduceat(within, starts) if len(starts) else within
        before = np.repeat(totals, np.diff(starts, append=len(pairs)))
        # Only the codes that a unit holds change when it is left out.
        lost = self.transform(before) - self.transform(before - within)
        left = self.transform(totals).sum() - np.bincount(unit_of_pair, weights=lost, minlength=n_units)
        tokens = len(self.codes) - np.bincount(unit_of, minlength=n_units)
        return self.finish(tokens.astype(np.float64), left)


def _counts(codes: Indices) -> Indices:
    """How often each code occurs, in the order of the codes; zeros where counting into a whole table is faster."""
    if codes.max() < 8 * len(codes):
        return np.bincount(codes)
    return np.unique(codes, return_counts=True)[1]


def plug_in_entropy(n_tokens: Array, total: Array) -> Array:
    """Entropy in bits of the histogram itself, from the sum of `count_log2_count`."""
    return np.log2(n_tokens) - total / n_tokens


def corrected_entropy(n_tokens: Array, total: Array) -> Array:
    """Entropy in bits of the source, from the sum of `count_grassberger`; it may exceed log2(codebook_size) by noise.

    Of the simple estimators it was the least biased over uniform and Zipf sources, both where codes are seen often
    (Miller-Madow is as good there) and where most are seen once (that one falls behind there). Where tokens are fewer
    than codes it still lies below the truth, by some 0.2 bits of 13 at 5,000 tokens of 8,192 codes.
    """
    return (np.log(n_tokens) - total / n_tokens) / math.log(2)


def miller_madow_entropy(n_tokens: Array, total: Array) -> Array:
    """Entropy in bits by G. Miller (1955), from the sum of `count_miller_madow`: plug-in + (K - 1) / (2 n ln 2).

    K is the number of distinct codes. It takes off the bias of order 1 / n, which is most of it once tokens outnumber
    codes several times.
    """
    return plug_in_entropy(n_tokens, total) - math.log2(math.e) / (2 * n_tokens)
