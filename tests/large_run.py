"""A run of the quick suite's metrics as a large release would have it: many candidates, thousands of clips.

python tests/large_run.py FOLDER [CANDIDATES] [CLIPS]
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from vqbench.results.record import (
    CandidateRecord,
    ClipRecord,
    GateRule,
    IntervalSpec,
    MetricSpec,
    Run,
    SuiteRecord,
    Table,
)
from vqbench.results.store import load_run, save_run
from vqbench.results.summary import summarise
from vqbench.stats.columns import Column, Ragged

TOKENS = 100
"""Codes of a clip, on average: some five seconds."""

GATE = (
    "reconstruction.mel_l1 <= baseline * 1.02",
    "codebook.share_used >= baseline - 1%",
    "speech.wer <= baseline + 0.02",
    "speech.speaker_similarity >= baseline - 0.01",
    "codebook.dead <= 95%",
    "throughput.rtfx >= 0.5 * baseline",
)


def large_run(metrics: tuple[MetricSpec, ...], n_candidates: int = 20, n_clips: int = 10_000) -> Run:
    """A run whose tables have the columns that `metrics` reduce; `quality` falls from candidate to candidate."""
    generator = np.random.default_rng(0)
    clips = tuple(
        ClipRecord(
            f"speaker{i % 200:03d}/clip{i:06d}",
            hashlib.sha256(str(i).encode()).hexdigest(),
            float(3 + i % 5),
            f"sentence number {i} says as much as a sentence of a test set says",
        )
        for i in range(n_clips)
    )
    ids = tuple(clip.id for clip in clips)
    hardness = generator.lognormal(sigma=0.4, size=n_clips)
    words = generator.integers(5, 25, n_clips).astype(float)
    lengths = generator.integers(TOKENS // 2, TOKENS * 3 // 2, n_clips)
    tables: list[Table] = []
    candidates = []
    repeated = tuple(f"repetition-{i}" for i in range(10))
    for index in range(n_candidates):
        name = f"candidate-{index:02d}"
        error = (1 + 0.02 * index) * hardness * generator.lognormal(sigma=0.2, size=n_clips)
        candidates.append(CandidateRecord(name, "candidate", name, f"{name}.safetensors", "mel", 1024, 21.53, 10**6))
        codes = (generator.beta(1, 3, lengths.sum()) * 1024).astype(np.int64)
        made: dict[str, Column] = {
            "codes": Ragged(codes, lengths),
            "word_errors": generator.binomial(words.astype(int), np.minimum(0.05 * error, 1)).astype(float),
            "words": words,
            "similarity": 1 / (1 + 0.1 * error),
        }
        for group in dict.fromkeys(spec.group for spec in metrics):
            names = dict.fromkeys(c for spec in metrics if spec.group == group for c in spec.columns)
            timed = any(spec.resampled == "repetition" for spec in metrics if spec.group == group)
            n = len(repeated) if timed else n_clips
            columns = {c: made.get(c, _numbers(c, n, error, generator)) for c in names}
            rows = repeated if timed else ids
            tables.append(Table(name, group, rows, columns, {"codebook_size": 1024.0, "token_rate_hz": 21.53}))
    run = Run(
        SuiteRecord("large", "0" * 16, 0, tuple(map(GateRule, GATE))),
        tuple(candidates),
        clips,
        metrics,
        tuple(tables),
        (),
        IntervalSpec(),
        {"machine": "test", "device": "cpu", "started": "2026-01-01T00:00:00+00:00", "commit": "0" * 12},
    )
    return replace(run, results=tuple(summarise(spec, table, clips, run.interval) for spec, table in _pairs(run)))


def _numbers(name: str, n: int, error: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if name in ("mel_cells", "one", "frames", "characters", "audio_s", "tokens"):
        return np.full(n, 400.0)
    return (error[:n] if n <= len(error) else np.ones(n)) * generator.lognormal(sigma=0.1, size=n)


def _pairs(run: Run) -> list[tuple[MetricSpec, Table]]:
    by_group: Mapping[str, list[Table]] = {}
    for table in run.tables:
        by_group.setdefault(table.group, []).append(table)  # type: ignore[attr-defined]
    return [(spec, table) for spec in run.metrics for table in by_group[spec.group]]


def main(folder: str, n_candidates: str = "20", n_clips: str = "10000") -> None:
    quick = load_run(Path(__file__).parent.parent / "baselines/quick.json")
    print(save_run(large_run(quick.metrics, int(n_candidates), int(n_clips)), Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
