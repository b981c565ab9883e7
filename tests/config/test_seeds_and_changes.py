"""Several seeds of a recipe, and changes of it: what they become, and what is wrong with some."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from vqbench.config.recipe import Recipe, load_recipe
from vqbench.config.suite import Suite, load_suite, select
from vqbench.errors import ConfigError, ManyErrors

ARMS = """\
name: arms
seed: 7
model: {hidden_dim: 16, codebook_size: 64, codebook_dim: 8}
reconstruct:
  data: [{manifest: ../corpus/manifest.jsonl}]
  steps: 300
  augment: {share: 0.5, warp: 0.2}
joint:
  data: [{manifest: ../corpus/manifest.jsonl}]
  guard: {kind: none}
"""


@pytest.fixture
def arms(project: Path) -> Path:
    path = project / "recipes/arms.yaml"
    path.write_text(ARMS)
    return path


def suite_of(project: Path, candidates: str, rest: str = "") -> Suite:
    path = project / "suites/arms.yaml"
    path.write_text(
        f"name: arms\ndata: {{speech: {{corpus: tortoise-voices}}}}\n{rest}candidates:\n"
        + "".join(f"  - {{{line}}}\n" for line in candidates.splitlines())
    )
    return load_suite(path)


FAMILIES = """\
name: both, recipe: ../recipes/arms.yaml, seeds: [1, 2, 30]
name: plain, recipe: ../recipes/arms.yaml
name: short, recipe: ../recipes/arms.yaml, change: {joint: null}, seeds: [1, 2]"""


def rules_of(suite: Suite) -> list[tuple[str, ...]]:
    return [entry.candidates for entry in suite.gate]


def test_a_candidate_with_seeds_becomes_one_for_each(project: Path, arms: Path) -> None:
    suite = suite_of(project, FAMILIES)
    assert [(c.name, c.family, c.change) for c in suite.candidates] == [
        ("both-s1", "both", {"seed": 1}),
        ("both-s2", "both", {"seed": 2}),
        ("both-s30", "both", {"seed": 30}),
        ("plain", None, None),
        ("short-s1", "short", {"joint": None, "seed": 1}),
        ("short-s2", "short", {"joint": None, "seed": 2}),
    ]
    recipes = [load_recipe(c.recipe, c.change) for c in suite.candidates if c.recipe]
    assert [recipe.seed for recipe in recipes] == [1, 2, 30, 7, 1, 2]
    assert [recipe.joint is None for recipe in recipes] == [False] * 4 + [True] * 2
    assert len({recipe.digest for recipe in recipes}) == 6


def test_what_a_candidate_comes_from_tells_its_change(project: Path, arms: Path) -> None:
    assert [candidate.source for candidate in suite_of(project, FAMILIES).candidates][2:5] == [
        'arms.yaml, changed by {"seed": 30}',
        "arms.yaml",
        'arms.yaml, changed by {"joint": null, "seed": 1}',
    ]


def test_a_rule_for_a_family_is_for_each_of_its_seeds(project: Path, arms: Path) -> None:
    rules = """\
gate:
  - {rule: speech.wer <= 0.5, candidates: [short, plain]}
  - {rule: speech.wer <= 0.4, candidates: [both-s2, both]}
  - speech.wer <= 0.3
"""
    suite = suite_of(project, FAMILIES, rules)
    assert rules_of(suite) == [("short-s1", "short-s2", "plain"), ("both-s2", "both-s1", "both-s30"), ()]
    assert rules_of(select(suite, ["both-s1", "short"])) == [("short-s1", "short-s2"), ("both-s1",), ()]
    assert rules_of(select(suite, ["plain"])) == [("plain",), ()]


def test_rules_may_stand_before_the_candidates(project: Path, arms: Path) -> None:
    path = project / "suites/arms.yaml"
    suite_of(project, FAMILIES)
    path.write_text("gate: [{rule: speech.wer <= 1, candidates: [both]}]\n" + path.read_text())
    assert rules_of(load_suite(path)) == [("both-s1", "both-s2", "both-s30")]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ([], ["both-s1", "both-s2", "both-s30", "plain", "short-s1", "short-s2"]),
        (["both"], ["both-s1", "both-s2", "both-s30"]),
        (["plain", "both-s2"], ["both-s2", "plain"]),
        (["short", "short-s1"], ["short-s1", "short-s2"]),
    ],
)
def test_a_part_of_a_suite_by_family_or_seed(project: Path, arms: Path, asked: list[str], kept: list[str]) -> None:
    chosen = select(suite_of(project, FAMILIES), asked)
    assert [candidate.name for candidate in chosen.candidates] == kept


def test_a_name_that_is_neither_family_nor_seed_is_refused(project: Path, arms: Path) -> None:
    with pytest.raises(ConfigError, match=r"no candidate 'both-s3' \(did you mean 'both-s30'\?\)") as caught:
        select(suite_of(project, FAMILIES), ["both-s3"])
    assert caught.value.expected == "one of both, both-s1, both-s2, both-s30, plain, short, short-s1, short-s2"


def test_the_suites_digest_knows_seeds_and_changes(project: Path, arms: Path) -> None:
    digest = suite_of(project, FAMILIES).digest
    assert suite_of(project, FAMILIES).digest == digest
    assert suite_of(project, FAMILIES.replace("30", "3")).digest != digest
    assert suite_of(project, FAMILIES.replace("{joint: null}", "{reconstruct: null}")).digest != digest


RECIPE = "recipe: ../recipes/arms.yaml"
FAULTS: dict[str, tuple[str, int, str]] = {
    "change of a checkpoint": ("name: a, checkpoint: dvae.pth, change: {seed: 1}", 4, "change belongs to a recipe"),
    "seeds of a checkpoint": ("name: a, checkpoint: dvae.pth, seeds: [1]", 4, "seeds belong to a recipe"),
    "change that is no mapping": (
        f"name: a, {RECIPE}, change: [1]",
        4,
        "change: expected a mapping of keys, got a list",
    ),
    "a seed for seeds": (f"name: a, {RECIPE}, seeds: 3", 4, "seeds: expected a list, got the number 3"),
    "no seeds": (f"name: a, {RECIPE}, seeds: []", 4, "seeds: expected a list of at least 1, got 0 items"),
    "seed twice": (f"name: a, {RECIPE}, seeds: [1, 2, 1]", 4, "seeds[2]: the number 1 is here for the second time"),
    "negative seed": (f"name: a, {RECIPE}, seeds: [-1]", 4, "seeds[0]: expected a number of at least 0"),
    "huge seed": (f"name: a, {RECIPE}, seeds: [0x{'f' * 6000}]", 4, "got a number of more than 30 digits"),
    "text for a seed": (f"name: a, {RECIPE}, seeds: [one]", 4, "seeds[0]: expected a whole number, got 'one'"),
    "seeds and a changed seed": (
        f"name: a, {RECIPE}, seeds: [1], change: {{seed: 2}}",
        4,
        "candidates[0].change.seed: the seeds stand in `seeds`",
    ),
    "seed called as an earlier candidate": (
        f"name: a-s2, {RECIPE}\nname: a, {RECIPE}, seeds: [1, 2]",
        5,
        "candidates[1].seeds: 'a-s2' is the name of an earlier candidate, too",
    ),
    "candidate called as an earlier seed": (
        f"name: a, {RECIPE}, seeds: [1, 2]\nname: a-s2, {RECIPE}",
        5,
        "candidates[1].name: 'a-s2' is the name of an earlier candidate, too",
    ),
    "family called as an earlier seed": (
        f"name: a, {RECIPE}, seeds: [1]\nname: a-s1, {RECIPE}, seeds: [2]",
        5,
        "candidates[1].name: 'a-s1' is the name of an earlier candidate, too",
    ),
    "family called as an earlier candidate": (
        f"name: a, {RECIPE}\nname: a, {RECIPE}, seeds: [1]",
        5,
        "candidates[1].name: 'a' is the name of an earlier candidate, too",
    ),
    "family called as a reference": (f"name: vocoded, {RECIPE}, seeds: [1]", 4, "the name of a reference"),
}


@pytest.mark.parametrize(("candidates", "line", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_of_a_suite(project: Path, arms: Path, candidates: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite_of(project, candidates)
    assert caught.value.where == f"{project / 'suites/arms.yaml'}:{line}"
    assert message in str(caught.value)


def test_a_rule_for_a_seed_that_is_not_there(project: Path, arms: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no candidate 'a-s3' \(did you mean 'a-s2'\?\)"):
        suite_of(project, f"name: a, {RECIPE}, seeds: [2]", "gate: [{rule: speech.wer <= 1, candidates: [a-s3]}]\n")


# ---- changes


def plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")


CHANGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a number": ({"seed": 8}, "seed: 7", "seed: 8"),
    "a key of a section": ({"reconstruct": {"steps": 5}}, "steps: 300", "steps: 5"),
    "two deep": ({"reconstruct": {"augment": {"share": 0.0}}}, "share: 0.5", "share: 0.0"),
    "a new key": ({"reconstruct": {"batch_size": 2}}, "steps: 300", "steps: 300\n  batch_size: 2"),
    "a new section": (
        {"reconstruct": {"codebook": {"decay": 0.5}}},
        "steps: 300",
        "steps: 300\n  codebook: {decay: 0.5}",
    ),
    "a section taken out": ({"model": None}, "model: {hidden_dim: 16, codebook_size: 64, codebook_dim: 8}\n", ""),
    "a key taken out": ({"model": {"hidden_dim": None}}, "hidden_dim: 16, ", ""),
    "a list": (
        {"joint": {"data": [{"corpus": "tortoise-voices"}]}},
        "joint:\n  data: [{manifest: ../corpus/manifest.jsonl}]",
        "joint:\n  data: [{corpus: tortoise-voices}]",
    ),
}


@pytest.mark.parametrize(("change", "good", "instead"), CHANGES.values(), ids=CHANGES)
def test_a_changed_recipe_is_the_recipe_with_the_change_written_in(
    arms: Path, change: dict[str, Any], good: str, instead: str
) -> None:
    assert ARMS.count(good) == 1
    edited = arms.with_name("edited.yaml")
    edited.write_text(ARMS.replace(good, instead))
    as_written = json.dumps(change)
    assert plain(load_recipe(arms, change)) == plain(load_recipe(edited)) != plain(load_recipe(arms))
    assert load_recipe(arms, change).digest == load_recipe(edited).digest
    assert json.dumps(change) == as_written


def test_no_change_and_an_empty_one_are_the_recipe_itself(arms: Path) -> None:
    assert plain(load_recipe(arms, {})) == plain(load_recipe(arms, None)) == plain(load_recipe(arms))


def test_paths_of_a_change_are_relative_to_the_recipe(project: Path, arms: Path) -> None:
    (project / "recipes/own.jsonl").write_text("")
    recipe = load_recipe(arms, {"joint": {"data": [{"manifest": "own.jsonl"}]}})
    assert recipe.joint is not None
    assert recipe.joint.data[0].manifest == project / "recipes/own.jsonl"


CHANGED_BADLY: dict[str, tuple[dict[str, Any], int, str]] = {
    "misspelt key": (
        {"reconstruct": {"stepps": 5}},
        4,
        "reconstruct.stepps: unknown key (did you mean 'steps'?)",
    ),
    "misspelt section": ({"jiont": {"steps": 5}}, 1, "jiont: unknown key (did you mean 'joint'?)"),
    "value of another type": ({"reconstruct": {"steps": "few"}}, 6, "steps: expected a whole number, got 'few'"),
    "not a number": ({"reconstruct": {"learning_rate": float("nan")}}, 4, "expected a finite number"),
    "nothing to take out": (
        {"jiont": None},
        1,
        "jiont: there is nothing to take out (did you mean 'joint'?)",
    ),
    "nothing to take out of a section": (
        {"reconstruct": {"augment": {"gain_db": None}}},
        7,
        "reconstruct.augment.gain_db: there is nothing to take out",
    ),
    "a key that is needed taken out": ({"name": None}, 1, "name: this key is missing"),
    "a mapping over a list": (
        {"joint": {"data": {"corpus": "pocket"}}},
        9,
        "joint.data: expected a list, got a mapping",
    ),
    "what then lacks its partner": ({"reconstruct": None}, 8, "joint: there is nothing to train on with"),
    "missing file": ({"joint": {"data": [{"manifest": "no.jsonl"}]}}, 9, "there is no file 'no.jsonl'"),
}


@pytest.mark.parametrize(("change", "line", "message"), CHANGED_BADLY.values(), ids=CHANGED_BADLY)
def test_faults_of_a_changed_recipe(arms: Path, change: Mapping[str, Any], line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(arms, change)
    assert caught.value.where == f"{arms}:{line} as changed"
    assert message in str(caught.value)


def test_all_faults_of_recipe_and_change_are_told_at_once(arms: Path) -> None:
    arms.write_text(ARMS + "seed: 8\n")
    with pytest.raises(ManyErrors) as caught:
        load_recipe(arms, {"jiont": None, "reconstruct": {"steps": -1}})
    assert [(error.where or "").removeprefix(str(arms)) for error in caught.value.errors] == [
        ":1 as changed",
        ":6 as changed",
        ":11",
    ]


def test_a_change_may_use_yamls_anchors(project: Path, arms: Path) -> None:
    written = "name: a, recipe: ../recipes/arms.yaml, change: {model: &m {hidden_dim: 24}}, seeds: [1]\n"
    suite = suite_of(project, written + "name: b, recipe: ../recipes/arms.yaml, change: {model: *m }")
    sizes = [load_recipe(c.recipe, c.change).model.hidden_dim for c in suite.candidates if c.recipe]
    assert sizes == [24, 24]
    assert yaml.safe_load(arms.read_text())["model"]["hidden_dim"] == 16
