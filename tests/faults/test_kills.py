"""Processes that are killed at random moments: the same command ends with the same bits as if nothing had been.

Children come from a server that has imported everything, so that a case costs its work and not its start.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from builders import make_run
from damage import CASES
from hearable_pairs import true_vqvae
from small_trainings import MODEL, equal, run, weights, write_chirps
from tiny_teacher import teacher, voices

from vqbench.audio.mel import MelSpec
from vqbench.cli import app
from vqbench.config.recipe import load_recipe
from vqbench.config.suite import load_suite
from vqbench.config.training import FinetuneConfig
from vqbench.data.manifest import read_manifest
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.files import write_whole
from vqbench.progress import Silent
from vqbench.records.store import load_run, save_run
from vqbench.teachers.tortoise.pair_generation import generate_pairs
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.finetune import finetune_gpt

KILLS = max(2, CASES // 20)
"""Kills of each kind of work."""

RECONSTRUCT = {
    "data": [{"manifest": "manifest.jsonl"}],
    "steps": 40,
    "batch_size": 4,
    "crop_frames": 32,
    "learning_rate": 0.003,
    "warmup_steps": 4,
    "validate_every": 5,
    "validation_share": 0.3,
    "checkpoint_every": 2,
}


TUNING: dict[str, Any] = {
    "data": [{"corpus": "pocket"}],  # named, and not read: the clips are given
    "steps": 12,
    "batch_size": 3,
    "learning_rate": 0.003,
    "warmup_steps": 0,
    "dropout": 0.2,
    "checkpoint_every": 2,
}


def write_project(folder: Path) -> None:
    write_chirps(folder, 8)
    recipe = {"name": "small", "seed": 3, "model": MODEL, "reconstruct": RECONSTRUCT}
    save_run(make_run(n_clips=6, resamples=10), folder / "run")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    suite = {
        "name": "small",
        "data": {"speech": {"manifest": "manifest.jsonl"}},
        "candidates": [{"name": "trained", "recipe": "recipe.yaml"}],
        "metrics": ["reconstruction", "codebook"],
        "vocoder": {"iterations": 2},
        "interval": {"resamples": 100},
        "device": "cpu",
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))


def measure(project: Path, out: Path) -> None:
    torch.set_num_threads(1)
    outcome = run_suite(load_suite(project / "suite.yaml"), Cache(out / "cache"), Silent())
    save_run(outcome.run, out)


def train(project: Path, out: Path) -> None:
    torch.set_num_threads(1)
    run(load_recipe(project / "recipe.yaml"), out)


def generate(project: Path, out: Path) -> None:
    torch.set_num_threads(1)
    sentences = [f"Sentence number {n}." for n in range(6)]
    generate_pairs(teacher(), sentences, voices(), out, 6, 1, Silent(), per_shard=2)


def tune(project: Path, out: Path) -> None:
    torch.set_num_threads(1)
    config = FinetuneConfig(**TUNING)
    tokenizer = DVAETokenizer(true_vqvae(), MelSpec())
    clips = read_manifest(project / "manifest.jsonl")
    finetune_gpt(config, teacher(), tokenizer, clips, out, 5, Silent())


def draw_page(project: Path, out: Path) -> None:
    for _ in range(5):
        app(["report", str(project / "run"), "-o", str(out / "page.html")], standalone_mode=False)


def write(project: Path, out: Path) -> None:
    for n in range(400):
        write_whole(out / "file", bytes([n % 256]) * 200_000)
    write_whole(out / "file", b"the last")


def measured(out: Path) -> Any:
    found = load_run(out)
    return found.tables, found.results, found.clips, found.candidates


def trained(out: Path) -> Any:
    return weights(out / "checkpoint.safetensors")


def tuned(out: Path) -> Any:
    return torch.load(out / "autoregressive.pth", weights_only=True)


def content(out: Path) -> Any:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if not path.name.startswith(".")}


WORK: dict[str, tuple[Callable[[Path, Path], None], Callable[[Path], Any]]] = {
    "run": (measure, measured),
    "train": (train, trained),
    "tuning": (tune, tuned),
    "pairs": (generate, content),
    "page": (draw_page, content),
    "write": (write, content),
}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vqbench.engine.runner", "vqbench.training.trainer", "tiny_teacher"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server looks nowhere else
        first = context.Process(target=int)
        first.start()
        first.join()
        yield context


@pytest.mark.parametrize("kind", WORK)
def test_killed_at_random_moments_it_ends_the_same(kind: str, server: ForkServerContext, tmp_path: Path) -> None:
    work, read = WORK[kind]
    project = tmp_path / "project"
    write_project(project)

    def carry_out(out: Path, kill_after_s: float | None = None) -> bool:
        """Whether it came to its end."""
        child = server.Process(target=work, args=(project, out))
        child.start()
        child.join(kill_after_s)
        ended = child.exitcode is not None
        if not ended:
            child.kill()
            child.join()
        else:
            assert child.exitcode == 0
        return ended

    began = time.monotonic()
    assert carry_out(tmp_path / "unbroken")
    seconds = time.monotonic() - began
    expected = read(tmp_path / "unbroken")
    draw = random.Random(kind)
    n_killed = 0
    for case in range(KILLS):
        out = tmp_path / f"broken-{case}"
        # Again and again, so that a resumed one is killed, too.
        for _ in range(2):
            n_killed += not carry_out(out, draw.uniform(0.05, 0.9) * seconds)
        assert carry_out(out)
        found = read(out)
        assert equal(found, expected) if kind in ("train", "tuning") else found == expected
    assert n_killed > 0


def test_a_reader_never_sees_half_a_file(server: ForkServerContext, tmp_path: Path) -> None:
    child = server.Process(target=write, args=(tmp_path, tmp_path / "out"))
    child.start()
    seen = set()
    while child.is_alive():
        with contextlib.suppress(OSError):
            seen.add((tmp_path / "out/file").read_bytes())
    child.join()
    assert child.exitcode == 0
    assert all((len(set(one)) == 1 and len(one) == 200_000) or one == b"the last" for one in seen)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
