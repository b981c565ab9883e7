"""What the README promises is what is run, and what the repository holds is what it says."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from vqbench.config.recipe import load_recipe
from vqbench.config.source import POCKET
from vqbench.config.suite import load_suite
from vqbench.engine.candidates import check_recipes
from vqbench.errors import ManyErrors
from vqbench.records.store import load_run
from vqbench.teachers.pocket.assets import load_true_tokenizer
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[str]:
    return [line.strip() for line in README.splitlines() if line.strip().startswith("python3.11 -m venv")]


def test_the_readme_has_two_commands_that_do_all_their_own_setup() -> None:
    first, second = commands()
    assert first.endswith("vqbench run suites/pocket.yaml")
    assert second.endswith("-m pytest")
    assert all("-c constraints.txt" in command for command in (first, second))


def test_ci_runs_the_very_test_command_of_the_readme() -> None:
    assert commands()[1] in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_in_ci_no_page_goes_unseen_for_want_of_a_browser() -> None:
    assert re.search(r"^export CI=true ", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)


def test_constraints_pin_everything() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+]*", line) for line in lines)


SUITES = sorted((ROOT / "suites").glob("*.yaml"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of suites and recipes, with what commands make, and so is not in a clean checkout, as empty files."""
    (tmp_path / "pyproject.toml").touch()
    for folder in ("suites", "recipes"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for folder in ("trainings/recovery/pairs", "trainings/recovery/best", "checkpoints/tortoise"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("corpus/manifest.jsonl", "pocket/corpus/manifest.jsonl", "recordings.jsonl", "sentences.txt"):
        (tmp_path / "trainings" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "trainings" / name).touch()
    for name in ("tortoise/dvae.pth", "candidate.safetensors"):
        (tmp_path / "checkpoints" / name).touch()
    return tmp_path


def is_for_official_weights(path: Path) -> bool:
    """Whether only who has TorToiSe's published checkpoints can run a suite: nobody has, where this is tested."""
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("teacher", POCKET) != POCKET


@pytest.mark.parametrize("name", ["pocket", "quick"])
def test_the_baseline_of_a_suite_is_of_its_candidates(name: str, checkout: Path) -> None:
    path = ROOT / "suites" / f"{name}.yaml"
    suite = load_suite(checkout / "suites" / path.name)
    baseline = load_run(ROOT / "baselines" / f"{path.stem}.json")
    assert suite.baseline == checkout / "baselines" / f"{path.stem}.json"
    digests = {candidate.name: candidate.digest for candidate in baseline.candidates}
    for candidate in suite.candidates:
        assert candidate.name in digests
        if candidate.checkpoint == Path(POCKET):
            assert load_true_tokenizer().digest == digests[candidate.name]
        elif candidate.checkpoint is not None:
            assert load_tokenizer(candidate.checkpoint, candidate.mel_norms).digest == digests[candidate.name]
    assert not any(table.unscored for table in baseline.tables if not table.group.startswith("throughput"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_has_its_report(path: Path) -> None:
    assert is_for_official_weights(path) or (ROOT / "reports" / f"{path.stem}.md").exists()


def test_ci_gates_every_suite_that_has_a_gate(checkout: Path) -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    gated = set(re.findall(r"^(?:gate_suite|decide_release) (\S+)$", script, re.MULTILINE))
    ours = [path for path in SUITES if not is_for_official_weights(path)]
    assert gated == {path.stem for path in ours if load_suite(checkout / "suites" / path.name).gate}


def test_the_release_suite_names_all_that_must_be_brought(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    path = tmp_path / "suites/release.yaml"
    with pytest.raises(ManyErrors) as caught:
        load_suite(path)
    text = path.read_text(encoding="utf-8")
    asked = set(re.findall(r"^# {3}(\.\./\S+)", text, re.MULTILINE))
    missing = {found for error in caught.value.errors for found in re.findall(r"'(\.\./[^']+)'", error.problem)}
    assert missing == asked | {"../checkpoints/tortoise/dvae.pth"}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_load(path: Path, checkout: Path) -> None:
    assert load_recipe(checkout / "recipes" / path.name).name == path.stem


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_recipes_of_suites_load_as_they_are_changed(path: Path, checkout: Path) -> None:
    check_recipes(load_suite(checkout / "suites" / path.name).candidates)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not missing


def test_no_document_points_into_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|tmp)/")
    for path in [*DOCUMENTS, *(ROOT / "vqbench").rglob("*.py"), *(ROOT / "suites").glob("*.yaml")]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_a_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    # Of a copy, since building writes beside what it builds; 60 MB of assets need no more than their names for that.
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)

    def touch(_: str, copy: str) -> None:
        Path(copy).touch()

    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "vqbench", tmp_path / "vqbench", ignore=left_out, copy_function=touch)
    build = "import setuptools.build_meta as backend; backend.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
    files = {file.relative_to(tmp_path).as_posix() for file in (tmp_path / "vqbench").rglob("*") if file.is_file()}
    assert "vqbench/report/page/static/vendor/chart.umd.min.js" in files
    assert files - held == set()


VENDOR = ROOT / "vqbench/report/page/static/vendor"


def test_vendored_files_are_those_that_were_published() -> None:
    table = (VENDOR / "README.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.iterdir()}
    del found["README.md"]
    assert written == found
