"""No file of up to 50 MB makes a run take two gigabytes more than its candidate and clips need, whatever is in it."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from small_trainings import MODEL, write_chirps

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import load_suite
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.errors import VqbenchError
from vqbench.progress import Silent
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

MB = 1 << 20
LIMIT_BYTES = 2 << 30

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def write_project(folder: Path) -> None:
    write_chirps(folder, 4)
    save_checkpoint(folder / "a.safetensors", DVAE(Dimensions(**MODEL)), MelSpec(), {})
    write_suite(folder, "plain")


def write_suite(folder: Path, name: str, manifest: str = "manifest.jsonl", **candidate: str) -> None:
    suite = {
        "name": name,
        "data": {"speech": {"manifest": manifest}},
        "candidates": [{"name": "a", "checkpoint": "a.safetensors", **candidate}],
        "metrics": ["reconstruction", "codebook", "throughput"],
        "vocoder": {"iterations": 1},
        "interval": {"resamples": 100},
        "throughput": {"repetitions": 2, "warmup": 0, "batch_sizes": [1], "segment_s": 1.0},
        "device": "cpu",
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(suite))


def silence(path: Path, rate_hz: int, channels: int, seconds: int) -> None:
    second = np.zeros((rate_hz, channels), np.int16)
    with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_16", format="FLAC") as file:
        for _ in range(seconds):
            file.write(second)


def with_a_sound(folder: Path, rate_hz: int, channels: int, seconds: int) -> Path:
    silence(folder / "long.flac", rate_hz, channels, seconds)
    lines = (folder / "manifest.jsonl").read_text() + json.dumps({"id": "long", "path": "long.flac"}) + "\n"
    (folder / "hostile.jsonl").write_text(lines)
    write_suite(folder, "hostile", "hostile.jsonl")
    return folder / "long.flac"


def as_manifest(folder: Path, content: bytes) -> Path:
    (folder / "hostile.jsonl").write_bytes(content)
    write_suite(folder, "hostile", "hostile.jsonl")
    return folder / "hostile.jsonl"


def with_checkpoint(folder: Path, name: str, write: Callable[[Path], object]) -> Path:
    write(folder / name)
    write_suite(folder, "hostile", checkpoint=name)
    return folder / name


def deflated(path: Path) -> None:
    """A torch file whose pickle is deflated nothing: over two gigabytes once it is there."""
    torch.save(DVAE(Dimensions(**MODEL)).state_dict(), path)
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    zeros = bytes(64 * MB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, content in parts.items():
            if name.endswith("data.pkl"):
                with packed.open(name, "w", force_zip64=True) as file:
                    for _ in range(40):
                        file.write(zeros)
            else:
                packed.writestr(name, content)


def with_header(path: Path, **front_end: object) -> None:
    """Our own checkpoint, whose header says other sizes."""
    save_checkpoint(path, DVAE(Dimensions(**MODEL)), MelSpec(), {})
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    ours = json.loads(header["__metadata__"]["vqbench"])
    ours["front_end"].update(front_end)
    header["__metadata__"]["vqbench"] = json.dumps(ours)
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + n :])


def with_norms(folder: Path) -> Path:
    torch.save(torch.ones(12 * MB), folder / "norms.pth")
    write_suite(folder, "hostile", mel_norms="norms.pth")
    return folder / "norms.pth"


def with_recipe(folder: Path) -> Path:
    write_suite(folder, "hostile")
    (folder / "hostile.yaml").write_bytes(b"\n" * (50 * MB) + (folder / "hostile.yaml").read_bytes())
    return folder / "hostile.yaml"


DENSE = (655_350, 8, 60)
"""Hz, channels and seconds: well below ten minutes, and 1.3 gigabytes of float32, twice while they are joined."""

HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a long FLAC": (lambda folder: with_a_sound(folder, 16_000, 1, 3 * 3600), "unscored: the clip is 10800 s long"),
    "a dense FLAC": (
        lambda folder: with_a_sound(folder, *DENSE),
        "unscored: the clip holds 60 s of 8 channels",
    ),
    "newlines": (lambda folder: as_manifest(folder, b"\n" * (50 * MB)), "the manifest has no clips"),
    "newlines after a line": (
        lambda folder: as_manifest(folder, (folder / "manifest.jsonl").read_bytes() + b"\n" * (40 * MB)),
        "lines have nothing on them",
    ),
    "a line": (lambda folder: as_manifest(folder, b'{"id": "' + b"x" * (50 * MB)), "the line is longer"),
    "a deflated pickle": (lambda folder: with_checkpoint(folder, "b.pth", deflated), "which torch.save does not write"),
    "mel norms": (with_norms, "mel norms"),
    "a window": (
        lambda folder: with_checkpoint(folder, "b.safetensors", lambda path: with_header(path, n_fft=1 << 31)),
        "sizes are impossible",
    ),
    "bands": (
        lambda folder: with_checkpoint(
            folder, "b.safetensors", lambda path: with_header(path, n_mels=100_000, norms=[1.0] * 100_000)
        ),
        "the network reads 80 bands",
    ),
    "a suite": (with_recipe, "larger than"),
}


def carry_out(project: Path) -> None:
    """A run as it should be, for all that it needs; then the hostile one, with so much more."""
    torch.set_num_threads(1)
    run_suite(load_suite(project / "plain.yaml"), Cache(project / "cache/plain"), Silent())
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + LIMIT_BYTES, own + LIMIT_BYTES))
    try:
        run = run_suite(load_suite(project / "hostile.yaml"), Cache(project / "cache/hostile"), Silent()).run
        told = "".join(f"unscored: {why}" for table in run.tables for why in table.unscored.values())
    except VqbenchError as error:
        told = f"refused: {error}"
    (project / "told").write_text(told)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vqbench.engine.runner"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield context


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_costs_a_run_no_memory(kind: str, server: ForkServerContext, tmp_path: Path) -> None:
    write_project(tmp_path)
    make, says = HOSTILE[kind]
    assert make(tmp_path).stat().st_size < 51 * MB
    child = server.Process(target=carry_out, args=(tmp_path,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    told = (tmp_path / "told").read_text()
    assert told and says in told
    assert "alloc" not in told and "memory" not in told.lower()


def test_the_bound_is_one(server: ForkServerContext, tmp_path: Path) -> None:
    """Where the suite moves its limit, the dense recording is read, and that is more than the bound."""
    write_project(tmp_path)
    with_a_sound(tmp_path, *DENSE)
    suite = yaml.safe_load((tmp_path / "hostile.yaml").read_text())
    suite["data"]["speech"]["max_clip_s"] = 20_000
    (tmp_path / "hostile.yaml").write_text(yaml.safe_dump(suite))
    child = server.Process(target=carry_out, args=(tmp_path,))
    child.start()
    child.join(120)
    assert child.exitcode != 0
