"""What judging comes to: comparisons, outcomes of rules, findings, and a gate's verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vqbench.records.checks import PlausibilityLevel
from vqbench.records.run import Inconclusive


@dataclass(frozen=True)
class Comparison:
    """One metric of one candidate against a reference candidate, paired by clip where clips are what was measured.

    `delta` is candidate minus reference. `p_value` is two-sided; `p_holm` is corrected over the family of all
    comparisons made together, those of clips and those of timings apart. `reason` says why a number is None, or what to
    bear in mind: timings of another machine.
    """

    metric: str
    reference: str
    candidate: str
    reference_value: float | None
    candidate_value: float | None
    delta: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    p_holm: float | None
    n_pairs: int
    n_clusters: int | None = None
    reason: str | None = None


GateStatus = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class GateOutcome:
    """One rule for one candidate, and the figure and bound that decided.

    Attributes:
        rule: as people read it, with its slice.
        status: what the figures say.
        ci_low, ci_high: of `value - limit`; the rule passes when even the end towards the bad side is on the good side
            of zero.
        open: whether an inconclusive outcome is so for one reason alone: the interval holds the limit.
        slice: on which slice of the clips; None is on all of them.
    """

    rule: str
    candidate: str
    metric: str
    status: GateStatus
    value: float | None
    limit: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    reason: str
    open: bool = False
    slice: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something that makes a figure hard to believe.

    Attributes:
        check: which of `vqbench.records.checks.CHECKS` found it.
        candidate: with whom; empty where it is the whole run.
        level: `fail` fails a gate.
        message: what was found.
    """

    check: str
    candidate: str
    level: PlausibilityLevel
    message: str


@dataclass(frozen=True)
class GateReport:
    """All outcomes and findings, and what they come to.

    Attributes:
        outcomes: of each rule for each candidate.
        baseline: the label of what they were held against.
        findings: what looks wrong with the run itself.
        inconclusive: what an open rule does, as the suite wants it.
    """

    outcomes: tuple[GateOutcome, ...]
    baseline: str | None
    findings: tuple[Finding, ...] = ()
    inconclusive: Inconclusive = "stop"

    def verdict(self, outcome: GateOutcome) -> GateStatus:
        """What an outcome does to the gate: its status, but for open rules, where the suite chooses.

        What cannot be decided for another reason (too few clips, another machine, a baseline on other clips) never
        passes.
        """
        if outcome.status != "inconclusive" or self.inconclusive == "stop":
            return outcome.status
        if self.inconclusive == "fail":
            return "fail"
        return "pass" if outcome.open else "inconclusive"

    @property
    def status(self) -> GateStatus:
        """The worst of all: one fail fails, else one inconclusive is inconclusive; without any, nothing is decided."""
        verdicts = {self.verdict(outcome) for outcome in self.outcomes}
        if "fail" in verdicts or any(finding.level == "fail" for finding in self.findings):
            return "fail"
        return "inconclusive" if "inconclusive" in verdicts or not verdicts else "pass"
