"""An encoder learns a GPT's tokens from pairs, exactly as its recipe says, and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hearable_pairs import pair, pairs, tones, true_vqvae, write_pairs
from interrupting import Interrupting
from small_trainings import assert_moved_alike, digest, equal, log_of, run, weights
from tiny_teacher import teacher
from torch.nn import functional as F

from vqbench.audio.io import encode_waveform
from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import Recipe, load_recipe
from vqbench.config.training import DistilConfig
from vqbench.errors import CheckpointError, ConfigError, DataError, TrainingError, VqbenchError
from vqbench.progress import Silent
from vqbench.teachers.tortoise.pairs import shard_path
from vqbench.teachers.tortoise.shards import Pair
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.distil import Distillation
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.loop import Term
from vqbench.training.phases import Phases
from vqbench.training.processes import open_fabric
from vqbench.training.stream import PairStream
from vqbench.training.trainer import write_half

CPU = torch.device("cpu")
MODEL = {"hidden_dim": 16, "codebook_size": 24, "codebook_dim": 8, "num_resnet_blocks": 1}
DISTIL = {
    "steps": 12,
    "batch_size": 6,
    "crop_frames": 64,
    "learning_rate": 0.003,
    "warmup_steps": 4,
    "validate_every": 4,
    "checkpoint_every": 4,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs", pairs())


def recipe_of(
    folder: Path,
    *,
    model: dict[str, Any] | None = None,
    limit: int | None = None,
    teacher: str | None = None,
    **distil: Any,
) -> Recipe:
    return Recipe(
        name="recovered",
        seed=3,
        teacher=teacher,
        pairs={"folder": folder, "validation_share": 0.3, "limit": limit},
        model={**MODEL, **(model or {})},
        distil={**DISTIL, **distil},
    )


@contextmanager
def objective_of(folder: Path, *content: Pair, **changes: Any) -> Iterator[Distillation]:
    """An untrained student of these pairs, all of which are in every batch, with its codebook started."""
    config = DistilConfig(**{**DISTIL, "batch_size": len(content), **changes})
    torch.manual_seed(1)
    dvae = DVAE(Dimensions(**MODEL))
    with PairStream(
        write_pairs(folder, content),
        MelSpec(),
        batch_size=config.batch_size,
        seed=0,
        held_out=lambda *_: False,
        progress=Silent(),
    ) as stream:
        objective = Distillation(config, dvae, stream, HeldOutPairs([], None, CPU), learned=True)
        objective.start_codebook()
        yield objective


def draw(step: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(step)


def total(terms: list[Term]) -> torch.Tensor:
    return sum((term.weight * term.mean for term in terms), start=torch.zeros(()))


# What is learnt


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_agreement_on_held_out_sentences_climbs_far_above_chance(precision: str, folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder, steps=120, learning_rate=0.01, validate_every=40, precision=precision)
    run(recipe, tmp_path / "out")
    rows = log_of(tmp_path / "out/distil")
    agreement = [float(row["validation_agreement"]) for row in rows]
    with Phases(recipe, DVAE(), MelSpec(), None, tmp_path, CPU, Silent())._stream(folder, 1) as stream:
        tokens = Counter(torch.cat([p.codes for p in stream.held_out()]).tolist())
    chance = max(tokens.values()) / tokens.total()
    assert float(rows[-1]["validation_floor"]) == pytest.approx(chance)
    assert agreement[-1] > chance + 0.15
    assert agreement[-1] > agreement[0]
    assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])


def test_the_loss_is_the_one_written_down(tmp_path: Path) -> None:
    weights = {"cross_entropy": 0.7, "vector_mse": 0.4, "l1": 0.3, "l2": 0.2}
    loss = {"l1": 0.3, "l2": 0.2}
    with objective_of(tmp_path, *pairs()[:4], cross_entropy=0.7, vector_mse=0.4, scale=3.0, loss=loss) as objective:
        (batch,) = objective.batches(0, draw(), 0, 1)
        terms = {term.name: term for term in objective.loss(batch, draw())}

    dvae, embed = objective.dvae, objective.dvae.codebook.embed.t()
    rows = [dvae.encoder(p.mel[None])[0].t()[: len(p.codes)] for p in batch]
    latents, tokens = torch.cat(rows), torch.cat([p.codes for p in batch])
    vector_mse = torch.stack([(z - embed[k]).square().mean() for z, k in zip(latents, tokens, strict=True)]).mean()
    error = torch.cat([dvae.decode(p.codes[None])[0] - p.mel[:, : 4 * len(p.codes)] for p in batch], dim=1)
    expected = {
        "agreement": (torch.cdist(latents, embed).argmin(1) == tokens).float().mean(),
        "cross_entropy": F.cross_entropy(-torch.cdist(latents, embed).square() * 3.0, tokens),
        "vector_mse": vector_mse,
        "l1": error.abs().mean(),
        "l2": error.square().mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].mean.item() == pytest.approx(value.item(), rel=1e-4), name
        assert terms[name].weight == weights.get(name, 0.0), name
    assert objective.counts(batch) == {"tokens": len(tokens), "frames": error.shape[1]}


@pytest.mark.parametrize(
    ("off", "trained"),
    [({"loss": {"l1": 0, "l2": 0}}, "encoder"), ({"cross_entropy": 1e-30, "vector_mse": 0}, "decoder")],
    ids=["encoder", "decoder"],
)
def test_encoder_and_decoder_learn_apart(off: dict[str, Any], trained: str, tmp_path: Path) -> None:
    with objective_of(tmp_path, *pairs()[:4], **off) as objective:
        (batch,) = objective.batches(0, draw(), 0, 1)
        total(objective.loss(batch, draw())).backward()
    moved = {
        name.split(".")[0]
        for name, parameter in objective.dvae.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 1e-20
    }
    assert moved == {trained}


# The codebook


def test_the_codebook_starts_on_the_mean_latent_of_each_token(tmp_path: Path) -> None:
    with objective_of(tmp_path, *pairs()[:5]) as objective:
        heard = objective.stream.batch(0)
    latents = torch.cat([objective.dvae.encoder(p.mel[None])[0].t()[: len(p.codes)] for p in heard])
    tokens = torch.cat([p.codes for p in heard])
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


def test_a_code_stays_where_it_was_while_its_token_is_not_heard(tmp_path: Path) -> None:
    content = [pair(0, codes=torch.arange(8)), pair(1, codes=torch.tensor([8]))]
    fabric = open_fabric(CPU, "fp32")
    with objective_of(tmp_path, *content, decay=0.5) as objective:
        before = objective.dvae.codebook.embed.clone()
        for step in range(300):  # so long that nothing is left of its running count
            (batch,) = objective.batches(step, draw(step), 0, 1)
            terms = objective.loss([p for p in batch if 8 not in p.codes], draw(step))
            objective.updated(step, draw(step), fabric)
    codebook = objective.dvae.codebook
    assert codebook.cluster_size[8] == 0
    torch.testing.assert_close(codebook.embed[:, 8], before[:, 8], atol=1e-4, rtol=1e-3)
    assert codebook.embed.isfinite().all()
    assert all(term.mean.isfinite() for term in terms)


def taught() -> TortoiseTeacher:
    """A tiny TorToiSe whose true VQVAE is known."""
    return replace(teacher(), tokenizer=DVAETokenizer(true_vqvae(), MelSpec(), CPU))


def embedding() -> torch.Tensor:
    with teacher().gpt.loaded() as gpt:
        return gpt.mel_embedding.weight[: gpt.dimensions.n_codes]


KNOWN: dict[str, tuple[int, int]] = {"teacher": (10, 4), "file": (10, 4), "gpt": (64, 32)}
"""Codebook → its size, and the length of its vectors."""


def known_codebook(name: str, pairs: Path, tmp_path: Path, **distil: Any) -> Recipe:
    size, dim = KNOWN[name]
    source: str | Path = name
    if name == "file":
        source = tmp_path / "true.safetensors"
        save_checkpoint(source, true_vqvae(), MelSpec(), {})
    model = {"codebook_size": size, "codebook_dim": dim}
    return recipe_of(pairs, model=model, codebook=source, teacher="pocket", **distil)


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_codebook_stays_as_it_is_while_the_encoder_learns(name: str, folder: Path, tmp_path: Path) -> None:
    recipe = known_codebook(name, folder, tmp_path, steps=40, learning_rate=0.01, validate_every=20)
    found = weights(run(recipe, tmp_path / "out", teacher=taught()))
    before = weights(run(Recipe(name="untrained", seed=3, model=recipe.model), tmp_path / "untrained"))
    moved = {key.split(".")[0] for key in found if not torch.equal(found[key], before[key])}
    assert moved == {"encoder", "decoder", "codebook"}
    if name == "gpt":
        # The GPT's own vectors, about the origin and at 1.
        torch.testing.assert_close(found["codebook.embed"].mean(1), torch.zeros(32), atol=1e-5, rtol=0)
        distances = torch.pdist(found["codebook.embed"].t()) / torch.pdist(embedding())
        torch.testing.assert_close(distances, distances[:1].expand(len(distances)))
    else:
        assert torch.equal(found["codebook.embed"], true_vqvae().codebook.embed)
    rows = log_of(tmp_path / "out/distil")
    assert float(rows[-1]["cross_entropy"]) < float(rows[1]["cross_entropy"])
    first = weights(tmp_path / "out/distil/best.safetensors")
    assert all(torch.equal(found[key], first[key]) for key in found if key.startswith("codebook."))
    if name != "gpt":
        assert float(rows[-1]["validation_ceiling"]) > 0.9


def test_a_known_codebook_is_taken_though_there_is_a_start(folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    torch.manual_seed(7)
    save_checkpoint(start, DVAE(true_vqvae().dimensions), MelSpec(), {})
    recipe = Recipe(
        name="on",
        start=start,
        teacher="pocket",
        pairs={"folder": folder},
        distil={**DISTIL, "codebook": "teacher"},
    )
    found = weights(run(recipe, tmp_path / "out", teacher=taught()))
    assert torch.equal(found["codebook.embed"], true_vqvae().codebook.embed)


def test_distillation_goes_on_from_a_start(folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    save_checkpoint(start, true_vqvae(), MelSpec(), {})
    run(Recipe(name="on", start=start, pairs={"folder": folder}, distil=DISTIL), tmp_path / "out")
    assert float(log_of(tmp_path / "out/distil")[0]["validation_agreement"]) > 0.9


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("gpt", {"codebook_dim": 8}, r"the codebook gpt has 64 codes of 32 values(?s:.)*codebook_size 64 and .*dim 32"),
        (
            "gpt",
            {"codebook_size": 63},
            r"the codebook gpt has 64 codes of 32 values(?s:.)*codebook_size 64 and .*dim 32",
        ),
        ("teacher", {"codebook_dim": 8}, r"the codebook teacher has 10 codes of 4 values"),
        ("file", {"codebook_size": 12}, r"the codebook .*true\.safetensors has 10 codes of 4 values"),
    ],
)
def test_a_known_codebook_of_another_size_is_refused(
    name: str, model: dict[str, int], message: str, folder: Path, tmp_path: Path
) -> None:
    recipe = known_codebook(name, folder, tmp_path)
    misfit = recipe.model_copy(update={"model": recipe.model.model_copy(update=model)})
    with pytest.raises(CheckpointError, match=message):
        run(misfit, tmp_path / "out", teacher=taught())
    assert not (tmp_path / "out").exists()


def test_a_true_codebook_that_is_not_known_cannot_be_taken(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the teacher's true VQVAE is not known(?s:.)*learned, or gpt"):
        run(known_codebook("teacher", folder, tmp_path), tmp_path / "out", teacher=teacher())


@pytest.mark.parametrize("loss", [{"l1": 0, "l2": 0}, {"l1": 1.0, "l2": 0}], ids=["alone", "both"])
def test_without_a_loss_the_decoder_is_not_touched(loss: dict[str, float], folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder, loss=loss, weight_decay=0.5)
    found = weights(run(recipe, tmp_path / "out"))
    before = weights(run(Recipe(name="untrained", seed=3, model=MODEL), tmp_path / "untrained"))
    moved = {key.split(".")[0] for key in found if not torch.equal(found[key], before[key])}
    assert moved == ({"encoder", "codebook", "decoder"} if loss["l1"] else {"encoder", "codebook"})


@pytest.mark.parametrize("alone", ["cross_entropy", "vector_mse"])
def test_either_part_of_the_loss_can_be_left_out(alone: str, folder: Path, tmp_path: Path) -> None:
    how = {"steps": 60, "learning_rate": 0.01, "validate_every": 20, "loss": {"l1": 0, "l2": 0}}
    weights = {"cross_entropy": 0.0, "vector_mse": 0.0, alone: 1.0}
    recipe = known_codebook("teacher", folder, tmp_path, scale=100.0, **how, **weights)
    run(recipe, tmp_path / "out", teacher=taught())
    rows = log_of(tmp_path / "out/distil")
    assert all(float(row["loss"]) == pytest.approx(float(row[alone])) for row in rows[1:])
    assert float(rows[-1][alone]) < 0.9 * float(rows[1][alone])
    assert float(rows[-1]["validation_agreement"]) > float(rows[0]["validation_agreement"])


def test_a_batch_in_parts_is_the_same_step(folder: Path, tmp_path: Path) -> None:
    before = weights(run(Recipe(name="untrained", seed=3, model=MODEL), tmp_path / "untrained"))
    whole = weights(run(recipe_of(folder), tmp_path / "whole"))
    for n in (2, 4):
        assert_moved_alike(before, whole, weights(run(recipe_of(folder, accumulate=n), tmp_path / f"parts{n}")))


def test_a_batch_cannot_be_cut_into_more_parts_than_it_holds(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a batch of 6 on each process cannot be cut into 7 parts"):
        run(recipe_of(folder, accumulate=7), tmp_path / "out")


# What is read


def test_a_limit_leaves_the_later_pairs_unread(tmp_path: Path) -> None:
    unusable = [pair(100 + n, flac=b"no sound", codes=torch.tensor([9000])) for n in range(3)]
    more, fewer = write_pairs(tmp_path / "more", [*pairs(), *unusable], per_shard=60), tmp_path / "fewer"
    write_pairs(fewer, pairs(), per_shard=60)
    limited = run(recipe_of(more, limit=60), tmp_path / "limited")
    assert equal(weights(limited), weights(run(recipe_of(fewer), tmp_path / "all")))
    assert not equal(weights(limited), weights(run(recipe_of(fewer, limit=20), tmp_path / "less")))


def test_crops_keep_tokens_and_frames_together(tmp_path: Path) -> None:
    long = pair(0, codes=torch.arange(100) % 24, flac=encode_waveform(tones(0, 100), 22_050, "a pair"))
    firsts = set()
    with objective_of(tmp_path, long) as objective:
        (whole,) = objective.stream.batch(0)
        for step in range(40):
            ((crop,),) = objective.batches(step, draw(step), 0, 1)
            assert crop.mel.shape == (80, 64)
            (first,) = (i for i in range(100) if torch.equal(whole.mel[:, 4 * i : 4 * i + 64], crop.mel))
            assert torch.equal(crop.codes, whole.codes[first : first + 16])
            firsts.add(first)
    assert len(firsts) > 20


@pytest.mark.parametrize("n_codes", [1, 4, 10])
def test_codes_fewer_than_frames_are_learnt_all_the_same(n_codes: int, tmp_path: Path) -> None:
    with objective_of(tmp_path, pair(1, codes=torch.arange(n_codes)), pair(2, codes=torch.arange(12))) as objective:
        (batch,) = objective.batches(0, draw(), 0, 1)
        terms = objective.loss(batch, draw())
    assert objective.counts(batch) == {"tokens": n_codes + 12, "frames": 4 * (n_codes + 12)}
    assert all(term.mean.isfinite() for term in terms)


def test_sentences_are_held_out_whole_and_by_themselves(tmp_path: Path) -> None:
    again = [replace(p, id=f"1{p.id[1:]}", speaker="bob") for p in pairs()]
    texts = {tuple(p.codes.tolist()): p.text for p in pairs()}

    def sides(name: str, content: list[Pair]) -> tuple[set[str], set[str]]:
        """Sentences that are held out, and those that are trained on."""
        folder = write_pairs(tmp_path / name, content)
        phases = Phases(recipe_of(folder), DVAE(), MelSpec(), None, tmp_path, CPU, Silent())
        with phases._stream(folder, len(content)) as stream:
            return tuple(
                {texts[tuple(p.codes.tolist())] for p in side} for side in (stream.held_out(), stream.batch(0))
            )

    held_out, trained = sides("all", [*pairs(), *again])
    assert 5 < len(held_out) < 35
    assert not held_out & trained
    assert held_out | trained == set(texts.values())
    fewer, _ = sides("fewer", list(pairs()[:30]))
    assert fewer == held_out & {p.text for p in pairs()[:30]}


def test_speakers_are_held_out_whatever_they_say(tmp_path: Path) -> None:
    content = [replace(p, speaker="ann" if i % 3 else "bob") for i, p in enumerate(pairs())]
    folder = write_pairs(tmp_path / "pairs", content)
    source = {"folder": folder, "validation_share": 0, "validation_speakers": ["bob"]}
    recipe = Recipe(name="recovered", pairs=source, model=MODEL, distil=DISTIL)
    with Phases(recipe, DVAE(), MelSpec(), None, tmp_path, CPU, Silent())._stream(folder, 60) as stream:
        assert (stream.n_held_out, stream.n_training) == (20, 40)


def test_the_test_split_is_left_alone(folder: Path, tmp_path: Path) -> None:
    unusable = [pair(100 + n, split="test", flac=b"no sound", codes=torch.tensor([9000])) for n in range(3)]
    with_test = write_pairs(tmp_path / "more", [*pairs(), *unusable])
    alone, beside = recipe_of(folder), recipe_of(with_test)
    assert digest(alone) == digest(beside)
    assert equal(weights(run(alone, tmp_path / "a")), weights(run(beside, tmp_path / "b")))


def test_only_test_pairs_are_nothing_to_train_on(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", [pair(1, split="test")])
    with pytest.raises(TrainingError, match="no pair is left to train on"):
        run(recipe_of(tmp_path / "pairs"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Resuming and identity


@pytest.mark.parametrize("at", [1, 4, 7, 11])
def test_an_interrupted_training_ends_bit_for_bit_the_same(at: int, folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder)
    unbroken = run(recipe, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "broken", Interrupting("distil", at))
    assert equal(weights(unbroken), weights(run(recipe, tmp_path / "broken")))
    assert (tmp_path / "unbroken/distil/log.csv").read_text() == (tmp_path / "broken/distil/log.csv").read_text()


def changed(folder: Path, **changes: Any) -> Path:
    return write_pairs(folder, [replace(pairs()[0], **changes), *pairs()[1:]])


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
    assert digest(recipe_of(changed(tmp_path / "other", **changes))) != digest(recipe_of(folder))


def test_the_digest_follows_the_recipe_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    expected = digest(recipe_of(folder))
    assert digest(recipe_of(write_pairs(tmp_path / "elsewhere", pairs()))) == expected
    # An epoch's order is drawn row group by row group.
    cut_otherwise = recipe_of(write_pairs(tmp_path / "cut", pairs(), per_shard=20))
    others = [recipe_of(folder, scale=2.0), recipe_of(folder, steps=13), recipe_of(folder, limit=30), cut_otherwise]
    assert len({expected, *map(digest, others)}) == 5


def test_the_digest_follows_no_pair_beyond_the_limit(folder: Path, tmp_path: Path) -> None:
    more = write_pairs(tmp_path / "more", [*pairs(), *(pair(number) for number in range(60, 70))])
    assert digest(recipe_of(more, limit=60)) == digest(recipe_of(folder, limit=60))
    assert digest(recipe_of(more)) != digest(recipe_of(folder))


# Faults


def test_tokens_beyond_the_codebook_are_named_with_its_size(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the token 9, but the VQVAE has 8 codes(?s:.)*at least 10"):
        run(recipe_of(folder, model={"codebook_size": 8}), tmp_path / "out")
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
    ids=["cut", "missing", "empty", "no sound"],
)
def test_damaged_pairs_are_named(damage: Callable[[Path], Any], message: str, folder: Path, tmp_path: Path) -> None:
    damage(folder)
    with pytest.raises(DataError, match=message):
        run(recipe_of(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


WRITTEN: dict[str, Any] = {"name": "recovered", "pairs": {"folder": "../pairs"}, "model": MODEL, "distil": DISTIL}


def read_back(folder: Path, **changes: Any) -> Recipe:
    (folder / "recipes").mkdir()
    path = folder / "recipes/recovered.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**WRITTEN, **changes}.items() if value is not None}))
    return load_recipe(path)


def test_pairs_are_relative_to_the_recipe(folder: Path) -> None:
    recipe = read_back(folder.parent)
    assert recipe.pairs is not None
    assert recipe.pairs.folder == str(folder)
    assert '"../pairs"' in recipe.model_dump_json(context=recipe._folder)


def test_a_url_of_pairs_is_taken_as_it_is(folder: Path) -> None:
    recipe = read_back(folder.parent, pairs={"folder": "s3://bucket/pairs"})
    assert recipe.pairs is not None
    assert recipe.pairs.folder == "s3://bucket/pairs"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pairs": {"folder": "../pears"}},
            r"there is no folder '../pears' \(did you mean 'pairs'\?\)(?s:.)*vqbench pairs generate",
        ),
        ({"pairs": {"folder": "../pairs/pairs-00000.parquet"}}, "'../pairs/pairs-00000.parquet' is a file"),
        ({"pairs": {"folder": "../../pairs"}}, "leads out of"),
        ({"pairs": {"folder": 5}}, r"pairs\.folder: expected a folder, got the number 5"),
        ({"pairs": "../pairs"}, "pairs: expected a mapping"),
        ({"model": {"num_layers": 3}}, r"model\.num_layers: tokens of 3 layers are no GPT's tokens"),
        ({"distil": {"augment": {"share": 0.5}}}, r"distil\.augment: unknown key"),
        ({"distil": {"cross_entropy": -1}}, r"distil\.cross_entropy: expected a number of at least 0"),
        ({"distil": {"cross_entropy": 0, "vector_mse": 0}}, "cross_entropy and vector_mse are both 0"),
        ({"pairs": None}, "distil: there are no pairs to learn from"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(VqbenchError, match=message):
        read_back(folder.parent, **changes)


def test_the_schema_tells_of_pairs() -> None:
    parts = Recipe.model_json_schema()["$defs"]
    assert "vqbench pairs generate" in parts["PairSourceConfig"]["properties"]["folder"]["description"]
    assert {"cross_entropy", "vector_mse", "scale", "codebook", "decay"} < set(parts["DistilConfig"]["properties"])
