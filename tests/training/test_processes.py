"""Several processes that torchrun started make what one process makes."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hearable_pairs import pair, write_pairs
from safetensors.torch import load_file

BRIEF = {"batch_size": 8, "warmup_steps": 1, "validate_every": 2, "checkpoint_every": 2}
SPEECH = [{"corpus": "pocket", "split": "test"}]
RECIPES: dict[str, dict[str, Any]] = {
    "from scratch": {
        "reconstruct": {
            **BRIEF,
            "data": SPEECH,
            "steps": 4,
            "codebook": {"restart_every": 2},
            "augment": {"share": 0.5},
            "validation_share": 0.2,
        },
    },
    "all phases": {
        "teacher": "pocket",
        "pairs": {"folder": "pairs"},
        "distil": {**BRIEF, "steps": 4},
        "refine": {**BRIEF, "steps": 2, "best": 0.5, "accumulate": 2},
        "joint": {**BRIEF, "data": SPEECH, "steps": 3, "moving_codebook": True, "accumulate": 2},
        "finetune": {**BRIEF, "data": SPEECH, "steps": 2, "gradient_checkpointing": True},
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "pyproject.toml").touch()
    write_pairs(folder / "pairs", [pair(number, clvp=float(number % 7)) for number in range(40)])
    return folder


def vqbench(recipe: Path, folder: Path, n: int) -> subprocess.CompletedProcess[str]:
    started = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)] if n > 1 else []
    command = [sys.executable, *started, "-m", "vqbench", "train", str(recipe), "-o", str(folder), "--device", "cpu"]
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("TORCHELASTIC", "WORLD_", "RANK"))}
    environment = {**alone, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::FutureWarning:lightning_fabric"}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, check=False)


def written(place: Path, name: str, **changes: Any) -> Path:
    model = {"hidden_dim": 16, "codebook_size": 64, "codebook_dim": 8, "num_resnet_blocks": 1}
    path = place / f"{name.replace(' ', '-')}.yaml"
    path.write_text(yaml.safe_dump({"name": path.stem, "seed": 1, "model": model, **RECIPES[name], **changes}))
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_make_what_one_makes(name: str, place: Path, tmp_path: Path) -> None:
    recipe = written(place, name)
    one, two = vqbench(recipe, tmp_path / "one", 1), vqbench(recipe, tmp_path / "two", 2)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    # Only the first one speaks.
    assert two.stdout.splitlines() == [str(tmp_path / "two" / "checkpoint.safetensors")]
    alone, shared = (load_file(tmp_path / n / "checkpoint.safetensors") for n in ("one", "two"))
    for key, tensor in alone.items():
        # AdamW moves a weight by its learning rate however small its gradient is, so rounding shows.
        torch.testing.assert_close(
            shared[key], tensor, atol=1e-4, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}"
        )
    if "finetune" in RECIPES[name]:
        gpts = [torch.load(tmp_path / n / "finetune/autoregressive.pth", weights_only=True) for n in ("one", "two")]
        for key, tensor in gpts[0].items():
            torch.testing.assert_close(gpts[1][key], tensor, atol=1e-5, rtol=1e-3)
    logs = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").glob("*/log.csv"))
    assert len(logs) == len(set(RECIPES[name]) - {"teacher", "pairs"})
    for log in logs:
        rows = [list(csv.DictReader((tmp_path / n / log).read_text().splitlines())) for n in ("one", "two")]
        for ours, theirs in zip(*rows, strict=True):
            assert ours.keys() == theirs.keys()
            for figure, value in ours.items():
                assert float(theirs[figure] or 0) == pytest.approx(float(value or 0), rel=1e-3, abs=1e-4), figure


def test_a_batch_that_cannot_be_shared_out_is_an_error_without_a_traceback(place: Path, tmp_path: Path) -> None:
    scratch = {**RECIPES["from scratch"]["reconstruct"], "batch_size": 7}
    done = vqbench(written(place, "from scratch", reconstruct=scratch), tmp_path / "out", 2)
    assert done.returncode != 0
    assert "batches of 7 cannot be shared out evenly among 2 processes" in done.stderr
    # torchrun shows a traceback of its own.
    assert not re.search(r'File ".*vqbench', done.stderr)
