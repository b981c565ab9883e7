"""Where a run's numbers come from: versions, machine, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import torch

from vqbench.errors import ConfigError, did_you_mean

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "av",
    "openai-whisper",
    "faster-whisper",
    "ctranslate2",
    "jiwer",
    "resemblyzer",
    "tortoise-tts",
)
"""Those that decide figures."""


def choose_device(written: str, where: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU.

    On CUDA, convolutions are set to full float32: TF32, torch's default there, rounds latents and flips codes.

    Args:
        written: auto, cpu, cuda or cuda:N.
        where: the file or option that it is written in.

    Raises:
        ConfigError: it is something else, or a CUDA device that this machine does not have.
    """
    if not re.fullmatch("auto|cpu|cuda(:[0-9]{1,3})?", written):
        near = did_you_mean(written, ("auto", "cpu", "cuda"))
        raise ConfigError(f"{written!r} is no device{near}", where=where, expected="auto, cpu, cuda or cuda:N")
    torch.backends.cudnn.allow_tf32 = False
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if written == "auto":
        return torch.device("cuda" if n_cuda else "cpu")
    # Read here: torch.device keeps eight bits of an index and makes 256 a 0.
    if written != "cpu" and int(written.partition(":")[2] or 0) >= n_cuda:
        raise ConfigError(
            f"torch finds no device {written} on this machine, but {n_cuda} CUDA devices",
            where=where,
            fix="auto takes a CUDA device where there is one, and the CPU elsewhere",
        )
    return torch.device(written)


def collect_provenance(device: torch.device, folder: Path, command: list[str]) -> dict[str, object]:
    """Everything that a reader needs to judge or repeat the run, as plain JSON values; `folder` holds the suite."""
    return {
        "vqbench": package_version("vqbench"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": cpu_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({cpu_name()})",
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "commit": git_commit(folder),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
    }


def package_version(name: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout that holds `folder`; None outside git.

    Nothing else is asked: `git status` runs programs that the folder's own configuration names, and a suite may come
    from a stranger.
    """
    git = shutil.which("git")
    if git is None:
        return None

    command = [git, "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
