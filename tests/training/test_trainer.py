"""Training learns, resumes exactly, and says clearly what went wrong."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from vqbench.errors import TrainingError
from vqbench.progress import Silent
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.training.recipe import Recipe, load_recipe
from vqbench.training.trainer import train, training_clips, training_digest, write_half

MODEL = {"hidden_dim": 8, "codebook_size": 32, "codebook_dim": 8, "num_resnet_blocks": 1}
TRAINING = {
    "steps": 24,
    "batch_size": 4,
    "crop_frames": 32,
    "learning_rate": 0.003,
    "warmup_steps": 4,
    "codebook": {"kmeans_iterations": 3, "restart_every": 2, "restart_below": 0.5},
    "validate_every": 6,
    "validation_share": 0.3,
    "checkpoint_every": 6,
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve seconds of chirps and noise, the shortest clip shorter than a crop."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(12):
        n = 22_050 if i else 3_000
        time_s = np.arange(n) / 22_050
        tone = np.sin(2 * np.pi * (200 + 150 * i + 300 * time_s) * time_s)
        samples = (0.3 * tone + 0.02 * rng.standard_normal(n)).astype(np.float32)
        soundfile.write(tmp_path / f"{i}.wav", samples, 22_050)
        lines.append(f'{{"id": "clip-{i}", "path": "{i}.wav"}}\n')
    (tmp_path / "manifest.jsonl").write_text("".join(lines))
    return tmp_path


def write_recipe(folder: Path, name: str = "small", **training: object) -> Path:
    content = {
        "name": name,
        "seed": 3,
        "data": [{"manifest": "manifest.jsonl"}],
        "model": MODEL,
        "training": {**TRAINING, **training},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(recipe: Recipe, folder: Path) -> Path:
    return train(recipe, training_clips(recipe), folder, "cpu", Silent())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tokenizer(path).dvae.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_loss_falls_and_the_log_says_so(corpus: Path, tmp_path: Path) -> None:
    path = run(load_recipe(write_recipe(corpus, steps=60)), tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(6, 61, 6))
    assert float(rows[-1]["validation_l1"]) < 0.8 * float(rows[0]["validation_l1"])
    assert load_tokenizer(path).codebook_size == 32
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "checkpoint.safetensors",
        "log.csv",
        "training.json",
    ]


class _Interrupt(Silent):
    """Stops the training at a step, as Ctrl-C would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def task(self, description, total, done=0):  # type: ignore[no-untyped-def]
        context = super().task(description, total, done)
        if description != "training":
            return context
        step = done

        class Stop:
            def __enter__(inner):
                advance = context.__enter__()

                def count(steps: int = 1, note: str = "") -> None:
                    nonlocal step
                    step += steps
                    advance(steps, note)
                    if step == self.at:
                        raise KeyboardInterrupt

                return count

            def __exit__(inner, *exc: object) -> None:
                context.__exit__(None, None, None)

        return Stop()


@pytest.mark.parametrize("at", [1, 6, 7, 13, 23])
def test_an_interrupted_training_ends_bit_for_bit_the_same(at: int, corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    unbroken = run(recipe, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, training_clips(recipe), tmp_path / "broken", "cpu", _Interrupt(at))
    assert not (tmp_path / "broken/checkpoint.safetensors").exists()
    resumed = run(recipe, tmp_path / "broken")
    assert equal(weights(unbroken), weights(resumed))
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("unbroken", "broken")]
    assert logs[0] == logs[1]


def test_killed_at_any_moment_the_same_command_ends_the_same(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, steps=200, checkpoint_every=5)
    command = [sys.executable, "-m", "vqbench", "train", str(recipe), "-q", "--device", "cpu", "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "unbroken")], check=True, env=environment, capture_output=True)
    broken = tmp_path / "broken"
    process = subprocess.Popen([*command, str(broken)], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (broken / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (broken / "state.pt").exists()
    assert not (broken / "checkpoint.safetensors").exists()
    subprocess.run([*command, str(broken)], check=True, env=environment, capture_output=True)
    assert equal(weights(tmp_path / "unbroken/checkpoint.safetensors"), weights(broken / "checkpoint.safetensors"))


def test_a_finished_training_is_not_done_again(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    path = run(recipe, tmp_path / "out")
    before = path.stat().st_mtime_ns
    assert run(recipe, tmp_path / "out") == path
    assert path.stat().st_mtime_ns == before


def test_a_folder_of_another_recipe_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    path = run(load_recipe(write_recipe(corpus)), tmp_path / "out")
    content = path.read_bytes()
    with pytest.raises(TrainingError, match="another recipe"):
        run(load_recipe(write_recipe(corpus, name="other", learning_rate=0.001)), tmp_path / "out")
    assert path.read_bytes() == content


def test_another_seed_gives_other_weights(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    a = run(recipe, tmp_path / "a")
    b = run(recipe.model_copy(update={"seed": 4}), tmp_path / "b")
    assert not equal(weights(a), weights(b))


def test_no_steps_make_an_untrained_candidate_without_data(tmp_path: Path) -> None:
    recipe = Recipe(name="untrained", model=MODEL, training={"steps": 0})
    assert load_tokenizer(run(recipe, tmp_path)).codebook_size == 32


def test_the_digest_follows_what_decides_the_weights(corpus: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    clips = training_clips(recipe)
    renamed = load_recipe(write_recipe(corpus, name="renamed"))
    assert training_digest(recipe, clips) == training_digest(renamed, clips)
    assert training_digest(recipe, clips) != training_digest(recipe, clips[1:])
    assert training_digest(recipe, clips) != training_digest(recipe, [(clip, 2.0) for clip, _ in clips])
    longer = load_recipe(write_recipe(corpus, name="longer", steps=25))
    assert training_digest(recipe, clips) != training_digest(longer, clips)


def test_a_diverging_loss_stops_with_its_cause(corpus: Path, tmp_path: Path) -> None:
    beyond_fp32 = {"l2": 1e39}
    recipe = load_recipe(write_recipe(corpus, learning_rate=1.0, clip_norm=1e30, loss=beyond_fp32))
    with pytest.raises(TrainingError, match="diverged") as caught:
        run(recipe, tmp_path / "out")
    assert "learning_rate" in str(caught.value)
    assert not (tmp_path / "out/checkpoint.safetensors").exists()


def test_nothing_left_to_train_on(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus)).model_copy(deep=True)
    clips = [pair for pair in training_clips(recipe) if pair[0].id == "clip-0"]
    everything_held_out = recipe.training.model_copy(update={"validation_share": 1.0})
    with pytest.raises(TrainingError, match="no clip is left"):
        train(recipe.model_copy(update={"training": everything_held_out}), clips, tmp_path / "out", "cpu", Silent())


@pytest.mark.parametrize("name", ["state.pt", "checkpoint.safetensors"])
def test_a_training_of_unknown_recipe_is_neither_resumed_nor_overwritten(
    name: str, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"somebody's")
    with pytest.raises(TrainingError, match="says of which recipe"):
        run(load_recipe(write_recipe(corpus)), tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"somebody's"


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_marker_is_named(content: bytes, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"training\.json"):
        run(load_recipe(write_recipe(corpus)), tmp_path)


def test_a_damaged_state_is_named_and_kept(corpus: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(corpus))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, training_clips(recipe), tmp_path / "out", "cpu", _Interrupt(8))
    state = tmp_path / "out/state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="saved state cannot be read"):
        run(recipe, tmp_path / "out")
    assert state.exists()


def test_half_precision_is_a_candidate_of_its_own(corpus: Path, tmp_path: Path) -> None:
    full = run(load_recipe(write_recipe(corpus)), tmp_path / "out")
    half = write_half(full)
    assert half.stat().st_size < 0.8 * full.stat().st_size
    assert load_tokenizer(half).digest != load_tokenizer(full).digest
