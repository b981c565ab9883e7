"""Whether a tuned GPT has learnt its candidate's tokens, as far as a run's figures tell: else its speech tells nothing.

A GPT that has learnt little speaks as it did before it was tuned, and so flatters its candidate. What it does badly it
does badly all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from vqbench.records.run import MetricSpec, Result, Run, Table

GROUP = "downstream.learning"
CLIP_SET = "held-out"
NATS, BEFORE, UNIGRAM = (
    "downstream.held_out_nats",
    "downstream.held_out_nats_before",
    "downstream.held_out_nats_unigram",
)

LATE_FALL = "late_fall"
"""The constant of a table that says by which share the cross-entropy of validation speech fell late in the tuning."""

FALLING_FAST = 0.05
"""What falls by more than this share in the last quarter of a tuning is on its way."""

TOO_LITTLE, UNTOLD = "learnt_too_little", "learning_untold"
"""The checks of plausibility that a doubt belongs to."""


@dataclass(frozen=True)
class Doubt:
    """Why the figures of what a tuned GPT says cannot be judged; `check` is `TOO_LITTLE` or `UNTOLD`."""

    check: str
    reason: str


def concerns(spec: MetricSpec) -> bool:
    """Whether a metric is of what a tuned GPT says."""
    return spec.group.partition(".")[0] == "downstream" and spec.group != GROUP


def is_flattered(spec: MetricSpec, op: str) -> bool:
    """Whether a GPT that learnt little keeps a rule by that: one that asks how well it speaks, not how badly."""
    return concerns(spec) and (spec.higher_is_better is None or spec.higher_is_better == (op == ">="))


def doubts(run: Run) -> dict[str, Doubt]:
    """Candidate → why what its GPT says cannot be judged. Checks that the suite switched off find nothing."""
    if not any(spec.name == NATS for spec in run.metrics):
        return {}  # measured by a vqbench that did not ask
    figures = {(result.candidate, result.metric): result for result in run.results}
    tables = {table.candidate: table for table in run.tables if table.group == GROUP}
    spoke = [spec.name for spec in run.metrics if concerns(spec)]
    found = {}
    for candidate in run.candidates:
        heard = (figures.get((candidate.name, name)) for name in spoke)
        if candidate.role == "candidate" and any(figure is not None and figure.value is not None for figure in heard):
            doubt = _doubt(candidate.name, figures, tables.get(candidate.name))
            if doubt is not None and run.suite.plausibility.get(doubt.check) != "off":
                found[candidate.name] = doubt
    return found


def with_doubts(run: Run) -> Run:
    """The run whose doubtful figures say so."""
    found, concerned = doubts(run), {spec.name for spec in run.metrics if concerns(spec)}

    def marked() -> Iterator[Result]:
        for result in run.results:
            doubt = found.get(result.candidate) if result.metric in concerned else None
            known = result.value is None or result.reason is not None
            yield result if doubt is None or known else replace(result, reason=doubt.reason)

    return replace(run, results=tuple(marked()))


def _doubt(candidate: str, figures: Mapping[tuple[str, str], Result], table: Table | None) -> Doubt | None:
    after, unigram = figures.get((candidate, NATS)), figures.get((candidate, UNIGRAM))
    if after is None or after.value is None or unigram is None or unigram.value is None:
        why = after.reason if after is not None and table is not None and table.unscored else None
        return Doubt(UNTOLD, f"not told whether the GPT learnt its tokens: {why or 'no recording is held out'}")
    if after.ci_high is None or unigram.ci_low is None:
        return Doubt(UNTOLD, f"not told whether the GPT learnt its tokens: {after.reason}")
    told = f"{after.value:.2f} nats a token of held-out speech ({after.ci_low:.2f} to {after.ci_high:.2f})"
    if after.ci_high >= unigram.ci_low:
        return Doubt(
            TOO_LITTLE,
            f"the GPT learnt too little of its tokens to be judged: {told}, where their frequencies alone give "
            f"{unigram.value:.2f}",
        )
    fall = table.constants.get(LATE_FALL, 0.0) if table is not None else 0.0
    if fall > FALLING_FAST:
        return Doubt(
            TOO_LITTLE,
            f"the GPT learnt too little of its tokens to be judged: {told}, and in the last quarter of the tuning they "
            f"fell by {fall:.0%} on validation speech",
        )
    return None
