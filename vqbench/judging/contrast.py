"""Two candidates on one metric: whether they can be compared, and their figures over what both were measured on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqbench.judging.languages import spoken_in
from vqbench.judging.selection import Contender
from vqbench.records.run import BLOCK, ClipRecord, IntervalSpec, MetricSpec, Run, Table
from vqbench.records.summary import Samples
from vqbench.stats.columns import Array, Indices, same
from vqbench.stats.estimate import Estimate, Sample, estimate_all
from vqbench.stats.paired import Exchange, permutation_p_values
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.usage import UsageStatistic


def obstacle(ours: Contender, theirs: Contender, metric: str) -> str | None:
    """Why a metric of two contenders does not compare, or None where it does."""
    mine, other = ours.metric(metric), theirs.metric(metric)
    for contender, spec in ((ours, mine), (theirs, other)):
        if spec is None or contender.measured(spec) is None:
            return f"not measured for {contender.label}"
    assert mine is not None
    assert other is not None
    if mine.version != other.version:
        return f"another version of the metric: {mine.version} for {ours.label}, {other.version} for {theirs.label}"
    if definition(mine) != definition(other):
        return f"the metric is defined differently for {ours.label} and {theirs.label}"
    fronts = ours.record.front_end, theirs.record.front_end
    if mine.needs_same_front_end and fronts[0] != fronts[1]:
        return f"another mel front end: {fronts[0]} for {ours.label}, {fronts[1]} for {theirs.label}"
    return other_judge(ours.run, theirs.run, mine.group)


def other_judge(ours: Run, theirs: Run, group: str) -> str | None:
    """Why figures of a group were not measured alike in two runs, or None where nothing is known against it.

    Models, weights and settings count. Versions of packages do not, nor the device: they change with every machine, and
    change figures by little, if at all; `history` names them.
    """
    mine, other = (_judge(run, group) for run in (ours, theirs))
    if not mine or not other:
        return None
    for key in dict.fromkeys((*mine, *other)):
        if mine.get(key) != other.get(key):
            return f"measured otherwise: {key} is {mine.get(key)} against {other.get(key)}"
    return None


_RELEASE = re.compile(r"\d+(\.\w+)*")


def _judge(run: Run, group: str) -> dict[str, Any]:
    """What a run says of those who measured a group: setting, by its dotted name → value."""
    judges = run.provenance.get("judges")
    of_group = judges.get(group, judges.get(group.partition(".")[0])) if isinstance(judges, Mapping) else None
    return dict(_settings(of_group, group)) if isinstance(of_group, Mapping) else {}


def _settings(judge: Mapping[str, Any], group: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in judge.items():
        if isinstance(value, Mapping):
            other_group = key.partition(".")[0] == group.partition(".")[0] and key != group
            if not other_group:
                yield from _settings(value, group, f"{prefix}{key}.")
        elif key != "device" and not (isinstance(value, str) and _RELEASE.fullmatch(value)):
            yield f"{prefix}{key}", value


def definition(spec: MetricSpec) -> tuple[object, ...]:
    """What two metrics of one name and version must have in common to be the same number."""
    return spec.group, spec.columns, spec.reduction, spec.unit, spec.resampled, spec.needs_same_front_end


def other_machine(ours: Run, theirs: Run) -> str | None:
    """Why timings of two runs do not compare, or None where both come from one kind of machine."""
    if ours.provenance.get("machine") is None:
        return "nobody knows on which machine it was timed"
    for key, what in (("machine", "machine"), ("device", "device"), ("threads", "number of threads")):
        mine, other = ours.provenance.get(key), theirs.provenance.get(key)
        if mine != other:
            return f"timed on another {what}: {mine} against {other}"
    return None


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of two tables that belong to the same clip with the same audio.

    Attributes:
        ours, theirs: positions of the paired rows; None where these are all rows in their order.
        n: how many pairs.
        only_ours, only_theirs: clip ids scored on one side alone.
        other_clips: clip ids that stand for another recording, or another text, on each side.
    """

    ours: Indices | None
    theirs: Indices | None
    n: int
    only_ours: tuple[str, ...] = ()
    only_theirs: tuple[str, ...] = ()
    other_clips: tuple[str, ...] = ()


def pair(our_table: Table, their_table: Table, other_clips: frozenset[str]) -> Pairs:
    """Pairs rows by clip id and audio.

    Args:
        our_table, their_table: of the same group.
        other_clips: ids that stand for another clip in the other run, as `Matches.other_clips` finds them.
    """
    ours, theirs = our_table.row_ids, their_table.row_ids
    if ours == theirs and other_clips.isdisjoint(ours):
        return Pairs(None, None, len(ours))
    their_row = {row_id: row for row, row_id in enumerate(theirs)}
    paired = [
        (row, their_row[row_id]) for row, row_id in enumerate(ours) if row_id in their_row and row_id not in other_clips
    ]
    rows = np.array(paired, dtype=np.int64).reshape(-1, 2).T
    own = set(ours)
    return Pairs(
        ours=np.ascontiguousarray(rows[0]),
        theirs=np.ascontiguousarray(rows[1]),
        n=len(paired),
        only_ours=tuple(row_id for row_id in ours if row_id not in their_row),
        only_theirs=tuple(row_id for row_id in theirs if row_id not in own),
        other_clips=tuple(row_id for row_id in ours if row_id in their_row and row_id in other_clips),
    )


@dataclass(frozen=True, eq=False)
class Match:
    """One metric of two contenders, over the rows that count, ready to be estimated.

    Attributes:
        spec: the metric.
        ours, theirs: resampled alike where the rows are paired.
        n: pairs, or the smaller number of repetitions.
        n_clusters: speakers of the pairs, where they are resampled whole.
        pairs: which clips; None for timings.
        same: whether both are the very same candidate: then a difference of which nothing is seen is none.
        pace: the yardstick's figures in our run and in theirs, where timings were taken at two times.
    """

    spec: MetricSpec
    ours: Sample
    theirs: Sample
    n: int
    n_clusters: int | None
    pairs: Pairs | None
    same: bool = False
    pace: tuple[Sample, Sample] | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What must be estimated."""
        return (self.ours, self.theirs, *(self.pace or ()))

    def figure(self, estimates: Mapping[Sample, Estimate]) -> Estimate:
        """Ours: what it would have been when theirs was taken, where there is a yardstick to tell."""
        ours = estimates[self.ours]
        if self.pace is None:
            return ours
        here, there = (estimates[sample] for sample in self.pace)
        return ours * (there / here)

    def difference(self, ours: Estimate, theirs: Estimate, scale: float = 1.0) -> Estimate:
        """Ours minus theirs, `scale` times."""
        found = ours - scale * theirs
        return replace(found, shares=()) if self.same and scale == 1 else found

    def _sides(self) -> tuple[tuple[Sample, Sample], tuple[Sample, Sample]]:
        """Each with its yardstick."""
        assert self.pace is not None
        return (self.ours, self.pace[0]), (self.theirs, self.pace[1])

    @property
    def exchange(self) -> Exchange | None:
        """What a permutation test asks; None where nothing can be exchanged: codes mean something else on each side.

        A second of another time means something else, too, but its ratio to the yardstick's does not. Of these the
        logarithms are dealt out, so that one block in which the machine stood still does not decide.
        """
        ours, theirs = self.ours.statistic, self.theirs.statistic
        if isinstance(ours, UsageStatistic) or isinstance(theirs, UsageStatistic):
            return None
        if self.pace is not None:
            mean = REDUCTIONS["mean"]
            here, there = (mean.prepare([_paces(self.spec, *side)], {}) for side in self._sides())
            assert not isinstance(here, UsageStatistic)
            assert not isinstance(there, UsageStatistic)
            return Exchange(here, there)
        return Exchange(ours, theirs, self.ours.units if self.ours.seed == self.theirs.seed else None)


def _paces(spec: MetricSpec, sample: Sample, yardstick: Sample) -> Array:
    """(n,) the log of a figure over the yardstick's, block by block."""
    reduction = REDUCTIONS[spec.reduction]
    rows = []
    for one in (sample, yardstick):
        figures = reduction.of_rows(one.statistic.columns[: reduction.n_columns])
        assert figures is not None
        rows.append(figures)
    n = min(map(len, rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        paces: Array = np.log(rows[0][:n] / rows[1][:n])
    return paces


class Matches:
    """Makes matches of runs, which must outlive it; what many of them have in common is made once."""

    def __init__(self) -> None:
        self.samples = Samples()
        self._pairs: dict[tuple[int, int], Pairs] = {}
        self._other_clips: dict[tuple[int, int], frozenset[str]] = {}

    def match(
        self,
        ours: Contender,
        theirs: Contender,
        metric: str,
        interval: IntervalSpec,
        sticks: tuple[Contender, Contender] | None = None,
    ) -> Match:
        """Brings two contenders together on a metric that has no `obstacle`.

        Clips are paired, and so are timings that were taken in the same blocks of one run. Other timings are two
        independent samples, unless both sides are the very same measurement: then nothing lies between them, and the
        difference is 0 without any uncertainty.

        Args:
            ours, theirs: who is compared.
            metric: its name.
            interval: how to resample.
            sticks: the yardstick in our run and in theirs, as `yardsticks` gives them.
        """
        spec = ours.metric(metric)
        our_table, their_table = (contender.measured(spec) if spec else None for contender in (ours, theirs))
        if spec is None or our_table is None or their_table is None:
            raise ValueError(f"{metric} was not measured on both sides; ask `obstacle` first")
        samples = self.samples
        if spec.resampled == "clip":
            pairs = self.pairs(ours.run, our_table, theirs.run, their_table)
            units, n_clusters = samples.units(spec, our_table, ours.run.clips, interval, pairs.ours)
            mine = samples.sample(spec, our_table, units, interval, pairs.ours)
            other = samples.sample(spec, their_table, units, interval, pairs.theirs)
            same_candidate = ours.record.digest == theirs.record.digest
            return Match(spec, mine, other, pairs.n, n_clusters, pairs, same_candidate)
        seed, apart = interval.seed, theirs.run is not ours.run and not same_measurement(our_table, their_table)
        paired = not apart and (in_blocks(our_table, their_table) or same_measurement(our_table, their_table))
        mine = self._timings(ours, metric, interval, seed)
        other = self._timings(theirs, metric, interval, seed if paired else seed + 1)
        pace = None
        if sticks is not None:
            # Those of one run are paired by its blocks, and independent of the other run's.
            here, there = (stick.measured(spec) for stick in sticks)
            assert here is not None and there is not None
            pace = (
                self._timings(sticks[0], metric, interval, seed if in_blocks(our_table, here) else seed + 2),
                self._timings(sticks[1], metric, interval, seed + 1 if in_blocks(their_table, there) else seed + 3),
            )
        return Match(spec, mine, other, min(mine.units.n, other.units.n), None, None, pace=pace)

    def _timings(self, contender: Contender, metric: str, interval: IntervalSpec, seed: int) -> Sample:
        spec = contender.metric(metric)
        table = contender.measured(spec) if spec else None
        assert spec is not None and table is not None
        units, _ = self.samples.units(spec, table, contender.run.clips, interval)
        return self.samples.sample(spec, table, units, interval, seed=seed)

    def pairs(self, our_run: Run, our_table: Table, their_run: Run, their_table: Table) -> Pairs:
        """The pairs of two tables of the same group."""
        key = id(our_table), id(their_table)
        if key not in self._pairs:
            self._pairs[key] = pair(our_table, their_table, self.other_clips(our_run, their_run))
        return self._pairs[key]

    def other_clips(self, our_run: Run, their_run: Run) -> frozenset[str]:
        """Clip ids that both runs have, for different clips: of another recording (sha256), text or language."""
        key = id(our_run), id(their_run)
        if key not in self._other_clips:
            ours = {} if our_run is their_run else {clip.id: clip for clip in our_run.clips}
            self._other_clips[key] = frozenset(
                clip.id for clip in their_run.clips if clip.id in ours and _content(ours[clip.id]) != _content(clip)
            )
        return self._other_clips[key]


def _content(clip: ClipRecord) -> tuple[str, str, str]:
    return clip.sha256, clip.text, spoken_in(clip)


def in_blocks(first: Table, second: Table) -> bool:
    """Whether timings of one run were taken in turns, block by block, so that they can be paired."""
    return first.row_ids == second.row_ids and all(row_id.startswith(BLOCK) for row_id in first.row_ids)


def same_measurement(first: Table, second: Table) -> bool:
    """Whether two tables hold the very same rows."""
    names = first.columns.keys()
    return (
        first.row_ids == second.row_ids
        and names == second.columns.keys()
        and all(same(first.columns[name], second.columns[name]) for name in names)
    )


@dataclass(frozen=True)
class Contrast:
    """One metric of two contenders, with their figures over the rows that count.

    Attributes:
        match: what was estimated.
        ours, theirs: the figures.
    """

    match: Match
    ours: Estimate
    theirs: Estimate

    @property
    def difference(self) -> Estimate:
        """Ours minus theirs."""
        return self.match.difference(self.ours, self.theirs)

    @property
    def testable(self) -> bool:
        """Whether "there is no difference" can be tested; of a metric without a direction nobody says otherwise."""
        directed = self.match.spec.higher_is_better is not None
        return directed and self.difference.n_units >= 2 and math.isfinite(self.ours.value - self.theirs.value)


def contrast_all(matches: Sequence[Match]) -> list[Contrast]:
    """Estimates the figures of many matches together."""
    estimates = estimate_all(sample for match in matches for sample in match.samples)
    return [Contrast(match, match.figure(estimates), estimates[match.theirs]) for match in matches]


def contrast(ours: Contender, theirs: Contender, metric: str, interval: IntervalSpec) -> Contrast:
    """Compares two contenders on a metric that has no `obstacle`; see `Matches.match`."""
    return contrast_all([Matches().match(ours, theirs, metric, interval)])[0]


def p_values(contrasts: Sequence[Contrast], permutations: int) -> list[float]:
    """Two-sided p-values of "there is no difference", which must be `testable`.

    By permutations, of paired rows where they are paired. But codes mean something else on each side, and swapping them
    would mix codebooks: usage figures are compared by the t test of their jackknife; its p is given as no smaller than
    one of so many permutations can be.
    """
    found: dict[int, float] = {}
    asked: dict[int, list[tuple[int, Exchange]]] = {}
    for index, one in enumerate(contrasts):
        exchange = one.match.exchange
        if exchange is None:
            found[index] = max(one.difference.t_test(), 1 / (1 + permutations))
        else:
            asked.setdefault(one.match.ours.seed, []).append((index, exchange))
    for seed, family in asked.items():
        p = permutation_p_values([exchange for _, exchange in family], permutations, seed)
        found.update(zip((index for index, _ in family), p, strict=True))
    return [found[index] for index in range(len(contrasts))]
