"""Rounds of labelling and learning: labels are better than the encoder, and an interrupted training is the same."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupting import Interrupting
from small_trainings import digest, equal, run, weights, write_chirps
from tiny_teacher import make_teacher

from vqbench.audio.mel import MelFrontEnd
from vqbench.config.recipe import Recipe, load_recipe
from vqbench.config.source import DataSource
from vqbench.data.corpora import load_clips
from vqbench.errors import DataError, ManyErrors, TrainingError, VqbenchError
from vqbench.notes import collected
from vqbench.progress import Silent
from vqbench.teachers.pocket.assets import load_pocket, load_true_tokenizer
from vqbench.teachers.tortoise.decoding import Joining
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.labelling import Labeller, find_utterances
from vqbench.training.pseudo_label import COLLAPSED, RoundFigures, look

SHIPPED = Path(__file__).parents[2] / "suites/checkpoints"
NOISE = 0.3
"""Of the spread of each weight."""
MODEL = {"hidden_dim": 8, "codebook_size": 64, "codebook_dim": 8, "num_resnet_blocks": 1}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_chirps(tmp_path / "corpus", 10)


def recipe_of(manifest: Path, **changes: object) -> Recipe:
    section = {
        "data": [{"manifest": str(manifest)}],
        "rounds": 2,
        "steps": 6,
        "batch_size": 2,
        "crop_frames": 32,
        "learning_rate": 1e-3,
        "replay": 0,
        "beams": 2,
        "validation_share": 0.4,
        "validate_every": 3,
        "checkpoint_every": 2,
    }
    first = {"data": [{"manifest": str(manifest)}], "steps": 4, "batch_size": 2, "crop_frames": 32, "validate_every": 4}
    return Recipe.model_validate(
        {
            "name": "em",
            "teacher": "pocket",
            "model": MODEL,
            "reconstruct": first,
            "pseudo_label": {**section, **changes},
        }
    )


def rounds_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "pseudo_label/rounds.csv").open()))


def hard_of_hearing(tokenizer: DVAETokenizer) -> DVAETokenizer:
    """The same codebook, and an encoder with noise on its weights: most of its tokens are wrong."""
    dvae, draw = copy.deepcopy(tokenizer.dvae), torch.Generator().manual_seed(0)
    for weight in dvae.encoder.parameters():
        weight += NOISE * weight.std() * torch.randn(weight.shape, generator=draw) if weight.numel() > 1 else 0
    return DVAETokenizer(dvae, tokenizer.mel_spec)


def test_labels_are_nearer_to_the_withheld_vqvae_than_the_encoder_that_made_them() -> None:
    teacher, true = load_pocket(), load_true_tokenizer()
    clips = load_clips(DataSource(corpus="pocket", split="train", limit=8))
    tokenizer = hard_of_hearing(true)
    utterances = find_utterances(clips, teacher, Silent())
    labeller = Labeller(tokenizer, teacher, Joining(weight=1.0, scale=0.3, beams=4))
    waveforms = [labeller.waveform(clip) for clip in clips]
    mels = [MelFrontEnd()(waveform) for waveform in waveforms]
    truth = torch.cat(true.quantize(true.latents(mels)))
    alone = torch.cat(tokenizer.quantize(tokenizer.latents(mels)))
    right, wrong = (torch.cat(labeller.labels(waveforms, utterances, wrong=by)) for by in (False, True))
    agreement = {
        name: float((codes == truth).float().mean())
        for name, codes in {"alone": alone, "right": right, "wrong": wrong}.items()
    }
    assert agreement["right"] > agreement["alone"] + 0.08, agreement
    assert agreement["wrong"] < agreement["right"] - 0.08, agreement


def test_each_round_is_logged_and_the_best_is_handed_on(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    checkpoint = run(recipe_of(manifest), folder, teacher=make_teacher())
    rows = rounds_of(folder)
    assert [row["round"] for row in rows] == [str(n) for n in range(len(rows))] and len(rows) >= 2
    falling = [float(row["nats"]) for row in rows]
    best = 0
    while best + 1 < len(falling) and falling[best + 1] < falling[best]:
        best += 1
    if best:
        handed_on = weights(folder / f"pseudo_label/round-{best}/weights.safetensors")
        assert equal(weights(checkpoint), handed_on)
    labels = list(read_pairs(folder / "pseudo_label/round-1/labels"))
    assert [pair.id for pair in labels] == [f"clip-{n}" for n in range(10)]
    assert all(int(pair.codes.max()) < 64 for pair in labels)
    assert len(labels[1].waveform()) == 22_050


@pytest.mark.parametrize("place", ["labelling recordings", "pseudo_label/round-1", "pseudo_label/round-2"])
def test_an_interrupted_training_ends_bit_for_bit_the_same(manifest: Path, tmp_path: Path, place: str) -> None:
    recipe = recipe_of(manifest, validation_share=0.2)
    whole = run(recipe, tmp_path / "whole", teacher=make_teacher())
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "broken", Interrupting(place, 3), teacher=make_teacher())
    assert not (tmp_path / "broken/checkpoint.safetensors").exists()
    resumed = run(recipe, tmp_path / "broken", teacher=make_teacher())
    assert equal(weights(whole), weights(resumed))
    assert rounds_of(tmp_path / "whole") == rounds_of(tmp_path / "broken")


def test_texts_decide_the_digest(manifest: Path) -> None:
    before = digest(recipe_of(manifest), make_teacher())
    manifest.write_text(manifest.read_text().replace("chirp number 3", "chirp number 33"))
    assert digest(recipe_of(manifest), make_teacher()) != before


def test_labels_that_do_not_depend_on_the_sound_are_called_collapsed() -> None:
    figures = RoundFigures(nats=1.0, l1=0.1, labels_agree=0.5, same_under_wrong_text=COLLAPSED + 0.01)
    assert not figures.collapsed
    assert replace(figures, same_under_wrong_text=COLLAPSED - 0.01).collapsed


def test_a_gpt_that_drowns_the_encoder_is_seen() -> None:
    """With hardly any say of the encoder, labels follow the text: what a collapse looks like."""
    teacher = load_pocket()
    clips = load_clips(DataSource(corpus="pocket", split="train", limit=6))
    tokenizer = load_tokenizer(SHIPPED / "recovered.safetensors")
    utterances = find_utterances(clips, teacher, Silent())
    sound, text = (
        look(Labeller(tokenizer, teacher, Joining(1.0, scale, 4)), tokenizer, teacher, utterances, Silent())
        for scale in (0.3, 0.001)
    )
    assert not sound.collapsed and text.collapsed, (sound, text)


def test_what_the_gpt_cannot_read_is_left_out_and_said(manifest: Path) -> None:
    clips = load_clips(DataSource(manifest=manifest))
    long = [replace(clip, duration_s=100.0) if n == 2 else clip for n, clip in enumerate(clips)]
    with collected() as lines:
        found = find_utterances(long, make_teacher(), Silent())
    assert len(found) == 9 and "1 of 10 recordings are left out" in lines[0]
    with pytest.raises(DataError, match="1 recordings have no transcript or no speaker, the first is clip-4"):
        find_utterances([replace(c, text=None) if n == 4 else c for n, c in enumerate(clips)], make_teacher(), Silent())


def test_without_anything_held_out_there_is_nothing_to_see(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="0 of 10 recordings to label are held out"):
        run(recipe_of(manifest, validation_share=1e-9), tmp_path / "out", teacher=make_teacher())


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "name: a\npseudo_label: {data: [{corpus: pocket}], replay: 0}\nstart: pocket\n",
            "no teacher whose GPT labels",
        ),
        ("name: a\nteacher: pocket\npseudo_label: {data: [{corpus: pocket}], replay: 0}\n", "no encoder to begin with"),
        ("name: a\nteacher: pocket\nstart: pocket\npseudo_label: {data: [{corpus: pocket}]}\n", "no pairs to replay"),
    ],
)
def test_a_recipe_that_lacks_something_is_refused(tmp_path: Path, recipe: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: a\n{recipe}")
    with pytest.raises((VqbenchError, ManyErrors), match=message):
        load_recipe(path)
