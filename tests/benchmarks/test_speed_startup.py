"""Whole processes, from the shell's point of view: verbs that only read results must not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import make_run

from vqbench.records.store import save_baseline, save_run

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "python alone": ["-c", "pass"],
    "vqbench --help": ["-m", "vqbench", "--help"],
    "vqbench compare --help": ["-m", "vqbench", "compare", "--help"],
    "vqbench gate": ["-m", "vqbench", "gate", "runs/quick", "--baseline", "main"],
}
ANSWERS = {
    "vqbench --help": "compare",
    "vqbench compare --help": "Example",
    "vqbench gate": "gate: pass",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    run = make_run(gate=("speech.wer <= 0.9",))
    save_run(run, folder / "runs/quick")
    save_baseline(run, "main", folder / "baselines")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_start_up(benchmark, command, workplace, measured) -> None:
    if command == "import torch" and not measured:
        pytest.skip("a yardstick only: nothing of ours to check")
    benchmark.group = "start-up"

    def process() -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *COMMANDS[command]]
        return subprocess.run(line, cwd=workplace, capture_output=True, text=True, check=True, encoding="utf-8")

    assert ANSWERS.get(command, "") in benchmark(process).stdout
