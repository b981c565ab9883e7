"""What a candidate does with its codes: how often it uses each, and where and for what it takes the GPT's tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vqbench.errors import ResultError
from vqbench.records.check import check_codes
from vqbench.records.run import Table
from vqbench.stats.columns import Array, Indices, Ragged, several
from vqbench.stats.proportion import wilson_interval

MOST_POINTS = 200
"""Of a curve: more do not show."""

FEWEST_SEQUENCES = 10
"""With fewer of them that reach a position, a share there says nothing."""


@dataclass(frozen=True, eq=False)
class RankFrequency:
    """How often codes are used, from the most frequent on.

    Attributes:
        size: codes of the codebook.
        tokens: how many were written in all.
        ranks: (K,) int64, ascending from 1 to the number of codes that were used at all, even on a log axis.
        counts: (K,) int64, tokens of the code at each rank, at least 1.
    """

    size: int
    tokens: int
    ranks: Indices
    counts: Indices


def rank_frequency(table: Table) -> RankFrequency:
    """Counts the codes of a table of the group `codebook`.

    Raises:
        ResultError: its column `codes` holds none, or it lacks the size of the codebook.
    """
    check_codes(table, "codes")
    codes = several(table.columns["codes"]).values
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    ranks = np.arange(1, len(counts) + 1)
    if len(ranks) > MOST_POINTS:
        ranks = np.unique(np.geomspace(1, len(counts), MOST_POINTS).round().astype(np.int64))
    return RankFrequency(int(table.constants["codebook_size"]), len(codes), ranks, counts[ranks - 1])


@dataclass(frozen=True)
class Position:
    """How much agrees at a place in the sequences.

    Attributes:
        first, last: of the tokens, from the start of a sequence, whose own first token is 1; both belong to it.
        n: how many sequences reach the first of them.
        share: of their tokens there that are the GPT's own, the mean over sequences, in [0, 1].
        low, high: the confidence interval.
    """

    first: int
    last: int
    n: int
    share: float
    low: float
    high: float


def positions(table: Table, confidence: float) -> list[Position]:
    """The agreement of a candidate's tokens with the GPT's along the sequences, as far as 10 sequences reach.

    Intervals are Wilson's, with as many trials as there are sequences, which are taken to be independent.

    Args:
        table: of the group `token_agreement`, or `token_agreement.natural`.
        confidence: share of such intervals that hold the true share, in (0, 1).

    Returns:
        In order, token by token, or as many tokens at once as makes them at most 200.

    Raises:
        ResultError: the columns `gpt_codes` and `codes` do not hold codes side by side.
    """
    gpt, own = _side_by_side(table)
    reach = len(gpt) - np.cumsum(np.bincount(gpt.lengths, minlength=1))  # (longest + 1,) how many have a token there
    n_places = int(np.count_nonzero(reach >= FEWEST_SEQUENCES))
    width = max(1, -(-n_places // MOST_POINTS))
    firsts = np.arange(0, n_places, width)
    place = np.arange(len(gpt.values)) - np.repeat(gpt.starts, gpt.lengths)
    bin_of = place // width
    # Tokens of one sequence need not be independent. Each sequence counts as one trial, however many tokens it has in
    # a bin: its share of them lies in [0, 1], and for such values Wilson's interval is never too narrow.
    of_sequence = np.minimum(np.repeat(np.minimum(gpt.lengths, n_places), gpt.lengths) - bin_of * width, width)
    agrees = (gpt.values == own.values) & (place < n_places)
    n = reach[firsts]
    shares = np.bincount(bin_of[agrees], 1 / of_sequence[agrees], len(firsts)) / n
    shares = np.minimum(shares, 1.0)  # thirds may add up to a little more
    low, high = wilson_interval(shares, n, confidence)
    lasts = np.minimum(firsts + width, n_places)
    columns = (firsts + 1, lasts, n, shares, low, high)
    return [Position(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


@dataclass(frozen=True, eq=False)
class Confusion:
    """What a candidate writes where the GPT wrote its most frequent codes.

    Codes that are among both come first, in the same order: the diagonal shows where the two agree.

    Attributes:
        gpt_codes: (R,) int64, those that the GPT wrote most.
        written_codes: (C,) int64, those that the candidate wrote most under their tokens.
        shares: (R, C) of each row's tokens, in [0, 1].
        counts: (R,) int64, tokens of each row.
    """

    gpt_codes: Indices
    written_codes: Indices
    shares: Array
    counts: Indices

    @property
    def other(self) -> Array:
        """(R,) the share of each row's tokens that is none of the columns'."""
        tokens: Array = np.rint((1 - self.shares.sum(axis=1)) * self.counts)  # whole, so that none is exactly none
        return tokens / self.counts


def confusion(table: Table, k: int = 16) -> Confusion:
    """Counts the most frequent codes of a table of agreement against each other.

    Args:
        table: of the group `token_agreement`, or `token_agreement.natural`.
        k: at most so many rows, and columns.

    Raises:
        ResultError: the columns `gpt_codes` and `codes` do not hold codes side by side.
    """
    gpt, own = (column.values.astype(np.int64) for column in _side_by_side(table))
    asked = _most_frequent(gpt, k)
    counted = np.isin(gpt, asked)
    gpt, own = gpt[counted], own[counted]
    answered = _most_frequent(own, k)
    shared = asked[np.isin(asked, answered)]
    rows, columns = (np.concatenate([shared, codes[~np.isin(codes, shared)]]) for codes in (asked, answered))
    row_of, kept = _places(gpt, rows), np.isin(own, columns)
    cells = row_of[kept] * len(columns) + _places(own[kept], columns)
    pairs = np.bincount(cells, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))
    counts = np.bincount(row_of, minlength=len(rows))
    return Confusion(rows, columns, pairs / counts[:, None], counts)


def _side_by_side(table: Table) -> tuple[Ragged, Ragged]:
    """The GPT's codes and the candidate's."""
    check_codes(table, "gpt_codes", "codes")
    gpt, own = (several(table.columns[name]) for name in ("gpt_codes", "codes"))
    uneven = np.flatnonzero(gpt.lengths != own.lengths)
    if len(uneven):
        row = uneven[0]
        raise ResultError(
            f"row {table.row_ids[row]} holds {gpt.lengths[row]} gpt_codes and {own.lengths[row]} codes",
            where=f"{table.candidate} / {table.group}",
            expected="one code beside each of the GPT's",
        )
    return gpt, own


def _most_frequent(codes: Indices, k: int) -> Indices:
    """(at most k,) the codes that occur most, from the most frequent on; of equals the smaller first."""
    found, counts = np.unique(codes, return_counts=True)
    return found[np.argsort(-counts, kind="stable")[:k]]


def _places(codes: Indices, among: Indices) -> Indices:
    """Where in `among`, which holds all of them, each code stands."""
    order = np.argsort(among)
    places: Indices = order[np.searchsorted(among, codes, sorter=order)]
    return places
