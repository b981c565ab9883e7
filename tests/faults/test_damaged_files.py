"""Files that vqbench wrote and that were damaged since: read as they were, or refused, never believed.

Files of users, which carry no checksum, are refused or are other files; they never end in a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from builders import make_run
from damage import damages
from hearable_pairs import pair, write_pairs
from small_trainings import MODEL, write_chirps
from torch import nn

from vqbench.audio.io import load_waveform
from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import load_recipe
from vqbench.config.suite import load_suite
from vqbench.config.training import OptimizationConfig
from vqbench.data.manifest import read_manifest
from vqbench.engine.cache import Cache
from vqbench.errors import VqbenchError
from vqbench.files import has_sum, write_sum
from vqbench.records.check import check_run
from vqbench.records.store import load_run, save_run
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.training.loop import _Run, open_fabric

Read = Callable[[], Any]


def result(folder: Path) -> tuple[Path, Read]:
    file = save_run(make_run(n_clips=6, resamples=10), folder)

    def read() -> Any:
        run = load_run(file)
        check_run(run)
        return run

    return file, read


def cache_entry(folder: Path) -> tuple[Path, Read]:
    cache = Cache(folder)
    cache.put("rows-speech", "ab12", {"cells": {"errors": 3.0, "words": 17.0}, "texts": {"hypothesis": "so it goes"}})
    (file,) = folder.rglob("*.json")
    return file, lambda: _known(cache.get("rows-speech", "ab12"))


def _known(value: Any) -> Any:
    """Absent is as good as refused: it is made anew."""
    if value is None:
        raise VqbenchError("absent")
    return value


def shard(folder: Path) -> tuple[Path, Read]:
    write_pairs(folder, [pair(n) for n in range(4)])
    (file,) = folder.iterdir()
    names = ("id", "text", "speaker", "split", "flac", "sample_rate_hz", "clvp", "seed", "finished", "teacher")

    def read() -> Any:
        return [([getattr(one, name) for name in names], one.codes.tolist()) for one in read_pairs(folder)]

    return file, read


def state(folder: Path) -> tuple[Path, Read]:
    def opened() -> _Run:
        torch.manual_seed(0)
        module = nn.Linear(3, 3)
        config = OptimizationConfig(steps=10, learning_rate=0.1, warmup_steps=1)
        optimizer = torch.optim.AdamW(module.parameters())
        device = torch.device("cpu")
        trained = [*module.parameters()]
        return _Run(module, trained, optimizer, config, folder, open_fabric(device, config.precision), None)

    started = opened()
    started.step = 7
    started.save_state()

    def read() -> Any:
        resumed = opened()
        resumed.resume(torch.device("cpu"))
        return resumed.step, [parameter.tolist() for parameter in resumed.trained]

    return folder / "state.pt", read


def finished_weights(folder: Path) -> tuple[Path, Read]:
    file = folder / "weights.safetensors"
    save_checkpoint(file, DVAE(Dimensions(**MODEL)), MelSpec(), {})
    write_sum(file)

    def read() -> Any:
        if not has_sum(file):
            raise VqbenchError("absent")
        return load_tokenizer(file).digest

    return file, read


OURS = {"result": result, "cache": cache_entry, "shard": shard, "state": state, "weights": finished_weights}


@pytest.mark.parametrize("kind", OURS)
def test_what_we_wrote_is_read_as_it_was_or_refused(kind: str, tmp_path: Path) -> None:
    file, read = OURS[kind](tmp_path)
    whole, expected = file.read_bytes(), read()
    n_refused = 0
    for damaged in damages(whole, seed=0):
        file.write_bytes(damaged)
        try:
            assert read() == expected
        except VqbenchError:
            n_refused += 1
    assert n_refused > 0
    file.write_bytes(whole)
    assert read() == expected


def checkpoint(folder: Path) -> tuple[Path, Read]:
    file = folder / "dvae.safetensors"
    save_checkpoint(file, DVAE(Dimensions(**MODEL)), MelSpec(), {})
    return file, lambda: load_tokenizer(file)


def torch_checkpoint(folder: Path) -> tuple[Path, Read]:
    file = folder / "dvae.pth"
    torch.save(DVAE(Dimensions(**{**MODEL, "codebook_size": 8192})).state_dict(), file)
    return file, lambda: load_tokenizer(file)


def sound(folder: Path, name: str) -> tuple[Path, Read]:
    file = folder / name
    time_s = np.arange(8000) / 16_000
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * 220 * time_s), 16_000)
    return file, lambda: load_waveform(file, 22_050)


def manifest(folder: Path) -> tuple[Path, Read]:
    file = write_chirps(folder, 3)
    return file, lambda: read_manifest(file)


SUITE = """\
name: small
data: {speech: {manifest: manifest.jsonl}}
candidates: [{name: a, checkpoint: a.safetensors}]
gate: ["speech.wer <= 0.5", {rule: "codebook.dead <= 20%", candidates: [a]}]
"""

RECIPE = """\
name: small
reconstruct: {data: [{manifest: manifest.jsonl}], steps: 20, warmup_steps: 2, crop_frames: 32}
"""


def yaml_file(text: str, load: Callable[[Path], Any], folder: Path) -> tuple[Path, Read]:
    write_chirps(folder, 2)
    (folder / "a.safetensors").touch()
    file = folder / "small.yaml"
    file.write_text(text)
    return file, lambda: load(file)


THEIRS: dict[str, Callable[[Path], tuple[Path, Read]]] = {
    "safetensors": checkpoint,
    "torch": torch_checkpoint,
    "wav": lambda folder: sound(folder, "a.wav"),
    "flac": lambda folder: sound(folder, "a.flac"),
    "manifest": manifest,
    "suite": lambda folder: yaml_file(SUITE, load_suite, folder),
    "recipe": lambda folder: yaml_file(RECIPE, load_recipe, folder),
}


@pytest.mark.parametrize("kind", THEIRS)
def test_what_users_bring_is_read_or_refused_by_name(kind: str, tmp_path: Path) -> None:
    file, read = THEIRS[kind](tmp_path)
    whole = file.read_bytes()
    read()
    for damaged in damages(whole, seed=1):
        file.write_bytes(damaged)
        try:
            read()
        except VqbenchError as error:
            assert str(error).strip()
            assert "weights_only" not in str(error)
