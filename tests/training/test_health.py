"""Real trainings that go wrong: each is stopped and called by its name, and what there is is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hearable_pairs import pairs, write_pairs
from small_trainings import MODEL, log_of, run, weights, write_chirps

from vqbench.config.recipe import Recipe
from vqbench.errors import DivergedError, TrainingError
from vqbench.training.health import Health

DISTIL: dict[str, Any] = {
    "steps": 500,
    "batch_size": 6,
    "crop_frames": 64,
    "learning_rate": 0.01,
    "warmup_steps": 10,
    "schedule": "constant",
    "validate_every": 50,
    "decay": 0.9,
    "loss": {"l1": 0, "l2": 0},
}


def distil(tmp_path: Path, out: str, **changes: Any) -> Path:
    folder = tmp_path / "pairs"
    if not folder.exists():
        write_pairs(folder, pairs())
    source = {"folder": folder, "validation_share": 0.3}
    return run(Recipe(name="sick", seed=3, pairs=source, model=MODEL, distil={**DISTIL, **changes}), tmp_path / out)


def test_a_learned_codebook_without_cross_entropy_comes_to_one_point_and_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the (encoder is constant|codebook collapsed): at step (\d+)") as caught:
        distil(tmp_path, "sick", cross_entropy=0.0, vector_mse=1.0)
    assert "cross_entropy" in str(caught.value.fix)
    assert caught.value.where == str(tmp_path / "sick/distil")
    rows = log_of(tmp_path / "sick/distil")
    assert 200 < int(rows[-1]["step"]) < 500
    assert f"at step {rows[-1]['step']}" in str(caught.value)
    assert float(rows[-1]["validation_perplexity"]) < 1.5 < float(rows[0]["validation_perplexity"])
    assert weights(tmp_path / "sick/distil/last.safetensors")
    assert not (tmp_path / "sick/checkpoint.safetensors").exists()


def test_with_cross_entropy_the_same_training_is_well(tmp_path: Path) -> None:
    distil(tmp_path, "well", steps=250)
    assert float(log_of(tmp_path / "well/distil")[-1]["validation_perplexity_share"]) > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1.0, "clip_norm": 1e30}, r"the gradient's norm became \w+ at step \d+: training diverged"),
        ({"loss": {"l2": 1e39}}, r"the loss became inf at step \d+: training diverged"),
    ],
    ids=["gradient", "loss"],
)
def test_an_absurd_training_diverges_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    how = {"steps": 300, "batch_size": 4, "crop_frames": 32, "warmup_steps": 0, "schedule": "constant", **changes}
    section = {"data": [{"manifest": write_chirps(tmp_path / "clips")}], "validation_share": 0.3, **how}
    with pytest.raises(DivergedError, match=message) as caught:
        run(Recipe(name="sick", seed=3, model=MODEL, reconstruct=section), tmp_path / "sick")
    assert "learning_rate (now" in str(caught.value.fix)
    left = {path.name for path in (tmp_path / "sick/reconstruct").iterdir() if "tfevents" not in path.name}
    assert {"best.safetensors", "last.safetensors", "log.csv"} <= left
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "sick/reconstruct/best.safetensors").values())
    assert not (tmp_path / "sick/checkpoint.safetensors").exists()


def test_a_codebook_is_given_time_and_what_it_is_given_is_remembered() -> None:
    poor, well = {"perplexity": 1.0}, {"perplexity": 9.0}
    memory: dict[str, float] = {}
    for step in (0, 50, 100, 150, 200, 249):
        Health(memory, 0.1, 1.0, "here").check_figures(step, 50, poor)  # a new one each time, as after a resumption
    with pytest.raises(TrainingError, match="at step 250"):
        Health(memory, 0.1, 1.0, "here").check_figures(250, 50, poor)
    memory.clear()
    health = Health(memory, 0.1, 1.0, "here")
    for step in range(50, 1000, 50):
        health.check_figures(step, 50, well if step % 200 == 0 else poor)
