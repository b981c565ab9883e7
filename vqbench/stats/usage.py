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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vqbench.stats.columns import Array, Indices, Ragged
from vqbench.stats.units import Units

Codes = NDArray[Any]
"""(T,) whole numbers of any width, not below 0; they may be large and far between (pairs of codes, say)."""

Transform = Callable[[Indices], Array]
"""Counts of codes → one number each, summed over the codebook; 0 for a count of 0."""

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


def one_histogram(codes: Ragged) -> Iterator[Codes]:
    """That of the codes themselves."""
    yield codes.values


@dataclass(frozen=True, eq=False)
class UsageStatistic:
    """A figure of how often each code occurs in all rows together.

    Attributes:
        columns: codes, of the same number in a row for each column.
        transform: what is summed over the codebook.
        finish: (n_tokens, the sum for each histogram) → the figure, all of them (R,); it may divide by 0 where the
            figure is undefined.
        histograms: the columns → what is counted: one code for each token, again and again. They are made when they
            are needed, one after the other, since together they may be large.
    """

    columns: tuple[Ragged, ...]
    transform: Transform
    finish: Callable[..., Array]
    histograms: Callable[..., Iterator[Codes]] = one_histogram
    resampling: Literal["jackknife"] = "jackknife"

    @property
    def n_rows(self) -> int:
        """Rows of data, those without tokens included."""
        return len(self.columns[0])

    @property
    def value(self) -> float:
        """The figure over all rows; NaN without tokens."""
        n_tokens = len(self.columns[0].values)
        if not n_tokens:
            return float("nan")
        totals = [self.transform(_counts(codes)).sum() for codes in self.histograms(*self.columns)]
        return float(self.of_totals(np.array([float(n_tokens)]), [np.array([total]) for total in totals])[0])

    def of_totals(self, n_tokens: Array, totals: Sequence[Array]) -> Array:
        """The figure of sums over the codebook that are known."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.finish(n_tokens, *totals)


def jackknife(samples: Sequence[tuple[UsageStatistic, Units]]) -> list[tuple[float, Array]]:
    """Statistics with each unit of rows left out in turn; nothing is random.

    What several statistics count alike, as the figures of one table do, is counted once.

    Returns:
        The value of each statistic, and its (units.n,) replicates.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, (statistic, units) in enumerate(samples):
        key = (statistic.histograms, units, *map(id, statistic.columns))
        alike.setdefault(key, []).append(index)
    found = [(float("nan"), np.empty(0))] * len(samples)
    for indices in alike.values():
        first, units = samples[indices[0]]
        lengths = first.columns[0].lengths
        n_tokens = _all_and_without(float(lengths.sum()), units.sums(lengths.astype(np.float64)))
        totals: dict[Transform, list[Array]] = {samples[index][0].transform: [] for index in indices}
        for codes in first.histograms(*first.columns):
            counted = _Counted.of(codes, lengths, units)
            for transform, sums in totals.items():
                sums.append(counted.sums(transform))
        for index in indices:
            statistic = samples[index][0]
            figures = statistic.of_totals(n_tokens, totals[statistic.transform])
            found[index] = float(figures[0]), figures[1:]
    return found


def _all_and_without(total: float, lost: Array) -> Array:
    """A sum over all units, and then without each of them."""
    return np.append(total, total - lost)


@dataclass(frozen=True)
class _Counted:
    """A histogram, and what each unit takes with it when it is left out.

    Attributes:
        totals: (K,) how often each code that occurs does, in the order of the codes.
        unit_of: (T,) the unit of each token, the tokens in the order of their codes and then of their units.
        remaining: (T,) how many tokens of its code there are when all of the same unit and code before it are gone.
        n_units: how many units there are.
    """

    totals: Indices
    unit_of: Indices
    remaining: Indices
    n_units: int

    @classmethod
    def of(cls, codes: Codes, lengths: Indices, units: Units) -> _Counted:
        """Sorts tokens by code and unit, each pair of them in one number, as narrow as it can be."""
        shift = max(units.n - 1, 1).bit_length()
        narrow = (int(codes.max(initial=0)) + 1) << shift <= np.iinfo(np.int32).max
        kind = np.int32 if narrow else np.int64
        pairs: NDArray[Any] = np.left_shift(codes, shift, dtype=kind)
        pairs |= np.repeat(units.of_row.astype(kind), lengths)
        pairs.sort()
        place = np.arange(len(pairs), dtype=np.int32)  # in its run of equal pairs: its own less that of the run's first
        first = np.multiply(place, _begins_run(pairs))
        place -= np.maximum.accumulate(first, out=first)
        unit_of = (pairs & ((1 << shift) - 1)).astype(np.int64)
        pairs >>= shift
        totals = np.diff(np.flatnonzero(_begins_run(pairs)), append=len(pairs))
        remaining = np.repeat(totals, totals)
        remaining -= place
        return cls(totals, unit_of, remaining, units.n)

    def sums(self, transform: Transform) -> Array:
        """The sum over the codebook of all units and without each of them, (1 + n_units,)."""
        of_count = transform(np.arange(self.totals.max(initial=0) + 1))
        of_token = np.diff(of_count, prepend=0.0)[self.remaining]
        lost = np.bincount(self.unit_of, weights=of_token, minlength=self.n_units)
        return _all_and_without(float(of_count[self.totals].sum()), lost.astype(np.float64))


def _begins_run(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a number is the first of equal ones."""
    begins = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return begins


def _counts(codes: Codes) -> Indices:
    """How often each code that occurs does, in the order of the codes."""
    if codes.max() < 8 * len(codes):  # counting into a whole table is faster then
        counts = np.bincount(codes)
        return counts[counts > 0]
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
