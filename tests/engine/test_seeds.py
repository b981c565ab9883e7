"""A run over several seeds of one recipe, and of a change of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from vqbench.config.suite import load_suite
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.errors import ConfigError, ManyErrors
from vqbench.judging.families import summarise_families
from vqbench.progress import Silent
from vqbench.records.store import load_run, save_run

ARMS = {"name": "arms", "seed": 5, "model": {"hidden_dim": 8, "codebook_size": 32, "codebook_dim": 8}}
"""No phase: the untrained network, so that a seed costs nothing."""

SMALLER = {"model": {"codebook_size": 16}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three short sounds, and the recipe in a folder of its own."""
    rng = np.random.default_rng(0)
    lines = []
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * rng.standard_normal(8_000 + 4_000 * index), 22_050)
        lines.append(json.dumps({"id": f"clip-{index}", "path": f"{index}.wav"}) + "\n")
    (tmp_path / "clips.jsonl").write_text("".join(lines))
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/arms.yaml").write_text(yaml.safe_dump(ARMS))
    (tmp_path / "suites").mkdir()
    return tmp_path


def write_suite(project: Path, *candidates: dict[str, object], **changes: object) -> Path:
    content = {
        "name": "arms",
        "data": {"speech": {"manifest": "../clips.jsonl"}},
        "candidates": [{"recipe": "../recipes/arms.yaml", **candidate} for candidate in candidates],
        "references": [],
        "metrics": ["codebook"],
        "interval": {"resamples": 100},
        "device": "cpu",
        **changes,
    }
    path = project / "suites/arms.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_each_seed_is_a_candidate_of_its_own_and_knows_its_family(project: Path) -> None:
    suite = load_suite(
        write_suite(
            project,
            {"name": "full", "seeds": [5, 6]},
            {"name": "plain"},
            {"name": "smaller", "change": SMALLER, "seeds": [5, 6]},
        )
    )
    run = run_suite(suite, Cache(project / "cache"), Silent()).run
    known = {record.name: record for record in run.candidates}
    assert [(name, record.family) for name, record in known.items()] == [
        ("full-s5", "full"),
        ("full-s6", "full"),
        ("plain", None),
        ("smaller-s5", "smaller"),
        ("smaller-s6", "smaller"),
    ]
    assert known["smaller-s6"].source == 'arms.yaml, changed by {"model": {"codebook_size": 16}, "seed": 6}'
    assert [record.codebook_size for record in known.values()] == [32, 32, 32, 16, 16]
    # The recipe's own seed is 5, so one of the seeds is the recipe as it is; everything else is another network.
    assert known["full-s5"].digest == known["plain"].digest
    assert len({record.digest for record in known.values()}) == 4
    assert load_run(save_run(run, project / "run")) == run
    metric = "codebook.share_used"
    (over_seeds,) = (r for r in summarise_families(run) if (r.family, r.metric) == ("full", metric))
    figures = {r.candidate: r.value or 0 for r in run.results if r.metric == metric}
    assert over_seeds.mean == pytest.approx((figures["full-s5"] + figures["full-s6"]) / 2)


def test_a_rule_for_a_family_is_judged_for_each_seed(project: Path) -> None:
    gate = [{"rule": "codebook.dead <= 100%", "candidates": ["full"]}]
    suite = load_suite(write_suite(project, {"name": "full", "seeds": [1, 2]}, {"name": "plain"}, gate=gate))
    (rule,) = run_suite(suite, Cache(project / "cache"), Silent()).run.suite.gate
    assert rule.candidates == ("full-s1", "full-s2")


def test_a_faulty_change_is_told_with_candidate_and_recipe_before_anything_is_begun(project: Path) -> None:
    recipe = project / "recipes/arms.yaml"
    path = write_suite(
        project,
        {"name": "wide", "change": {"model": {"hiden_dim": 8}}, "seeds": [1, 2, 3]},
        {"name": "bare", "change": {"joint": None}},
        {"name": "plain"},
        # That they are not there would be found later.
        data={"speech": {"manifest": "../empty.jsonl"}},
    )
    (project / "empty.jsonl").touch()
    with pytest.raises(ManyErrors) as caught:
        run_suite(load_suite(path), Cache(project / "cache"), Silent())
    assert [error.where for error in caught.value.errors] == [
        f"candidate wide: {recipe}:{line_of(recipe, 'model')} as changed",
        f"candidate bare: {recipe}:1 as changed",
    ]
    assert "model.hiden_dim: unknown key (did you mean 'hidden_dim'?)" in str(caught.value)
    assert not (project / "cache").exists()


def test_a_faulty_recipe_is_told_once_for_all_its_seeds(project: Path) -> None:
    (project / "recipes/arms.yaml").write_text("name: arms\nsteps: 5\n")
    path = write_suite(project, {"name": "full", "seeds": [1, 2, 3]})
    with pytest.raises(ConfigError, match="steps: unknown key") as caught:
        run_suite(load_suite(path), Cache(project / "cache"), Silent())
    assert str(caught.value.where).startswith("candidate full: ")


def line_of(file: Path, key: str) -> int:
    return 1 + next(i for i, line in enumerate(file.read_text().splitlines()) if line.startswith(key))
