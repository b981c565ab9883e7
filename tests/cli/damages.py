"""A small project without faults, and all that can be done to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from builders import make_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vqbench.audio.mel import MelSpec
from vqbench.records.layout import checksum_of
from vqbench.records.store import save_baseline, save_run
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

SUITE = """\
name: tiny
data: {speech: {manifest: ../clips/m.jsonl}}
candidates:
  - {name: small, checkpoint: ../checkpoints/small.safetensors}
references: []
metrics: [codebook]
interval: {resamples: 100}
min_clips: 3
device: cpu
"""

RECIPE = """\
name: brief
model: {hidden_dim: 8, codebook_size: 16, codebook_dim: 4, num_resnet_blocks: 1}
reconstruct:
  data:
    - {manifest: ../clips/m.jsonl}
  steps: 2
  batch_size: 2
  crop_frames: 16
  validate_every: 2
  validation_share: 0.0
  warmup_steps: 1
"""

CLIPS = ("a", "b", "c")
RATE_HZ = 22_050

Damage = Callable[[Path], None]
"""What is done to a project without faults; called with its folder."""


def make_project(folder: Path) -> None:
    """Three clips, a suite, a recipe, a checkpoint in two formats, a run and a baseline."""
    for name in ("suites", "recipes", "clips", "checkpoints"):
        (folder / name).mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "suites/tiny.yaml").write_text(SUITE)
    (folder / "recipes/brief.yaml").write_text(RECIPE)
    time_s = np.arange(RATE_HZ // 2) / RATE_HZ
    for i, name in enumerate(CLIPS):
        soundfile.write(folder / f"clips/{name}.wav", 0.3 * np.sin(2 * np.pi * (200 + 100 * i) * time_s), RATE_HZ)
    lines = [json.dumps({"id": name, "path": f"{name}.wav", "text": "a tone"}) for name in CLIPS]
    (folder / "clips/m.jsonl").write_text("\n".join(lines))
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(codebook_size=64, codebook_dim=8, hidden_dim=16))
    save_checkpoint(folder / "checkpoints/small.safetensors", dvae, MelSpec(), {})
    torch.save(dvae.state_dict(), folder / "checkpoints/small.pth")
    run = make_run(gate=["speech.wer <= 0.9"], n_clips=12, resamples=100)
    save_run(run, folder / "runs/quick")
    save_baseline(run, "main", folder / "baselines")


def nothing(project: Path) -> None:
    pass


def edit(name: str, old: str, new: str) -> Damage:
    def damage(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return damage


def suite(old: str, new: str) -> Damage:
    return edit("suites/tiny.yaml", old, new)


def recipe(old: str, new: str) -> Damage:
    return edit("recipes/brief.yaml", old, new)


def result(old: str, new: str) -> Damage:
    """An edit by somebody who knows how the checksum is made."""

    def damage(project: Path) -> None:
        edit("runs/quick/result.json", old, new)(project)
        file = project / "runs/quick/result.json"
        body = file.read_bytes().split(b"\n", 2)[2]
        file.write_bytes(b'{\n"checksum": "%s",\n%s' % (checksum_of(body).encode(), body))

    return damage


def put(name: str, content: bytes | str) -> Damage:
    def damage(project: Path) -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def gone(name: str) -> Damage:
    return lambda project: (project / name).unlink()


def folder(name: str) -> Damage:
    def damage(project: Path) -> None:
        (project / name).unlink(missing_ok=True)
        (project / name).mkdir(parents=True)

    return damage


def cut(name: str, keep: float) -> Damage:
    def damage(project: Path) -> None:
        content = (project / name).read_bytes()
        (project / name).write_bytes(content[: int(keep * len(content))])

    return damage


def together(*damages: Damage) -> Damage:
    def damage(project: Path) -> None:
        for one in damages:
            one(project)

    return damage


def clip(**changes: object) -> Damage:
    """Another first line of the manifest; what is changed to None is left out."""

    def damage(project: Path) -> None:
        path = project / "clips/m.jsonl"
        first, *others = path.read_text().splitlines()
        values = {**json.loads(first), **changes}
        written = json.dumps({key: value for key, value in values.items() if value is not None})
        path.write_text("\n".join([written, *others]))

    return damage


def sound(name: str, samples: list[float] | np.ndarray) -> Damage:
    def damage(project: Path) -> None:
        soundfile.write(project / name, np.array(samples, dtype=np.float32), RATE_HZ, subtype="FLOAT")

    return damage


def weights(change: Callable[[dict[str, torch.Tensor]], object], header: str | None = None) -> Damage:
    """The checkpoint with other tensors, or with another header."""

    def damage(project: Path) -> None:
        path = project / "checkpoints/small.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path, metadata=None if header is None else {"vqbench": header})

    return damage


def header(**changes: object) -> Damage:
    """The checkpoint with another header over the same tensors; what is changed to None is left out."""

    def damage(project: Path) -> None:
        path = project / "checkpoints/small.safetensors"
        with safe_open(path, framework="pt") as file:
            written = json.loads(file.metadata()["vqbench"])
        for key, change in changes.items():
            if change is None:
                del written[key]
            else:
                written[key] = {**written[key], **change} if isinstance(change, dict) else change
        save_file(load_file(path), path, metadata={"vqbench": json.dumps(written)})

    return damage


def torch_file(name: str, content: object) -> Damage:
    return lambda project: torch.save(content, project / name)


class RunsCode:
    """What a hostile pickle holds: opening it would make the file `it-ran`."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("it-ran"),)
