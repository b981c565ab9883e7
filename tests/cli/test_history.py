import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from histories import JUMP, base, runs_with
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.records.store import save_baseline, save_run

BEYOND_TIME = {"too-late": "9999-12-31T23:59:59-12:00", "too-early": "0001-01-01T00:00:00+14:00"}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """runs/ of twenty nights, one of them a change, and one interrupted; the baseline main; a run without a time."""
    folder = tmp_path_factory.mktemp("nights")
    runs = runs_with(JUMP)
    for index, run in enumerate(runs):
        save_run(run, folder / f"runs/night-{index:02d}")
    (folder / "runs/cut-off").mkdir()
    save_baseline(runs[0], "main", folder / "baselines")
    save_run(base(), folder / "timeless")
    for name, started in BEYOND_TIME.items():
        save_run(replace(base(), provenance={"started": started}), folder / name)
    return folder


@pytest.fixture
def vqbench(nights, monkeypatch):
    monkeypatch.chdir(nights)
    monkeypatch.delenv("COLUMNS", raising=False)
    return lambda *arguments: CliRunner().invoke(app, ["history", *arguments])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs"], 0, "cut-off"),
        (["runs", "-q"], 0, ""),
        (["main"], 0, ""),
        (["runs/night-03", "runs/night-01/result.json", "main"], 0, ""),
        (["runs/night-00", "main"], 0, "same run as night-00"),
        (["runs", "-m", "speech.were"], 2, "did you mean 'speech.wer'"),
        (["runs", "-c", "goood"], 2, "did you mean 'good'"),
        (["runs", "-o", "history.png"], 2, "does not end in .svg"),
        (["timeless"], 2, "does not say when it was started"),
        *(([name], 2, f"was started at {started!r}, so it has no place") for name, started in BEYOND_TIME.items()),
        (["nowhere"], 2, "nowhere"),
        (["baselines"], 2, "there is no run in this folder"),
        ([], 2, "RUN"),
    ],
)
def test_exit_codes(vqbench, arguments, code, says):
    done = vqbench(*arguments)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (code == 0)
    if not says:
        assert done.stderr == ""


def test_says_what_changed_when(vqbench):
    done = vqbench("runs", "-m", "speech.wer", "-c", "good")
    assert "0.125 → 0.130 at night-10" in done.stdout
    assert "speech.wer ↓ of good" in done.stdout
    assert "speech.wer ↓ of good" not in vqbench("runs").stdout


def test_draws_a_picture_beside_the_answer(vqbench, nights):
    done = vqbench("runs", "-o", "wer.svg", "-q", "--json")
    assert done.stderr == ""
    assert json.loads(done.stdout)["series"]
    assert ET.parse(nights / "wer.svg").getroot().tag.endswith("svg")
    assert "wrote wer.svg" in vqbench("main", "-o", "wer.svg").stderr


def test_needs_neither_torch_nor_scipy(nights):
    script = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in ("torch", "scipy", "matplotlib"))
    script += "from vqbench.cli import main\nmain()"
    command = [sys.executable, "-c", script, "history", "runs", "-m", "speech.wer", "-o", "light.svg"]
    done = subprocess.run(command, cwd=nights, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (nights / "light.svg").exists()
