"""action.yml: what it says, and its scripts run as GitHub's runner runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import make_run
from workflow_commands import Command, commands

from vqbench.records.store import save_baseline, save_run
from vqbench.report.tables.markdown import escape

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "action.yml").read_text(encoding="utf-8")
ACTION = yaml.safe_load(TEXT)
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SCRIPTS = {step["id"]: step for step in STEPS if "run" in step}

HOSTILE = "x::##[debug]y::set-output name=status::pass\n::stop-commands::now </details><b>"

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")


# ---- what it says


def test_no_expression_stands_in_a_script() -> None:
    assert SCRIPTS
    assert not [step["id"] for step in SCRIPTS.values() if "${{" in step["run"]]


def test_actions_of_others_are_pinned_by_commit_and_say_which_version_that_is() -> None:
    used = re.findall(r"^ *(?:- )?uses: (.*)$", TEXT, re.MULTILINE)
    assert len(used) == sum("uses" in step for step in STEPS)
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_every_input_is_read_and_every_output_is_written() -> None:
    assert set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", TEXT)) == set(ACTION["inputs"])
    written = re.findall(r'echo "([\w-]+)=', SCRIPTS["gate"]["run"])
    outputs = {name: entry["value"] for name, entry in ACTION["outputs"].items()}
    assert outputs == {name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in written}
    assert all(entry["description"] for entry in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))


def test_a_script_reads_no_variable_that_nobody_sets() -> None:
    given = {"GITHUB_ACTION_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP", "PATH"}
    for step in SCRIPTS.values():
        asked = set(re.findall(r"\$\{?([A-Z_]+)", step["run"]))
        assert asked - given == set(step["env"]), step["id"]


# ---- what it does


@dataclass(frozen=True)
class Job:
    """A step that has run."""

    exit_code: int
    log: str
    outputs: dict[str, str]
    summary: str
    workspace: Path

    @property
    def commands(self) -> list[Command]:
        return commands(self.log)


def run_step(name: str, folder: Path, inputs: dict[str, str], environment: dict[str, str] | None = None) -> Job:
    """Runs one script in `folder`/workspace, with the environment that GitHub's runner gives it."""
    workspace, temporary = folder / "workspace", folder / "temporary"
    for made in (workspace, temporary):
        made.mkdir(exist_ok=True)
    files = {key: temporary / key for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "script.sh")}
    files["GITHUB_OUTPUT"].write_text("")
    files["GITHUB_STEP_SUMMARY"].write_text("before\n")
    files["script.sh"].write_text(SCRIPTS[name]["run"], encoding="utf-8")
    defaults = {key: entry.get("default", "") for key, entry in ACTION["inputs"].items()}
    assert inputs.keys() <= defaults.keys()
    values = {f"${{{{ inputs.{key} }}}}": value for key, value in {**defaults, **inputs}.items()}
    values["${{ steps.python.outputs.python-path }}"] = "python"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(files["script.sh"])],
        cwd=workspace,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "GITHUB_OUTPUT": str(files["GITHUB_OUTPUT"]),
            "GITHUB_STEP_SUMMARY": str(files["GITHUB_STEP_SUMMARY"]),
            "GITHUB_ACTION_PATH": str(ROOT),
            "RUNNER_TEMP": str(temporary),
            **{key: values[expression] for key, expression in SCRIPTS[name]["env"].items()},
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return Job(done.returncode, done.stdout, outputs, files["GITHUB_STEP_SUMMARY"].read_text(), workspace)


RULES = ["speech.wer <= 0.9", "speech.speaker_similarity >= baseline - 0.02"]


@pytest.fixture(scope="module")
def gated(tmp_path_factory) -> Callable[..., Job]:
    """Gates a run `result.json` beside the baselines main and small (too few clips), by the inputs given."""
    folder = tmp_path_factory.mktemp("action")
    small = make_run(gate=RULES, n_clips=6, n_speakers=3, resamples=100)
    save_baseline(make_run(gate=RULES, resamples=100), "main", folder / "workspace/baselines")
    save_baseline(small, "small", folder / "workspace/baselines")
    save_run(make_run(gate=RULES, resamples=100), folder / "workspace/run")
    save_run(small, folder / "workspace/small")
    save_run(make_run(quality={HOSTILE: 8.0}, resamples=100), folder / "workspace/hostile")
    return lambda **inputs: run_step("gate", folder, inputs)


@needs_bash
def test_a_run_that_passes(gated) -> None:
    job = gated(run="run", baseline="main", junit="out/gate.xml")
    assert job.exit_code == 0
    assert (job.outputs["status"], job.outputs["exit-code"]) == ("pass", "0")
    assert job.commands == []
    assert "gate: pass" in job.log
    assert (job.workspace / "out/gate.xml").read_text().startswith("<?xml")
    # Appended to what is there; the verdict first, the figures beside those of the baseline folded behind it.
    before, _, posted = job.summary.partition("\n")
    assert before == "before"
    assert posted.startswith("### gate: pass")
    verdict, _, figures = posted.partition("<details><summary>Figures</summary>\n\n")
    assert "speech.wer &lt;= 0.9" in verdict
    assert "### differences from" in figures
    assert figures.endswith("\n</details>\n")
    assert Path(job.outputs["markdown"]).read_text() == posted


@needs_bash
def test_a_hostile_run_that_fails(gated) -> None:
    rules = "speech.wer <= 0.0\r\n\n  \nspeech.wer >= 0\n"
    job = gated(run="hostile/result.json", rule=rules)
    assert job.exit_code == 1
    assert (job.outputs["status"], job.outputs["exit-code"]) == ("fail", "1")
    (error,) = (command for command in job.commands if command.name != "warning")
    assert error.name == "error"
    assert error.message.startswith(f"{HOSTILE}: speech.wer <= 0.0: ")
    assert job.summary.count(escape(HOSTILE)) >= 3
    assert job.summary.count("</details>") == 1
    assert escape("speech.wer >= 0") in job.summary


@needs_bash
def test_a_run_of_too_few_clips_is_inconclusive(gated) -> None:
    job = gated(run="small", baseline="small")
    assert job.exit_code == 3
    assert (job.outputs["status"], job.outputs["exit-code"]) == ("inconclusive", "3")
    assert {command.name for command in job.commands} == {"warning"}
    assert any("too few clips" in command.message for command in job.commands)


@needs_bash
@pytest.mark.parametrize(
    ("limit", "start", "end"),
    [(1500, "### gate: pass (0 failed", " |\n"), (200, "### gate: pass (the table is", "see the log)\n")],
    ids=["without the figures", "without the table"],
)
def test_what_is_too_long_for_a_summary(gated, monkeypatch, limit, start, end) -> None:
    script = SCRIPTS["gate"]["run"]
    assert "limit=1000000\n" in script
    monkeypatch.setitem(SCRIPTS["gate"], "run", script.replace("limit=1000000\n", f"limit={limit}\n"))
    job = gated(run="run", baseline="main")
    posted = job.summary.removeprefix("before\n")
    assert job.exit_code == 0
    assert posted.startswith(start)
    assert posted.endswith(end)
    assert len(posted.encode()) <= limit


@needs_bash
@pytest.mark.parametrize(
    "inputs",
    [
        {"run": "nowhere"},
        {"run": "hostile", "candidate": "nobody"},
        {"run": "$(touch pwned)", "baseline": "`touch pwned`", "rule": '"; touch pwned; "', "junit": "; touch pwned"},
        {"run": "--help"},
        {"run": ""},
    ],
    ids=["no run", "a hostile message", "a script", "an option", "nothing"],
)
def test_what_cannot_be_judged(gated, inputs) -> None:
    job = gated(**inputs)
    assert job.exit_code == 2
    assert (job.outputs["status"], job.outputs["exit-code"]) == ("error", "2")
    assert [command.message for command in job.commands] == ["the run could not be judged, exit code 2: see the log"]
    assert "error: " in job.log
    assert "### gate: not judged, exit code 2\n\n<pre>\nerror: " in job.summary
    assert re.findall("<[^p/]", job.summary) == []
    assert not (job.workspace / "pwned").exists()


@needs_bash
@pytest.mark.parametrize(
    ("version", "wanted"),
    [("", ["-c", str(ROOT / "constraints.txt"), str(ROOT)]), ("0.1.0", ["vqbench==0.1.0"])],
    ids=["its own", "a released one"],
)
def test_what_is_installed(tmp_path, version, wanted) -> None:
    """A stand-in for Python makes a stand-in for the virtual environment, which writes down what pip is asked for."""
    stand_in, inner = tmp_path / "python", tmp_path / "inner"
    stand_in.write_text(f'#!/bin/sh\nmkdir -p "$3/bin" && cp "{inner}" "$3/bin/python"\n')
    inner.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > asked\n')
    for program in (stand_in, inner):
        program.chmod(0o755)
    job = run_step("install", tmp_path, {"version": version}, {"PYTHON": str(stand_in)})
    assert job.exit_code == 0, job.log
    asked = (job.workspace / "asked").read_text().splitlines()
    assert asked[:3] == ["-m", "pip", "install"]
    assert asked[-len(wanted) :] == wanted
