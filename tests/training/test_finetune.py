"""The GPT's own objective: which targets count, and what a fine-tuned GPT is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hearable_pairs import true_vqvae
from interrupting import Interrupting
from small_trainings import log_of, write_chirps
from tiny_speech import Row, speech_of
from tiny_teacher import teacher
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.config.training import FinetuneConfig
from vqbench.data.manifest import Clip, read_manifest
from vqbench.errors import CheckpointError, DataError, ManyErrors
from vqbench.progress import Progress, Silent
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.pair_generation import split_of
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.finetune import TEXT_WEIGHT, NextToken, finetune_gpt, late_fall
from vqbench.training.log import write_log
from vqbench.training.loop import Term
from vqbench.training.speech import Batches

CPU = torch.device("cpu")
SIZES = GPTDimensions(n_layers=2, width=16, n_heads=2, n_text_tokens=20, n_codes=12, n_mels=5)

LONG: Row = ([3, 1, 4, 1, 5, 9, 0], [1, 2, 3, 4, 5, 6])
SHORT: Row = ([2, 7, 0], [8, 9])


def gpt() -> UnifiedVoice:
    torch.manual_seed(0)
    model = UnifiedVoice(SIZES).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)
    return model


def terms_of(objective: NextToken, step: int = 0) -> dict[str, Term]:
    draw = torch.Generator().manual_seed(step)
    (batch,) = objective.batches(step, draw, 0, 1)
    return {term.name: term for term in objective.loss(batch, draw)}


@torch.no_grad()
def next_token(*rows: Row) -> dict[str, float]:
    objective = NextToken(gpt(), Batches(speech_of(rows), 4, CPU, conditioning_frames=4))
    return {name: term.mean.item() for name, term in terms_of(objective).items()}


# What is minimised


def test_padding_is_no_target() -> None:
    """A batch's loss is that of its rows alone, each weighted by its tokens and its stop, and by nothing else."""
    both, long, short = next_token(LONG, SHORT), next_token(LONG), next_token(SHORT)
    for figure, counts in (("mel", (7, 3)), ("right", (7, 3)), ("text", (8, 4))):
        expected = (counts[0] * long[figure] + counts[1] * short[figure]) / sum(counts)
        assert both[figure] == pytest.approx(expected, rel=1e-4), figure


def test_what_its_means_are_over_is_counted_so() -> None:
    objective = NextToken(gpt(), Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4))
    (batch,) = objective.batches(0, torch.Generator().manual_seed(0), 0, 1)
    assert objective.counts(batch) == {"codes": 7 + 3, "text": 8 + 4}
    assert {name: term.of for name, term in terms_of(objective).items()} == {
        "mel": "codes",
        "text": "text",
        "right": "codes",
    }


@pytest.mark.parametrize("weight", [TEXT_WEIGHT, 0.5])
def test_the_loss_is_mostly_that_of_the_codes(weight: float) -> None:
    terms = terms_of(NextToken(gpt(), Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4), weight))
    assert {name: term.weight for name, term in terms.items()} == {"mel": 1.0, "text": weight, "right": 0.0}


@pytest.mark.parametrize(
    ("n", "parts", "world"),
    # With three utterances there are fewer than a batch holds, and they need not fall evenly.
    [(8, 2, 1), (8, 1, 2), (8, 2, 2), (8, 3, 1), (3, 1, 2), (3, 3, 1), (3, 1, 3)],
)
def test_parts_and_processes_share_out_one_batch(n: int, parts: int, world: int) -> None:
    rows: list[Row] = [([i + 1, 0], [i, i + 1]) for i in range(n)]
    speech = speech_of(rows)

    def drawn(accumulate: int, rank: int, world: int) -> list[int]:
        objective = NextToken(gpt(), Batches(speech, 4, CPU, conditioning_frames=4), accumulate=accumulate)
        batches = objective.batches(3, torch.Generator().manual_seed(3), rank, world)
        assert len(batches) == min(accumulate, 4 // world)
        for batch in batches:
            assert len(batch.rows) == len(batch.which)
        return [row for batch in batches for row in batch.rows]

    whole = drawn(1, 0, 1)
    assert [row for rank in range(world) for row in drawn(parts, rank, world)] == whole
    assert len(set(whole)) == min(n, 4)


def test_the_gpt_learns_to_stop_where_each_row_ends() -> None:
    model = gpt()
    objective = NextToken(model, Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        terms = terms_of(objective, step)
        optimizer.zero_grad()
        sum(term.weight * term.mean for term in terms.values() if term.weight).backward()
        optimizer.step()
    assert terms["right"].mean == 1.0  # of all seven and all three tokens, the stops among them


def test_validation_is_of_held_out_utterances_and_repeats_itself() -> None:
    batches = Batches(speech_of([LONG, SHORT, SHORT], n_validation=1), 4, CPU, conditioning_frames=4)
    objective = NextToken(gpt().train(), batches)
    figures = objective.validate()
    assert figures == objective.validate()
    assert objective.gpt.training
    assert figures["mel"] == pytest.approx(next_token(SHORT)["mel"], rel=1e-4)


def test_nothing_held_out_is_nothing_to_validate() -> None:
    assert NextToken(gpt(), Batches(speech_of([LONG, SHORT]), 4, CPU, conditioning_frames=4)).validate() == {}


# What a fine-tuned GPT is

HELD_OUT = next(text for i in range(100) if split_of(f"validation: {(text := f'sentence {i}')}", 0.3) == "test")

FINETUNE: dict[str, Any] = {
    "data": [{"corpus": "pocket"}],
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 0.002,
    "warmup_steps": 0,
    "validate_every": 4,
    "validation_share": 0.3,
    "checkpoint_every": 3,
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return read_manifest(write_chirps(tmp_path_factory.mktemp("chirps")))


def tune(clips: Sequence[Clip], folder: Path, progress: Progress | None = None, **changes: Any) -> dict[str, Tensor]:
    """The weights of the tiny teacher's GPT, tuned to the tokens of the small VQVAE."""
    config = FinetuneConfig(**{**FINETUNE, **changes})
    tokenizer = DVAETokenizer(true_vqvae(), MelSpec(), CPU)
    path = finetune_gpt(config, teacher(), tokenizer, clips, folder, 5, progress or Silent())
    assert path == folder / "autoregressive.pth"
    loaded: dict[str, Tensor] = torch.load(path, weights_only=True)
    return loaded


def taught() -> dict[str, Tensor]:
    with teacher().gpt.loaded() as gpt:
        return {key: tensor.clone() for key, tensor in gpt.state_dict().items()}


def test_what_is_saved_is_a_gpt_under_the_keys_of_its_teacher(clips: list[Clip], tmp_path: Path) -> None:
    before = taught()
    tuned = tune(clips, tmp_path / "out")
    assert {key: (tensor.shape, tensor.dtype) for key, tensor in tuned.items()} == {
        key: (tensor.shape, torch.float32) for key, tensor in before.items()
    }
    assert not torch.equal(tuned["mel_head.weight"], before["mel_head.weight"])
    # The teacher itself is as it was, and goes on speaking as before.
    assert all(torch.equal(tensor, before[key]) for key, tensor in taught().items())
    left = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("events.out.tfevents.")}
    # A GPT is large: there is no second one.
    summed = {"autoregressive.pth", "tokens.json"}
    assert left == {*summed, *(f"{name}.sha256" for name in summed), "log.csv"}


def test_the_loss_of_held_out_sentences_falls(clips: list[Clip], tmp_path: Path) -> None:
    tune(clips, tmp_path / "out", steps=24, validate_every=8)
    rows = log_of(tmp_path / "out")
    mel = [float(row["validation_mel"]) for row in rows]
    assert max(mel[1:]) < 0.5 * mel[0]
    assert float(rows[-1]["validation_right"]) > float(rows[0]["validation_right"])


@pytest.mark.parametrize(
    ("course", "fall"),
    [
        ({0: 9.0, 20: 8.0, 40: 7.0, 60: 5.0, 80: 4.0}, 0.2),
        ({0: 9.0, 50: 4.0, 70: 3.0, 80: 4.0}, 0.0),  # from 50 on: 70 is in the last quarter
        ({0: 4.0, 40: 4.0, 80: 5.0}, -0.25),
        ({0: 9.0, 39: 8.0, 61: 5.0, 80: 4.0}, None),  # neither is near that quarter's beginning
        ({0: 9.0, 80: 4.0}, None),
        ({0: 9.0}, None),
        ({}, None),
    ],
    ids=str,
)
def test_how_far_it_fell_in_the_last_quarter(course: dict[int, float], fall: float | None, tmp_path: Path) -> None:
    rows = [{"step": step, "validation_mel": nats} for step, nats in course.items()]
    write_log(tmp_path / "log.csv", rows)
    found = late_fall(tmp_path)
    assert found == (None if fall is None else pytest.approx(fall))


def test_without_a_log_or_held_out_speech_nothing_is_said_of_a_fall(tmp_path: Path) -> None:
    assert late_fall(tmp_path) is None
    write_log(tmp_path / "log.csv", [{"step": step, "loss": 1.0} for step in (20, 60, 80)])
    assert late_fall(tmp_path) is None


@pytest.mark.parametrize("at", [1, 4, 7])
def test_an_interrupted_fine_tuning_ends_bit_for_bit_the_same(at: int, clips: list[Clip], tmp_path: Path) -> None:
    how = {"dropout": 0.2, "average": 0.5}
    unbroken = tune(clips, tmp_path / "unbroken", **how)
    with pytest.raises(KeyboardInterrupt):
        tune(clips, tmp_path / "broken", Interrupting("finetune", at), **how)
    assert not (tmp_path / "broken/autoregressive.pth").exists()
    resumed = tune(clips, tmp_path / "broken", **how)
    assert all(torch.equal(resumed[key], tensor) for key, tensor in unbroken.items())
    assert (tmp_path / "broken/log.csv").read_text() == (tmp_path / "unbroken/log.csv").read_text()


def test_a_finished_fine_tuning_is_not_done_again(clips: list[Clip], tmp_path: Path) -> None:
    tune(clips, tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    tune(clips, tmp_path / "out")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    "changes",
    [{"gradient_checkpointing": True}, {"gradient_checkpointing": True, "dropout": 0.2}, {"accumulate": 3}],
    ids=["recomputed", "recomputed with dropout", "in parts"],
)
def test_less_memory_gives_the_same_weights(changes: dict[str, Any], clips: list[Clip], tmp_path: Path) -> None:
    dropout = changes.get("dropout", 0.0)
    whole = tune(clips, tmp_path / "whole", steps=3, dropout=dropout)
    saving = tune(clips, tmp_path / "saving", steps=3, **changes)
    for key, tensor in whole.items():
        # What is added to all keys alike changes no attention: its gradient is rounding, which AdamW makes large.
        if not key.endswith(("c_attn.bias", "qkv.bias")):
            torch.testing.assert_close(saving[key], tensor, atol=2e-5, rtol=1e-4)
    if dropout:
        without = tune(clips, tmp_path / "without", steps=3)
        assert not all(torch.allclose(without[key], tensor, atol=1e-4) for key, tensor in whole.items())


def test_more_codes_than_the_gpt_can_write_are_refused(clips: list[Clip], tmp_path: Path) -> None:
    tokenizer = DVAETokenizer(DVAE(Dimensions(codebook_size=65, codebook_dim=4, hidden_dim=8)), MelSpec(), CPU)
    with pytest.raises(CheckpointError, match=r"the VQVAE has 65 codes, the teacher's GPT 64(?s:.)*no more codes"):
        finetune_gpt(FinetuneConfig(**FINETUNE), teacher(), tokenizer, clips, tmp_path / "out", 5, Silent())
    assert not (tmp_path / "out").exists()


def test_clips_without_transcripts_are_named_all_at_once(clips: list[Clip], tmp_path: Path) -> None:
    mute = [replace(clip, text=None) if index in (2, 5) else clip for index, clip in enumerate(clips)]
    with pytest.raises(ManyErrors) as caught:
        tune(mute, tmp_path / "out")
    assert {(error.where, error.problem) for error in caught.value.errors} == {
        ("clip-2", "the clip has no transcript"),
        ("clip-5", "the clip has no transcript"),
    }
    assert not (tmp_path / "out").exists()


def test_clips_of_nobody_are_all_one_speakers(clips: list[Clip], tmp_path: Path) -> None:
    nobodys, one = ([replace(clip, speaker=name) for clip in clips] for name in (None, "ann"))
    tuned, expected = tune(nobodys, tmp_path / "nobodys"), tune(one, tmp_path / "one")
    assert all(torch.equal(tuned[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (
            lambda clip: replace(clip, duration_s=60.0),
            "1 clips, 1 of them longer than the 2.8 s that the GPT can write",
        ),
        (lambda clip: replace(clip, text=HELD_OUT), "1 clips, 0 of them .*, 1 held out"),
    ],
    ids=["too long", "held out"],
)
def test_nothing_left_to_fine_tune_on(keep: Any, message: str, clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        tune([keep(clips[1])], tmp_path / "out")


def test_clips_longer_than_the_gpt_can_write_are_left_out(clips: list[Clip], tmp_path: Path) -> None:
    long = replace(clips[3], id="long", duration_s=60.0, path=tmp_path / "not read.wav")
    tuned, expected = tune([*clips, long], tmp_path / "more"), tune(clips, tmp_path / "fewer")
    assert all(torch.equal(tuned[key], tensor) for key, tensor in expected.items())
