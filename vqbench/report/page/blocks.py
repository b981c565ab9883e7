"""What the page's script draws from, block by block: clips, figures clip by clip, what was heard, codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vqbench.judging.clip_figures import clip_differences, clip_metrics, clip_values
from vqbench.judging.codes import positions, rank_frequency
from vqbench.judging.contrast import Matches
from vqbench.judging.evidence import Evidence, distinct_labels
from vqbench.judging.selection import Contender
from vqbench.records.clip_sets import named_set
from vqbench.records.reference import held_against
from vqbench.records.run import ClipRecord, MetricSpec, Run, Table
from vqbench.report.page.packed import pack_figures, pack_json


@dataclass(frozen=True)
class Cast:
    """Whom and what a page is about: contenders and clips, which its data names by their places.

    Attributes:
        evidence: the runs.
        contenders: everybody in them, references too; of several runs, with the run's label before the name.
        clips: every clip once; of two runs those are one whose id, audio and text are the same.
        metrics: those with a figure for each clip.
        pairings: (reference, contender) whose differences are shown.
    """

    evidence: tuple[Evidence, ...]
    contenders: tuple[Contender, ...]
    clips: tuple[ClipRecord, ...]
    metrics: tuple[MetricSpec, ...]
    pairings: tuple[tuple[Contender, Contender], ...] = ()
    _clip_places: Mapping[int, Mapping[str, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, evidence: Sequence[Evidence], pairings: Sequence[tuple[Contender, Contender]] = ()) -> Cast:
        """Gathers everybody in some runs."""
        several = len(evidence) > 1
        contenders = tuple(
            Contender(f"{label}:{candidate.name}" if several else candidate.name, one.run, candidate.name)
            for label, one in zip(distinct_labels(evidence), evidence, strict=True)
            for candidate in one.run.candidates
        )
        clips: dict[tuple[str, str, str, str], ClipRecord] = {}
        places: dict[int, dict[str, int]] = {}
        order: dict[tuple[str, str, str, str], int] = {}
        for one in evidence:
            of_run = places.setdefault(id(one.run), {})
            for clip in one.run.clips:
                key = (clip.clip_set, clip.id, clip.sha256, clip.text)
                clips.setdefault(key, clip)
                of_run[clip.id] = order.setdefault(key, len(order))
        metrics = {spec.name: spec for one in evidence for spec in clip_metrics(one.run.metrics)}
        return cls(tuple(evidence), contenders, tuple(clips.values()), tuple(metrics.values()), tuple(pairings), places)

    def place_of(self, run: Run, clip: str) -> int:
        """Where a run's clip stands among the clips of the page."""
        return self._clip_places[id(run)][clip]

    def run_number(self, run: Run) -> int:
        """Which of the page's runs it is."""
        return next(number for number, one in enumerate(self.evidence) if one.run is run)

    def contender(self, run: Run, name: str) -> int:
        """Where a candidate of a run stands among the contenders; -1 for nobody of that name."""
        found = [place for place, one in enumerate(self.contenders) if one.run is run and one.name == name]
        return found[0] if found else -1

    def runs_of_clips(self) -> list[list[int]]:
        """Of each clip the places of the runs that it is in."""
        runs: list[list[int]] = [[] for _ in self.clips]
        for number, one in enumerate(self.evidence):
            for place in self._clip_places[id(one.run)].values():
                runs[place].append(number)
        return runs

    def set_places(self, clip_set: str) -> dict[int, int]:
        """Place of a clip of a set → its place within the set."""
        members = [place for place, clip in enumerate(self.clips) if clip.clip_set == clip_set]
        return {place: within for within, place in enumerate(members)}


def index_block(
    cast: Cast, metrics: Sequence[MetricSpec], exhibits: Sequence[Mapping[str, Any]], notes: Sequence[str]
) -> dict[str, Any]:
    """What the script needs at once.

    Args:
        cast: whom and what the page is about.
        metrics: those whose figures are in the page, clip by clip, in the order in which columns number them.
        exhibits: an entry for each that is in the page.
        notes: what was left out.
    """
    sets = dict.fromkeys(clip.clip_set for clip in cast.clips)
    return {
        "contenders": [
            {"label": one.label, "role": one.record.role, "run": cast.run_number(one.run)} for one in cast.contenders
        ],
        "sets": {name: named_set(name).noun for name in sets},
        "figures": [
            {
                "name": metric.name,
                "unit": metric.unit,
                "decimals": metric.decimals,
                "better": {True: "higher", False: "lower", None: None}[metric.higher_is_better],
                "set": metric.clip_set,
                "description": metric.description,
                "headline": metric.headline,
                "group": metric.group,
            }
            for metric in metrics
        ],
        "exhibits": list(exhibits),
        "n_clips": len(cast.clips),
        "compares": bool(cast.pairings),
        "notes": list(notes),
    }


def clips_block(cast: Cast) -> dict[str, str]:
    """Every clip, packed; of several runs with those that it is in."""
    several = {"runs": cast.runs_of_clips()} if len(cast.evidence) > 1 else {}
    return pack_json(
        {
            **several,
            "ids": [clip.id for clip in cast.clips],
            "sets": [clip.clip_set for clip in cast.clips],
            "texts": [clip.text for clip in cast.clips],
            "speakers": [clip.speaker for clip in cast.clips],
            "seconds": [round(clip.duration_s, 3) for clip in cast.clips],
        }
    )


def column_blocks(cast: Cast) -> Iterator[tuple[MetricSpec, list[dict[str, Any]]]]:
    """The figures of each metric, clip by clip: one column a contender, and one a pairing; headline metrics first."""
    places, matches = _RowPlaces(cast), Matches()
    for metric in sorted(cast.metrics, key=lambda metric: not metric.headline):
        columns: list[dict[str, Any]] = []
        for place, contender in enumerate(cast.contenders):
            table, spec = contender.measured(metric), contender.metric(metric.name)
            # Of several runs one may know a metric of that name on another set.
            if table is None or spec is None or spec.clip_set != metric.clip_set:
                continue
            values = clip_values(spec, table)
            if values is not None:
                filled = places.fill(contender.run, metric.clip_set, table.row_ids, values)
                columns.append(_column(place, None, filled, metric))
        for reference, contender in cast.pairings:
            ids, differences = clip_differences(contender, reference, metric.name, matches)
            if len(ids):
                filled = places.fill(contender.run, metric.clip_set, ids, differences)
                ours, theirs = (cast.contender(one.run, one.name) for one in (contender, reference))
                columns.append(_column(ours, theirs, filled, metric))
        yield metric, columns


def _column(ours: int, theirs: int | None, values: Any, metric: MetricSpec) -> dict[str, Any]:
    return {"contender": ours, "reference": theirs, **pack_figures(values, metric.decimals)}


class _RowPlaces:
    """Where the rows of tables stand among the clips of their set; many tables have the same rows."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._within: dict[str, dict[int, int]] = {}
        self._known: dict[tuple[int, tuple[str, ...]], Any] = {}

    def fill(self, run: Run, clip_set: str, ids: tuple[str, ...], values: Any) -> Any:
        """(clips of the set,) the values at their clips' places, NaN elsewhere."""
        within = self._within.setdefault(clip_set, self._cast.set_places(clip_set))
        key = (id(run), ids)
        if key not in self._known:
            self._known[key] = np.array([within[self._cast.place_of(run, clip)] for clip in ids], dtype=np.int64)
        filled = np.full(len(within), np.nan)
        filled[self._known[key]] = values
        return filled


def heard_blocks(cast: Cast) -> Iterator[dict[str, Any]]:
    """What an ASR heard, contender by contender and set by set."""
    for one in cast.evidence:
        found: dict[tuple[str, str], dict[int, tuple[str, ...]]] = {}
        for transcript in one.transcripts:
            place = cast.place_of(one.run, transcript.clip)
            key = (transcript.candidate, cast.clips[place].clip_set)
            found.setdefault(key, {})[place] = (
                transcript.reference,
                transcript.hypothesis,
                *([] if transcript.counted is None else [transcript.counted]),
            )
        for (name, clip_set), texts in found.items():
            rows = [texts.get(place) for place in cast.set_places(clip_set)]
            yield {"contender": cast.contender(one.run, name), "set": clip_set, "texts": pack_json(rows)}


def unscored_block(cast: Cast) -> dict[str, str]:
    """Clips without a figure, each with whose, in which group of metrics, and why; packed."""
    reasons: dict[str, int] = {}
    groups: dict[str, int] = {}
    rows = [
        [
            cast.place_of(contender.run, clip),
            place,
            groups.setdefault(table.group, len(groups)),
            reasons.setdefault(reason, len(reasons)),
        ]
        for place, contender in enumerate(cast.contenders)
        for table in _tables(contender)
        for clip, reason in table.unscored.items()
    ]
    return pack_json({"reasons": list(reasons), "groups": list(groups), "rows": rows})


def codebook_block(cast: Cast) -> dict[str, Any]:
    """How often codes are used, and where in a sequence tokens agree."""
    usage, along = [], []
    for place, contender in enumerate(cast.contenders):
        against = held_against(contender.run)
        for table in _tables(contender):
            if table.group == "codebook":
                found = rank_frequency(table)
                counts = {"ranks": found.ranks.tolist(), "counts": found.counts.tolist()}
                usage.append({"contender": place, "size": found.size, "tokens": found.tokens, **counts})
            if against is not None and table.group == against[0]:
                at = positions(table, contender.run.interval.confidence)
                along.append(
                    {
                        "contender": place,
                        "set": next(spec.clip_set for spec in contender.run.metrics if spec.group == table.group),
                        "by": against[1],
                        "first": [one.first for one in at],
                        "last": [one.last for one in at],
                        "shares": [one.share for one in at],
                        "lows": [one.low for one in at],
                        "highs": [one.high for one in at],
                        "n": [one.n for one in at],
                    }
                )
    return {"usage": usage, "positions": along}


def _tables(contender: Contender) -> list[Table]:
    return [table for table in contender.run.tables if table.candidate == contender.name]
