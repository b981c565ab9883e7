"""Histories of synthetic runs: one quick run, said to be of many days, with figures of the test's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from builders import make_run

from vqbench.judging.excerpts import Excerpt, excerpt
from vqbench.records.run import Run

START = datetime(2026, 3, 1, 9, 30, tzinfo=timezone.utc)

JUMP = [0.125] * 10 + [0.130] * 10
"""Figures of a deterministic metric that changed once."""


@cache
def base() -> Run:
    return make_run(quality={"good": 1.0, "fair": 2.0}, references=("original",), n_clips=6, n_speakers=3, resamples=20)


def on_day(day: int, run: Run | None = None, **provenance: Any) -> Run:
    """The run, started on another day."""
    run = run or base()
    started = (START + timedelta(days=day)).isoformat()
    return replace(
        run, provenance={**run.provenance, "started": started, "commit": f"{day:02d}c0ffee4242", **provenance}
    )


def with_figure(run: Run, value: float | None, metric: str = "speech.wer", candidate: str = "good") -> Run:
    """The run with one figure replaced; None has a reason."""
    results = tuple(
        result
        if (result.metric, result.candidate) != (metric, candidate)
        else replace(result, value=None, ci_low=None, ci_high=None, reason="nothing was scored; clip000: silence")
        if value is None
        else replace(result, value=value, ci_low=value - 0.01, ci_high=value + 0.01)
        for result in run.results
    )
    return replace(run, results=results)


def runs_with(values: Sequence[float | None], metric: str = "speech.wer", candidate: str = "good") -> list[Run]:
    """One run a value, day after day."""
    return [with_figure(on_day(day), value, metric, candidate) for day, value in enumerate(values)]


def excerpts_with(values: Sequence[float | None], metric: str = "speech.wer", candidate: str = "good") -> list[Excerpt]:
    """The same as a history keeps them: `run-00`, `run-01` …"""
    return [excerpt(f"run-{day:02d}", run) for day, run in enumerate(runs_with(values, metric, candidate))]


def changed_metric(run: Run, name: str, **changes: Any) -> Run:
    """The run with another definition of a metric."""
    return replace(run, metrics=tuple(replace(spec, **changes) if spec.name == name else spec for spec in run.metrics))


def changed_candidates(run: Run, changes: Mapping[str, Any]) -> Run:
    """The run with something else said of its candidates."""
    return replace(run, candidates=tuple(replace(candidate, **changes) for candidate in run.candidates))
