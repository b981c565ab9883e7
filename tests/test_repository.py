"""What the README promises is what is run, and what the repository holds is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vqbench.results.store import load_run
from vqbench.suite import load_suite
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[str]:
    return [line.strip() for line in README.splitlines() if line.strip().startswith("python3.11 -m venv")]


def test_the_readme_has_two_commands_that_do_all_their_own_setup() -> None:
    first, second = commands()
    assert first.endswith("vqbench run suites/quick.yaml")
    assert second.endswith("-m pytest")
    assert all("-c constraints.txt" in command for command in (first, second))


def test_ci_runs_the_very_test_command_of_the_readme() -> None:
    assert commands()[1] in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_constraints_pin_everything() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+]*", line) for line in lines)


@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_suites_load(path: Path) -> None:
    suite = load_suite(path)
    for candidate in suite.candidates:
        if candidate.checkpoint is not None:
            load_tokenizer(candidate.checkpoint, candidate.mel_norms)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_load(path: Path, tmp_path: Path) -> None:
    # Synthetic corpora and pairs are made by commands, so they are not in a clean checkout.
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "trainings/pairs").mkdir(parents=True)
    for corpus in ("trainings/corpus", "trainings/pocket/corpus"):
        (tmp_path / corpus).mkdir(parents=True)
        (tmp_path / corpus / "manifest.jsonl").touch()
    copy = tmp_path / "recipes" / path.name
    copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_recipe(copy).name == path.stem


def test_the_baseline_is_of_the_quick_suite_and_its_candidates() -> None:
    baseline = load_run(ROOT / "baselines/quick.json")
    suite = load_suite(ROOT / "suites/quick.yaml")
    digests = {candidate.name: candidate.digest for candidate in baseline.candidates}
    for candidate in suite.candidates:
        assert candidate.name in digests
        if candidate.checkpoint is not None:
            assert load_tokenizer(candidate.checkpoint).digest == digests[candidate.name]
    assert not any(table.unscored for table in baseline.tables if not table.group.startswith("throughput"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not missing


def test_no_document_points_into_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|tmp)/")
    for path in [*DOCUMENTS, *(ROOT / "vqbench").rglob("*.py"), *(ROOT / "suites").glob("*.yaml")]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path
