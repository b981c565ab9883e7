"""Whether a tuned GPT learnt: a tiny teacher's, asked for the tokens of held-out chirps, and a run that tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hearable_pairs import true_vqvae
from interrupting import Interrupting
from small_trainings import write_chirps
from staged import learnt_by
from tiny_teacher import make_teacher

from vqbench.audio.io import load_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.suite import load_suite
from vqbench.config.training import FinetuneConfig
from vqbench.data.manifest import read_manifest, write_manifest
from vqbench.engine.assignment import Assignment
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.engine.stages import tuning
from vqbench.errors import DataError
from vqbench.judging.gate import gate
from vqbench.judging.learning import BEFORE, LATE_FALL, NATS, UNIGRAM
from vqbench.progress import Progress, Silent
from vqbench.records.check import check_run
from vqbench.records.run import CandidateRecord, Table
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.teachers.tortoise.pair_generation import split_of
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

FINETUNE: dict[str, Any] = {
    "data": [{"manifest": "train.jsonl"}],
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 2e-3,
    "validate_every": 2,
    "validation_share": 0.3,
}
HELD_OUT = 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen chirps by two speakers: four are held out, two tell the voices, ten are to be tuned on."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips = read_manifest(write_chirps(folder, n=17))[1:]
    for name, part in (("test", clips[:HELD_OUT]), ("voices", clips[4:6]), ("train", clips[6:])):
        write_manifest(folder / f"{name}.jsonl", part)
    save_checkpoint(folder / "one.safetensors", true_vqvae(), MelSpec(), {})
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> DVAETokenizer:
    return DVAETokenizer(true_vqvae(), MelSpec())


def assign(project: Path, recorded: bool = True, **changes: Any) -> Assignment:
    test, voices, train = (read_manifest(project / f"{name}.jsonl") for name in ("test", "voices", "train"))
    config = FinetuneConfig(**{**FINETUNE, **changes})
    recordings = {f"downstream/{clip.id}": clip for clip in test} if recorded else {}
    return Assignment(make_teacher(), config, tuple(train), tuple(voices), (), False, (), recordings, 1, 0)


def measure(made: DVAETokenizer, asked: Assignment, cache: Cache, progress: Progress | None = None) -> Table:
    record = CandidateRecord("one", "candidate", made.digest, "one")
    return learnt_by(record, made, None, asked, cache, progress or Silent())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def first(project: Path, tokenizer: DVAETokenizer, cache: Cache) -> Table:
    return measure(tokenizer, assign(project), cache)


@torch.no_grad()
def plainly(gpt: UnifiedVoice, asked: Assignment, made: DVAETokenizer) -> list[float]:
    """Nats of each held-out recording, one softmax a token."""
    found = []
    for clip in asked.recordings.values():
        told = [other for other in asked.voices if other.speaker == clip.speaker]
        mels = [asked.teacher.gpt_mel(load_waveform(other.path, 22_050)) for other in told]
        voice = gpt.conditioning(torch.stack(mels)).mean(0)
        mel = MelFrontEnd(MelSpec())(load_waveform(clip.path, 22_050))
        codes = made.quantize(made.latents([mel]))[0]
        text = asked.teacher.encode(clip.text or "")
        probabilities = gpt(voice[None], text[None], codes[None], torch.tensor([len(text)])).mel[0].softmax(-1)
        wanted = [*codes.tolist(), gpt.dimensions.stop_mel]
        found.append(-sum(np.log(float(probabilities[at, token])) for at, token in enumerate(wanted)))
    return found


def test_the_rows_are_a_plain_computations(first: Table, project: Path, tokenizer: DVAETokenizer, cache: Cache) -> None:
    asked = assign(project)
    (folder,) = (cache.folder / "trainings").iterdir()
    with asked.teacher.gpt.loaded() as gpt:
        assert first.columns["nats_before"] == pytest.approx(plainly(gpt, asked, tokenizer), rel=1e-4)
        tuned = UnifiedVoice(gpt.dimensions).eval()
    tuned.load_state_dict(torch.load(folder / "autoregressive.pth", weights_only=True))
    assert first.columns["nats"] == pytest.approx(plainly(tuned, asked, tokenizer), rel=1e-4)
    assert sum(first.columns["nats"]) < sum(first.columns["nats_before"])  # type: ignore[arg-type]


def test_the_floor_is_that_of_the_speech_that_was_trained_on(
    first: Table, project: Path, tokenizer: DVAETokenizer
) -> None:
    asked, spec = assign(project), MelSpec()

    def codes(clips: Sequence[Any]) -> list[list[int]]:
        mels = [MelFrontEnd(spec)(load_waveform(clip.path, spec.sample_rate_hz)) for clip in clips]
        return [tokenizer.quantize(tokenizer.latents([mel]))[0].tolist() for mel in mels]

    held_out = [clip for clip in asked.clips if learning_part(clip.text or "")]
    assert held_out and len(held_out) < len(asked.clips)
    written = codes([clip for clip in asked.clips if clip not in held_out])
    stop = tokenizer.codebook_size
    counts = np.bincount([code for row in written for code in [*row, stop]], minlength=stop + 1) + 0.5
    nats = -np.log(counts / counts.sum())
    expected = [sum(nats[code] for code in [*row, stop]) for row in codes(list(asked.recordings.values()))]
    assert first.columns["nats_unigram"] == pytest.approx(expected)


def learning_part(text: str) -> bool:
    return split_of(f"validation: {text}", FINETUNE["validation_share"]) == "test"


def test_how_it_fell_is_told_by_the_log(first: Table, cache: Cache) -> None:
    (folder,) = (cache.folder / "trainings").iterdir()
    lines = [line.split(",") for line in (folder / "log.csv").read_text().split()]
    at = lines[0].index("validation_mel")
    course = {int(line[0]): float(line[at]) for line in lines[1:]}
    assert first.constants[LATE_FALL] == pytest.approx(1 - course[8] / course[6])
    assert LATE_FALL not in first.columns


def test_the_second_time_all_of_it_is_known(
    first: Table, project: Path, tokenizer: DVAETokenizer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this was known")

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "tune", refuse)
        assert measure(tokenizer, assign(project), cache) == first
    # Of a GPT of an earlier vqbench the tokens were not counted.
    (folder,) = (cache.folder / "trainings").iterdir()
    (folder / "tokens.json").unlink()
    monkeypatch.setattr("vqbench.training.finetune.optimize", refuse)
    assert measure(tokenizer, assign(project), Cache(cache.folder, read=False)) == first


def test_interrupted_it_ends_the_same(first: Table, project: Path, tokenizer: DVAETokenizer, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for task in ("one: finetune", "one: foretelling tokens"):
        with pytest.raises(KeyboardInterrupt):
            measure(tokenizer, assign(project), cache, Interrupting(task, 3))
    assert measure(tokenizer, assign(project), cache) == first


def test_where_other_sentences_are_said_those_of_the_validation_are_held_out(
    project: Path, tokenizer: DVAETokenizer, cache: Cache
) -> None:
    asked = assign(project, recorded=False)
    assert asked.held_out and all(learning_part(clip.text or "") for clip in asked.held_out.values())
    assert set(asked.held_out.values()) < set(asked.clips)
    assert measure(tokenizer, asked, cache).row_ids == tuple(asked.held_out)
    assert [record.id for record in asked.held_out_records] == [*asked.held_out]
    nothing = assign(project, recorded=False, validation_share=0.0)
    assert measure(tokenizer, nothing, cache).row_ids == () and nothing.held_out_records == ()


def test_another_training_is_another_question(project: Path) -> None:
    ours, theirs = assign(project).held_out_records, assign(project, steps=9).held_out_records
    assert [record.id for record in ours] == [record.id for record in theirs]
    assert not {record.sha256 for record in ours} & {record.sha256 for record in theirs}


def test_what_cannot_be_read_is_named(project: Path, tokenizer: DVAETokenizer, cache: Cache, tmp_path: Path) -> None:
    asked = assign(project)
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    line, clip = next(iter(asked.recordings.items()))
    broken = replace(asked, recordings={**asked.recordings, line: replace(clip, path=tmp_path / "damaged.wav")})
    table = measure(tokenizer, broken, Cache(cache.folder, read=False))
    assert len(table.unscored) == 1 and len(table.row_ids) == HELD_OUT - 1
    record = CandidateRecord("one", "candidate", tokenizer.digest, "one")
    none = learnt_by(record, tokenizer, DataError("too many codes"), asked, cache, Silent())
    assert set(none.unscored.values()) == {"too many codes"} and len(none.unscored) == HELD_OUT


class Deaf:
    """Hears nothing, quickly: the worst that there is, and the same for everybody."""

    identity: Mapping[str, str | int | float] = {"asr": "deaf"}
    languages = frozenset({"en"})

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        return ["" for _ in waveforms]


def test_a_tuning_that_taught_nothing_is_no_pass(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqbench.engine.assignment.open_teacher", lambda *_: make_teacher())
    monkeypatch.setattr("vqbench.engine.groups.load_recognizer", lambda *_, **__: Deaf())
    finetune = {**FINETUNE, "steps": 2, "learning_rate": 1e-6}
    content = {
        "name": "tiny",
        "teacher": "pocket",
        "data": {"speech": {"manifest": "test.jsonl"}},
        "candidates": [{"name": "one", "checkpoint": "one.safetensors"}],
        "metrics": ["downstream"],
        "downstream": {"finetune": finetune, "n": HELD_OUT, "voices": {"manifest": "voices.jsonl"}},
        "interval": {"resamples": 200, "unit": "clip"},
        "exhibits": {"drawn": 0, "worst": 0},
        "gate": ["downstream.wer <= 1"],
        "min_clips": 2,
        "device": "cpu",
    }
    (project / "suite.yaml").write_text(json.dumps(content))
    run = run_suite(load_suite(project / "suite.yaml"), Cache(tmp_path), Silent()).run
    check_run(run)
    figures = {result.metric: result for result in run.results if result.candidate == "one"}
    assert figures["downstream.wer"].value == 1.0
    assert figures[NATS].value == pytest.approx(figures[BEFORE].value, rel=1e-3)
    assert figures[NATS].value > figures[UNIGRAM].value
    for metric in ("downstream.wer", "downstream.runaway"):
        assert "learnt too little" in (figures[metric].reason or "")
    report = gate(run)
    assert [(outcome.status, outcome.value) for outcome in report.outcomes] == [("inconclusive", 1.0)]
    assert {finding.check for finding in report.findings} == {"learnt_too_little", "not_understood"}
    judged = run.provenance["judges"]["downstream"]["downstream.learning"]
    assert judged == {"version": 1, "smoothing": 0.5, "held_out": HELD_OUT, "warmup_steps": 0}
