"""What a run leaves behind: plain frozen dataclasses, no torch, all of it in `result.json`.

The way of a figure: a `Table` holds one row of sufficient statistics a clip (or a repetition), a `MetricSpec` says
which columns are reduced and how, a `Result` is the reduced number with its interval. Whoever has the tables can
recompute every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vqbench.records.checks import PlausibilityLevel
from vqbench.stats.columns import Column, same
from vqbench.stats.estimate import Bootstrap

SCHEMA_VERSION = 3

BLOCK = "block-"
"""How ids of timings begin that were taken in turns: those of one run with the same id belong to the same block."""


@dataclass(frozen=True)
class MetricSpec:
    """What a number is, so that a reader of results needs no measuring code.

    Attributes:
        name: `group.figure`, e.g. `speech.wer`.
        group: the table that its columns stand in, e.g. `speech` or `throughput.encode.b8`.
        columns: the table's columns, in the order that the reduction takes them.
        reduction: a key of `vqbench.stats.reductions.REDUCTIONS`.
        unit: printed after the number; empty for shares and ratios.
        higher_is_better: None where neither end is better.
        version: raised whenever the same audio would give another number.
        resampled: what the bootstrap draws: clips (paired across candidates), or repetitions of timings (paired within
            a run where they were taken in blocks).
        needs_same_front_end: true where the unit belongs to the mel front end, so that other front ends do not compare.
        description: one line: formula or source.
        decimals: digits shown.
        headline: shown in the short table.
        clip_set: which of the run's clips its rows are, e.g. `speech`, or `pairs`: what a teacher's GPT wrote.
        floor: the metric that says what comes for nothing on the same clips, where there is one.
        ceiling: the metric that says what the best could have there, where there is one.
    """

    name: str
    group: str
    columns: tuple[str, ...]
    reduction: str
    unit: str
    higher_is_better: bool | None
    version: int
    description: str
    resampled: Literal["clip", "repetition"] = "clip"
    needs_same_front_end: bool = False
    decimals: int = 3
    headline: bool = False
    clip_set: str = "speech"
    floor: str | None = None
    ceiling: str | None = None


@dataclass(frozen=True)
class ClipRecord:
    """One recording of the suite, by content; every metric is measured on all clips of one set.

    Attributes:
        language: ISO 639 code; None where nobody says.
        columns: further columns of its manifest, by name.
    """

    id: str
    sha256: str
    duration_s: float
    text: str
    speaker: str | None = None
    clip_set: str = "speech"
    language: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class CandidateRecord:
    """One row of the table. A `reference` (original audio, vocoder round trip) is shown beside them, never judged.

    Attributes:
        family: what all seeds of its recipe are called together, where the suite names several.
    """

    name: str
    role: Literal["candidate", "reference"]
    digest: str
    source: str
    front_end: str | None = None
    codebook_size: int | None = None
    token_rate_hz: float | None = None
    n_parameters: int | None = None
    family: str | None = None
    streams: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """The sufficient statistics of one candidate in one group.

    Attributes:
        row_ids: clip ids, or ids of blocks for timings (of repetitions, in runs before there were blocks). Every clip
            of the group's set is here or in `unscored`, never in both.
        columns: name → one number a row, or several; those of a file are read when they are asked for.
        constants: numbers that hold for all rows, e.g. `codebook_size`.
        unscored: clip id → why it has no row.
    """

    candidate: str
    group: str
    row_ids: tuple[str, ...]
    columns: Mapping[str, Column]
    constants: Mapping[str, float] = field(default_factory=dict)
    unscored: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, spec: MetricSpec) -> bool:
        """Whether some of what a metric reduces was not measured here: of a tokenizer without a mel, say, its mel."""
        known = bool(self.row_ids or self.columns)
        return known and not all(name in self.columns for name in spec.columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        named = ("candidate", "group", "row_ids", "constants", "unscored")
        return (
            all(getattr(self, name) == getattr(other, name) for name in named)
            and self.columns.keys() == other.columns.keys()
            and all(same(column, other.columns[name]) for name, column in self.columns.items())
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Result:
    """One figure. `value` is None where nothing could be scored, the interval where it is undefined; `reason` says why,
    or why the figure is not to be judged.

    Attributes:
        n: rows behind the figure.
        n_clusters: speakers behind it, where the interval is clustered.
        bounds: what the figure is out of, e.g. {"log2(codebook_size)": 13.0}.
        slice: over which of the run's slices; None is over all its clips.
    """

    candidate: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_clusters: int | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    slice: str | None = None


@dataclass(frozen=True)
class Slice:
    """A named part of a run's clips, whose figures stand by themselves.

    Attributes:
        name: e.g. `short`, or `speaker=p225` where each value of a field makes one.
        where: what holds of its clips, e.g. `duration_s < 2`.
        clips: their ids, in the run's order; none where it holds of no clip.
        unknown: clip set → field → clips of which nobody knows whether they belong to it, since they lack the field.
        by: the field whose value makes it, e.g. `speaker`.
    """

    name: str
    where: str
    clips: tuple[str, ...]
    unknown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    by: str | None = None


_FURTHER = "exact for shares of clips; jackknife for codebook usage and mutual information"

INTERVAL_METHODS: Mapping[Bootstrap, str] = {
    "outer": f"outer ends of the percentile and the BCa bootstrap, expanded for small n; {_FURTHER}",
    "percentile": f"percentile bootstrap, expanded for small n; {_FURTHER}",
    "bca": f"BCa bootstrap, expanded for small n; {_FURTHER}",
}


@dataclass(frozen=True)
class IntervalSpec:
    """How every interval of a run was made.

    Attributes:
        method: in words.
        confidence: share of such intervals that hold the true value.
        resamples: of the bootstrap.
        seed: of the draws.
        unit: what is drawn whole: all clips of a `speaker`, where every clip names one, or of a `sentence`, by its
            text; or, of the sets `speech`, `downstream` and `held-out`, each `clip` by itself.
        bootstrap: which interval of the bootstrap.
    """

    method: str = INTERVAL_METHODS["outer"]
    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0
    unit: Literal["speaker", "sentence", "clip"] = "speaker"
    bootstrap: Bootstrap = "outer"

    @property
    def cluster(self) -> Literal["speaker", "sentence"]:
        """What the clips that are drawn together have in common."""
        return "sentence" if self.unit == "sentence" else "speaker"


@dataclass(frozen=True)
class GateRule:
    """One rule of a suite as written, e.g. `speech.wer <= baseline + 0.02`.

    Attributes:
        rule: as written.
        candidates: whom it is for; empty is everyone.
        slice: on which slice of the clips; None is on all of them.
    """

    rule: str
    candidates: tuple[str, ...] = ()
    slice: str | None = None

    @property
    def text(self) -> str:
        """The rule as people read it, with its slice."""
        return rule_text(self.rule, self.slice)


def rule_text(rule: str, slice_name: str | None) -> str:
    """A rule as people read it.

    >>> rule_text("speech.wer <= 0.1", None), rule_text("speech.wer <= 0.1", "short")
    ('speech.wer <= 0.1', 'speech.wer <= 0.1, slice short')
    """
    return rule if slice_name is None else f"{rule}, slice {slice_name}"


Inconclusive = Literal["stop", "fail", "pass"]
"""What a rule that its interval leaves open does to a gate: it is inconclusive as well, it fails, or it passes."""


@dataclass(frozen=True)
class SuiteRecord:
    """The suite that made the run, as far as judging needs it.

    Attributes:
        gate: its rules.
        min_clips: with fewer clips nothing is decided.
        allow_unscored: clips that may be without a row.
        inconclusive: what an open rule does.
        plausibility: check → what it does, where that is not its own level.
        yardstick: the candidate whose speed tells how fast a machine is; None where speeds of other machines do not
            compare.
        reference: whose tokens the candidates' are held against on recordings: a candidate's name, or, with spaces
            in it, what a checkpoint beside the candidates is called; None where the suite names none.
    """

    name: str
    digest: str
    seed: int
    gate: tuple[GateRule, ...] = ()
    min_clips: int = 10
    allow_unscored: int = 0
    inconclusive: Inconclusive = "stop"
    plausibility: Mapping[str, PlausibilityLevel] = field(default_factory=dict)
    yardstick: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Run:
    """A whole run.

    Attributes:
        results: figures over all clips.
        slices: parts of the clips.
        slice_results: figures over each of them.
    """

    suite: SuiteRecord
    candidates: tuple[CandidateRecord, ...]
    clips: tuple[ClipRecord, ...]
    metrics: tuple[MetricSpec, ...]
    tables: tuple[Table, ...]
    results: tuple[Result, ...]
    interval: IntervalSpec
    provenance: Mapping[str, Any]
    schema: int = SCHEMA_VERSION
    slices: tuple[Slice, ...] = ()
    slice_results: tuple[Result, ...] = ()
