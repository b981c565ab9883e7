"""Encoder and decoder together on real speech: what each guard keeps, and what is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hearable_pairs import pairs, true_vqvae, write_pairs
from interrupting import Interrupting
from small_trainings import MODEL, assert_moved_alike, equal, log_of, run, weights, write_chirps

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.recipe import Recipe
from vqbench.errors import TrainingError
from vqbench.progress import Silent
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.phases import Phases
from vqbench.training.stream import MelTokens

CPU = torch.device("cpu")
JOINT = {
    "steps": 40,
    "batch_size": 4,
    "crop_frames": 32,
    "learning_rate": 0.0003,
    "warmup_steps": 2,
    "validate_every": 10,
    "validation_share": 0.3,
    "checkpoint_every": 10,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with clips, pairs, and the VQVAE that wrote the pairs to start with."""
    write_chirps(tmp_path / "clips")
    write_pairs(tmp_path / "pairs", pairs())
    save_checkpoint(tmp_path / "start.safetensors", true_vqvae(), MelSpec(), {})
    return tmp_path


def recipe_of(place: Path, kind: str, *, weight: float = 1.0, tolerance: float = 1.0, **joint: Any) -> Recipe:
    """From the VQVAE that wrote the pairs; without a guard its encoder goes where the chirps drive it."""
    guard = {"kind": kind, "weight": weight, "tolerance": tolerance}
    return Recipe(
        name="joint",
        seed=3,
        start=place / "start.safetensors",
        pairs={"folder": place / "pairs", "validation_share": 0.2},
        joint={"data": [{"manifest": place / "clips/manifest.jsonl"}], **JOINT, **joint, "guard": guard},
    )


def agreement(path: Path) -> float:
    """With the tokens of all pairs."""
    front_end = MelFrontEnd()
    everything = [MelTokens(front_end(pair.waveform()), pair.codes) for pair in pairs()]
    return HeldOutPairs(everything, None, CPU).figures(load_tokenizer(path).dvae)["agreement"]


def watched_agreement(path: Path, recipe: Recipe) -> float:
    """With the tokens of the pairs that the phase watches."""
    dvae = load_tokenizer(path).dvae
    assert recipe.pairs is not None and recipe.pairs.folder is not None
    with Phases(recipe, dvae, MelSpec(), None, path.parent, CPU, Silent())._stream(recipe.pairs.folder, 1) as stream:
        return HeldOutPairs(stream.held_out(), None, CPU).figures(dvae)["agreement"]


def parts_moved(before: Path, after: Path) -> set[str]:
    a, b = weights(before), weights(after)
    return {key.split(".")[0] for key in a if not torch.equal(a[key], b[key])}


DRIFTING = {"weight": 0.0, "tolerance": 0.3, "steps": 50, "validate_every": 1, "learning_rate": 0.0002}
"""A guard that does nothing but watch."""

# Guards


def test_a_frozen_encoder_and_codebook_stay_bit_for_bit(place: Path) -> None:
    path = run(recipe_of(place, "freeze", weight_decay=0.5), place / "out")
    assert parts_moved(place / "start.safetensors", path) == {"decoder"}
    rows = log_of(place / "out/joint")
    assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])
    assert {row["validation_agreement"] for row in rows} == {rows[0]["validation_agreement"]}


@pytest.mark.parametrize(("kind", "weight"), [("replay", 10.0), ("regularise", 10.0)])
def test_a_guard_keeps_what_is_lost_without_one(kind: str, weight: float, place: Path) -> None:
    began = agreement(place / "start.safetensors")
    unguarded = run(recipe_of(place, "none", keep="last"), place / "none")
    guarded = run(recipe_of(place, kind, weight=weight, keep="last"), place / kind)
    assert began > 0.95
    assert agreement(unguarded) < 0.2
    assert agreement(guarded) > agreement(unguarded) + 0.2
    for folder in (place / "none", place / kind):
        assert {"encoder", "decoder"} == parts_moved(place / "start.safetensors", folder / "checkpoint.safetensors")
        rows = log_of(folder / "joint")
        assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        ("replay", {"pairs_cross_entropy", "pairs_vector_mse", "pairs_agreement"}),
        ("regularise", {"moved"}),
        ("freeze", set()),
        ("none", set()),
    ],
)
def test_what_each_guard_adds_to_the_loss_is_logged(kind: str, figures: set[str], place: Path) -> None:
    run(recipe_of(place, kind, steps=2, warmup_steps=1, validate_every=1), place / "out")
    rows = log_of(place / "out/joint")
    assert {"l1", "l2", "commitment", "validation_l1", "validation_agreement", "validation_floor"} < rows[-1].keys()
    assert {key for key in rows[-1] if key.startswith("pairs_") or key == "moved"} >= figures
    if kind == "regularise":
        assert float(rows[1]["moved"]) == 0.0 < float(rows[2]["moved"])


@pytest.mark.parametrize("moving", [False, True])
def test_the_codebook_moves_only_where_it_is_asked_to(moving: bool, place: Path) -> None:
    path = run(recipe_of(place, "none", moving_codebook=moving, keep="last"), place / "out")
    moved = parts_moved(place / "start.safetensors", path)
    assert moved == ({"encoder", "decoder", "codebook"} if moving else {"encoder", "decoder"})


@pytest.mark.parametrize("share", [0.3, 0.0], ids=["clips held out", "none held out"])
def test_beyond_its_tolerance_the_phase_ends_and_hands_on_what_was_within(share: float, place: Path) -> None:
    drifting = recipe_of(place, "replay", **DRIFTING, validation_share=share)
    path = run(drifting, place / "out")
    rows = log_of(place / "out/joint")
    assert 2 <= int(rows[-1]["step"]) < 50
    watched = [float(row["validation_agreement"]) for row in rows]
    assert watched[-1] < watched[0] - 0.3 <= min(watched[:-1])
    assert watched_agreement(path, drifting) >= watched[0] - 0.3
    assert parts_moved(place / "start.safetensors", path) == {"encoder", "decoder"}
    if share:
        best = min(rows[:-1], key=lambda row: float(row["validation_l1"]))
        assert int(best["step"]) > 0
        assert equal(weights(path), weights(place / "out/joint/best.safetensors"))
    # A phase that is over is over.
    before = path.read_bytes()
    (place / "out/checkpoint.safetensors").unlink()
    assert run(drifting, place / "out").read_bytes() == before


def test_without_a_guard_drift_is_seen_and_let_be(place: Path) -> None:
    run(recipe_of(place, "none", tolerance=0.0), place / "out")
    rows = log_of(place / "out/joint")
    assert rows[-1]["step"] == "40"
    assert float(rows[-1]["validation_agreement"]) < float(rows[0]["validation_agreement"])


@pytest.mark.parametrize("accumulate", [2, 3])
@pytest.mark.parametrize("kind", ["replay", "regularise"])
def test_a_batch_in_parts_is_the_same_step(kind: str, accumulate: int, place: Path) -> None:
    few = {"steps": 6, "validate_every": 3}
    whole = weights(run(recipe_of(place, kind, **few), place / "whole"))
    parts = weights(run(recipe_of(place, kind, accumulate=accumulate, **few), place / "parts"))
    assert_moved_alike(weights(place / "start.safetensors"), whole, parts)


# Around it


@pytest.mark.parametrize("kind", ["freeze", "replay", "regularise", "none"])
def test_an_interrupted_training_ends_bit_for_bit_the_same(kind: str, place: Path) -> None:
    recipe = recipe_of(place, kind, steps=9, validate_every=3, checkpoint_every=4, average=0.5)
    unbroken = run(recipe, place / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, place / "broken", Interrupting("joint", 6))
    assert equal(weights(unbroken), weights(run(recipe, place / "broken")))
    assert (place / "unbroken/joint/log.csv").read_text() == (place / "broken/joint/log.csv").read_text()


@pytest.mark.parametrize("where", ["start.safetensors", "out/start.safetensors", "out/joint.safetensors"])
def test_the_checkpoint_it_starts_from_is_never_written_to(where: str, place: Path) -> None:
    (place / "out").mkdir()
    start = (place / "start.safetensors").rename(place / where)
    before, stamp = start.read_bytes(), start.stat().st_mtime_ns
    recipe = recipe_of(place, "replay", steps=4).model_copy(update={"start": start})
    path = run(recipe, place / "out")
    assert start.read_bytes() == before
    assert start.stat().st_mtime_ns == stamp
    assert not equal(weights(path), weights(start))


def test_a_training_does_not_overwrite_the_checkpoint_that_it_starts_from(place: Path) -> None:
    (place / "out").mkdir()
    start = (place / "start.safetensors").rename(place / "out/checkpoint.safetensors")
    before = start.read_bytes()
    with pytest.raises(TrainingError, match="the folder holds a training"):
        run(recipe_of(place, "replay", steps=4).model_copy(update={"start": start}), place / "out")
    assert start.read_bytes() == before
    assert [path.name for path in (place / "out").iterdir()] == ["checkpoint.safetensors"]


def test_it_goes_on_from_reconstruction_without_any_pairs(place: Path) -> None:
    data = [{"manifest": place / "clips/manifest.jsonl"}]
    codebook = {"kmeans_iterations": 3, "decay": 0.5}
    recipe = Recipe(
        name="joint",
        seed=3,
        model=MODEL,
        reconstruct={"data": data, **JOINT, "codebook": codebook},
        joint={"data": data, **JOINT, "guard": {"kind": "none"}, "keep": "last"},
    )
    path = run(recipe, place / "out")
    assert parts_moved(place / "out/reconstruct/weights.safetensors", path) == {"encoder", "decoder"}
    last, first = log_of(place / "out/reconstruct")[-1], log_of(place / "out/joint")[0]
    assert first["validation_l1"] == last["validation_l1"]
    assert "validation_agreement" not in first
