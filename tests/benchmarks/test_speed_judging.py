"""Whole processes on a large run: reading and judging it must fit into the time and memory of a CI step, without torch.

Measured, it is 20 candidates × 10,000 clips with the metrics of the quick suite, against a baseline of as many.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from large_run import large_run

from vqbench.records.store import load_run, save_baseline, save_run

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "python and numpy alone": None,
    "vqbench gate": (["gate", "run", "--baseline", "main"], "gate: pass"),
    "vqbench compare": (["compare", "run"], "differences from candidate-00"),
    "vqbench compare --power": (["compare", "run", "--power"], "clips needed"),
    "vqbench card": (["card", "run:candidate-01", "--baseline", "main"], "model-index"),
    "vqbench history": (["history", "run", "main"], "history"),
}
INSIDE = """
import json, re, sys
from vqbench.cli import app
code = 0
try:
    app(sys.argv[1:], standalone_mode=True)
except SystemExit as end:
    code = end.code
heavy = sorted({"torch", "scipy", "matplotlib"} & set(sys.modules))
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]  # ru_maxrss would count the parent's
print(json.dumps([code, heavy, int(peak_kb) / 1024]), file=sys.stderr)
"""
MOST_MB = 300


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, measured: bool) -> Path:
    folder = tmp_path_factory.mktemp("large")
    metrics = load_run(ROOT / "baselines/quick.json").metrics
    run = large_run(metrics) if measured else large_run(metrics, 3, 200)
    save_run(run, folder / "run")
    save_baseline(run, "main", folder / "baselines")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_large_run(benchmark, command, workplace) -> None:
    benchmark.group = "20 candidates × 10,000 clips"
    asked = COMMANDS[command]

    def process() -> subprocess.CompletedProcess[str]:
        line = ["-c", INSIDE, *asked[0]] if asked else ["-c", "import numpy"]
        return subprocess.run([sys.executable, *line], cwd=workplace, capture_output=True, text=True, check=True)

    done = benchmark.pedantic(process, rounds=3)
    if asked:
        code, heavy, peak_mb = json.loads(done.stderr.splitlines()[-1])
        benchmark.extra_info["peak_mb"] = peak_mb
        assert asked[1] in done.stdout
        assert (code, heavy) == (0, [])
        assert peak_mb < MOST_MB
