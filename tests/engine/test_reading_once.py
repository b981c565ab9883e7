"""What many share is read once: a recording by all who measure it, a manifest and a recipe by all its seeds."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_trainings import MODEL, write_chirps

from vqbench.audio.mel import MelSpec
from vqbench.config import marked_yaml
from vqbench.config.suite import load_suite
from vqbench.engine import candidates
from vqbench.engine.bench import SYSTEMS_KEPT
from vqbench.engine.cache import Cache
from vqbench.engine.rehearsal import rehearse
from vqbench.engine.runner import run_suite
from vqbench.metrics.throughput import HELD
from vqbench.progress import Silent
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

METRICS = ["reconstruction", "codebook", "throughput"]

_watched: list[Counter[str]] = []


def _hear(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and _watched and isinstance(args[0], str | os.PathLike):
        _watched[-1][os.fspath(args[0])] += 1


sys.addaudithook(_hear)  # it stays, and does nothing where nobody watches


@contextmanager
def openings() -> Iterator[Counter[str]]:
    """How often each file is opened by this process, whoever opens it."""
    _watched.append(Counter())
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def suite(folder: Path, **changes: object) -> Path:
    content = {
        "name": "small",
        "data": {"speech": {"manifest": "manifest.jsonl"}},
        "metrics": METRICS,
        "vocoder": {"iterations": 1},
        "interval": {"resamples": 100},
        "throughput": {"repetitions": 2, "warmup": 0, "batch_sizes": [1], "segment_s": 1.0},
        "device": "cpu",
        **changes,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def checkpoints(folder: Path, n: int) -> list[dict[str, str]]:
    named = []
    for number in range(n):
        save_checkpoint(folder / f"{number}.safetensors", DVAE(Dimensions(**MODEL)), MelSpec(), {})
        named.append({"name": f"c{number}", "checkpoint": f"{number}.safetensors"})
    return named


@pytest.mark.parametrize("n_candidates", [1, 3])
def test_a_recording_is_opened_to_be_known_and_to_be_heard(n_candidates: int, tmp_path: Path) -> None:
    """Once for digest and header, by which the cache is asked; once for its sound, whoever measures it."""
    write_chirps(tmp_path, 6)
    asked = load_suite(suite(tmp_path, candidates=checkpoints(tmp_path, n_candidates)))
    with openings() as opened:
        run = run_suite(asked, Cache(tmp_path / "cache"), Silent()).run
    assert {len(table.row_ids) for table in run.tables if table.group == "reconstruction"} == {6}
    assert {Path(name).name: n for name, n in opened.items() if name.endswith(".wav")} == {
        f"{number}.wav": 2 for number in range(6)
    }
    # What the cache knows is not heard again, but for what is timed, which nobody keeps.
    with openings() as again:
        run_suite(asked, Cache(tmp_path / "cache"), Silent())
    heard = sum(n - 1 for name, n in again.items() if name.endswith(".wav"))
    assert 0 < heard < 6


def test_thousands_of_seeds_are_counted_without_reading_anything_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_chirps(tmp_path, 6)
    joint = {
        "guard": {"kind": "none"},
        "data": [{"manifest": "manifest.jsonl"}],
        "steps": 20,
        "warmup_steps": 2,
        "crop_frames": 32,
    }
    recipe = {"name": "small", "start": "0.safetensors", "joint": joint}
    checkpoints(tmp_path, 1)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    seeds = [{"name": "small", "recipe": "recipe.yaml", "seeds": list(range(3000))}]
    asked = load_suite(suite(tmp_path, candidates=seeds))
    parsed: list[str] = []
    compose = marked_yaml.yaml.compose

    def parse(text: str, **more: object) -> object:
        parsed.append(text)
        return compose(text, **more)

    monkeypatch.setattr(marked_yaml.yaml, "compose", parse)
    with openings() as opened:
        forecast = rehearse(asked, Silent())
    assert {stage.name: stage.tasks for stage in forecast.stages}["listening"] == 3000 + 1  # and the vocoder alone
    assert any("375 heats" in note for note in forecast.notes)
    # A few times for all of them: suite, rehearsal, stand-in; not once for each.
    assert len(parsed) < 10
    read = {Path(name).name: n for name, n in opened.items() if Path(name).is_relative_to(tmp_path)}
    assert max(n for name, n in read.items() if name != "recipe.yaml") < 20


def test_a_few_candidates_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a dry run those that are kept, twice where a rehearsal has its own; while speed is measured one heat."""
    write_chirps(tmp_path, 3)
    asked = load_suite(suite(tmp_path, candidates=checkpoints(tmp_path, HELD + 2)))
    alive: weakref.WeakSet[DVAETokenizer] = weakref.WeakSet()
    together: list[int] = []

    def load(*args: Any, **more: Any) -> DVAETokenizer:
        gc.collect()
        made = load_tokenizer(*args, **more)
        alive.add(made)
        together.append(len(alive))
        return made

    monkeypatch.setattr(candidates, "load_tokenizer", load)
    gc.freeze()  # or each collection would look through all of torch
    try:
        rehearse(asked, Silent())
        assert SYSTEMS_KEPT <= max(together) <= 2 * SYSTEMS_KEPT
        together.clear()
        run_suite(asked, Cache(tmp_path / "cache"), Silent())
        assert SYSTEMS_KEPT < max(together) <= HELD
    finally:
        gc.unfreeze()
