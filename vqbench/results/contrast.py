"""Two candidates on one metric: whether they can be compared, and their figures over what both were measured on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from vqbench.results.record import IntervalSpec, MetricSpec, Run, Table
from vqbench.results.selection import Contender
from vqbench.results.summary import clusters_of, prepare
from vqbench.stats.bootstrap import WeightedStatistic
from vqbench.stats.estimate import Estimate, Statistic, estimate, units_of
from vqbench.stats.paired import paired_permutation_p, unpaired_permutation_p
from vqbench.stats.reductions import REDUCTIONS


def obstacle(ours: Contender, theirs: Contender, metric: str) -> str | None:
    """Why a metric of two contenders does not compare, or None where it does."""
    mine, other = ours.metric(metric), theirs.metric(metric)
    for contender, spec in ((ours, mine), (theirs, other)):
        if spec is None or contender.table(spec.group) is None:
            return f"not measured for {contender.label}"
    assert mine is not None
    assert other is not None
    if mine.version != other.version:
        return f"another version of the metric: {mine.version} for {ours.label}, {other.version} for {theirs.label}"
    if _definition(mine) != _definition(other):
        return f"the metric is defined differently for {ours.label} and {theirs.label}"
    fronts = ours.record.front_end, theirs.record.front_end
    if mine.needs_same_front_end and fronts[0] != fronts[1]:
        return f"another mel front end: {fronts[0]} for {ours.label}, {fronts[1]} for {theirs.label}"
    return None


def _definition(spec: MetricSpec) -> tuple[object, ...]:
    return spec.group, spec.columns, spec.reduction, spec.unit, spec.resampled, spec.needs_same_front_end


def other_machine(ours: Run, theirs: Run) -> str | None:
    """Why timings of two runs do not compare, or None where both come from one kind of machine."""
    for key in ("machine", "device"):
        if ours.provenance.get(key) != theirs.provenance.get(key):
            return f"timed on another {key}: {ours.provenance.get(key)} against {theirs.provenance.get(key)}"
    return None


@dataclass(frozen=True)
class Pairs:
    """Rows of two tables that belong to the same clip with the same audio.

    Attributes:
        ours, theirs: positions of the paired rows.
        ids: their clip ids.
        only_ours, only_theirs: clip ids scored on one side alone.
        other_audio: clip ids that stand for another recording on each side.
    """

    ours: tuple[int, ...]
    theirs: tuple[int, ...]
    ids: tuple[str, ...]
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]
    other_audio: tuple[str, ...]


def pair(our_run: Run, our_table: Table, their_run: Run, their_table: Table) -> Pairs:
    """Pairs rows by clip id and audio: the same id with another sha256 is another clip."""
    our_audio, their_audio = _audio(our_run), _audio(their_run)
    their_row = {row_id: row for row, row_id in enumerate(their_table.row_ids)}
    both = [row_id for row_id in our_table.row_ids if row_id in their_row]
    ids = tuple(row_id for row_id in both if our_audio[row_id] == their_audio[row_id])
    our_row = {row_id: row for row, row_id in enumerate(our_table.row_ids)}
    return Pairs(
        ours=tuple(our_row[row_id] for row_id in ids),
        theirs=tuple(their_row[row_id] for row_id in ids),
        ids=ids,
        only_ours=tuple(row_id for row_id in our_table.row_ids if row_id not in their_row),
        only_theirs=tuple(row_id for row_id in their_table.row_ids if row_id not in our_row),
        other_audio=tuple(row_id for row_id in both if row_id not in set(ids)),
    )


def _audio(run: Run) -> dict[str, str]:
    return {clip.id: clip.sha256 for clip in run.clips}


@dataclass(frozen=True)
class Contrast:
    """One metric of two contenders, over the rows that count.

    Attributes:
        ours, theirs: the figures, resampled alike where the rows are paired.
        n: pairs, or the smaller number of repetitions.
        n_clusters: speakers of the pairs, where they were resampled whole.
        pairs: which clips; None for timings.
        test: number of permutations → two-sided p-value of "there is no difference"; None where it is undefined or the
            metric has no direction: a floor is no claim that could be wrong.
    """

    ours: Estimate
    theirs: Estimate
    n: int
    n_clusters: int | None
    pairs: Pairs | None
    test: Callable[[int], float] | None


def contrast(ours: Contender, theirs: Contender, metric: str, interval: IntervalSpec) -> Contrast:
    """Compares two contenders on a metric that has no `obstacle`.

    Clips are paired. Timing repetitions are two independent samples, unless both sides are the very same measurement:
    then nothing lies between them, and the difference is 0 without any uncertainty.
    """
    spec = ours.metric(metric)
    our_table, their_table = (contender.table(spec.group) if spec else None for contender in (ours, theirs))
    if spec is None or our_table is None or their_table is None:
        raise ValueError(f"{metric} was not measured on both sides; ask `obstacle` first")
    if spec.resampled == "clip":
        pairs = pair(ours.run, our_table, theirs.run, their_table)
        clusters = clusters_of(pairs.ids, ours.run.clips, interval)
        return _contrast(_Sides(spec, our_table, their_table, pairs.ours, pairs.theirs), clusters, interval, pairs)
    our_rows, their_rows = (tuple(range(len(table.row_ids))) for table in (our_table, their_table))
    same = (our_table.row_ids, our_table.columns) == (their_table.row_ids, their_table.columns)
    sides = _Sides(spec, our_table, their_table, our_rows, their_rows, paired=same)
    return _contrast(sides, None, interval, None)


@dataclass(frozen=True)
class _Sides:
    """The rows of two tables that are held against each other."""

    spec: MetricSpec
    our_table: Table
    their_table: Table
    our_rows: tuple[int, ...]
    their_rows: tuple[int, ...]
    paired: bool = True

    def pooled(self) -> Statistic:
        """One statistic over our rows and then theirs."""
        columns = [
            [self.our_table.columns[name][row] for row in self.our_rows]
            + [self.their_table.columns[name][row] for row in self.their_rows]
            for name in self.spec.columns
        ]
        return REDUCTIONS[self.spec.reduction].prepare(columns, self.our_table.constants)


def _contrast(sides: _Sides, clusters: Sequence[str] | None, interval: IntervalSpec, pairs: Pairs | None) -> Contrast:
    seed, resamples = interval.seed, interval.resamples
    ours = estimate(
        prepare(sides.spec, sides.our_table, sides.our_rows), clusters=clusters, resamples=resamples, seed=seed
    )
    theirs = estimate(
        prepare(sides.spec, sides.their_table, sides.their_rows),
        clusters=clusters,
        resamples=resamples,
        seed=seed if sides.paired else seed + 1,
    )
    n = min(len(sides.our_rows), len(sides.their_rows))

    def test(permutations: int) -> float:
        if ours.resampling == "jackknife":  # codes mean something else on each side: swapping them would mix codebooks
            return max((ours - theirs).t_test(), 1 / (1 + permutations))
        pooled = cast("WeightedStatistic", sides.pooled())
        if sides.paired:
            return paired_permutation_p(pooled, units_of(n, clusters), permutations, seed)
        return unpaired_permutation_p(pooled, len(sides.our_rows), permutations, seed)

    directed = sides.spec.higher_is_better is not None
    testable = directed and min(ours.n_units, theirs.n_units) >= 2 and math.isfinite((ours - theirs).value)
    return Contrast(ours, theirs, n, None if clusters is None else ours.n_units, pairs, test if testable else None)
