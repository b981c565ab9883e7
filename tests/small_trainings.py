"""Trainings of seconds: a corpus of chirps, and a recipe carried out without the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
import torch

from vqbench.config.recipe import Recipe
from vqbench.engine.recipes import SourceFinder
from vqbench.progress import Progress, Silent
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.training.trainer import Sources, train, training_digest

MODEL = {"hidden_dim": 8, "codebook_size": 32, "codebook_dim": 8, "num_resnet_blocks": 1}


def write_chirps(folder: Path, n: int = 12) -> Path:
    """A manifest of chirps in noise by two speakers, a second each; the first one is shorter than any crop."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(n):
        time_s = np.arange(22_050 if i else 3_000) / 22_050
        tone = np.sin(2 * np.pi * (200 + 150 * i + 300 * time_s) * time_s)
        samples = (0.3 * tone + 0.02 * rng.standard_normal(len(time_s))).astype(np.float32)
        soundfile.write(folder / f"{i}.wav", samples, 22_050)
        said = f'"text": "chirp number {i}", "speaker": "{"ab"[i % 2]}"'
        lines.append(f'{{"id": "clip-{i}", "path": "{i}.wav", {said}}}\n')
    (folder / "manifest.jsonl").write_text("".join(lines))
    return folder / "manifest.jsonl"


def sources_of(recipe: Recipe, teacher: TortoiseTeacher | None = None) -> Sources:
    """What a recipe reads; a teacher that is given is the recipe's."""
    finder = SourceFinder(torch.device("cpu"), Silent())
    if teacher is not None:
        finder._teacher = lambda name: teacher
    return finder(recipe)


def run(recipe: Recipe, folder: Path, progress: Progress | None = None, teacher: TortoiseTeacher | None = None) -> Path:
    """Carries out a recipe on the CPU."""
    return train(recipe, sources_of(recipe, teacher), folder, "cpu", progress or Silent())


def digest(recipe: Recipe, teacher: TortoiseTeacher | None = None) -> str:
    """Of all that decides a recipe's weights."""
    return training_digest(recipe, sources_of(recipe, teacher))


def weights(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint."""
    return load_tokenizer(path).dvae.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether they are the same bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def assert_moved_alike(
    start: dict[str, torch.Tensor], ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], share: float = 2e-3
) -> None:
    """Whether two trainings differ by rounding alone: by hardly a share of the way that the weights have come.

    Not number by number: AdamW moves a weight by its learning rate however small its gradient is, and where that is
    nothing but rounding, the weight goes anywhere. Were a batch's parts weighed wrongly, they would differ by a third.
    """
    assert start.keys() == ours.keys() == theirs.keys()
    for key, before in start.items():
        way, apart = (ours[key] - before).norm(), (theirs[key] - ours[key]).norm()
        assert apart <= share * way + 1e-6, f"{key} has come {way:.3g} far, and is {apart:.3g} off"


def log_of(phase: Path) -> list[dict[str, str]]:
    """The rows of a phase's log."""
    return list(csv.DictReader((phase / "log.csv").read_text().splitlines()))
