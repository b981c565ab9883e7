"""How rows of sufficient statistics become one number: the names that a `MetricSpec.reduction` can have.

A reduction is prepared once from a table's columns and constants and gives a `Statistic`, which knows its value and can
be resampled. Rows are resampled whole, so no model ever runs twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from vqbench.stats.bootstrap import WeightedStatistic
from vqbench.stats.energy import energy_distance
from vqbench.stats.estimate import Array, Indices, Statistic
from vqbench.stats.information import (
    InformationFigure,
    InformationStatistic,
    JointUsage,
    information_share,
    mutual_information,
)
from vqbench.stats.trials import Scores, equal_error_rate, pooled_mean, pooled_quantile
from vqbench.stats.usage import (
    Finish,
    Transform,
    UsageStatistic,
    corrected_entropy,
    count_grassberger,
    count_log2_count,
    plug_in_entropy,
    present,
)

Column = Sequence[float | tuple[int, ...] | tuple[float, ...]]
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
        cell: what stands in them: numbers, tuples of codes, tuples of the scores of a row's trials, or vectors, which
            are of one length within a column.
        constants: the constants that it needs.
        span: the values that are possible at all; an interval is cut to them.
        limits: what the figure is out of.
    """

    build: Callable[[Sequence[Column], Constants], Statistic]
    n_columns: int
    cell: Literal["number", "codes", "scores", "vectors"] = "number"
    constants: tuple[str, ...] = ()
    span: tuple[float, float] = (-math.inf, math.inf)
    limits: Limits | None = None

    def prepare(self, columns: Sequence[Column], constants: Constants) -> Statistic:
        """Turns columns of one cell a row into arrays, once.

        Args:
            columns: `n_columns` columns of equal length.
            constants: at least those named in `constants`.
        """
        return self.build(columns, constants)

    def bounds(self, columns: Sequence[Column], constants: Constants) -> dict[str, float]:
        """What the figure is out of, by name; empty where the unit says it all."""
        if self.limits is None:
            return {}
        n_tokens = sum(len(cast("tuple[int, ...]", codes)) for codes in columns[0])
        return self.limits(constants["codebook_size"], n_tokens, constants) if n_tokens else {}


_ROUNDING = 1e-12
"""Shares this close are equal: sums round differently in another order."""


def _numbers(columns: Sequence[Column]) -> Array:
    return np.array(columns, dtype=np.float64)


def _mean(columns: Sequence[Column], constants: Constants) -> Statistic:
    (values,) = _numbers(columns)

    def of(weights: Array) -> Array:
        means: Array = weights @ values / weights.sum(axis=1)
        return means

    return WeightedStatistic(len(values), of)


def _ratio(columns: Sequence[Column], constants: Constants) -> Statistic:
    over, under = _numbers(columns)

    def of(weights: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios: Array = (weights @ over) / (weights @ under)
        return ratios

    return WeightedStatistic(len(over), of)


def _root_ratio(columns: Sequence[Column], constants: Constants) -> Statistic:
    ratio = cast("WeightedStatistic", _ratio(columns, constants))

    def of(weights: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.sqrt(ratio.of(weights))

    return WeightedStatistic(ratio.n_rows, of)


def _normalised_ratio(columns: Sequence[Column], constants: Constants) -> Statistic:
    scored, floor, under, ceiling, ceiling_under = _numbers(columns)

    def of(weights: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            lowest = (weights @ floor) / (weights @ under)
            above = (weights @ scored) / (weights @ under) - lowest
            reach = (weights @ ceiling) / (weights @ ceiling_under) - lowest
            # A ceiling on or below the floor leaves nothing to measure along, and would turn better into worse.
            shares: Array = np.where(reach > _ROUNDING, above / reach, np.nan)
        return shares

    return WeightedStatistic(len(scored), of)


def _best_offset(figure: Callable[[Array, Indices], Array]) -> Callable[[Sequence[Column], Constants], Statistic]:
    """A figure of the ratios at each offset, (R, 9), and of the position of the best; of equals, the least offset."""

    def build(columns: Sequence[Column], constants: Constants) -> Statistic:
        *over, under = _numbers(columns)
        at_offsets = np.stack(over, axis=1)
        nearest_first = np.argsort(np.abs(np.array(OFFSETS)), kind="stable")

        def of(weights: Array) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = (weights @ at_offsets) / (weights @ under)[:, None]
            best = figure(ratios, nearest_first[np.argmax(ratios[:, nearest_first], axis=1)])
            return np.where(np.isnan(ratios[:, 0]), np.nan, best)

        return WeightedStatistic(len(under), of)

    return build


def _quantile(level: float) -> Callable[[Sequence[Column], Constants], Statistic]:
    """The quantile of the rows repeated by their weights, linear between neighbours (NumPy's default, type 7)."""

    def build(columns: Sequence[Column], constants: Constants) -> Statistic:
        (values,) = _numbers(columns)
        order = np.argsort(values, kind="stable")
        ordered = values[order]

        def of(weights: Array) -> Array:
            reached = np.cumsum(weights[:, order], axis=1)
            position = (reached[:, -1:] - 1) * level
            below: Array = ordered[np.argmax(reached > np.floor(position), axis=1)]
            above: Array = ordered[np.argmax(reached > np.ceil(position), axis=1)]
            return below + (above - below) * (position - np.floor(position))[:, 0]

        return WeightedStatistic(len(values), of)

    return build


def _maximum(columns: Sequence[Column], constants: Constants) -> Statistic:
    (values,) = _numbers(columns)
    return WeightedStatistic(len(values), lambda weights: np.where(weights > 0, values, -np.inf).max(axis=1))


def _pooled(statistic: Callable[..., Statistic], n_columns: int = 1, **more: Any) -> Reduction:
    """A figure of all rows' trials together; its arguments are columns of scores."""

    def build(columns: Sequence[Column], constants: Constants) -> Statistic:
        return statistic(*cast("Sequence[Scores]", columns))

    return Reduction(build, n_columns, "scores", **more)


def _energy(columns: Sequence[Column], constants: Constants) -> Statistic:
    return energy_distance(*cast("Sequence[Scores]", columns))


def _usage(
    transform: Transform,
    finish: Callable[[Constants], Finish],
    limits: Limits,
    span: tuple[float, float] = (0.0, math.inf),
    constants: tuple[str, ...] = (),
) -> Reduction:
    def build(columns: Sequence[Column], values: Constants) -> Statistic:
        rows = cast("Sequence[tuple[int, ...]]", columns[0])
        return UsageStatistic.of_rows(rows, transform, _quietly(finish(values)))

    return Reduction(build, 1, "codes", ("codebook_size", *constants), span, limits)


def _information(
    figure: InformationFigure, limits: Limits | None = None, span: tuple[float, float] = (-math.inf, math.inf)
) -> Reduction:
    def build(columns: Sequence[Column], values: Constants) -> Statistic:
        first, second = cast("Sequence[Sequence[tuple[int, ...]]]", columns)
        return InformationStatistic(JointUsage.of_rows(first, second), figure)

    return Reduction(build, 2, "codes", ("codebook_size",), span, limits)


def _quietly(finish: Finish) -> Finish:
    """Without tokens a figure is NaN, which callers look for; NumPy need not warn of it as well."""

    def quiet(n_tokens: Array, total: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return finish(n_tokens, total)

    return quiet


def _entropy_limits(size: float, n: float, constants: Constants) -> dict[str, float]:
    return {"log2(codebook_size)": math.log2(size), "log2(min(codebook_size, n_tokens))": math.log2(min(size, n))}


def _bit_rate_limits(size: float, n: float, constants: Constants) -> dict[str, float]:
    rate = constants["token_rate_hz"]
    return {f"token_rate_hz·{name}": rate * bits for name, bits in _entropy_limits(size, n, constants).items()}


def _entropy_share(constants: Constants) -> Finish:
    size = constants["codebook_size"]
    return lambda n, total: plug_in_entropy(n, total) / np.log2(np.minimum(size, n))


REDUCTIONS: Mapping[str, Reduction] = {
    "mean": Reduction(_mean, 1),
    "ratio": Reduction(_ratio, 2),
    "root_ratio": Reduction(_root_ratio, 2),
    "normalised_ratio": Reduction(_normalised_ratio, 5),
    "best_offset_ratio": Reduction(_best_offset(lambda ratios, best: ratios[np.arange(len(best)), best]), 10),
    "best_offset": Reduction(_best_offset(lambda ratios, best: np.array(OFFSETS, dtype=np.float64)[best]), 10),
    "p50": Reduction(_quantile(0.5), 1),
    "p90": Reduction(_quantile(0.9), 1),
    "maximum": Reduction(_maximum, 1),
    "pooled_mean": _pooled(pooled_mean),
    "pooled_p95": _pooled(lambda scores: pooled_quantile(scores, 0.95)),
    "equal_error_rate": _pooled(equal_error_rate, 2, span=(0.0, 1.0)),
    "energy_distance": Reduction(_energy, 2, "vectors"),
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
