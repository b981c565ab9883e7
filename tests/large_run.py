"""A run of the quick suite's metrics as a large release would have it: many candidates, thousands of clips.

Written out, it has beside it what a run keeps: what was heard, and a few clips with sound, mel and tokens.

python tests/large_run.py FOLDER [CANDIDATES] [CLIPS]
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from vqbench.judging.choice import choose_clips
from vqbench.records.exhibits import Exhibit, Exhibits, Mel, Shown, Take, pack_whole, save_exhibits, sound_name
from vqbench.records.run import CandidateRecord, ClipRecord, GateRule, IntervalSpec, MetricSpec, Run, SuiteRecord, Table
from vqbench.records.store import load_run, save_run
from vqbench.records.summary import summarise
from vqbench.records.transcripts import Transcript, save_transcripts
from vqbench.stats.columns import Column, Ragged

TOKENS = 100
"""Codes of a clip, on average: some five seconds."""

SAMPLE_RATE_HZ, HOP_LENGTH, BANDS = 22_050, 256, 80
"""Of the sounds, and of their mels."""

VOCABULARY = tuple(f"{one}{other}" for one in "bdfgkmns" for other in ("ar", "elm", "ick", "on", "ust", "ave"))

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
    hardness = generator.lognormal(sigma=0.4, size=n_clips)
    words = generator.integers(5, 25, n_clips).astype(float)
    lengths = generator.integers(TOKENS // 2, TOKENS * 3 // 2, n_clips)
    texts = _texts(words.astype(int))
    clips = tuple(
        ClipRecord(
            f"speaker{i % 200:03d}/clip{i:06d}",
            hashlib.sha256(str(i).encode()).hexdigest(),
            float(3 + i % 5),
            text,
        )
        for i, text in enumerate(texts)
    )
    ids = tuple(clip.id for clip in clips)
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


def _texts(words: np.ndarray) -> list[str]:
    """Sentences of so many words."""
    drawn = np.random.default_rng(1).integers(len(VOCABULARY), size=words.sum())
    return [" ".join(VOCABULARY[word] for word in part) for part in np.split(drawn, np.cumsum(words)[:-1])]


def heard(run: Run) -> Iterator[Transcript]:
    """Transcripts with just as many word errors as the run says: some words are missing, some are no words at all."""
    generator = np.random.default_rng(2)
    texts = {clip.id: clip.text for clip in run.clips}
    for table in run.tables:
        if table.group != "speech":
            continue
        for clip, n_errors in zip(table.row_ids, np.asarray(table.columns["word_errors"], dtype=int), strict=True):
            words = texts[clip].split()
            for place in generator.choice(len(words), n_errors, replace=False) if n_errors else ():
                words[place] = "" if generator.random() < 0.3 else f"{words[place]}ish"
            yield Transcript(table.candidate, clip, texts[clip], " ".join(filter(None, words)))


def shown(run: Run) -> tuple[Exhibits, dict[str, bytes]]:
    """As many clips as a suite shows where it does not say, from all candidates, and the files of their sounds."""
    generator = np.random.default_rng(3)
    seconds = {clip.id: clip.duration_s for clip in run.clips}
    sounds: dict[str, bytes] = {}

    def take(candidate: str, clip: str) -> Take:
        sound = _sound(seconds[clip], generator)
        name = sound_name(sound, "flac")
        sounds[name] = sound
        frames = int(seconds[clip] * SAMPLE_RATE_HZ / HOP_LENGTH)
        ridges = 25 + 25 * np.sin(np.add.outer(np.arange(BANDS) / 3, np.arange(frames) / generator.uniform(5, 10)))
        levels = (ridges + generator.normal(0, 2, ridges.shape)).clip(0, 255).astype(np.uint8)
        mel = Mel(BANDS, frames, SAMPLE_RATE_HZ / HOP_LENGTH, "decoder", pack_whole(levels.ravel()))
        return Take(candidate, name, seconds[clip], mel, pack_whole(generator.integers(1024, size=frames // 4)))

    exhibits = [
        Exhibit(chosen.why, (Shown(chosen.clip, tuple(take(c.name, chosen.clip) for c in run.candidates)),))
        for chosen in choose_clips(run, "speech", (), drawn=1, worst=3, seed=0)
    ]
    return Exhibits(tuple(exhibits)), sounds


def _sound(seconds: float, generator: np.random.Generator) -> bytes:
    """A tone in a hiss that makes it as large a file as speech is."""
    import soundfile

    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * generator.uniform(100, 400) * time_s) + generator.normal(0, 0.004, len(time_s))
    file = io.BytesIO()
    soundfile.write(file, tone, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def save_large_run(run: Run, folder: Path) -> None:
    """Writes a run's folder as `vqbench run` does."""
    save_transcripts(list(heard(run)), folder)
    save_exhibits(*shown(run), folder)
    save_run(run, folder)


def main(folder: str, n_candidates: str = "20", n_clips: str = "10000") -> None:
    quick = load_run(Path(__file__).parent.parent / "baselines/quick.json")
    save_large_run(large_run(quick.metrics, int(n_candidates), int(n_clips)), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
