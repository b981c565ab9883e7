"""A recipe of all phases by the verb alone: the pocket TorToiSe makes pairs, and all that the essay does follows.

Every command is a process of its own, and is killed as a power cut would kill it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_trainings import log_of, weights

from vqbench.teachers.pocket.assets import load_pocket
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.training.trainer import write_half

RECIPE = """\
name: whole
seed: 3
teacher: pocket
model: {hidden_dim: 16, codebook_size: 1024, codebook_dim: 16, num_resnet_blocks: 1}
pairs: {n: 16, seed: 1, hold_out_speakers: [awb], validation_share: 0.3}
distil: {steps: 20, batch_size: 4, crop_frames: 128, warmup_steps: 2, validate_every: 10, checkpoint_every: 2}
refine: {steps: 12, best: 0.5, batch_size: 2, crop_frames: 128, warmup_steps: 2, validate_every: 6, checkpoint_every: 2}
joint:
  data: [{corpus: pocket, split: test, limit: 8}]
  steps: 20
  batch_size: 4
  crop_frames: 64
  accumulate: 2
  warmup_steps: 2
  validate_every: 5
  validation_share: 0.3
  checkpoint_every: 2
  guard: {kind: replay, tolerance: 1.0}
finetune:
  data: [{corpus: pocket, split: test, limit: 8, speakers: [slt, rms, joe]}]
  steps: 8
  batch_size: 4
  dropout: 0.1
  validate_every: 4
  validation_share: 0.3
  checkpoint_every: 2
"""

PHASES = ("distil", "refine", "joint", "finetune")


def command(place: Path, out: str) -> list[str]:
    recipe = place / "recipes/whole.yaml"
    return [sys.executable, "-m", "vqbench", "train", str(recipe), "--device", "cpu", "-o", str(place / out)]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose recipe was carried out once, into the folder `unbroken`."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "pyproject.toml").touch()
    (folder / "recipes").mkdir()
    (folder / "recipes/whole.yaml").write_text(RECIPE)
    done = subprocess.run(command(folder, "unbroken"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}/unbroken/checkpoint.safetensors\n"
    return folder


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*.*")
    }


def test_every_phase_leaves_its_work_and_its_log(place: Path) -> None:
    folder = place / "unbroken"
    assert [int(log_of(folder / phase)[-1]["step"]) for phase in PHASES] == [20, 12, 20, 8]
    assert not list(folder.rglob("state.pt"))
    handed_on = [weights(folder / phase / "weights.safetensors") for phase in PHASES[:3]]
    encoder = "encoder.0.0.weight"
    assert not torch.equal(handed_on[0][encoder], handed_on[1][encoder])
    assert not torch.equal(handed_on[1][encoder], handed_on[2][encoder])
    assert all(
        torch.equal(handed_on[2][key], tensor) for key, tensor in weights(folder / "checkpoint.safetensors").items()
    )
    assert load_tokenizer(folder / "checkpoint.safetensors").codebook_size == 1024


def test_the_pairs_are_the_teachers_and_the_best_are_some_of_them(place: Path) -> None:
    pairs = list(read_pairs(place / "unbroken/pairs", waveforms=False))
    assert {pair.teacher for pair in pairs} == {load_pocket().digest}
    assert "awb" not in {pair.speaker for pair in pairs if pair.split == "train"}
    finished = {pair.id: pair.clvp for pair in pairs if pair.split == "train" and pair.finished}
    best = {pair.id for pair in read_pairs(place / "unbroken/pairs-best", waveforms=False) if pair.split == "train"}
    assert len(best) == -(-len(finished) // 2)
    assert min(finished[name] for name in best) >= max(clvp for name, clvp in finished.items() if name not in best)


def test_the_fine_tuned_gpt_is_the_pockets_under_its_own_keys(place: Path) -> None:
    tuned = torch.load(place / "unbroken/finetune/autoregressive.pth", weights_only=True)
    with load_pocket().gpt.loaded() as gpt:
        before, same_sizes = gpt.state_dict(), UnifiedVoice(gpt.dimensions)
    assert {key: tensor.shape for key, tensor in tuned.items()} == {key: t.shape for key, t in before.items()}
    assert not torch.equal(tuned["mel_head.weight"], before["mel_head.weight"].float())
    same_sizes.load_state_dict(tuned, strict=True)


def test_the_same_command_again_does_nothing(place: Path) -> None:
    before, started = files(place), time.monotonic()
    done = subprocess.run(command(place, "unbroken"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{place}/unbroken/checkpoint.safetensors\n")
    assert "done" not in done.stderr
    assert files(place) == before
    assert time.monotonic() - started < 60


def test_half_precision_comes_from_the_finished_checkpoint(place: Path, tmp_path: Path) -> None:
    full = place / "unbroken/checkpoint.safetensors"
    copy = tmp_path / "checkpoint.safetensors"
    copy.write_bytes(full.read_bytes())
    assert load_tokenizer(write_half(copy)).digest != load_tokenizer(full).digest


def kill_once(place: Path, file: str) -> None:
    """Starts the command, and kills it at once when a file is there."""
    process = subprocess.Popen(
        [*command(place, "broken"), "-q"], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (place / "broken" / file).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert (place / "broken" / file).exists(), said
    assert process.returncode == -signal.SIGKILL, said


def test_killed_in_one_phase_after_the_other_it_ends_bit_for_bit_the_same(place: Path) -> None:
    broken, unbroken = place / "broken", place / "unbroken"
    kill_once(place, "training.json")
    assert not list(broken.glob("pairs/*.parquet"))
    for phase in ("distil", "joint", "finetune"):
        kill_once(place, f"{phase}/state.pt")
        left = "autoregressive.pth" if phase == "finetune" else "weights.safetensors"
        assert not (broken / phase / left).exists()
        assert (broken / "checkpoint.safetensors").exists() == (phase == "finetune")
    done = subprocess.run(
        [*command(place, "broken"), "-q"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    same = ["checkpoint.safetensors", "finetune/autoregressive.pth", "pairs/pairs-00000.parquet", "training.json"]
    for file in [*same, *(f"{phase}/log.csv" for phase in PHASES)]:
        assert (broken / file).read_bytes() == (unbroken / file).read_bytes(), file
    assert not list(broken.rglob("state.pt"))
