"""Synthetic runs for tests of the judging side: quick to make, deterministic, shaped like the quick suite's."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.records.layout import encoded, write_layout
from vqbench.records.run import (
    CandidateRecord,
    ClipRecord,
    GateRule,
    IntervalSpec,
    MetricSpec,
    Result,
    Run,
    SuiteRecord,
    Table,
)
from vqbench.records.summary import summarise
from vqbench.stats.columns import Array, Ragged, take

CODEBOOK_SIZE = 256
TOKEN_RATE_HZ = 22050 / 1024

QUALITY = {"good": 1.0, "fair": 2.0, "untrained": 8.0}
"""Candidate → how large its errors are."""

REFERENCES = ("original", "mel_round_trip")

METRICS: tuple[MetricSpec, ...] = (
    MetricSpec(
        name="reconstruction.mel_l1",
        group="reconstruction",
        columns=("l1_sum", "n_values"),
        reduction="ratio",
        unit="",
        higher_is_better=False,
        version=1,
        description="mean |mel - decoded mel|, in the units the VQVAE is trained in",
        needs_same_front_end=True,
        decimals=4,
        headline=True,
    ),
    MetricSpec(
        name="reconstruction.mel_rms_db",
        group="reconstruction",
        columns=("square_db_sum", "n_values"),
        reduction="root_ratio",
        unit="dB",
        higher_is_better=False,
        version=1,
        description="root mean square error of the log-mel, in dB",
        needs_same_front_end=True,
        decimals=2,
    ),
    MetricSpec(
        name="reconstruction.mcd_db",
        group="reconstruction",
        columns=("mcd_db",),
        reduction="mean",
        unit="dB",
        higher_is_better=False,
        version=1,
        description="mel-cepstral distortion after vocoding, mean over clips",
        decimals=2,
        headline=True,
    ),
    MetricSpec(
        name="codebook.entropy",
        group="codebook",
        columns=("codes",),
        reduction="entropy",
        unit="bits",
        higher_is_better=True,
        version=1,
        description="plug-in entropy of the codes",
        decimals=2,
        headline=True,
    ),
    MetricSpec(
        name="codebook.entropy_corrected",
        group="codebook",
        columns=("codes",),
        reduction="entropy_corrected",
        unit="bits",
        higher_is_better=True,
        version=1,
        description="entropy of the codes, corrected for the number of tokens (Grassberger)",
        decimals=2,
    ),
    MetricSpec(
        name="codebook.perplexity",
        group="codebook",
        columns=("codes",),
        reduction="perplexity",
        unit="",
        higher_is_better=True,
        version=1,
        description="2 to the power of the plug-in entropy",
        decimals=1,
    ),
    MetricSpec(
        name="codebook.dead",
        group="codebook",
        columns=("codes",),
        reduction="dead",
        unit="",
        higher_is_better=False,
        version=1,
        description="share of codes never used",
    ),
    MetricSpec(
        name="codebook.bits_per_second",
        group="codebook",
        columns=("codes",),
        reduction="bits_per_second",
        unit="bit/s",
        higher_is_better=None,
        version=1,
        description="plug-in entropy times the token rate",
        decimals=1,
    ),
    MetricSpec(
        name="speech.wer",
        group="speech",
        columns=("errors", "words"),
        reduction="ratio",
        unit="",
        higher_is_better=False,
        version=1,
        description="word errors of an ASR over reference words",
        headline=True,
    ),
    MetricSpec(
        name="speech.speaker_similarity",
        group="speech",
        columns=("similarity",),
        reduction="mean",
        unit="",
        higher_is_better=True,
        version=1,
        description="cosine of the speaker embeddings of original and reconstruction",
        headline=True,
    ),
    MetricSpec(
        name="throughput.encode.b8.audio_s_per_s",
        group="throughput.encode.b8",
        columns=("audio_s", "wall_s"),
        reduction="ratio",
        unit="×",
        higher_is_better=True,
        version=1,
        description="audio-seconds encoded a second, batch 8",
        resampled="repetition",
        decimals=1,
        headline=True,
    ),
    MetricSpec(
        name="throughput.encode.latency_p90",
        group="throughput.encode.latency",
        columns=("wall_ms",),
        reduction="p90",
        unit="ms",
        higher_is_better=False,
        version=1,
        description="90th percentile of the time to encode one clip",
        resampled="repetition",
        decimals=1,
    ),
    MetricSpec(
        name="throughput.encode.b8.peak_memory",
        group="throughput.encode.b8",
        columns=("peak_mb",),
        reduction="maximum",
        unit="MB",
        higher_is_better=False,
        version=1,
        description="peak resident memory",
        resampled="repetition",
        decimals=0,
    ),
)


def edit_result(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a result file's JSON, and gives it the checksum of what it then holds."""
    plain = json.loads(file.read_text())
    change(plain)
    del plain["checksum"]
    statistics = plain.pop("statistics")
    file.write_bytes(encoded(write_layout(plain, statistics)))


def make_clips(n_clips: int = 24, n_speakers: int = 8) -> tuple[ClipRecord, ...]:
    """`n_speakers` 0 leaves the speakers unnamed."""
    return tuple(
        ClipRecord(
            id=f"clip{i:03d}",
            sha256=hashlib.sha256(f"clip {i}".encode()).hexdigest(),
            duration_s=2.0 + i % 7,
            text=f"this is sentence number {i}",
            speaker=f"speaker{i % n_speakers}" if n_speakers else None,
        )
        for i in range(n_clips)
    )


def make_tables(
    candidate: str,
    error: float,
    clips: Sequence[ClipRecord],
    *,
    seed: int = 0,
    reference: bool = False,
    slowdown: float = 1.0,
) -> tuple[Table, ...]:
    """All groups of one candidate; a reference has no codes, no mel error and no timings."""
    # The hardness of a clip is the same for every candidate: that is what pairing takes out.
    hardness = np.random.default_rng(seed).lognormal(sigma=0.4, size=len(clips))
    own = np.random.default_rng([seed, *candidate.encode()])
    ids = tuple(clip.id for clip in clips)
    seconds = np.array([clip.duration_s for clip in clips])
    n_tokens = (seconds * TOKEN_RATE_HZ).astype(int) + 1
    n_values = n_tokens * 4 * 80
    level = hardness * error * own.lognormal(sigma=0.1, size=len(clips))
    words = (seconds * 2.5).astype(int)
    skew = 1 / np.arange(1, CODEBOOK_SIZE + 1) ** (error / 4)
    codes = [own.choice(CODEBOOK_SIZE, size=n, p=skew / skew.sum()) for n in n_tokens]
    repetitions = tuple(f"repetition{i}" for i in range(8))
    # No two measurements of time are the same, so other errors come with other noise.
    clock = np.random.default_rng([seed, round(1000 * error), *candidate.encode()])
    wall_s = slowdown * clock.lognormal(mean=0.0, sigma=0.05, size=8)
    speech = Table(
        candidate,
        "speech",
        ids,
        {
            "errors": _floats(own.binomial(words, np.minimum(0.04 * level, 1.0))),
            "words": _floats(words),
            "similarity": _floats(1 / (1 + 0.1 * level)),
        },
    )
    if reference:
        return (speech,)
    return (
        Table(
            candidate,
            "reconstruction",
            ids,
            {
                "l1_sum": _floats(0.05 * level * n_values),
                "square_db_sum": _floats((2 * level) ** 2 * n_values),
                "n_values": _floats(n_values),
                "mcd_db": _floats(3 * np.sqrt(level)),
            },
        ),
        Table(
            candidate,
            "codebook",
            ids,
            {"codes": Ragged(np.concatenate(codes), np.array([len(row) for row in codes]))},
            {"codebook_size": float(CODEBOOK_SIZE), "token_rate_hz": TOKEN_RATE_HZ},
        ),
        speech,
        Table(
            candidate,
            "throughput.encode.b8",
            repetitions,
            {"audio_s": np.full(8, 40.0), "wall_s": _floats(wall_s), "peak_mb": _floats(300 + 10 * wall_s)},
        ),
        Table(candidate, "throughput.encode.latency", repetitions, {"wall_ms": _floats(25 * wall_s)}),
    )


def make_run(
    *,
    quality: Mapping[str, float] = QUALITY,
    references: Sequence[str] = REFERENCES,
    n_clips: int = 24,
    n_speakers: int = 8,
    seed: int = 0,
    gate: Sequence[str | GateRule] = (),
    min_clips: int = 10,
    allow_unscored: int = 0,
    machine: str = "cpu: test",
    slowdown: float = 1.0,
    resamples: int = 400,
    suite: str = "synthetic",
    families: Mapping[str, Sequence[str]] | None = None,
) -> Run:
    """A run with its results: by default `good` better than `fair` better than `untrained`, and two references.

    Args:
        quality: candidate → how large its errors are (1 is good).
        references: names of reference rows.
        seed: another seed gives other clips' hardness, and another draw of everything.
        gate: rules of the suite.
        machine: where the timings come from.
        slowdown: factor on all times.
        families: family → the candidates that are its seeds.
    """
    family_of = {name: family for family, names in (families or {}).items() for name in names}
    clips = make_clips(n_clips, n_speakers)
    candidates = [
        CandidateRecord(
            name=name,
            role="candidate",
            digest=hashlib.sha256(f"{name} {error}".encode()).hexdigest(),
            source=f"checkpoint: {name}.safetensors",
            front_end="mel-22050-80",
            codebook_size=CODEBOOK_SIZE,
            token_rate_hz=TOKEN_RATE_HZ,
            n_parameters=1_000_000,
            family=family_of.get(name),
        )
        for name, error in quality.items()
    ]
    candidates += [CandidateRecord(name=name, role="reference", digest=name, source="built in") for name in references]
    tables = [
        table
        for candidate in candidates
        for table in make_tables(
            candidate.name,
            quality.get(candidate.name, 0.3),
            clips,
            seed=seed,
            reference=candidate.role == "reference",
            slowdown=slowdown,
        )
    ]
    run = Run(
        suite=SuiteRecord(
            name=suite,
            digest=hashlib.sha256(suite.encode()).hexdigest(),
            seed=seed,
            gate=tuple(rule if isinstance(rule, GateRule) else GateRule(rule) for rule in gate),
            min_clips=min_clips,
            allow_unscored=allow_unscored,
            # Nothing in these runs says whether the candidates write the same tokens.
            plausibility={"agreement_not_asked": "off"},
        ),
        candidates=tuple(candidates),
        clips=clips,
        metrics=METRICS,
        tables=tuple(tables),
        results=(),
        interval=IntervalSpec(resamples=resamples),
        provenance={"machine": machine, "device": "cpu", "vqbench": "0.1.0"},
    )
    return summarised(run)


def summarised(run: Run) -> Run:
    """The run with its results made anew from its tables."""
    results = [
        summarise(spec, table, run.clips, run.interval)
        for candidate in run.candidates
        for spec in run.metrics
        for table in run.tables
        if table.candidate == candidate.name and table.group == spec.group
    ]
    return replace(run, results=tuple(results))


def same_figure(one: Result, other: Result) -> bool:
    """Whether two figures are the same, but for the last digits: sums of a batch round otherwise in another batch."""
    numbers = [[r.value, r.ci_low, r.ci_high, *r.bounds.values()] for r in (one, other)]
    alike = all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
        for a, b in zip(*numbers, strict=True)
    )
    bare = [replace(r, value=None, ci_low=None, ci_high=None, bounds={}) for r in (one, other)]
    return alike and bare[0] == bare[1] and one.bounds.keys() == other.bounds.keys()


def replace_table(run: Run, table: Table) -> Run:
    """The run with another table in place of the one of the same candidate and group, summarised again."""
    same = [(old.candidate, old.group) == (table.candidate, table.group) for old in run.tables]
    tables = tuple(table if is_it else old for old, is_it in zip(run.tables, same, strict=True))
    return summarised(replace(run, tables=tables))


def table_of(run: Run, candidate: str, group: str) -> Table:
    """One table of a run."""
    return next(table for table in run.tables if (table.candidate, table.group) == (candidate, group))


def without_clips(table: Table, unscored: Mapping[str, str]) -> Table:
    """The table with some clips moved to `unscored`, each with its reason."""
    keep = np.array([i for i, row_id in enumerate(table.row_ids) if row_id not in unscored], dtype=np.int64)
    return replace(
        table,
        row_ids=tuple(table.row_ids[i] for i in keep),
        columns={name: take(column, keep) for name, column in table.columns.items()},
        unscored={**table.unscored, **unscored},
    )


def _floats(values: np.ndarray) -> Array:
    return np.asarray(values, dtype=np.float64)
