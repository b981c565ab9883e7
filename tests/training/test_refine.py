"""Distillation goes on, on the pairs that CLVP takes for the best, and on no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hearable_pairs import pairs, true_vqvae, write_pairs
from interrupting import Interrupting
from small_trainings import equal, log_of, run, weights

from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import Recipe
from vqbench.errors import DataError
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.teachers.tortoise.shards import Pair
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint

MODEL = {"hidden_dim": 16, "codebook_size": 24, "codebook_dim": 8, "num_resnet_blocks": 1}
PHASE = {
    "steps": 8,
    "batch_size": 4,
    "crop_frames": 64,
    "learning_rate": 0.003,
    "warmup_steps": 4,
    "validate_every": 4,
    "checkpoint_every": 3,
}


def recipe_of(folder: str | Path, *, distil: bool = True, best: float = 0.25, **refine: Any) -> Recipe:
    return Recipe(
        name="refined",
        seed=3,
        pairs={"folder": folder, "validation_share": 0.2},
        model=MODEL,
        distil=PHASE if distil else None,
        refine={**PHASE, "best": best, **refine},
    )


def scored(clvp: Callable[[int], float]) -> list[Pair]:
    return [replace(pair, clvp=clvp(number)) for number, pair in enumerate(pairs())]


def test_only_the_best_finished_training_pairs_are_read(tmp_path: Path) -> None:
    content = scored(lambda number: -abs(number - 20.0))
    for number, pair in enumerate(content):
        if not 10 <= number <= 30:  # no more than 13 of the 52 are kept, those nearest to 20
            content[number] = replace(pair, flac=b"no sound")
    unfinished = [replace(content[number], finished=False, flac=b"no sound") for number in (18, 19, 20)]
    test = [replace(content[number], split="test", flac=b"no sound") for number in range(40, 45)]
    changed = {pair.id: pair for pair in (*unfinished, *test)}
    folder = write_pairs(tmp_path / "pairs", [changed.get(pair.id, pair) for pair in content])

    run(recipe_of(folder, distil=False), tmp_path / "out")
    kept = [pair.id for pair in read_pairs(tmp_path / "out/pairs-best", waveforms=False) if pair.split == "train"]
    assert kept == [f"{number:06d}" for number in (*range(12, 18), *range(21, 28))]
    assert log_of(tmp_path / "out/refine")[-1]["step"] == "8"


def test_a_code_that_the_best_pairs_lack_stays_where_it_was_learnt(tmp_path: Path) -> None:
    rare = 3
    folder = write_pairs(tmp_path / "pairs", scored(lambda number: -float((pairs()[number].codes == rare).any())))
    path = run(recipe_of(folder, best=0.2), tmp_path / "out")
    best = torch.cat([pair.codes for pair in read_pairs(tmp_path / "out/pairs-best", waveforms=False)])
    assert rare not in best
    distilled, refined = weights(tmp_path / "out/distil/weights.safetensors"), weights(path)
    for code in range(24):
        before, after = (state["codebook.embed"][:, code] for state in (distilled, refined))
        if code in best:
            assert not torch.allclose(after, before, atol=1e-5, rtol=1e-3)
        elif code in torch.cat([pair.codes for pair in pairs()]):
            torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
        else:
            assert (
                after.norm() > 10 * refined["codebook.embed"][:, best].norm(dim=0).max()
            )  # nobody's, and never chosen


def test_refinement_goes_on_from_what_was_distilled(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", scored(float))
    path = run(recipe_of(folder, best=1.0, learning_rate=1e-9, decay=0.0), tmp_path / "out")
    last, first = log_of(tmp_path / "out/distil")[-1], log_of(tmp_path / "out/refine")[0]
    assert {key: first[key] for key in first if key.startswith("validation_")} == {
        key: last[key] for key in last if key.startswith("validation_")
    }
    assert not equal(weights(path), weights(tmp_path / "out/distil/weights.safetensors"))  # the codebook is learned


def test_a_known_codebook_stays_as_it_is(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "true.safetensors", true_vqvae(), MelSpec(), {})
    folder = write_pairs(tmp_path / "pairs", scored(float))
    recipe = Recipe(
        name="refined",
        pairs={"folder": folder},
        model={**MODEL, "codebook_size": 10, "codebook_dim": 4},
        distil={**PHASE, "codebook": tmp_path / "true.safetensors"},
        refine=PHASE,
    )
    assert torch.equal(weights(run(recipe, tmp_path / "out"))["codebook.embed"], true_vqvae().codebook.embed)


@pytest.mark.parametrize(("phase", "at"), [("distil", 5), ("refine", 2), ("refine", 5)])
def test_an_interrupted_training_ends_bit_for_bit_the_same(phase: str, at: int, tmp_path: Path) -> None:
    recipe = recipe_of(write_pairs(tmp_path / "pairs", scored(float)))
    unbroken = run(recipe, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "broken", Interrupting(phase, at))
    assert equal(weights(unbroken), weights(run(recipe, tmp_path / "broken")))
    for log in ("distil/log.csv", "refine/log.csv"):
        assert (tmp_path / "unbroken" / log).read_text() == (tmp_path / "broken" / log).read_text()


def test_no_finished_pair_is_nothing_to_refine_on(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", [replace(pair, finished=False) for pair in pairs()])
    with pytest.raises(DataError, match="no pair is left: the GPT finished none"):
        run(recipe_of(folder, distil=False), tmp_path / "out")


def test_pairs_behind_a_url_are_distilled_but_not_filtered(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", scored(float))
    with pytest.raises(DataError, match=r"pairs behind a URL cannot be filtered here(?s:.)*vqbench pairs filter"):
        run(recipe_of(f"file://{tmp_path}/pairs"), tmp_path / "out")
    assert (tmp_path / "out/distil/weights.safetensors").exists()
