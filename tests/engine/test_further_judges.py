"""A suite that asks for further judges: their tables stand beside the others', and what they lack is said in time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_teacher import VOCABULARY, make_teacher

from vqbench.audio.io import load_waveform, save_waveform
from vqbench.audio.mel import MelSpec
from vqbench.config.suite import Suite, load_suite
from vqbench.data.corpora import corpus_clips
from vqbench.data.manifest import Clip, verify, write_manifest
from vqbench.engine.assignment import make_assignment
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.errors import ConfigError, VqbenchError
from vqbench.judges.mos.dnsmos import QualityPredictor
from vqbench.progress import Silent
from vqbench.records.check import check_run
from vqbench.records.run import Run
from vqbench.records.store import load_run, save_run
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

N = 3
SPEAKERS = ("train_kennard", "train_mouse")
FIGURES = ("clvp_score", "clvp_distance", "mos_overall", "mos_signal", "mos_background", "mos_p808")


def tokenizer() -> DVAETokenizer:
    torch.manual_seed(1)
    dvae = DVAE(Dimensions(codebook_size=VOCABULARY.n_codes, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1))
    with torch.no_grad():
        rows = dvae.encoder(torch.randn(1, 80, 8 * VOCABULARY.n_codes) * 2)[0].t()
        dvae.codebook.set_codes(rows[: VOCABULARY.n_codes], 1.0)
    return DVAETokenizer(dvae, MelSpec())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pieces of human speech by two speakers."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips = []
    for speaker in SPEAKERS:
        recording = next(clip for clip in corpus_clips("tortoise-voices") if clip.speaker == speaker)
        waveform = load_waveform(recording.path, 22_050)
        for part, text in enumerate(("The boys found a key.", "Our cousin sold the bell.")):
            path = folder / f"{speaker}-{part}.flac"
            save_waveform(path, waveform[part * 30_000 : (part + 1) * 30_000], 22_050)
            clips.append(verify(Clip(path.stem, path, "", 0.0, text=text, speaker=speaker)))
    write_manifest(folder / "clips.jsonl", clips)
    save_checkpoint(folder / "one.safetensors", tokenizer().dvae, MelSpec(), {})
    return folder


def suite_of(project: Path, judges: Any, gate: tuple[str, ...] = ()) -> Suite:
    manifest = {"manifest": "clips.jsonl"}
    content = {
        "name": "tiny",
        "teacher": "pocket",
        "data": {"speech": manifest},
        "candidates": [{"name": "one", "checkpoint": "one.safetensors"}],
        "metrics": ["downstream"],
        "downstream": {
            "finetune": {"data": [manifest], "steps": 0, "batch_size": 2, "learning_rate": 1e-3},
            "n": N,
            "sentences": "pocket",
            "voices": manifest,
            "enrolment": manifest,
            "judges": judges,
        },
        "gate": list(gate),
        "interval": {"unit": "clip", "resamples": 100},
        "device": "cpu",
    }
    (project / "suite.yaml").write_text(json.dumps(content))
    return load_suite(project / "suite.yaml")


def with_ears() -> TortoiseTeacher:
    return replace(make_teacher(), tokenizer=tokenizer())


@pytest.fixture(scope="module")
def run(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vqbench.engine.assignment.open_teacher", lambda written, device: with_ears())
        suite = suite_of(project, ["mos", "clvp"], ("downstream.mos_overall >= 1", "downstream.clvp_score <= 1"))
        return run_suite(suite, Cache(tmp_path_factory.mktemp("cache")), Silent()).run


def test_their_tables_and_figures_stand_beside_the_others(run: Run, tmp_path: Path) -> None:
    check_run(run)
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run") == run
    groups = ["downstream", "downstream.voice", "downstream.mos", "downstream.clvp"]
    for name in ("one", "zero-shot"):
        tables = [t for t in run.tables if t.candidate == name and t.group != "downstream.learning"]
        assert [table.group for table in tables] == groups
        assert all(len(table.row_ids) + len(table.unscored) == N for table in tables)
        found = {result.metric: result for result in run.results if result.candidate == name}
        for figure in FIGURES:
            assert found[f"downstream.{figure}"].value is not None
            assert found[f"downstream.{figure}"].n == N
        assert 1 <= (found["downstream.mos_overall"].value or 0) <= 5
        assert -1 <= (found["downstream.clvp_score"].value or 2) <= 1


def test_provenance_names_them_and_counts_what_they_compare_with(run: Run) -> None:
    listened = run.provenance["judges"]["downstream"]
    assert listened["downstream.mos"]["predictor"]["speechmos"]
    assert listened["downstream.clvp"]["recordings"] == 4


def test_what_was_rated_before_is_not_rated_again(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Never tuned, the candidate says what the teacher says: one recording, heard once.
    rated = []
    rate = QualityPredictor.rate
    monkeypatch.setattr(QualityPredictor, "rate", lambda self, *a: rated.append(1) or rate(self, *a))
    monkeypatch.setattr("vqbench.engine.assignment.open_teacher", lambda written, device: with_ears())
    cache = Cache(tmp_path)
    again = run_suite(suite_of(project, ["mos"]), cache, Silent()).run
    assert len(rated) == N
    # Another judge hears the same recordings, and changes nothing of the others' figures.
    both = run_suite(suite_of(project, ["clvp", "mos"]), cache, Silent()).run
    assert len(rated) == N
    values = [{(r.candidate, r.metric): r.value for r in one.results} for one in (again, both, run)]
    assert values[0].items() <= values[1].items() == values[2].items()
    assert [clip.sha256 for clip in again.clips] == [clip.sha256 for clip in run.clips]


def test_clvp_without_ears_is_refused_when_the_suite_is_assigned(project: Path) -> None:
    deaf, device = make_teacher(), torch.device("cpu")
    with pytest.raises(ConfigError) as caught:
        make_assignment(suite_of(project, ["clvp"]), device, deaf)
    assert str(caught.value).startswith("downstream.judges: CLVP reads the tokens of the teacher's VQVAE")
    assert make_assignment(suite_of(project, ["mos"]), device, deaf).further_judges == ("mos",)


def test_nobody_else_listens_unasked(project: Path) -> None:
    assert suite_of(project, []).downstream.judges == ()  # type: ignore[union-attr]
    with pytest.raises(VqbenchError, match="mos_overall"):
        run_suite(suite_of(project, [], ("downstream.mos_overall >= 3",)), Cache(project / "none"), Silent())


@pytest.mark.parametrize(
    ("judges", "said"),
    [
        (["moss"], "downstream.judges[0]: 'moss' is not a judge (did you mean 'mos'?)"),
        (["mos", "clvp", "mos"], "downstream.judges[2]: 'mos' is here for the second time"),
    ],
)
def test_their_names_are_checked(project: Path, judges: Any, said: str) -> None:
    with pytest.raises(VqbenchError) as caught:
        suite_of(project, judges)
    assert said in str(caught.value)
