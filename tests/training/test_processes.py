"""Several processes that torchrun started train as one does: the same weights, and one of them speaks and writes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hearable_pairs import pairs, write_pairs
from interrupting import Interrupting
from small_trainings import MODEL, assert_moved_alike, log_of, run, weights, write_chirps

from vqbench.config.recipe import load_recipe
from vqbench.teachers.pocket.assets import load_pocket

LOOP = {"steps": 5, "batch_size": 4, "learning_rate": 0.003, "warmup_steps": 2, "validate_every": 2}
CLIPS = {"data": [{"manifest": "clips/manifest.jsonl"}], "crop_frames": 32, "validation_share": 0.3}
PAIRS = {"pairs": {"folder": "pairs", "validation_share": 0.2}}
CODEBOOK = {"kmeans_iterations": 3, "restart_every": 2, "restart_below": 0.5, "decay": 0.5}


def phases(accumulate: int = 1) -> dict[str, dict[str, Any]]:
    """Recipes, but for name and model; in parts where it is asked for."""
    loop = {**LOOP, "accumulate": accumulate}
    return {
        "reconstruct": {"reconstruct": {**loop, **CLIPS, "codebook": CODEBOOK}},
        "distil and joint": {
            **PAIRS,
            "distil": {**loop, "crop_frames": 64, "average": 0.5},
            "joint": {**loop, **CLIPS, "guard": {"kind": "replay", "tolerance": 1.0}},
        },
        "joint, regularised": {
            "start": "start.safetensors",
            **PAIRS,
            "joint": {**loop, **CLIPS, "guard": {"kind": "regularise", "tolerance": 1.0}, "moving_codebook": True},
        },
        "finetune": {
            "teacher": "pocket",
            "finetune": {
                **loop,
                "steps": 2,
                "warmup_steps": 1,
                "data": CLIPS["data"],
                "validation_share": 0.3,
                "learning_rate": 1e-4,
            },
        },
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with clips, pairs and a VQVAE to start with, in which one stands."""
    (tmp_path / "pyproject.toml").touch()
    write_chirps(tmp_path / "clips")
    write_pairs(tmp_path / "pairs", pairs())
    untrained = run(load_recipe(write_recipe(tmp_path, {})), tmp_path / "untrained")
    untrained.rename(tmp_path / "start.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_recipe(place: Path, sections: dict[str, Any], name: str = "shared") -> Path:
    model = {} if "start" in sections else {"model": MODEL}
    (place / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "seed": 3, **model, **sections}))
    return place / f"{name}.yaml"


def torchrun(recipe: Path, out: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine's CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    command = ["-m", "vqbench", "train", recipe.name, "--device", "cpu", "-o", out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launch, *options, *command], cwd=recipe.parent, env=environment, capture_output=True, text=True, check=False
    )


def assert_close(start: Path, ours: Path, theirs: Path) -> None:
    states = [weights(path) for path in (start, ours / "checkpoint.safetensors", theirs / "checkpoint.safetensors")]
    assert_moved_alike(*states)
    if (ours / "finetune").exists():
        with load_pocket().gpt.loaded() as gpt:
            before = {key: tensor.float() for key, tensor in gpt.state_dict().items()}
        tuned = [torch.load(path / "finetune/autoregressive.pth", weights_only=True) for path in (ours, theirs)]
        # What is added to all keys alike changes no attention: its gradient is rounding and nothing else.
        without = [
            {key: tensor for key, tensor in state.items() if not key.endswith(("c_attn.bias", "qkv.bias"))}
            for state in (before, *tuned)
        ]
        assert_moved_alike(*without)
    for log in sorted(path.parent for path in ours.glob("*/log.csv")):
        for row, other in zip(log_of(log), log_of(theirs / log.name), strict=True):
            assert row.keys() == other.keys()
            for name, value in row.items():
                assert float(other[name] or 0) == pytest.approx(float(value or 0), rel=1e-3, abs=1e-6), (log.name, name)


@pytest.mark.parametrize(
    ("name", "accumulate"),
    [("reconstruct", 1), ("distil and joint", 1), ("distil and joint", 2), ("joint, regularised", 1), ("finetune", 2)],
)
def test_two_processes_end_with_the_weights_of_one(name: str, accumulate: int, place: Path) -> None:
    run(load_recipe(write_recipe(place, phases()[name], "one")), place / "one")
    done = torchrun(write_recipe(place, phases(accumulate)[name]), "two")
    assert done.returncode == 0, done.stderr
    assert_close(place / "start.safetensors", place / "one", place / "two")

    # The first process speaks and writes.
    assert done.stdout == "two/checkpoint.safetensors\n"
    said = done.stderr.splitlines()
    assert len([line for line in said if line.startswith("recipe shared: ")]) == 1
    for phase in [path.parent.name for path in (place / "two").glob("*/log.csv")]:
        assert len([line for line in said if re.fullmatch(rf"{phase}: done in .*", line)]) == 1
        assert len(list((place / "two" / phase).glob("events.out.tfevents.*"))) == 1
    assert not [line for line in said if "distributed" in line.lower()]
    left = {
        str(path.relative_to(place / "two")) for path in (place / "two").rglob("*.*") if "tfevents" not in path.name
    }
    assert left == {str(p.relative_to(place / "one")) for p in (place / "one").rglob("*.*") if "tfevents" not in p.name}


def test_two_processes_go_on_where_one_was_broken_off(place: Path) -> None:
    sections = phases()["reconstruct"]
    sections["reconstruct"]["checkpoint_every"] = 2
    recipe = write_recipe(place, sections)
    run(load_recipe(recipe), place / "one")
    with pytest.raises(KeyboardInterrupt):
        run(load_recipe(recipe), place / "two", Interrupting("reconstruct", 3))
    done = torchrun(recipe, "two")
    assert done.returncode == 0, done.stderr
    assert "reconstruct: 2 of 5 done before" in done.stderr
    assert_close(place / "start.safetensors", place / "one", place / "two")


def test_one_process_makes_the_pairs_that_all_learn_from(place: Path) -> None:
    loop = {**LOOP, "steps": 2, "warmup_steps": 1, "crop_frames": 64}
    sections = {
        "teacher": "pocket",
        "pairs": {"n": 8, "validation_share": 0.2},
        "model": {**MODEL, "codebook_size": 1024},
        "distil": loop,
        "refine": {**loop, "best": 1.0, "batch_size": 2},
    }
    done = torchrun(write_recipe(place, sections), "two")
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("pairs: done")]) == 1
    assert log_of(place / "two/refine")[-1]["step"] == "2"
    assert sorted(path.name for path in (place / "two").iterdir()) == [
        "checkpoint.safetensors",
        "checkpoint.safetensors.sha256",
        "distil",
        "pairs",
        "pairs-best",
        "refine",
        "training.json",
    ]


def test_a_batch_that_cannot_be_shared_out_is_named_before_anything_is_written(place: Path) -> None:
    sections = phases()["reconstruct"]
    sections["reconstruct"]["batch_size"] = 3
    done = torchrun(write_recipe(place, sections), "two", "--log-dir", str(place / "logs"), "--redirects", "3")
    assert "exitcode  : 2" in done.stderr
    said = [path.read_text() for path in (place / "logs").rglob("stderr.log")]
    assert any(
        "error: shared.yaml: batches of 3 cannot be shared out evenly among 2 processes" in text for text in said
    )
    assert any("expected: reconstruct.batch_size a multiple of 2" in text for text in said)
    assert not any("Traceback" in text for text in said)
    assert not (place / "two").exists()
