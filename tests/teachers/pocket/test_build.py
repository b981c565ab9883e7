"""The build goes through every stage, goes on where it was left, and stops where it must."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interrupting import Interrupting
from safetensors.torch import load_file
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.config.recipe import Recipe
from vqbench.data.manifest import read_manifest
from vqbench.errors import TrainingError
from vqbench.progress import Silent
from vqbench.teachers.pocket.card import load_card, write_card
from vqbench.teachers.tortoise.text import TextEncoder
from vqbench.training.pocket.build import build, held_out_part, plan_digest, stages, training_part
from vqbench.training.pocket.evaluate import Judges
from vqbench.training.pocket.make import choose_settings, make_pocket, outline
from vqbench.training.pocket.pack import CONDITIONING_PER_SPEAKER, calm_code, source_digest
from vqbench.training.pocket.plan import FULL, TINY, BuildPlan
from vqbench.training.speech import load_speech, save_speech
from vqbench.training.trainer import Sources, training_digest

CPU = torch.device("cpu")


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


def test_every_stage_leaves_its_work_and_its_check(made: Path) -> None:
    assert all(stage.done for stage in stages(TINY, made))
    card = load_card(made / "package")
    assert {name: sorted(part["check"]) for name, part in card["parts"].items()} == {
        "vqvae": ["l1", "perplexity", "used"],
        "gpt": ["mel", "right"],
        "clvp": ["above"],
        "diffusion": ["head", "told", "variance"],
    }
    assert card["bytes"] == sum((made / "package" / part["file"]).stat().st_size for part in card["parts"].values())
    assert card["corpus"]["voices"] == {"slt": "flite", "rms": "flite"}
    assert not list(made.rglob("state.pt"))


def test_every_target_of_the_card_was_measured(made: Path) -> None:
    figures = load_card(made / "package")["figures"]
    targets = {name: figure["target"] for name, figure in figures.items()}
    assert targets == {
        "corpus_wer": "<= 0.05",
        "easy_wer": "<= 0.05",
        "copy_wer": "<= 0.1",
        "copy_similarity": ">= 0.8",
        "spoken_wer": "<= 0.2",
        "chosen_wer": "<= 0.2",
        "own_similarity": ">= 0.8",
        "similarity_margin": ">= 0.15",
        "finished": ">= 0.95",
        "clvp_above": ">= 0.95",
        "seconds_for_24": "<= 60",
        "megabytes": "<= 40",
    }
    # slt and rms are understood; what six steps of training say is not.
    assert figures["corpus_wer"]["value"] < 0.5 < figures["spoken_wer"]["value"]
    assert not figures["spoken_wer"]["met"]
    for name in ("corpus_wer", "copy_wer", "spoken_wer"):
        assert figures[name]["n"] >= 2
        assert figures[name]["ci_low"] <= figures[name]["value"] <= figures[name]["ci_high"]
    assert all(not figure["met"] for figure in figures.values() if figure["unscored"])


def test_the_same_again_only_reads(made: Path, judges: Judges) -> None:
    before = files(made)
    card = make_pocket(TINY, made, CPU, judges, Silent())
    assert files(made) == before
    assert card == load_card(made / "package")


def test_a_new_note_is_shown_and_nothing_measured_again(made: Path, copy: Path) -> None:
    before = load_card(made / "package")
    noted = replace(TINY, notes=("more steps did not help",))
    nobody: Any = SimpleNamespace(identity=before["judges"])
    card = make_pocket(noted, copy, CPU, nobody, Silent())
    assert card == {**before, "notes": ["more steps did not help"]} == load_card(copy / "package")


@pytest.mark.parametrize("damage", ["other weights", "no card", "no figures"])
def test_what_is_missing_of_the_package_is_made_again(damage: str, made: Path, copy: Path, judges: Judges) -> None:
    package = copy / "package"
    if damage == "other weights":
        (package / "gpt.safetensors").write_bytes(b"others")
    elif damage == "no card":  # as after a build that was stopped while it packed
        (package / "card.json").unlink()
    else:  # while it was judged
        write_card(package, {**load_card(package), "figures": {}})
    card = make_pocket(TINY, copy, CPU, judges, Silent())
    expected = load_card(made / "package")
    for part in expected["parts"]:
        file = f"{part}.safetensors"
        assert (package / file).read_bytes() == (made / "package" / file).read_bytes()
    for name, figure in expected["figures"].items():
        if name != "seconds_for_24":
            assert card["figures"][name] == figure
    assert {**card, "figures": {}} == {**expected, "figures": {}}


@pytest.mark.parametrize("at", [1, 3])
def test_stopped_within_the_gpt_it_ends_bit_for_bit_the_same(at: int, made: Path, copy: Path) -> None:
    shutil.rmtree(copy / "gpt")
    with pytest.raises(KeyboardInterrupt):
        build(TINY, copy, CPU, Interrupting("gpt", at))
    assert not (copy / "gpt/weights.safetensors").exists()
    assert (copy / "gpt/state.pt").exists() == (at >= TINY.gpt_plan.training.checkpoint_every)
    build(TINY, copy, CPU, Silent())
    for file in ("weights.safetensors", "check.json", "log.csv"):
        assert (copy / "gpt" / file).read_bytes() == (made / "gpt" / file).read_bytes()


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("vqvae", {"most_l1": 0.0}),
        ("gpt", {"least_right": 1.1}),
        ("clvp", {"least_above": 1.1}),
        ("diffusion", {"most_told": 0.0}),
    ],
)
def test_a_failed_check_stops_with_the_stage_and_its_figures(stage: str, change: dict[str, float], made: Path) -> None:
    before = files(made)
    with pytest.raises(TrainingError, match=rf"the stage '{stage}' failed its check.* \d") as caught:
        build(replace(TINY, **change), made, CPU, Silent())
    assert "another folder" in str(caught.value)
    assert files(made) == before


def test_nothing_is_trained_on_a_bad_vqvae(copy: Path) -> None:
    for name in ("gpt", "clvp", "diffusion"):
        shutil.rmtree(copy / name)
    (copy / "speech.safetensors").unlink()
    with pytest.raises(TrainingError, match="vqvae"):
        build(replace(TINY, most_l1=0.0), copy, CPU, Silent())
    assert [stage.name for stage in stages(TINY, copy) if stage.done] == ["corpus", "vqvae"]


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"gpt_dropout": 0.2}, {"vqvae": TINY.vqvae.model_copy(update={"codebook_size": 16})}],
    ids=lambda change: next(iter(change)),
)
def test_a_folder_of_another_plan_is_refused(change: dict[str, Any], made: Path) -> None:
    before = files(made)
    with pytest.raises(TrainingError, match="a build of another plan") as caught:
        build(replace(TINY, **change), made, CPU, Silent())
    assert caught.value.fix == "choose another folder with -o"
    assert files(made) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"])
def test_a_damaged_plan_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        build(TINY, tmp_path, CPU, Silent())
    assert caught.value.where == str(tmp_path / "plan.json")


def test_what_was_trained_without_a_plan_is_not_taken_over(copy: Path) -> None:
    (copy / "plan.json").unlink()
    with pytest.raises(TrainingError, match=r"holds vqvae, speech, gpt, clvp, diffusion, but no plan\.json"):
        build(TINY, copy, CPU, Silent())
    assert not (copy / "plan.json").exists()


def test_another_corpus_is_refused_or_test_clips_would_be_trained_on(copy: Path) -> None:
    manifest = copy / "corpus/manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(TrainingError, match="the corpus has 43 utterances by rms, slt") as caught:
        build(TINY, copy, CPU, Silent())
    assert "44 by slt, rms" in str(caught.value)


def test_speech_in_the_tokens_of_another_vqvae_is_tokenised_again(made: Path, copy: Path) -> None:
    file = "speech.safetensors"
    old = load_speech(copy / file)
    save_speech(copy / file, replace(old, codes=old.codes[::-1]), "another")
    build(TINY, copy, CPU, Silent())
    assert (copy / file).read_bytes() == (made / file).read_bytes()


def test_how_it_speaks_changes_the_package_but_no_weight(made: Path) -> None:
    assert plan_digest(replace(TINY, notes=("tried",))) == plan_digest(TINY)
    slower = replace(TINY, speaking=replace(TINY.speaking, diffusion_steps=3))
    assert plan_digest(slower) == plan_digest(TINY)
    built = build(slower, made, CPU, Silent())
    source = source_digest(slower, built, choose_settings(slower, built))
    assert source != load_card(made / "package")["source"]
    assert source_digest(TINY, built, choose_settings(TINY, built)) == load_card(made / "package")["source"]


def test_held_out_utterances_are_in_no_training(made: Path) -> None:
    clips = read_manifest(made / "corpus/manifest.jsonl")
    training, held_out = training_part(TINY, clips), held_out_part(TINY, clips)
    assert [*training, *held_out] == clips
    assert len(held_out) == TINY.corpus.n_test

    # The VQVAE was trained on exactly the first clips: its training's digest says so.
    section = {"data": [{"manifest": made / "corpus/manifest.jsonl"}], **TINY.vqvae_training}
    recipe = Recipe(name="pocket-vqvae", model=TINY.vqvae, reconstruct=section)
    heard = Sources({"reconstruct": [(clip, 1.0) for clip in clips[: TINY.vqvae_clips]]})
    assert json.loads((made / "vqvae/training.json").read_text())["digest"] == training_digest(recipe, heard)

    # GPT, CLVP and diffusion read nothing but the training part, whose end they only validate on.
    speech = load_speech(made / "speech.safetensors")
    assert len(speech.mels) == len(training)
    assert speech.n_training == len(training) - TINY.corpus.n_validation
    encoder = TextEncoder()
    for row, clip in enumerate(training):
        assert speech.texts[row].tolist() == encoder.encode(clip.text or "").tolist()
    assert not {clip.text for clip in held_out} & {clip.text for clip in training}

    packed = read_manifest(made / "package/clips.jsonl")
    tuning = [clip for clip in packed if clip.split == "train"]
    assert 0 < len(tuning) <= TINY.speaking.n_tuning
    assert not {clip.text for clip in tuning} & {clip.text for clip in (*training, *held_out)}
    assert {clip.sha256 for clip in packed} - {clip.sha256 for clip in tuning} <= {clip.sha256 for clip in held_out}
    for voice in TINY.corpus.voices:
        assert sum(c.speaker == voice and c.split == "conditioning" for c in packed) == CONDITIONING_PER_SPEAKER
    assert sum(clip.split == "test" for clip in packed) == TINY.speaking.n_packed


@pytest.mark.parametrize("plan", [FULL, TINY], ids=lambda plan: plan.name)
def test_the_parts_of_a_plan_fit(plan: BuildPlan) -> None:
    corpus, speaking = plan.corpus, plan.speaking
    assert plan.vqvae_clips <= corpus.n - corpus.n_test
    assert len(corpus.voices) * CONDITIONING_PER_SPEAKER + speaking.n_packed <= corpus.n_test
    assert speaking.n_copied <= corpus.n_test
    assert plan.gpt.n_codes == plan.clvp.n_codes == plan.vqvae.codebook_size
    assert plan.gpt.width == plan.diffusion.latent_width
    assert speaking.sampling.max_tokens <= plan.gpt.max_mel_tokens
    assert plan.gpt_plan.conditioning_frames == plan.diffusion_plan.conditioning_frames


def test_the_outline_says_what_is_done_and_what_is_to_do(made: Path, tmp_path: Path) -> None:
    fresh = outline(FULL, tmp_path)
    assert fresh.count("to do") == 6
    assert "hours on two CPU cores" in fresh
    assert "12,400 utterances by joe, slt, rms, awb" in fresh
    finished = outline(TINY, made)
    assert (finished.count("done"), finished.count("to do")) == (6, 0)


def test_the_weights_that_are_packed_are_those_that_were_trained(made: Path) -> None:
    trained, packed = load_file(made / "gpt/weights.safetensors"), load_file(made / "package/gpt.safetensors")
    assert trained.keys() == packed.keys()
    assert all(torch.equal(packed[key], trained[key].half()) for key in trained)


def test_the_calm_code_is_the_one_that_most_utterances_end_on() -> None:
    ends = [torch.tensor(codes, dtype=torch.int16) for codes in ([9, 9, 9, 4, 4], [9, 4, 7], [7, 4])]
    assert calm_code(ends) == 4


def test_the_command_goes_on_from_there_and_shows_the_card(made: Path) -> None:
    before = files(made)
    done = CliRunner().invoke(
        app,
        ["pocket", "build", "--plan", "tiny", "-o", str(made), "--device", "cpu"],
        env={"COLUMNS": "140"},
    )
    assert done.exit_code == 0, done.output
    assert files(made) == before
    assert "done   gpt        6 steps" in done.stderr
    missed = [name for name, figure in load_card(made / "package")["figures"].items() if not figure["met"]]
    assert f"{len(missed)} of 12 targets missed; written to {made / 'package'}" in done.stderr
    told = done.stdout.partition("missed: ")[2]
    assert all(f"{name} " in told for name in missed)
    refused = CliRunner().invoke(app, ["pocket", "build", "-o", str(made), "--device", "cpu", "-q"])
    assert refused.exit_code == 2
    assert "a build of another plan" in refused.stderr
    assert files(made) == before
