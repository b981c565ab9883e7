"""A whole run on real human clips with the real judges: figures, caching, what cannot be scored, gates."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import load_suite, select
from vqbench.data.corpora import corpus_clips
from vqbench.engine.cache import Cache
from vqbench.engine.provenance import git_commit
from vqbench.engine.runner import Outcome, run_suite
from vqbench.engine.systems import MelCandidate, Recording
from vqbench.errors import CheckpointError, ManyErrors
from vqbench.metrics.base import Rendering
from vqbench.progress import Silent
from vqbench.records.check import check_run
from vqbench.records.run import Result, Run
from vqbench.records.store import load_run, save_run
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions


def figure(run: Run, candidate: str, metric: str) -> Result:
    (found,) = (r for r in run.results if r.candidate == candidate and r.metric == metric)
    return found


def write_suite(folder: Path, **changes: object) -> Path:
    content: dict[str, object] = {
        "name": "tiny",
        "data": {"speech": {"manifest": "clips.jsonl"}},
        "candidates": [{"name": "small", "checkpoint": "small.safetensors"}],
        "throughput": {"batch_sizes": [1, 2], "segment_s": 0.5, "repetitions": 3, "warmup": 0},
        "interval": {"resamples": 200},
        "device": "cpu",
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short human clips of two speakers, one that holds a NaN, one without words; and an untrained candidate."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips = sorted(corpus_clips("tortoise-voices", "test"), key=lambda clip: clip.duration_s)[:3]
    lines = []
    for clip in clips:
        name = clip.id.replace("/", "-") + clip.path.suffix
        shutil.copy(clip.path, folder / name)
        lines.append({"id": clip.id, "path": name, "speaker": clip.speaker, "text": clip.text})
    nan = np.zeros(22_050, dtype=np.float32)
    nan[4321] = np.nan
    soundfile.write(folder / "broken.wav", nan, 22_050, subtype="FLOAT")
    lines.append({"id": "broken", "path": "broken.wav", "text": "no one can hear this", "speaker": "nobody"})
    shutil.copy(clips[0].path, folder / ("untold" + clips[0].path.suffix))
    lines.append({"id": "untold", "path": "untold" + clips[0].path.suffix, "speaker": clips[0].speaker})
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(codebook_size=64, codebook_dim=8, hidden_dim=16))
    save_checkpoint(folder / "small.safetensors", dvae, MelSpec(), {})
    return folder


@pytest.fixture(scope="module")
def outcome(project: Path) -> Outcome:
    return run_suite(load_suite(write_suite(project)), Cache(project / "cache"), Silent())


def test_the_run_is_whole_and_survives_the_store(outcome: Outcome, tmp_path: Path) -> None:
    check_run(outcome.run)
    save_run(outcome.run, tmp_path)
    assert load_run(tmp_path) == outcome.run


def test_real_speech_is_understood_and_is_its_own_voice(outcome: Outcome) -> None:
    original = figure(outcome.run, "original", "speech.wer")
    assert original.value is not None
    assert original.value < 0.2
    assert original.n == 3
    assert figure(outcome.run, "original", "speech.speaker_similarity").value == pytest.approx(1.0, abs=1e-5)
    vocoded = figure(outcome.run, "vocoded", "speech.speaker_similarity").value
    assert vocoded is not None
    assert vocoded > 0.9


def test_an_untrained_candidate_is_worse_than_the_vocoder_alone(outcome: Outcome) -> None:
    for metric, better in (
        ("speech.wer", "vocoded"),
        ("speech.cer", "vocoded"),
        ("reconstruction.mr_stft", "vocoded"),
        ("reconstruction.mcd_db", "vocoded"),
    ):
        worse = figure(outcome.run, "small", metric).value
        good = figure(outcome.run, better, metric).value
        assert worse is not None
        assert good is not None
        assert worse > good + 0.05
    assert figure(outcome.run, "vocoded", "reconstruction.mel_l1").value == 0


def test_references_have_no_codebook_and_the_original_no_reconstruction(outcome: Outcome) -> None:
    tables = {(table.candidate, table.group) for table in outcome.run.tables}
    assert ("small", "codebook") in tables
    assert not {("original", "codebook"), ("vocoded", "codebook"), ("original", "reconstruction")} & tables
    assert not {c for c, group in tables if group.startswith("throughput")} - {"small"}


def test_what_cannot_be_scored_is_named_with_its_reason(outcome: Outcome) -> None:
    unscored = {(t.candidate, t.group): t.unscored for t in outcome.run.tables}
    for place, reasons in unscored.items():
        if not place[1].startswith("throughput"):
            assert "broken" in reasons
            assert "sample 4321 is nan" in reasons["broken"]
    assert "no transcript" in unscored["original", "speech"]["untold"]
    assert "untold" not in unscored["original", "speech.voice"]
    assert figure(outcome.run, "small", "reconstruction.mel_l1").n == 4


def test_transcripts_stand_beside_the_figures(outcome: Outcome) -> None:
    heard = [t for t in outcome.transcripts if t.candidate == "original"]
    assert len(heard) == 3
    assert all(t.reference and t.hypothesis for t in heard)


def test_the_second_run_reads_and_gives_the_same_figures(
    project: Path, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        pytest.fail("rendered again")

    cached = [path.relative_to(project / "cache").parts[0] for path in (project / "cache").rglob("*.json")]
    # Speech, voice, reconstruction, codebook; and three systems' takes of three recordings: `untold` is one again.
    assert len(cached) == 3 * 4 + 3 * 4 + 2 * 4 + 4 + cached.count("exhibits")
    assert cached.count("exhibits") == 3 * 3
    monkeypatch.setattr("vqbench.engine.systems.MelCandidate.render", lambda self, clips: fail() if clips else [])
    again = run_suite(load_suite(write_suite(project)), Cache(project / "cache"), Silent()).run
    timeless = [r for r in again.results if not r.metric.startswith("throughput")]
    assert timeless == [r for r in outcome.run.results if not r.metric.startswith("throughput")]


def test_another_candidate_or_text_or_setting_is_measured_anew(project: Path, outcome: Outcome) -> None:
    before = {p.relative_to(project / "cache") for p in (project / "cache").rglob("*.json")}
    suite = load_suite(write_suite(project, vocoder={"iterations": 3}, metrics=["reconstruction"]))
    run_suite(suite, Cache(project / "cache"), Silent())
    new = {p.relative_to(project / "cache") for p in (project / "cache").rglob("*.json")} - before
    kinds = Counter(path.parts[0] for path in new)
    # The vocoder changes what all but the original give back: of four clips, three of which are kept to be heard.
    assert kinds == {"rows-reconstruction": 2 * 4, "exhibits": 2 * 3}


def test_a_part_of_a_suite(project: Path) -> None:
    suite = select(load_suite(write_suite(project)), metrics=["codebook"])
    run = run_suite(suite, Cache(project / "cache"), Silent()).run
    assert {spec.group for spec in run.metrics} == {"codebook"}
    assert {table.candidate for table in run.tables} == {"small"}


def test_all_broken_candidates_are_named_before_anything_is_measured(project: Path) -> None:
    (project / "x.pth").write_text("no")
    (project / "y.pth").write_text("no")
    candidates = [{"name": "x", "checkpoint": "x.pth"}, {"name": "y", "checkpoint": "y.pth"}]
    with pytest.raises(ManyErrors) as caught:
        run_suite(load_suite(write_suite(project, candidates=candidates)), Cache(project / "c2"), Silent())
    assert all(isinstance(error, CheckpointError) for error in caught.value.errors)
    assert len(caught.value.errors) == 2
    assert not (project / "c2").exists()


def test_a_figure_that_is_not_finite_is_named_not_averaged(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(self: MelCandidate, recordings: list[Recording]) -> list[Rendering]:
        return [
            Rendering(r.clip, r.waveform, r.mel, torch.full_like(r.waveform, 1e30), r.mel + 1, torch.tensor([1]))
            for r in recordings
        ]

    monkeypatch.setattr(MelCandidate, "render", loud)
    suite = select(load_suite(write_suite(project)), metrics=["reconstruction"])
    run = run_suite(suite, Cache(project / "loud"), Silent()).run
    (table,) = (table for table in run.tables if table.candidate == "small")
    assert table.row_ids == ()
    assert all("came out as inf" in reason or "nan" in reason for reason in table.unscored.values())
    assert figure(run, "small", "reconstruction.mel_l1").value is None


def test_looking_up_a_commit_runs_nothing_of_a_strangers_folder(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "config", "core.fsmonitor", f"touch {tmp_path}/ran; false"], check=True)
    git_commit(tmp_path)
    assert not (tmp_path / "ran").exists()
