"""A suite, a recipe and `export` over checkpoints as people have them: what was done and assumed is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import Result
from damages import make_project
from typer.testing import CliRunner

from vqbench.audio.mel import MelSpec
from vqbench.cli import app
from vqbench.records.run import Run
from vqbench.records.store import load_run
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

SUITE = """\
name: mine
data: {speech: {manifest: ../clips/m.jsonl}}
candidates: [CANDIDATES]
references: []
metrics: [reconstruction, codebook]
interval: {resamples: 100}
min_clips: 3
device: cpu
"""

TUNING = """\
name: tuned
START
joint:
  data: [{manifest: ../clips/m.jsonl}]
  steps: 2
  batch_size: 2
  crop_frames: 16
  warmup_steps: 1
  guard: {kind: none}
"""

NORMS = torch.linspace(-8.0, -2.0, 80)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project, and beside its checkpoints the folder XTTS and the files of a trainer."""
    folder = tmp_path / "project"
    folder.mkdir()
    make_project(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")
    state = torch.load("checkpoints/small.pth", weights_only=True)
    loss = {"discrete_loss.accumulator": torch.zeros(100, 64)}
    inside = {f"dvae.{key}": tensor for key, tensor in (state | loss).items()}
    torch.save({"model": inside | {"xtts.gpt.w": torch.ones(2)}, "epoch": 3}, "checkpoints/best_model.pth")
    Path("checkpoints/XTTS").mkdir()
    torch.save(state | loss, "checkpoints/XTTS/dvae.pth")
    torch.save(NORMS, "checkpoints/XTTS/mel_stats.pth")
    return folder


def vqbench(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


def run(candidates: str, *, code: int = 0) -> tuple[Run | None, Result]:
    Path("suites/mine.yaml").write_text(SUITE.replace("CANDIDATES", candidates))
    done = vqbench("run suites/mine.yaml -o out -q")
    assert done.exit_code == code, done.output
    return (load_run(Path("out")) if code == 0 else None), done


def test_the_same_weights_in_any_file_are_the_same_candidate_and_their_reading_is_said(project: Path) -> None:
    made, done = run(
        "{name: bare, checkpoint: ../checkpoints/small.pth}, {name: trainer, checkpoint: ../checkpoints/best_model.pth}"
    )
    assert made is not None
    assert len({candidate.digest for candidate in made.candidates}) == 1
    figures = {(r.candidate, r.metric): r.value for r in made.results}
    assert all(value == figures["bare", metric] for (_, metric), value in figures.items())
    trainer = (
        "trainer: best_model.pth (weights below model → dvae.*; left aside: xtts.*; "
        "buffers of a loss left out (discrete_loss.*); mel norms: TorToiSe's, assumed)"
    )
    assert trainer in done.stdout
    assert made.provenance["checkpoints"]["bare"] == "small.pth (mel norms: TorToiSe's, assumed)"
    assert "mel norms: TorToiSe's, assumed" in vqbench("report out --format markdown").stdout
    assert made.candidates[1].source == "best_model.pth"


def test_our_own_files_need_no_line(project: Path) -> None:
    made, done = run("{name: ours, checkpoint: ../checkpoints/small.safetensors}")
    assert made is not None
    assert "checkpoints" not in made.provenance
    assert "mel norms" not in done.stdout


def test_a_folder_and_named_norms_are_one_candidate(project: Path) -> None:
    made, done = run(
        "{name: folder, checkpoint: ../checkpoints/XTTS/}, "
        "{name: named, checkpoint: ../checkpoints/small.pth, mel_norms: ../checkpoints/XTTS/mel_stats.pth}, "
        "{name: tortoise, checkpoint: ../checkpoints/XTTS, mel_norms: tortoise}"
    )
    assert made is not None
    folder, named, tortoise = (candidate.digest for candidate in made.candidates)
    assert folder == named != tortoise
    assert "mel norms: mel_stats.pth beside it" in done.stdout
    assert "mel norms: TorToiSe's, named" in done.stdout


def test_a_link_into_a_cache_elsewhere_is_followed_under_its_own_name(project: Path) -> None:
    blob = project.parent / "cache-of-models/blobs/0123abcd"
    blob.parent.mkdir(parents=True)
    Path("checkpoints/small.safetensors").rename(blob)
    Path("checkpoints/linked.safetensors").symlink_to(blob)
    made, _ = run("{name: linked, checkpoint: ../checkpoints/linked.safetensors}")
    assert made is not None
    assert made.candidates[0].source == "linked.safetensors"


def test_every_fault_of_a_checkpoint_is_named_beside_the_others(project: Path) -> None:
    state = torch.load("checkpoints/small.pth", weights_only=True)
    torch.save({**state, "encoder.0.0.bias": torch.ones(16).to(torch.float8_e5m2)}, "checkpoints/eight.pth")
    torch.save(DVAE(Dimensions(codebook_size=1024, hidden_dim=8)).state_dict(), "checkpoints/xtts.pth")
    torch.save({"model": state, "ema": state | {}}, "checkpoints/two.pth")
    _, done = run(
        ", ".join(f"{{name: {name}, checkpoint: ../checkpoints/{name}.pth}}" for name in ("eight", "xtts", "two")),
        code=2,
    )
    assert done.stderr.count("error:") == 3
    assert "encoder.0.0.bias is torch.float8_e5m2" in done.stderr
    assert "`mel_norms: mel_stats.pth`" in done.stderr
    assert "holds 2 VQVAEs" in done.stderr
    assert "weights_only" not in done.stderr


def test_a_recipe_takes_the_norms_of_its_start_and_keeps_them(project: Path) -> None:
    for start in ("start: ../checkpoints/XTTS", "start: ../checkpoints/small.pth\nmel_norms: ../checkpoints/n.pth"):
        torch.save(NORMS, "checkpoints/n.pth")
        Path("recipes/tuned.yaml").write_text(TUNING.replace("START", start))
        out = "beside" if "XTTS" in start else "named"
        done = vqbench(f"train recipes/tuned.yaml -o {out} --device cpu")
        assert done.exit_code == 0, done.output
        assert "start: " in done.stderr
        assert "mel norms: " in done.stderr
    beside, named = (load_tokenizer(Path(name, "checkpoint.safetensors")) for name in ("beside", "named"))
    assert beside.mel_spec.norms == tuple(NORMS.tolist())
    assert beside.digest == named.digest
    made, done = run(
        "{name: tuned, recipe: ../recipes/tuned.yaml}, {name: file, checkpoint: ../named/checkpoint.safetensors}"
    )
    assert made is not None
    assert done.stdout.count("trained on from small.pth (mel norms: n.pth)") == 2


def test_a_recipe_never_bakes_in_norms_that_nobody_knows(project: Path) -> None:
    torch.save(DVAE(Dimensions(codebook_size=1024, hidden_dim=8)).state_dict(), "checkpoints/xtts.pth")
    Path("recipes/tuned.yaml").write_text(TUNING.replace("START", "start: ../checkpoints/xtts.pth"))
    done = vqbench("train recipes/tuned.yaml -o tuned --device cpu")
    assert done.exit_code == 2
    assert "its mel norms are not known" in done.stderr
    assert not Path("tuned").exists()


def test_export_writes_what_a_suite_reads_as_the_same_candidate(project: Path) -> None:
    ours = load_tokenizer(Path("checkpoints/small.safetensors"))
    save_checkpoint(Path("mine.safetensors"), ours.dvae, MelSpec().with_norms(NORMS.tolist()), {})
    done = vqbench("export mine.safetensors -o exported/dvae.pth")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["exported/dvae.pth", "exported/mel_stats.pth"]
    assert "num_tokens=64" in done.stderr
    made, _ = run("{name: a, checkpoint: ../mine.safetensors}, {name: b, checkpoint: ../exported}")
    assert made is not None
    assert made.candidates[0].digest == made.candidates[1].digest
    again = vqbench("export mine.safetensors -o exported/dvae.pth")
    assert again.exit_code == 2
    assert "a file already" in again.stderr
    half = vqbench("export mine.safetensors -o exported/dvae.pth --dtype float16 --replace")
    assert half.exit_code == 0
    assert f"rounded from {made.candidates[0].digest}" in half.stderr
