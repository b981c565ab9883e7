"""How rows of sufficient statistics become one number: the names that a `MetricSpec.reduction` can have.

A reduction is prepared once from a table's columns and constants and gives a `Statistic`, which knows its value and can
be resampled. Rows are resampled whole, so no model ever runs twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from vqbench.stats.columns import Array, Column, Indices, numbers, several
from vqbench.stats.energy import energy_distance
from vqbench.stats.estimate import Statistic
from vqbench.stats.information import InformationFigure, information, information_share, mutual_information
from vqbench.stats.trials import equal_error_rate, pooled_mean, pooled_quantile, row_means
from vqbench.stats.usage import (
    Transform,
    UsageStatistic,
    corrected_entropy,
    count_grassberger,
    count_log2_count,
    plug_in_entropy,
    present,
)
from vqbench.stats.weighted import SumStatistic, WeightedStatistic

Constants = Mapping[str, float]
Limits = Callable[[float, float, Constants], dict[str, float]]
"""(codebook_size, n_tokens, constants) → name → what the figure is out of."""

OFFSETS = range(-4, 5)
"""The offsets, in tokens, that `best_offset_ratio` and `best_offset` look at."""


@dataclass(frozen=True)
class Reduction:
    """A way from columns to a number.

    Attributes:
        build: columns, constants → a statistic.
        n_columns: how many columns it takes.
        cell: what stands in them: one number a row; or several: codes, the scores of the row's trials, or a vector,
            which is of one length within a column.
        constants: the constants that it needs.
        span: the values that are possible at all; an interval is cut to them.
        limits: what the figure is out of.
        each: the columns → (n,) the figure of each row alone; it may divide by 0 where that is undefined. None where a
            single row says too little: one clip uses few of all codes, and 95 percent of three trials are all three.
    """

    build: Callable[[Sequence[Column], Constants], Statistic]
    n_columns: int
    cell: Literal["number", "codes", "scores", "vectors"] = "number"
    constants: tuple[str, ...] = ()
    span: tuple[float, float] = (-math.inf, math.inf)
    limits: Limits | None = None
    each: Callable[..., Array] | None = None

    def prepare(self, columns: Sequence[Column], constants: Constants) -> Statistic:
        """Takes the columns for the figure.

        Args:
            columns: `n_columns` columns of equal length.
            constants: at least those named in `constants`.
        """
        return self.build(columns, constants)

    def of_rows(self, columns: Sequence[Column]) -> Array | None:
        """The figure of each row alone, (n,), NaN where it is undefined; None where a row has none by itself.

        >>> REDUCTIONS["ratio"].of_rows([np.array([1.0, 0.0]), np.array([4.0, 0.0])])
        array([0.25,  nan])
        """
        if self.each is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            figures = self.each(*columns)
        return np.where(np.isfinite(figures), figures, np.nan)

    def bounds(self, columns: Sequence[Column], constants: Constants) -> dict[str, float]:
        """What the figure is out of, by name; empty where the unit says it all."""
        if self.limits is None:
            return {}
        n_tokens = len(several(columns[0]).values)
        return self.limits(constants["codebook_size"], n_tokens, constants) if n_tokens else {}


_ROUNDING = 1e-12
"""Shares this close are equal: sums round differently in another order."""


def _of_sums(finish: Callable[..., Array], n_columns: int) -> Reduction:
    """A function of the columns' sums; of one row alone these are what stands in it."""

    def build(columns: Sequence[Column], constants: Constants) -> Statistic:
        return SumStatistic(tuple(map(numbers, columns)), finish)

    return Reduction(build, n_columns, each=finish)


def _mean(columns: Sequence[Column], constants: Constants) -> Statistic:
    values = numbers(columns[0])
    return SumStatistic((values, np.ones(len(values))), np.divide)


def _root_ratio(over: Array, under: Array) -> Array:
    roots: Array = np.sqrt(over / under)
    return roots


def _normalised_ratio(scored: Array, floor: Array, under: Array, ceiling: Array, ceiling_under: Array) -> Array:
    lowest = floor / under
    reach = ceiling / ceiling_under - lowest
    # A ceiling on or below the floor leaves nothing to measure along, and would turn better into worse.
    return np.where(reach > _ROUNDING, (scored / under - lowest) / reach, np.nan)


_NEAREST_FIRST = np.argsort(np.abs(np.array(OFFSETS)), kind="stable")


def _best_offset(figure: Callable[[Array, Indices], Array]) -> Callable[..., Array]:
    """A figure of the ratios at each offset, (9, R), and of the position of the best; of equals, the least offset."""

    def finish(*sums: Array) -> Array:
        *over, under = sums
        ratios = np.stack(over) / under
        best = figure(ratios, _NEAREST_FIRST[np.argmax(ratios[_NEAREST_FIRST], axis=0)])
        return np.where(np.isnan(ratios[0]), np.nan, best)

    return finish


def _weighted(prepare: Callable[..., Callable[[Array], Array]]) -> Callable[[Sequence[Column], Constants], Statistic]:
    def build(columns: Sequence[Column], constants: Constants) -> Statistic:
        return WeightedStatistic(tuple(columns), prepare)

    return build


def _quantile(level: float, values: Array) -> Callable[[Array], Array]:
    """The quantile of the rows repeated by their weights, linear between neighbours (NumPy's default, type 7)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def of(weights: Array) -> Array:
        reached = np.cumsum(weights[:, order], axis=1)
        position = (reached[:, -1:] - 1) * level
        below: Array = ordered[np.argmax(reached > np.floor(position), axis=1)]
        above: Array = ordered[np.argmax(reached > np.ceil(position), axis=1)]
        return below + (above - below) * (position - np.floor(position))[:, 0]

    return of


def _maximum(values: Array) -> Callable[[Array], Array]:
    return lambda weights: np.where(weights > 0, values, -np.inf).max(axis=1)


def _several(statistic: Callable[..., Statistic], n_columns: int = 1, **more: Any) -> Reduction:
    """A figure of several values a row; its arguments are the columns."""

    def build(columns: Sequence[Column], constants: Constants) -> Statistic:
        return statistic(*map(several, columns))

    return Reduction(build, n_columns, **more)


def _usage(
    transform: Transform,
    finish: Callable[[Constants], Callable[[Array, Array], Array]],
    limits: Limits,
    span: tuple[float, float] = (0.0, math.inf),
    constants: tuple[str, ...] = (),
) -> Reduction:
    def build(columns: Sequence[Column], values: Constants) -> Statistic:
        return UsageStatistic((several(columns[0]),), transform, finish(values))

    return Reduction(build, 1, "codes", ("codebook_size", *constants), span, limits)


def _information(
    figure: InformationFigure, limits: Limits | None = None, span: tuple[float, float] = (-math.inf, math.inf)
) -> Reduction:
    return _several(
        partial(information, figure), 2, cell="codes", constants=("codebook_size",), span=span, limits=limits
    )


def _entropy_limits(size: float, n: float, constants: Constants) -> dict[str, float]:
    return {"log2(codebook_size)": math.log2(size), "log2(min(codebook_size, n_tokens))": math.log2(min(size, n))}


def _bit_rate_limits(size: float, n: float, constants: Constants) -> dict[str, float]:
    rate = constants["token_rate_hz"]
    return {f"token_rate_hz·{name}": rate * bits for name, bits in _entropy_limits(size, n, constants).items()}


def _entropy_share(constants: Constants) -> Callable[[Array, Array], Array]:
    size = constants["codebook_size"]
    return lambda n, total: plug_in_entropy(n, total) / np.log2(np.minimum(size, n))


REDUCTIONS: Mapping[str, Reduction] = {
    "mean": Reduction(_mean, 1, each=numbers),
    "ratio": _of_sums(np.divide, 2),
    "root_ratio": _of_sums(_root_ratio, 2),
    # One row's floor and ceiling lie too close by chance to be divided by: on the pocket's sequences, one by one, an
    # encoder that comes to 1.8 over all of them would lie anywhere between 0.3 and 4.4.
    "normalised_ratio": replace(_of_sums(_normalised_ratio, 5), each=None),
    "best_offset_ratio": _of_sums(
        _best_offset(lambda ratios, best: ratios[best, np.arange(len(best))]), len(OFFSETS) + 1
    ),
    "best_offset": _of_sums(
        _best_offset(lambda ratios, best: np.array(OFFSETS, dtype=np.float64)[best]), len(OFFSETS) + 1
    ),
    "p50": Reduction(_weighted(partial(_quantile, 0.5)), 1, each=numbers),
    "p90": Reduction(_weighted(partial(_quantile, 0.9)), 1, each=numbers),
    "maximum": Reduction(_weighted(_maximum), 1, each=numbers),
    "pooled_mean": _several(pooled_mean, cell="scores", each=lambda scores: row_means(several(scores))),
    "pooled_p95": _several(partial(pooled_quantile, level=0.95), cell="scores"),
    "equal_error_rate": _several(equal_error_rate, 2, cell="scores", span=(0.0, 1.0)),
    "energy_distance": _several(energy_distance, 2, cell="vectors"),
    "entropy": _usage(count_log2_count, lambda c: plug_in_entropy, _entropy_limits),
    "entropy_corrected": _usage(count_grassberger, lambda c: corrected_entropy, _entropy_limits),
    "perplexity": _usage(
        count_log2_count,
        lambda c: lambda n, total: np.exp2(plug_in_entropy(n, total)),
        lambda size, n, c: {"codebook_size": size, "min(codebook_size, n_tokens)": min(size, n)},
    ),
    "share_used": _usage(
        present,
        lambda c: lambda n, used: np.where(n > 0, used / c["codebook_size"], np.nan),
        lambda size, n, c: {"min(1, n_tokens / codebook_size)": min(1.0, n / size)},
        span=(0.0, 1.0),
    ),
    "dead": _usage(
        present,
        lambda c: lambda n, used: np.where(n > 0, 1 - used / c["codebook_size"], np.nan),
        lambda size, n, c: {"at least max(0, 1 - n_tokens / codebook_size)": max(0.0, 1 - n / size)},
        span=(0.0, 1.0),
    ),
    "dead_codes": _usage(
        present,
        lambda c: lambda n, used: np.where(n > 0, c["codebook_size"] - used, np.nan),
        lambda size, n, c: {"codebook_size": size, "at least max(0, codebook_size - n_tokens)": max(0.0, size - n)},
    ),
    "bits_per_second": _usage(
        count_log2_count,
        lambda c: lambda n, total: plug_in_entropy(n, total) * c["token_rate_hz"],
        _bit_rate_limits,
        constants=("token_rate_hz",),
    ),
    "entropy_share": _usage(
        count_log2_count, _entropy_share, lambda size, n, c: {"all codes alike": 1.0}, span=(0.0, 1.0)
    ),
    "mutual_information": _information(mutual_information, _entropy_limits),
    "information_share": _information(information_share, span=(-math.inf, 1.0)),
}
"""Of columns of numbers:

mean; ratio (sum of the first column over sum of the second) and root_ratio (its square root); p50 and p90; maximum,
whose interval can only lie below the value, since no resample holds anything larger; normalised_ratio, of columns
(scored, floor, under, ceiling, ceiling_under): where the ratio scored / under lies between the floor's, 0, and the
ceiling's, 1; best_offset_ratio and best_offset, of nine columns at the offsets -4…4 and one that all are over: the
largest of the ratios, and at which offset it is.

Of columns of scores, any number of trials a row: pooled_mean and pooled_p95, of all trials; equal_error_rate, of
columns (genuine, impostors).

Of columns of vectors: energy_distance, of columns (points, from_reference), the latter of one number each.

Of one column of codes: entropy (bits, plug-in) and entropy_corrected (bits, Grassberger); perplexity (2**entropy);
share_used (distinct codes / codebook_size), dead (1 - share_used) and dead_codes (how many were never used);
bits_per_second (entropy · token_rate_hz); entropy_share (entropy / log2(min(codebook_size, n_tokens)): out of what so
many tokens could reach).

Of two columns of codes, token beside token, and corrected for chance: mutual_information (bits) and information_share
(out of the first column's entropy).
"""
