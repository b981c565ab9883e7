"""`vqbench run --dry-run`: faults as of a run, an estimate for people and for programs, and nothing left behind."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.engine.cache import CACHE_VARIABLE

SUITE = """\
name: dry
data: {speech: {corpus: tortoise-voices, split: test, limit: 6}}
candidates:
  - {name: first, recipe: untrained.yaml}
  - {name: second, recipe: untrained.yaml, change: {seed: 1}}
metrics: [codebook, throughput]
throughput: {batch_sizes: [1], segment_s: 0.5, repetitions: 5, warmup: 0}
baseline: baseline.json
gate: [codebook.dead <= baseline + 1%]
device: cpu
"""

RECIPE = "name: untrained\nmodel: {hidden_dim: 8, codebook_size: 64, codebook_dim: 8, num_resnet_blocks: 1}\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in (("suite", SUITE), ("untrained", RECIPE)):
        (tmp_path / f"{name}.yaml").write_text(content)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def vqbench(line: str) -> Any:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_a_table_for_people(project: Path) -> None:
    before = sorted(project.rglob("*"))
    done = vqbench("run suite.yaml --dry-run -o runs/dry")
    # There is no verdict, so none is missed.
    assert done.exit_code == 0, done.output
    assert sorted(project.rglob("*")) == before
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("an estimate for dry, from an empty cache, on this machine (cpu")
    rows = [line.split() for line in lines]
    assert [row[1:3] for row in rows if row[:1] == ["listening"]] == [["12", "clips"]]
    assert [row[1:3] for row in rows if row[:1] == ["speed"]] == [["70", "timings"]]
    assert "from a rehearsal with first, which took" in done.stdout
    assert "listening: done in" in done.stderr


def test_json_for_programs() -> None:
    done = vqbench("run suite.yaml --dry-run --json -q -c second")
    assert done.exit_code == 0, done.output
    assert not done.stderr
    found = json.loads(done.stdout)
    assert [(stage["name"], stage["tasks"], stage["units"]) for stage in found["stages"]] == [
        ("listening", 1, 6),
        ("speed", 1, 35),
        ("intervals", 1, len(found_metrics())),
    ]
    assert found["candidate"] == "second"
    assert found["seconds"] > 0 < found["memory"][0]["peak_bytes"]


def found_metrics() -> list[str]:
    done = vqbench("run suite.yaml -q --json -c second")
    assert done.exit_code == 3
    return [metric["name"] for metric in json.loads(done.stdout)["metrics"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SUITE.replace("split: test", "split: tests"), ["no clip is of the split 'tests' (did you mean 'test'?)"]),
        (SUITE.replace("[codebook,", "[codebok,").replace("limit: 6", "limit: 0"), ["'codebok'", "data.speech.limit"]),
        (SUITE.replace("device: cpu", "device: cuda:99"), ["torch finds no device cuda:99"]),
        (SUITE.replace("codebook.dead", "codebook.deaf"), ["codebook.deaf"]),
    ],
)
def test_faults_are_those_of_a_run(content: str, said: list[str], project: Path) -> None:
    Path("suite.yaml").write_text(content)
    before = sorted(project.rglob("*"))
    dry, real = vqbench("run suite.yaml --dry-run"), vqbench("run suite.yaml")
    assert dry.exit_code == real.exit_code == 2
    errors = [line for line in dry.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [line for line in real.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(said)
    for part in said:
        assert part in dry.stderr
    assert sorted(project.rglob("*")) == before
