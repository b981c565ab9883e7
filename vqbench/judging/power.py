"""How many clips it takes to see a difference, from the pairs of a comparison as a pilot.

A difference is seen where its interval leaves 0 out, which is when `vqbench compare` says better or worse. Nothing is
corrected for asking of several metrics at once, as those intervals are not.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from vqbench.errors import ConfigError, ResultError
from vqbench.judging.compare import ComparisonTable
from vqbench.judging.contrast import Contrast, Matches, contrast_all
from vqbench.records.run import IntervalSpec, MetricSpec
from vqbench.records.verdict import Comparison
from vqbench.stats.power import POWER, detectable_difference, relative_error, unit_deviation, units_needed
from vqbench.stats.reductions import REDUCTIONS

_ROUNDING = 1e-9
"""A spread this small, relative to the figures, is none: sums of the same numbers round differently."""

_NO_ROOT = {
    "maximum": "the largest of all grows with their number",
    "best_offset": "which offset is best jumps from one to another",
    "best_offset_ratio": "which offset is best jumps from one to another",
}
"""Reductions whose uncertainty does not fall with the root of the number of clips."""


@dataclass(frozen=True)
class Difference:
    """A size of difference, written as gate rules write a limit: `0.02`, `2%` or `0.05 * baseline`.

    Attributes:
        text: as it was written.
        scale: share of the reference's figure.
        offset: in the metric's unit.
        percent: whether the offset was written in percent, which only a share can be.
    """

    text: str
    scale: float
    offset: float
    percent: bool = False

    def of(self, spec: MetricSpec, reference: float) -> float | None:
        """The size in a metric's unit, given the reference's figure; None where only a share could be meant."""
        return None if self.percent and spec.unit else self.scale * abs(reference) + self.offset


_SIZE = re.compile(r"\s*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)\s*(%|\*\s*baseline)?\s*")


def parse_difference(text: str) -> Difference:
    """Reads a size of difference.

    Raises:
        ConfigError: it is none, or 0.

    >>> parse_difference("2%"), parse_difference("0.05*baseline").scale
    (Difference(text='2%', scale=0.0, offset=0.02, percent=True), 0.05)
    """
    match = _SIZE.fullmatch(text)
    number = float(match[1]) if match else 0.0
    if match is None or not 0 < number < math.inf:
        raise ConfigError(
            f"{text!r} is no size of difference",
            where="--difference",
            expected="a number above 0 in the metric's unit, 2% for 0.02, or 0.05*baseline for a share of the "
            "reference's figure",
        )
    if match[2] is None or match[2] == "%":
        percent = match[2] is not None
        return Difference(text.strip(), 0.0, number / 100 if percent else number, percent)
    return Difference(text.strip(), number, 0.0)


@dataclass(frozen=True)
class SampleSize:
    """What one comparison says of other numbers of clips.

    Attributes:
        comparison: the difference and its interval over the clips there are.
        unit: what is counted: speakers where they were resampled whole, each with as many clips as here.
        standard_error: of the difference; None, as what follows, where `unanswered` says why.
        detectable: the smallest true difference that so many clips see with the table's power.
        needed_for_delta: units that see the difference that was observed; None where they are more than `MOST`.
        difference: the size that was asked for, in the metric's unit; None where it means nothing in that unit.
        needed_for_difference: units that see it, and that show of a candidate that differs in nothing that it is not
            worse by so much; None where they are more than `MOST`.
        relative_error: standard error of the numbers needed, as a share of them: the spread is known from these alone.
        unanswered: why there is no answer.
    """

    comparison: Comparison
    unit: Literal["clip", "speaker", "sentence"]
    standard_error: float | None = None
    detectable: float | None = None
    needed_for_delta: int | None = None
    difference: float | None = None
    needed_for_difference: int | None = None
    relative_error: float | None = None
    unanswered: str | None = None


@dataclass(frozen=True)
class PowerTable:
    """Everything that `vqbench compare --power` shows.

    Attributes:
        metrics: those that are of clips and have a better end.
        sizes: one a metric and pairing.
        difference: the size that was asked for.
        confidence: of the intervals.
        power: the probability with which a difference shall be seen.
        notes: what a reader must know: what is left out, and clips without a partner.
    """

    metrics: tuple[MetricSpec, ...]
    sizes: tuple[SampleSize, ...]
    difference: Difference | None
    confidence: float
    power: float
    notes: tuple[str, ...]


def sample_sizes(table: ComparisonTable, difference: Difference | None = None) -> PowerTable:
    """Says of every comparison what so many clips see, and how many it takes.

    Args:
        table: the comparisons; those of timings, and of metrics without a better end, are left out.
        difference: a size of difference to ask for, too.

    Raises:
        ResultError: no metric is left.
    """
    asked = {spec.name: spec for spec in table.metrics if _is_asked(spec)}
    if not asked:
        raise ResultError(
            "none of these metrics can be asked about",
            expected="metrics of clips, not of timings, of which one end is better",
        )
    contenders = {contender.label: contender for contender in table.contenders}
    interval = table.contenders[0].run.interval
    reasons = [(one, _unanswered(one, asked[one.metric])) for one in table.comparisons if one.metric in asked]
    matches = Matches()
    contrasts = iter(
        contrast_all(
            [
                matches.match(contenders[one.candidate], contenders[one.reference], one.metric, interval)
                for one, reason in reasons
                if reason is None
            ]
        )
    )
    sizes = tuple(
        SampleSize(one, _unit(one, interval), unanswered=reason)
        if reason is not None
        else _sample_size(one, next(contrasts), interval, difference)
        for one, reason in reasons
    )
    left_out = len(table.metrics) - len(asked)
    notes = [f"left out: timings, and metrics of which neither end is better ({left_out})"] if left_out else []
    return PowerTable(tuple(asked.values()), sizes, difference, interval.confidence, POWER, (*notes, *table.notes))


def _is_asked(spec: MetricSpec) -> bool:
    return spec.resampled == "clip" and spec.higher_is_better is not None


def _unit(comparison: Comparison, interval: IntervalSpec) -> Literal["clip", "speaker", "sentence"]:
    return "clip" if comparison.n_clusters is None else interval.cluster


def _unanswered(comparison: Comparison, spec: MetricSpec) -> str | None:
    """Why a comparison says nothing of other numbers of clips, as far as that shows before its spread is known."""
    if comparison.delta is None or comparison.ci_low is None:
        return comparison.reason
    if REDUCTIONS[spec.reduction].cell == "codes":
        return "depends on how much is encoded, not only on how many clips"
    return _NO_ROOT.get(spec.reduction)


def _sample_size(
    comparison: Comparison, found: Contrast, interval: IntervalSpec, difference: Difference | None
) -> SampleSize:
    unit, delta, confidence = _unit(comparison, interval), found.difference, interval.confidence
    deviation = unit_deviation(delta)
    if deviation <= _ROUNDING * (abs(found.ours.value) + abs(found.theirs.value)):
        why = f"every {unit} gives the same difference, which cannot tell how others would spread"
        return SampleSize(comparison, unit, 0.0, unanswered=why)
    sought = None if difference is None else difference.of(found.match.spec, found.theirs.value)
    return SampleSize(
        comparison,
        unit,
        standard_error=deviation / math.sqrt(delta.n_units),
        detectable=detectable_difference(deviation, delta.n_units, confidence=confidence),
        needed_for_delta=units_needed(deviation, delta.value, confidence=confidence),
        difference=sought,
        needed_for_difference=None if sought is None else units_needed(deviation, sought, confidence=confidence),
        relative_error=relative_error(delta.n_units),
    )
