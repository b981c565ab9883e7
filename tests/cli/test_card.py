import shutil

import pytest
import yaml
from builders import make_run
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.records.store import save_run


@pytest.fixture
def vqbench(workplace, tmp_path, monkeypatch):
    """Runs a command line in a copy of the workplace."""
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs/quick:good"], 0, "not gated"),
        (["runs/quick:good", "--baseline", "main"], 0, ""),
        (["runs/quick:good", "--baseline", "main", "--license", "apache-2.0"], 0, ""),
        (["main:good", "-q"], 0, ""),
        (["runs/open:good"], 0, ""),
        (["runs/quick"], 2, "good, fair, untrained"),
        (["runs/quick:original"], 2, "is a reference"),
        (["runs/quick:goood"], 2, "did you mean 'good'?"),
        (["runs/nowhere"], 2, "runs/nowhere"),
        (["runs/quick:good", "--baseline", "mian"], 2, "did you mean 'main'?"),
        (["runs/quick:good", "--license", "Apache 2.0"], 2, "apache-2.0"),
        (["runs/quick:good", "-o", "runs"], 2, "folder"),
    ],
)
def test_exit_codes(vqbench, arguments, code, says):
    done = vqbench("card", *arguments)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    if code == 0:
        assert done.stdout.startswith("---\ntags:")
        assert bool(done.stderr) == bool(says)
    else:
        assert done.stdout == ""


def test_a_run_of_one_candidate_needs_no_name(vqbench, tmp_path):
    save_run(make_run(quality={"good": 1.0}), tmp_path / "runs/alone")
    assert "\n# good\n" in vqbench("card", "runs/alone").stdout


def test_writes_a_file_whole(vqbench, tmp_path):
    (tmp_path / "README.md").write_text("old")
    done = vqbench("card", "runs/quick:fair", "--baseline", "main", "--license", "mit", "-o", "README.md")
    assert (done.stdout, done.stderr) == ("", "wrote README.md\n")
    text = (tmp_path / "README.md").read_text()
    content = yaml.safe_load(text.split("\n---\n")[0])
    assert (content["license"], content["model-index"][0]["name"]) == ("mit", "fair")
    assert vqbench("card", "runs/quick:fair", "-o", "README.md", "-q").stderr == ""


def test_only_its_own_rules_are_judged(vqbench):
    shown = vqbench("card", "runs/worse:good", "--baseline", "main").stdout
    assert "gate: fail (1 failed, 0 inconclusive, of 2, against the baseline main)" in shown


def test_help_has_an_example(vqbench):
    assert "Example: vqbench card" in " ".join(vqbench("card", "--help").stdout.split())
