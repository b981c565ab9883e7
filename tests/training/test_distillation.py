"""An encoder learns a GPT's tokens from pairs, exactly as its recipe says, and from nothing else."""

from __future__ import annotations

import csv
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.io import encode_waveform, resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.manifest import Clip
from vqbench.errors import ConfigError, DataError, TrainingError, VqbenchError
from vqbench.progress import Advance, Silent
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.tokenizer.dvae import DVAE, Dimensions
from vqbench.tokenizer.quantizer import kmeans
from vqbench.tortoise.pairs import Header, Pair, shard_path, write_shard
from vqbench.training.distillation import Distillation, MelTokens, PairCorpus, load_pairs
from vqbench.training.recipe import DistillationConfig, Recipe, load_recipe
from vqbench.training.trainer import train, training_clips, training_digest, write_half

N_TEACHER_CODES = 10
MODEL = {"hidden_dim": 16, "codebook_size": 24, "codebook_dim": 8, "num_resnet_blocks": 1}
TRAINING = {
    "steps": 12,
    "batch_size": 6,
    "crop_frames": 64,
    "learning_rate": 0.003,
    "warmup_steps": 4,
    "validate_every": 4,
    "validation_share": 0.3,
    "checkpoint_every": 4,
}


def speech(number: int, n_tokens: int, rate_hz: int = 22_050) -> Tensor:
    """Tones that jump with every other token."""
    draw = torch.Generator().manual_seed(number)
    hz = (150 * 2 ** (5 * torch.rand(-(-n_tokens // 2), generator=draw))).repeat_interleave(2048)[: 1024 * n_tokens]
    waveform = 0.3 * torch.sin(2 * torch.pi * hz.cumsum(0) / 22_050)
    return resample(waveform + 0.01 * torch.randn(len(waveform), generator=draw), 22_050, rate_hz)


@functools.cache
def teacher() -> DVAE:
    """Random weights, and a codebook where its latents are."""
    torch.manual_seed(5)
    dvae = DVAE(Dimensions(codebook_size=N_TEACHER_CODES, codebook_dim=4, hidden_dim=8, num_resnet_blocks=1))
    with torch.no_grad():
        rows = [dvae.latents(MelFrontEnd()(speech(1000 + i, 12))[None])[0].t() for i in range(20)]
        dvae.codebook.set_codes(kmeans(torch.cat(rows), N_TEACHER_CODES, 10, torch.Generator().manual_seed(0)), 1.0)
    return dvae.eval()


def pair(number: int, **changes: Any) -> Pair:
    """What the teacher hears in a waveform, as if a GPT had written it before."""
    waveform = speech(number, 10 + number % 5)
    made = Pair(
        id=f"{number:06d}",
        text=f"Sentence {number}.",
        speaker="ann",
        split="train",
        codes=teacher().encode(MelFrontEnd()(waveform)[None])[0, :-1].clone(),
        flac=encode_waveform(waveform, 22_050, "a pair"),
        sample_rate_hz=22_050,
        clvp=0.0,
        seed=number,
        finished=True,
        teacher="0123456789abcdef",
    )
    return replace(made, **changes)


@functools.cache
def pairs() -> tuple[Pair, ...]:
    return tuple(pair(number) for number in range(60))


def write(folder: Path, content: Sequence[Pair], per_shard: int = 32) -> Path:
    for index, start in enumerate(range(0, len(content), per_shard)):
        write_shard(shard_path(folder, index), content[start : start + per_shard], Header({}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs", pairs())


def recipe_of(folder: Path, distillation: dict[str, float] | None = None, **training: object) -> Recipe:
    return Recipe(
        name="recovered",
        seed=3,
        pairs=folder,
        model=MODEL,
        distillation=distillation or {},
        training={**TRAINING, **training},
    )


def run(recipe: Recipe, folder: Path, progress: Silent | None = None) -> Path:
    return train(recipe, training_clips(recipe), folder, "cpu", progress or Silent())


def weights(path: Path) -> dict[str, Tensor]:
    return load_tokenizer(path).dvae.state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def corpus_of(*content: Pair) -> PairCorpus:
    front_end = MelFrontEnd()
    return PairCorpus(tuple(MelTokens(front_end(p.waveform()), p.codes) for p in content), ())


def objective_of(corpus: PairCorpus, **changes: Any) -> Distillation:
    """An untrained student with its codebook started."""
    recipe = recipe_of(Path("nowhere"))
    torch.manual_seed(1)
    dvae = DVAE(Dimensions(**recipe.model.model_dump()))
    objective = Distillation(recipe.model_copy(update=changes), dvae, corpus, torch.device("cpu"))
    objective.start_codebook()
    return objective


# What is learnt


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_agreement_on_held_out_sentences_climbs_far_above_chance(precision: str, folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder, steps=120, learning_rate=0.01, validate_every=40, precision=precision)
    run(recipe, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/log.csv").read_text().splitlines()))
    agreement = [float(row["validation_agreement"]) for row in rows]
    held_out = load_pairs(recipe, folder, MelSpec(), Silent()).validation
    tokens = Counter(torch.cat([p.codes for p in held_out]).tolist())
    chance = max(tokens.values()) / tokens.total()
    assert agreement[-1] > chance + 0.15
    assert agreement[-1] > agreement[0]
    assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])


def test_the_loss_is_the_one_written_down() -> None:
    corpus = corpus_of(*pairs()[:4])
    config = DistillationConfig(cross_entropy=0.7, vector_mse=0.4, scale=3.0)
    objective = objective_of(corpus, distillation=config)
    loss, figures = objective.loss_of(corpus.training)

    dvae, embed = objective.dvae, objective.dvae.codebook.embed.t()
    rows = [dvae.encoder(p.mel[None])[0].t()[: len(p.codes)] for p in corpus.training]
    latents, tokens = torch.cat(rows), torch.cat([p.codes for p in corpus.training])
    cross_entropy = F.cross_entropy(-torch.cdist(latents, embed).square() * 3.0, tokens)
    vector_mse = torch.stack([(z - embed[k]).square().mean() for z, k in zip(latents, tokens, strict=True)]).mean()
    errors = [dvae.decode(p.codes[None])[0] - p.mel[:, : 4 * len(p.codes)] for p in corpus.training]
    error = torch.cat(errors, dim=1)
    expected = {
        "cross_entropy": cross_entropy.item(),
        "vector_mse": vector_mse.item(),
        "l1": error.abs().mean().item(),
        "l2": error.square().mean().item(),
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-4), name
    total = sum(expected[name] * weight for name, weight in zip(expected, (0.7, 0.4, 1.0, 0.5), strict=True))
    assert loss.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("trained", ["encoder", "decoder"])
def test_encoder_and_decoder_learn_apart(trained: str) -> None:
    corpus = corpus_of(*pairs()[:4])
    recipe = recipe_of(Path("nowhere"))
    off = {
        "encoder": {
            "training": recipe.training.model_copy(
                update={"loss": recipe.training.loss.model_copy(update={"l1": 0.0, "l2": 0.0})}
            )
        },
        "decoder": {"distillation": recipe.distillation.model_copy(update={"cross_entropy": 0.0, "vector_mse": 0.0})},
    }
    objective = objective_of(corpus, **off[trained])
    loss, _ = objective.loss_of(corpus.training)
    loss.backward()
    moved = {
        name.split(".")[0]
        for name, parameter in objective.dvae.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }
    assert moved == {trained}


# The codebook


def test_the_codebook_starts_on_the_mean_latent_of_each_token() -> None:
    corpus = corpus_of(*pairs()[:5])
    objective = objective_of(corpus)
    latents = torch.cat([objective.dvae.encoder(p.mel[None])[0].t()[: len(p.codes)] for p in corpus.training])
    tokens = torch.cat([p.codes for p in corpus.training])
    for token in tokens.unique():
        mean = latents[tokens == token].mean(0)
        torch.testing.assert_close(objective.dvae.codebook.embed[:, token], mean, atol=1e-5, rtol=1e-4)


def test_codes_that_no_token_has_are_never_chosen(folder: Path, tmp_path: Path) -> None:
    path = run(recipe_of(folder, steps=40), tmp_path / "out")
    known = set(torch.cat([p.codes for p in pairs()]).tolist())
    noise = torch.Generator().manual_seed(0)
    for checkpoint in (path, write_half(path)):
        dvae = load_tokenizer(checkpoint).dvae
        assert dvae.codebook.embed.isfinite().all()
        for loudness in (0.1, 1.0, 10.0):
            heard = dvae.encode(loudness * torch.randn(4, 80, 64, generator=noise))
            assert set(heard.flatten().tolist()) <= known


def test_a_code_stays_where_it_was_while_its_token_is_not_heard() -> None:
    codebook = recipe_of(Path("nowhere")).training.codebook.model_copy(update={"decay": 0.5})
    training = recipe_of(Path("nowhere")).training.model_copy(update={"codebook": codebook})
    common, seldom = corpus_of(pair(0, codes=torch.arange(8)), pair(1, codes=torch.tensor([8]))).training
    objective = objective_of(PairCorpus((common, seldom), ()), training=training)
    before = objective.dvae.codebook.embed.clone()
    for step in range(300):  # so long that nothing is left of its running count
        loss, _ = objective.loss_of([common])
        objective.updated(step, torch.Generator())
    after = objective.dvae.codebook.embed
    assert objective.dvae.codebook.cluster_size[8] == 0
    torch.testing.assert_close(after[:, 8], before[:, 8], atol=1e-4, rtol=1e-3)
    assert after.isfinite().all()
    assert loss.isfinite()


# What is read


@pytest.mark.parametrize(
    ("n_codes", "n_samples", "n_compared"),
    [
        (10, 10 * 1024, 10),
        (10, 10 * 1024 - 200, 10),
        (10, 6 * 1024, 7),  # the encoder writes a seventh token for the frame that ends the recording
        (4, 10 * 1024, 4),
        (10, 100, 1),
    ],
)
def test_lengths_that_disagree_are_cut_at_the_end(
    n_codes: int, n_samples: int, n_compared: int, tmp_path: Path
) -> None:
    waveform, codes = speech(1, 12)[:n_samples], torch.arange(n_codes)
    write(tmp_path, [pair(1, codes=codes, flac=encode_waveform(waveform, 22_050, "a pair"))])
    recipe = recipe_of(tmp_path, validation_share=0.0)
    (read,) = load_pairs(recipe, tmp_path, MelSpec(), Silent()).training
    assert read.codes.tolist() == list(range(n_compared))
    torch.testing.assert_close(read.mel, MelFrontEnd()(waveform), atol=1e-2, rtol=1e-2)  # 16 bits
    loss, _ = objective_of(PairCorpus((read,), ())).loss_of([read])
    assert loss.isfinite()


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    write(tmp_path, [pair(1, flac=encode_waveform(speech(1, 11, 24_000), 24_000, "a pair"), sample_rate_hz=24_000)])
    (read,) = load_pairs(recipe_of(tmp_path, validation_share=0.0), tmp_path, MelSpec(), Silent()).training
    audible = slice(0, 60)  # 8 kHz of 12: both rates hold what the bands hear
    torch.testing.assert_close(read.mel[audible], MelFrontEnd()(speech(1, 11))[audible], atol=0.15, rtol=0.05)


def test_crops_keep_tokens_and_frames_together() -> None:
    frames = torch.arange(401.0).expand(80, -1)
    objective = objective_of(PairCorpus((MelTokens(frames, torch.arange(100) % 24),), ()))
    firsts = set()
    for step in range(20):
        for crop in objective._batch(torch.Generator().manual_seed(step)):
            assert crop.mel.shape == (80, 64)
            assert (crop.mel[0, ::4] / 4 % 24).tolist() == crop.codes.tolist()
            firsts.add(int(crop.mel[0, 0]))
    assert len(firsts) > 30


def test_sentences_are_held_out_whole_and_by_themselves(tmp_path: Path) -> None:
    again = [replace(p, id=f"1{p.id[1:]}", speaker="bob") for p in pairs()]
    recipe = recipe_of(write(tmp_path / "all", [*pairs(), *again]))
    corpus = load_pairs(recipe, tmp_path / "all", MelSpec(), Silent())

    def sentences(some: Sequence[MelTokens]) -> set[str]:
        texts = {tuple(p.codes.tolist()): p.text for p in pairs()}
        return {texts[tuple(p.codes.tolist())] for p in some}

    held_out = sentences(corpus.validation)
    assert 5 < len(held_out) < 35
    assert not held_out & sentences(corpus.training)
    fewer = load_pairs(recipe, write(tmp_path / "fewer", pairs()[:30]), MelSpec(), Silent())
    assert sentences(fewer.validation) == held_out & {p.text for p in pairs()[:30]}


def test_the_test_split_is_left_alone(folder: Path, tmp_path: Path) -> None:
    unusable = [pair(100 + n, split="test", flac=b"no sound", codes=torch.tensor([9000])) for n in range(3)]
    with_test = write(tmp_path / "more", [*unusable, *pairs()])
    alone, beside = recipe_of(folder), recipe_of(with_test)
    assert training_digest(alone, []) == training_digest(beside, [])
    assert equal(weights(run(alone, tmp_path / "a")), weights(run(beside, tmp_path / "b")))


def test_only_test_pairs_are_nothing_to_train_on(tmp_path: Path) -> None:
    write(tmp_path / "pairs", [pair(1, split="test")])
    with pytest.raises(TrainingError, match="no pair is left to train on"):
        run(recipe_of(tmp_path / "pairs"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Resuming and identity


class _Interrupt(Silent):
    """Stops the training at a step, as Ctrl-C would."""

    def __init__(self, at: int) -> None:
        self.at = at

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        steps = itertools.count(done + 1)

        def advance(n: int = 1, note: str = "") -> None:
            if description == "training" and next(steps) == self.at:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("at", [1, 4, 7, 11])
def test_an_interrupted_training_ends_bit_for_bit_the_same(at: int, folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder)
    unbroken = run(recipe, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "broken", _Interrupt(at))
    assert equal(weights(unbroken), weights(run(recipe, tmp_path / "broken")))
    assert (tmp_path / "unbroken/log.csv").read_text() == (tmp_path / "broken/log.csv").read_text()


def changed(folder: Path, **changes: Any) -> Path:
    return write(folder, [replace(pairs()[0], **changes), *pairs()[1:]])


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"},
        {"text": "Another sentence."},
        {"codes": torch.tensor([1, 2, 3])},
        {"flac": pair(61).flac},
        {"teacher": "fedcba9876543210"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_digest_follows_the_content_of_the_pairs(changes: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    other = recipe_of(changed(tmp_path / "other", **changes))
    assert training_digest(other, []) != training_digest(recipe_of(folder), [])


def test_the_digest_follows_the_recipe_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    digest = training_digest(recipe_of(folder), [])
    assert training_digest(recipe_of(write(tmp_path / "elsewhere", pairs(), per_shard=20)), []) == digest
    assert training_digest(recipe_of(folder, {"scale": 2.0}), []) != digest
    assert training_digest(recipe_of(folder, steps=13), []) != digest


def test_trainings_made_before_there_were_pairs_keep_their_digests() -> None:
    clips = [
        (Clip(id=f"clip-{i}", path=Path(f"{i}.wav"), sha256=f"{i:064x}", duration_s=1.0), 1.0 + i) for i in range(2)
    ]
    trained = Recipe(name="defaults", data=[{"corpus": "tortoise-voices"}])
    assert training_digest(trained, clips) == "42f3c2f947273657"
    assert training_digest(Recipe(name="untrained", training={"steps": 0}), []) == "baf357c8d8c86cfe"


# Faults


def test_tokens_beyond_the_codebook_are_named_with_its_size(folder: Path, tmp_path: Path) -> None:
    small = recipe_of(folder)
    small = small.model_copy(update={"model": small.model.model_copy(update={"codebook_size": 8})})
    with pytest.raises(ConfigError, match=r"token 9, but model.codebook_size is 8(?s:.)*at least 10"):
        run(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def cut(folder: Path) -> None:
    path = shard_path(folder, 1)
    path.write_bytes(path.read_bytes()[:-100])


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"pairs-00001\.parquet: the shard is damaged"),
        (lambda folder: shard_path(folder, 0).unlink(), r"pairs-00000\.parquet: this shard is missing"),
        (empty, r"pairs: there are no pairs in this folder"),
        (lambda folder: changed(folder, flac=b"no sound"), "pair 000000: this is not audio"),
    ],
)
def test_damaged_pairs_are_named(damage: Callable[[Path], Any], message: str, folder: Path, tmp_path: Path) -> None:
    damage(folder)
    with pytest.raises(DataError, match=message):
        run(recipe_of(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


WRITTEN: dict[str, Any] = {"name": "recovered", "pairs": "../pairs", "model": MODEL, "training": TRAINING}


def read_back(folder: Path, **changes: Any) -> Recipe:
    (folder / "recipes").mkdir()
    path = folder / "recipes/recovered.yaml"
    path.write_text(yaml.safe_dump({**WRITTEN, **changes}))
    return load_recipe(path)


def test_pairs_are_relative_to_the_recipe(folder: Path) -> None:
    recipe = read_back(folder.parent)
    assert recipe.pairs == folder
    assert '"../pairs"' in recipe.model_dump_json(context=recipe._folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pairs": "../pears"},
            r"there is no folder '../pears' \(did you mean 'pairs'\?\)(?s:.)*vqbench pairs generate",
        ),
        ({"pairs": "../pairs/pairs-00000.parquet"}, "'../pairs/pairs-00000.parquet' is a file"),
        ({"pairs": "../../pairs"}, "leads out of"),
        ({"pairs": 5}, "pairs: expected a folder, got the number 5"),
        ({"data": [{"corpus": "tortoise-voices"}]}, "either data or pairs, this one has both"),
        ({"model": {"num_layers": 3}}, "model.num_layers: tokens of 3 layers are no GPT's tokens"),
        ({"training": {"augment": {"share": 0.5}}}, "training.augment: changed speech would have other tokens"),
        ({"distillation": {"cross_entropy": 0}}, "distillation.cross_entropy: expected a number above 0"),
        ({"pairs": None, "distillation": {"scale": 2.0}}, "distillation: there are no pairs"),
        ({"pairs": None}, "there is nothing to train on"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(VqbenchError, match=message):
        read_back(folder.parent, **changes)


def test_the_schema_tells_of_pairs() -> None:
    schema = Recipe.model_json_schema()
    assert "vqbench pairs generate" in schema["properties"]["pairs"]["description"]
    assert set(schema["$defs"]["DistillationConfig"]["properties"]) == {"cross_entropy", "vector_mse", "scale"}
