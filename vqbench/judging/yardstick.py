"""Speeds of two times, made comparable by a candidate that was timed at both.

The same checkpoint on the same machine came to 303 and then to 159 times real time: what else the machine does, and how
hot it is, is not in its name. So timings compare within a run, and across runs only beside a yardstick's.
"""

from __future__ import annotations

from vqbench.judging.contrast import obstacle, other_machine, same_measurement
from vqbench.judging.selection import Contender
from vqbench.records.run import MetricSpec, Table
from vqbench.stats.columns import numbers


def yardsticks(ours: Contender, theirs: Contender, spec: MetricSpec) -> tuple[Contender, Contender] | str | None:
    """What tells how fast a machine was, where timings were taken at two times.

    Args:
        ours, theirs: who is compared on a metric that has no `obstacle`.
        spec: the metric.

    Returns:
        None where both were timed in one run, or are the very same measurement, and of what is no timing; else the same
        candidate in our run and in theirs; or why there is none.
    """
    tables = ours.measured(spec), theirs.measured(spec)
    if spec.resampled != "repetition" or ours.run is theirs.run or None in tables:
        return None
    mine, other = (table for table in tables if table is not None)
    if (unlike := _other_load(mine, other)) is not None:
        return unlike
    apart = other_machine(ours.run, theirs.run)
    if apart is None:
        if same_measurement(mine, other):
            return None
        apart = "timed at another time"
    name = ours.run.suite.yardstick
    if name is None:
        return f"{apart}; the suite names no yardstick for that (`throughput: {{yardstick: CANDIDATE}}`)"
    if name == ours.name:
        return f"{apart}; {name} is the yardstick itself, whose speed tells the two times apart"
    here, there = Contender(name, ours.run, name), Contender(f"the other run's {name}", theirs.run, name)
    for contender in (here, there):
        if name not in (candidate.name for candidate in contender.run.candidates):
            return f"{apart}; the yardstick {name} is missing in {'this run' if contender is here else 'the other'}"
    if here.record.digest != there.record.digest:
        return f"{apart}; the yardstick {name} is another candidate in the other run: its digest differs"
    why = obstacle(here, there, spec.name)
    return f"{apart}; the yardstick: {why}" if why else (here, there)


def _other_load(ours: Table, theirs: Table) -> str | None:
    ours_s, theirs_s = (table.columns.get("audio_s") for table in (ours, theirs))
    alike = ours_s is None or theirs_s is None or set(numbers(ours_s)) == set(numbers(theirs_s))
    return None if alike else "timed on another amount of audio"
