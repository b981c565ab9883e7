"""What a run will report is counted before, exactly; and the rehearsal is a small run like the large one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
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
from vqbench.engine import rehearsal
from vqbench.engine.cache import CACHE_VARIABLE, Cache
from vqbench.engine.rehearsal import rehearse
from vqbench.engine.runner import run_suite
from vqbench.errors import DataError, ManyErrors
from vqbench.progress import Silent, Timekeeper
from vqbench.records.forecast import Forecast
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training import finetune
from vqbench.training.speech import Batches

SPEAKERS = ("train_kennard", "train_mouse")
N_CLIPS = 8
"""More than are rehearsed."""

LENGTHS = [33_000 + 5_500 * part for part in range(N_CLIPS // 2)]


def dvae(seed: int, **sizes: int) -> DVAE:
    torch.manual_seed(seed)
    small = {"codebook_size": VOCABULARY.n_codes, "codebook_dim": 8, "hidden_dim": 8, "num_resnet_blocks": 1, **sizes}
    made = DVAE(Dimensions(**small))
    with torch.no_grad():
        rows = made.encoder(torch.randn(1, 80, 8 * small["codebook_size"]) * 2)[0].t()
        made.codebook.set_codes(rows[: small["codebook_size"]], 1.0)
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pieces of human speech by two speakers, of 1.5 s to 2.4 s, and five kinds of candidates."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips, told = [], []
    for speaker in SPEAKERS:
        of_speaker = [clip for clip in corpus_clips("tortoise-voices") if clip.speaker == speaker]
        waveform = load_waveform(of_speaker[0].path, 22_050)
        for part in range(N_CLIPS // 2):
            path = folder / f"{speaker}-{part}.flac"
            save_waveform(path, waveform[part * 5_000 :][: LENGTHS[part]], 22_050)
            clips.append(
                verify(Clip(path.stem, path, "", 0.0, text=f"Piece {part} of {speaker[6:]}.", speaker=speaker))
            )
        path = folder / f"{speaker}-voice.flac"
        save_waveform(path, load_waveform(of_speaker[1].path, 22_050)[: 3 * 22_050], 22_050)
        told.append(verify(Clip(path.stem, path, "", 0.0, speaker=speaker)))
    write_manifest(folder / "clips.jsonl", clips)
    write_manifest(folder / "training.jsonl", [replace(clip, text=f"{clip.text} Again.") for clip in clips])
    write_manifest(folder / "voices.jsonl", told)
    write_manifest(folder / "natural.jsonl", clips[:3])
    for name, made in {
        "wide": dvae(3, codebook_size=65),  # more codes than the GPT has
        "slow": dvae(4, num_layers=3),  # fewer tokens a second
        "one": dvae(1),
        "true": dvae(0),
    }.items():
        save_checkpoint(folder / f"{name}.safetensors", made, MelSpec(), {})
    model = "model: {hidden_dim: 8, codebook_size: 64, codebook_dim: 8, num_resnet_blocks: 1}\n"
    (folder / "untrained.yaml").write_text(f"name: untrained\n{model}")
    (folder / "trained.yaml").write_text(
        f"name: trained\n{model}reconstruct: {{data: [{{manifest: training.jsonl}}], steps: 2, batch_size: 4, "
        f"crop_frames: 16, codebook: {{kmeans_iterations: 2}}}}\n"
    )
    return folder


CANDIDATES = [
    *({"name": name, "checkpoint": f"{name}.safetensors"} for name in ("wide", "slow", "one", "true")),
    {"name": "one-again", "checkpoint": "one.safetensors"},
    {"name": "untrained", "recipe": "untrained.yaml"},
]


class Deaf:
    """Hears nothing, quickly."""

    identity: Mapping[str, str | int | float] = {"asr": "deaf"}
    languages = frozenset({"en"})

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        return ["" for _ in waveforms]


def suite_of(project: Path, section: dict[str, Any] | None = None, **changes: Any) -> Suite:
    content = {
        "name": "tiny",
        "teacher": "pocket",
        "data": {
            "speech": {"manifest": "clips.jsonl"},
            "pairs": {"n": 6, "voices": {"manifest": "voices.jsonl"}},
            "natural": {"manifest": "natural.jsonl"},
        },
        "candidates": CANDIDATES,
        "metrics": ["token_agreement", "reconstruction", "codebook", "downstream", "throughput"],
        "downstream": {
            "finetune": {
                "data": [{"manifest": "training.jsonl"}],
                "steps": 6,
                "batch_size": 3,
                "learning_rate": 1e-3,
                "checkpoint_every": 3,
            },
            "n": 6,
            "sentences": "pocket",
            "voices": {"manifest": "voices.jsonl"},
            "enrolment": {"manifest": "clips.jsonl"},
            **(section or {}),
        },
        "throughput": {"batch_sizes": [1, 2], "segment_s": 0.2, "repetitions": 3, "warmup": 0},
        "vocoder": {"iterations": 1},
        "interval": {"resamples": 100},
        "device": "cpu",
        **changes,
    }
    path = project / "suite.yaml"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return load_suite(path)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def open_tiny(*_: object) -> Any:
        return replace(make_teacher(), tokenizer=DVAETokenizer(dvae(0), MelSpec()))

    for module in ("assignment", "question"):
        monkeypatch.setattr(f"vqbench.engine.{module}.open_teacher", open_tiny)
    # What the ASR would make of a tiny teacher's noise takes minutes; nothing that is counted depends on it.
    monkeypatch.setattr("vqbench.engine.groups.load_recognizer", lambda *_, **__: Deaf())
    monkeypatch.setattr(rehearsal, "CLIPS", 4)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "users"))


Counts = dict[str, tuple[int, int]]
"""Stage → its tasks, and the units in them."""


def reported(suite: Suite, folder: Path) -> tuple[Counts, dict[str, int]]:
    """What a run from an empty cache reports, and what it leaves there."""
    keeper, cache = Timekeeper(Silent()), Cache(folder / "cache")
    run_suite(suite, cache, keeper)
    tasks, units = Counter[str](), Counter[str]()
    for task in keeper.tasks:
        stage = task.description.rpartition(": ")[2]
        tasks[stage] += 1
        units[stage] += task.total
        assert sum(steps for _, steps in task.marks) == task.total, task.description
    for counts in (tasks, units):
        counts.pop("keeping what is heard", None)  # seconds, which are not estimated
    tuned = [path.parent for path in cache.folder.glob("trainings/*/autoregressive.pth")]
    left = {"tuned GPTs": sum(path.stat().st_size for folder in tuned for path in folder.iterdir())}
    return {stage: (n, units[stage]) for stage, n in tasks.items()}, left


def counted(estimate: Forecast) -> Counts:
    return {stage.name: (stage.tasks, stage.units) for stage in estimate.stages}


SUITES: dict[str, dict[str, Any]] = {
    "everything": {},
    "the candidates' own sentences": {
        "section": {"sentences": None, "enrolment": None},
        "metrics": ["downstream"],
    },
    "no references": {"references": [], "metrics": ["reconstruction", "codebook", "downstream"]},
    "codes alone": {"metrics": ["codebook"], "teacher": None, "downstream": None},
    "nothing is tuned": {
        "section": {"finetune": {"data": [{"manifest": "training.jsonl"}], "steps": 0}},
        "metrics": ["downstream"],
        "candidates": CANDIDATES[2:4],
    },
    "nobody can be tuned to": {"metrics": ["downstream"], "candidates": CANDIDATES[:2]},
}


@pytest.mark.parametrize("changes", SUITES.values(), ids=SUITES)
def test_what_is_counted_is_what_a_run_reports(changes: dict[str, Any], project: Path, tmp_path: Path) -> None:
    suite = suite_of(project, **changes)
    estimate = rehearse(suite, Silent())
    there, left = reported(suite, tmp_path)
    found = counted(estimate)
    if "hearing tokens" in there:
        # What of the GPT's words nobody need hear is known only once they are written.
        (n, most), (really, units) = found.pop("hearing tokens"), there.pop("hearing tokens")
        assert n == really
        assert 0 <= most - units <= n * 3
    assert found == there
    assert all(stage.seconds is None or stage.seconds >= 0 for stage in estimate.stages)
    # Of other sentences than those of recordings, what is held out is not in the rehearsal; a note says so.
    recorded = suite.downstream is None or suite.downstream.sentences is None
    unrehearsed = {stage.name for stage in estimate.stages if stage.seconds is None}
    assert unrehearsed <= (set() if recorded else {"foretelling tokens"})
    assert len(unrehearsed) == sum("not rehearsed" in note for note in estimate.notes)
    whole = estimate.opening_s + sum(stage.seconds or 0 for stage in estimate.stages)
    assert estimate.seconds == pytest.approx(whole)
    assert estimate.disk.get("tuned GPTs", 0) == pytest.approx(left["tuned GPTs"], rel=0.02)


def test_nothing_of_it_is_kept(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(temporary)
    suite = suite_of(project)
    before = sorted(project.rglob("*"))
    estimate = rehearse(suite, Silent())
    assert sorted(project.rglob("*")) == before
    assert not list(temporary.iterdir())
    assert not (tmp_path / "users").exists()
    assert estimate.memory[0].peak_bytes > 1e8
    assert any("as fast as one" in note for note in estimate.notes)


def test_a_step_is_a_real_one_with_the_longest_recordings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    class Watched(Batches):
        def draw(self, generator: torch.Generator) -> tuple[list[int], int]:
            rows, phase = super().draw(generator)
            drawn.append([self.speech.mels[row].shape[-1] for row in rows])
            return rows, phase

    monkeypatch.setattr(finetune, "Batches", Watched)
    suite = suite_of(project, metrics=["downstream"], candidates=CANDIDATES[2:3])
    estimate = rehearse(suite, Silent())
    assert len(drawn) == rehearsal.STEPS
    assert {len(lengths) for lengths in drawn} == {3}
    assert {max(lengths) for lengths in drawn} == {1 + LENGTHS[-1] // 256}
    (step,) = (stage for stage in estimate.stages if stage.name == "finetune")
    assert step.rehearsed == rehearsal.STEPS
    assert any("% as long" in note for note in estimate.notes)


def test_a_training_that_is_not_counted_is_named(project: Path) -> None:
    trained = {"name": "trained", "recipe": "trained.yaml"}
    estimate = rehearse(suite_of(project, metrics=["codebook"], candidates=[trained]), Silent())
    assert estimate.candidate == "trained"
    assert [note for note in estimate.notes if "2 steps, is not counted" in note]
    assert counted(estimate)["listening"] == (1, N_CLIPS)


def test_faults_are_those_of_a_run(project: Path) -> None:
    for name in ("x", "y"):
        (project / f"{name}.pth").write_text("no")
    broken = [{"name": name, "checkpoint": f"{name}.pth"} for name in ("x", "y")]
    suite = suite_of(project, metrics=["codebook"], candidates=broken)
    with pytest.raises(ManyErrors) as caught:
        rehearse(suite, Silent())
    assert len(caught.value.errors) == 2


def test_what_a_run_would_find_out_late_is_found_before(project: Path) -> None:
    clips = [clip for clip in corpus_clips("tortoise-voices") if clip.speaker == SPEAKERS[0]]
    write_manifest(project / "long.jsonl", clips)
    section = {"finetune": {"data": [{"manifest": "long.jsonl"}], "steps": 2}}
    with pytest.raises(DataError, match="no clip is left to fine-tune on"):
        rehearse(suite_of(project, section, metrics=["downstream"], candidates=CANDIDATES[2:3]), Silent())
