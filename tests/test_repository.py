"""What the README promises is what is run, and what the repository holds is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vqbench.pocket.assets import load_true_tokenizer
from vqbench.results.store import load_run
from vqbench.suite import POCKET, load_suite
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.training.recipe import load_recipe

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


def test_constraints_pin_everything() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+]*", line) for line in lines)


SUITES = sorted((ROOT / "suites").glob("*.yaml"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_baseline_of_a_suite_is_of_its_candidates(path: Path) -> None:
    suite = load_suite(path)
    baseline = load_run(ROOT / "baselines" / f"{path.stem}.json")
    assert suite.baseline == ROOT / "baselines" / f"{path.stem}.json"
    digests = {candidate.name: candidate.digest for candidate in baseline.candidates}
    for candidate in suite.candidates:
        assert candidate.name in digests
        if candidate.checkpoint == Path(POCKET):
            assert load_true_tokenizer().digest == digests[candidate.name]
        elif candidate.checkpoint is not None:
            assert load_tokenizer(candidate.checkpoint, candidate.mel_norms).digest == digests[candidate.name]
    assert not any(table.unscored for table in baseline.tables if not table.group.startswith("throughput"))
    assert (ROOT / "reports" / f"{path.stem}.md").exists()


def test_ci_gates_every_suite() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert all(re.search(rf"\bgate_suite {path.stem}$", script, re.MULTILINE) for path in SUITES)


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not missing


def test_no_document_points_into_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|tmp)/")
    for path in [*DOCUMENTS, *(ROOT / "vqbench").rglob("*.py"), *(ROOT / "suites").glob("*.yaml")]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path
