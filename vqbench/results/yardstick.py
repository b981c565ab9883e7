"""Speeds of two machines, made comparable by a candidate that was timed on both."""

from __future__ import annotations

from vqbench.results.contrast import obstacle, other_machine
from vqbench.results.record import MetricSpec
from vqbench.results.selection import Contender


def yardsticks(ours: Contender, theirs: Contender, spec: MetricSpec) -> tuple[Contender, Contender] | str | None:
    """What tells how fast two machines are, where timings were taken on different ones.

    Args:
        ours, theirs: who is compared.
        spec: a metric of timings.

    Returns:
        None where both were timed on one kind of machine; else the same candidate in our run and in theirs; or why
        there is none.
    """
    apart = other_machine(ours.run, theirs.run)
    if apart is None:
        return None
    name = ours.run.suite.yardstick
    if name is None:
        return f"{apart}; the suite names no yardstick for that (`throughput: {{yardstick: CANDIDATE}}`)"
    if name == ours.name:
        return f"{apart}; {name} is the yardstick itself, whose speed tells the machines apart"
    here, there = Contender(name, ours.run, name), Contender(f"the baseline's {name}", theirs.run, name)
    for contender in (here, there):
        if name not in (candidate.name for candidate in contender.run.candidates):
            return f"{apart}; the yardstick {name} is missing in {'this run' if contender is here else 'the baseline'}"
    if here.record.digest != there.record.digest:
        return f"{apart}; the yardstick {name} is another candidate in the baseline: its digest differs"
    unlike = obstacle(here, there, spec.name)
    return f"{apart}; the yardstick: {unlike}" if unlike else (here, there)
