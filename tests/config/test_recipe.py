"""Recipes: what is read, and for each broken one a clear message with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_examples import RECIPE, WHOLE_RECIPE, Edit, the_error

from vqbench.config.recipe import ModelConfig, Recipe, load_recipe
from vqbench.config.source import DataSource
from vqbench.config.training import (
    DistilConfig,
    FinetuneConfig,
    GuardConfig,
    JointConfig,
    ReconstructConfig,
    RefineConfig,
)
from vqbench.errors import ConfigError, ManyErrors


def recipe_of(project: Path, text: str) -> Recipe:
    path = project / "recipes/brief.yaml"
    path.write_text(text)
    return load_recipe(path)


def test_defaults_are_those_of_the_documented_recipe(project: Path) -> None:
    written = load_recipe(project / "recipes/brief.yaml")
    assert written.model == ModelConfig()
    assert written.reconstruct is not None
    assert written.reconstruct == ReconstructConfig(data=written.reconstruct.data)
    assert [source.manifest for source in written.reconstruct.data] == [None, project / "corpus/manifest.jsonl"]
    assert [written.teacher, written.start, written.pairs, written.distil, written.joint, written.finetune] == [
        None
    ] * 6


def test_a_recipe_of_all_phases_is_read(project: Path) -> None:
    whole = load_recipe(project / "recipes/whole.yaml")
    assert whole.teacher == "pocket"
    assert whole.pairs is not None and whole.refine is not None and whole.joint is not None
    assert (whole.pairs.n, whole.pairs.folder, whole.pairs.seed) == (500, None, 3)
    assert whole.pairs.sentences == str(project / "corpus/sentences.txt")
    assert whole.pairs.voices == DataSource(corpus="pocket")
    assert whole.pairs.hold_out_speakers == ("awb",)
    assert whole.distil == DistilConfig(steps=100, codebook="gpt")
    assert whole.refine == RefineConfig(steps=50)
    assert whole.joint == JointConfig(data=whole.joint.data)
    assert whole.joint.data[0].weight == 20
    assert whole.joint.guard == GuardConfig()
    assert whole.finetune is not None
    assert whole.finetune.data[0].speakers == ("ann",)
    assert whole.finetune == FinetuneConfig(data=whole.finetune.data, dropout=0.1)
    assert whole.steps == 100 + 50 + whole.joint.steps + whole.finetune.steps


@pytest.mark.parametrize("written", ["pocket", "../candidates/trained.safetensors"])
def test_a_recipe_may_begin_with_a_checkpoint(project: Path, written: str) -> None:
    joint = "joint: {data: [{corpus: tortoise-voices}], guard: {kind: none}}"
    recipe = recipe_of(project, f"name: on\nstart: {written}\n{joint}\n")
    assert recipe.start == (Path("pocket") if written == "pocket" else project / "candidates/trained.safetensors")
    assert f'"{written}"' in recipe.model_dump_json(context=recipe._folder)


def test_a_start_may_name_its_norms(project: Path) -> None:
    joint = "joint: {data: [{corpus: tortoise-voices}], guard: {kind: none}}"
    start = "start: ../candidates/trained.safetensors\nmel_norms: ../suites/mel_stats.pth"
    assert recipe_of(project, f"name: on\n{start}\n{joint}\n").mel_norms == project / "suites/mel_stats.pth"
    for none in ("", "start: pocket\n"):
        with pytest.raises(ConfigError, match="mel norms belong to the checkpoint in `start`"):
            recipe_of(project, f"name: on\n{none}mel_norms: tortoise\n")


@pytest.mark.parametrize("written", ["learned", "gpt", "teacher", "../candidates/trained.safetensors"])
def test_a_codebook_is_a_word_or_a_file(project: Path, written: str) -> None:
    recipe = recipe_of(project, WHOLE_RECIPE.replace("codebook: gpt", f"codebook: {written}"))
    assert recipe.distil is not None
    assert recipe.distil.codebook == (project / written[3:] if written.startswith(".") else written)
    assert f'"codebook":"{written}"' in recipe.model_dump_json(context=recipe._folder)


def test_an_untrained_recipe_needs_a_name_alone(project: Path) -> None:
    assert recipe_of(project, "name: untrained\n").steps == 0


BROKEN: dict[str, Edit] = {
    "unknown key": ("batch_size", "batchsize", 9, "reconstruct.batchsize: unknown key (did you mean 'batch_size'?)"),
    "unknown section": ("model:", "modle:", 3, "modle: unknown key (did you mean 'model'?)"),
    "section of an older vqbench": ("reconstruct:", "training:", 4, "training: unknown key"),
    "missing name": ("name: brief\n", "", 1, "name: this key is missing"),
    "unknown corpus": (
        "tortoise-voices",
        "librispeech",
        6,
        "reconstruct.data[0].corpus: 'librispeech' is not a known corpus",
    ),
    "missing manifest": (
        "manifest.jsonl",
        "clips.jsonl",
        7,
        "reconstruct.data[1].manifest: there is no file '../corpus/clips.jsonl'",
    ),
    "manifest out of the project": (
        "../corpus/",
        "../../",
        7,
        "reconstruct.data[1].manifest: '../../manifest.jsonl' leads out of",
    ),
    "mapping for the list of data": (
        "    - {corpus: tortoise-voices, split: train}\n    - {manifest: ../corpus/manifest.jsonl}",
        "    corpus: tortoise-voices",
        5,
        "reconstruct.data: expected a list, got a mapping",
    ),
    "nothing to train on": (
        "\n    - {corpus: tortoise-voices, split: train}\n    - {manifest: ../corpus/manifest.jsonl}",
        " []",
        5,
        "reconstruct.data: expected a list of at least 1",
    ),
    "no speakers": ("split: train", "speakers: []", 6, "reconstruct.data[0].speakers: expected a list of at least 1"),
    "crops that are no whole tokens": (
        "crop_frames: 128",
        "crop_frames: 126",
        10,
        "crops of 126 frames are not whole tokens",
    ),
    "crops too short for the layers": (
        "num_layers: 2",
        "num_layers: 8",
        10,
        "expected: a multiple of 2**num_layers = 256",
    ),
    "even kernel": ("kernel_size: 3", "kernel_size: 4", 3, "model.kernel_size: expected an odd number, got 4"),
    "no layers": ("num_layers: 2", "num_layers: 0", 3, "model.num_layers: expected a number of at least 1"),
    "one code": ("codebook_size: 2048", "codebook_size: 1", 3, "model.codebook_size: expected a number of at least 2"),
    "negative steps": ("steps: 8000", "steps: -1", 8, "reconstruct.steps: expected a number of at least 0"),
    "no learning": ("6.0e-4", "0", 11, "reconstruct.learning_rate: expected a number above 0"),
    "unknown schedule": ("cosine", "linear", 12, "'linear' is not a schedule\n  expected: cosine, constant"),
    "one beta": ("[0.9, 0.96]", "[0.9]", 13, "reconstruct.betas: the list is too short: item 2 is missing"),
    "three betas": (
        "[0.9, 0.96]",
        "[0.9, 0.96, 0.99]",
        13,
        "reconstruct.betas: expected a list of at most 2, got 3 items",
    ),
    "beta of one": ("0.96", "1.0", 13, "reconstruct.betas[1]: expected a number below 1"),
    "no reconstruction loss": ("l1: 1.0, l2: 0.5", "l1: 0, l2: 0", 14, "reconstruct.loss.l1: l1 and l2 are both 0"),
    "negative weight": (
        "commitment: 0.25",
        "commitment: -0.25",
        14,
        "reconstruct.loss.commitment: expected a number of at least 0",
    ),
    "decay of one": ("decay: 0.97", "decay: 1.0", 15, "reconstruct.codebook.decay: expected a number below 1"),
    "restarts never": (
        "restart_every: 20",
        "restart_every: 0",
        15,
        "reconstruct.codebook.restart_every: expected a number of at least 1",
    ),
    "number for a section": (
        "codebook: {decay: 0.97, restart_below: 0.1, restart_every: 20}",
        "codebook: 5",
        15,
        "reconstruct.codebook: expected a mapping",
    ),
    "no parts": ("schedule: cosine", "accumulate: 0", 12, "reconstruct.accumulate: expected a number of at least 1"),
    "average of one": ("schedule: cosine", "average: 1.0", 12, "reconstruct.average: expected a number below 1"),
    "unknown choice": ("schedule: cosine", "keep: first", 12, "'first' is not a choice\n  expected: last, best"),
}

_PAIRS = next(f"{line}\n" for line in WHOLE_RECIPE.splitlines() if line.startswith("pairs:"))

BROKEN_WHOLE: dict[str, Edit] = {
    "missing teacher": ("teacher: pocket", "teacher: ./tortoise", 3, "teacher: there is no file './tortoise'"),
    "a limit that would not reach": (
        "{n: 500, ",
        "{n: 500, limit: 100, ",
        5,
        "pairs.limit: `refine` chooses from all pairs of the folder",
    ),
    "pairs without a source": ("n: 500, ", "", 5, "pairs: expected exactly one of folder, n, got none of them"),
    "pairs of two sources": (
        _PAIRS,
        "pairs: {folder: ../corpus, n: 500}\n",
        5,
        "exactly one of folder, n, got folder and n",
    ),
    "settings of pairs that are made already": (
        _PAIRS,
        "pairs: {folder: ../corpus, seed: 3}\n",
        5,
        "pairs.seed: it says how pairs are made, but these are made already",
    ),
    "missing sentences": ("sentences.txt", "sentence.txt", 5, "pairs.sentences: there is no file"),
    "no pairs at all": ("n: 500", "n: 0", 5, "pairs.n: expected a number of at least 1"),
    "missing codebook": (
        "codebook: gpt",
        "codebook: ../candidates/train.safetensors",
        6,
        "distil.codebook: there is no file",
    ),
    "codebook of the refinement": ("best: 0.25", "best: 0.25, codebook: gpt", 7, "refine.codebook: unknown key"),
    "nothing to hear by": (
        "cross_entropy: 1.0, vector_mse: 0.25",
        "cross_entropy: 0, vector_mse: 0",
        6,
        "distil.cross_entropy: cross_entropy and vector_mse are both 0",
    ),
    "refinement on no pair": ("best: 0.25", "best: 0", 7, "refine.best: expected a number above 0"),
    "tokens of other layers": ("codebook_size: 1024", "num_layers: 1", 4, "tokens of 1 layers are no GPT's tokens"),
    "crops that are no whole tokens": (
        "best: 0.25",
        "best: 0.25, crop_frames: 510",
        7,
        "refine.crop_frames: crops of 510 frames are not whole tokens",
    ),
    "unknown guard": (
        "kind: replay",
        "kind: regularize",
        11,
        "joint.guard.kind: 'regularize' is not a guard (did you mean 'regularise'?)",
    ),
    "no joint data": (
        "[{corpus: tortoise-voices, split: train, weight: 20}]",
        "[]",
        9,
        "joint.data: expected a list of",
    ),
    "a guard whose end would not count": (
        "moving_codebook: false",
        "keep: last",
        10,
        "joint.keep: where the guard ends the phase, the last weights are those that drifted",
    ),
    "a frozen codebook that moves": (
        "moving_codebook: false\n  guard: {kind: replay",
        "moving_codebook: true\n  guard: {kind: freeze",
        10,
        "joint.moving_codebook: ",
    ),
    "dropout of all": ("dropout: 0.1", "dropout: 1.0", 15, "finetune.dropout: expected a number below 1"),
    "no speech to fine-tune on": (
        "[{manifest: ../corpus/manifest.jsonl, speakers: [ann]}]",
        "[]",
        13,
        "finetune.data: expected a list of at least 1",
    ),
    "two beginnings": (
        "seed: 1\n",
        "start: pocket\n",
        4,
        "model: the sizes are those of `start`\n  fix: leave one of them out",
    ),
    "scratch and distillation": (
        "refine:",
        "reconstruct: {data: [{corpus: pocket}]}\nrefine:",
        7,
        "reconstruct: it begins from scratch, and something is there already",
    ),
}


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        *(pytest.param("brief", edit, id=fault) for fault, edit in BROKEN.items()),
        *(pytest.param("whole", edit, id=f"whole: {fault}") for fault, edit in BROKEN_WHOLE.items()),
    ],
)
def test_a_broken_recipe_has_one_clear_message(project: Path, name: str, edit: Edit) -> None:
    good, bad, line, message = edit
    text = {"brief": RECIPE, "whole": WHOLE_RECIPE}[name]
    assert good in text
    path = project / f"recipes/{name}.yaml"
    path.write_text(text.replace(good, bad, 1))
    error = the_error(load_recipe, path)
    assert error.where == f"{path}:{line}"
    assert message in str(error)


@pytest.mark.parametrize(
    ("gone", "faults"),
    [
        (
            "teacher: pocket\n",
            {
                "pairs.n: there is no teacher to make them",
                "distil.codebook: there is no teacher to take it from",
                "finetune: there is no teacher whose GPT it is",
            },
        ),
        (
            _PAIRS,
            {
                "distil: there are no pairs to learn from",
                "refine: there are no pairs to learn from",
                "joint: a guard watches agreement with pairs, and there are none",
            },
        ),
    ],
    ids=["teacher", "pairs"],
)
def test_all_that_hangs_on_what_is_missing_is_reported_at_once(project: Path, gone: str, faults: set[str]) -> None:
    with pytest.raises(ManyErrors) as caught:
        recipe_of(project, WHOLE_RECIPE.replace(gone, ""))
    assert {error.problem for error in caught.value.errors} == faults


def test_nothing_begins_from_scratch_on_a_checkpoint(project: Path) -> None:
    with pytest.raises(ManyErrors) as caught:
        recipe_of(project, RECIPE.replace("seed: 0", "start: pocket"))
    assert {error.problem for error in caught.value.errors} == {
        "model: the sizes are those of `start`",
        "reconstruct: it begins from scratch, and something is there already",
    }


def test_joint_training_needs_something_to_train_on_with(project: Path) -> None:
    joint = "joint: {data: [{corpus: tortoise-voices}], guard: {kind: none}}"
    path = project / "recipes/brief.yaml"
    path.write_text(f"name: joint\n{joint}\n")
    error = the_error(load_recipe, path)
    assert error.problem == "joint: there is nothing to train on with"
    assert load_recipe(_with(path, f"reconstruct: {{data: [{{corpus: tortoise-voices}}]}}\n{joint}")).joint is not None


def _with(path: Path, text: str) -> Path:
    path.write_text(f"name: joint\n{text}\n")
    return path


PAIRS = "name: a\nteacher: pocket\npairs: {n: 10}\n"
WITH_WARMUP = {
    "reconstruct": "name: a\n\nreconstruct:\n  data: [{corpus: pocket}]\n",
    "distil": f"{PAIRS}distil:\n",
    "refine": f"{PAIRS}refine:\n",
    "joint": f"{PAIRS}distil: {{}}\njoint:\n  data: [{{corpus: pocket}}]\n",
    "finetune": f"{PAIRS}distil: {{}}\nfinetune:\n  data: [{{corpus: pocket}}]\n",
}


@pytest.mark.parametrize("phase", WITH_WARMUP)
@pytest.mark.parametrize("warmup", [40, 41])
def test_a_warm_up_as_long_as_the_training_is_refused(phase: str, warmup: int, project: Path) -> None:
    text = WITH_WARMUP[phase]
    with pytest.raises(ConfigError) as caught:
        recipe_of(project, f"{text}  steps: 40\n  warmup_steps: {warmup}\n")
    assert caught.value.where == f"{project / 'recipes/brief.yaml'}:{text.count(chr(10)) + 2}"
    assert f"{phase}.warmup_steps: the learning rate would rise for {warmup} steps" in caught.value.problem
    assert caught.value.fix is not None and "leave it out" in caught.value.fix
    assert getattr(recipe_of(project, f"{text}  steps: 40\n  warmup_steps: 39\n"), phase).warmup_steps == 39


@pytest.mark.parametrize(("steps", "warmup"), [(0, 0), (1, 0), (40, 4), (999, 99), (1000, 100), (20_000, 100)])
def test_left_out_a_warm_up_fits_the_training(steps: int, warmup: int, project: Path) -> None:
    written = recipe_of(project, f"{WITH_WARMUP['finetune']}  steps: {steps}\n").finetune
    assert written is not None and written.warmup_steps == warmup
    # As in a recipe of before, nothing is told apart that is not otherwise.
    assert ("warmup_steps" in written.model_dump(exclude_defaults=True)) == (warmup != 100)


def test_untrained_there_is_nothing_to_warm_up(project: Path) -> None:
    written = recipe_of(project, f"{WITH_WARMUP['finetune']}  steps: 0\n  warmup_steps: 5\n").finetune
    assert written is not None and written.warmup_steps == 5
