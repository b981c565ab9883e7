"""Token agreement in a run: a tiny teacher writes, candidates hear, and the figures are what plain counting gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from staged import agreement_of, answered
from tiny_teacher import VOCABULARY, hum, make_teacher
from torch import Tensor

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.io import save_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.suite import load_suite
from vqbench.data.corpora import corpus_clips
from vqbench.data.manifest import Clip, verify
from vqbench.engine import bench, hearing, writing
from vqbench.engine.agreement import AgreementData
from vqbench.engine.cache import Cache
from vqbench.engine.question import Question, Writing, pose_question
from vqbench.engine.runner import run_suite
from vqbench.engine.systems import MelCandidate
from vqbench.errors import DataError, ManyErrors, VqbenchError
from vqbench.judging.compare import compare_runs
from vqbench.judging.selection import Selection
from vqbench.progress import Silent
from vqbench.records.check import check_run
from vqbench.records.run import ClipRecord, Table
from vqbench.records.store import load_run, save_run
from vqbench.teachers.tortoise.pair_generation import split_of
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

N = 6
"""Sentences asked for; an utterance that repeats another's tokens is left out."""


def tokenizer(seed: int, size: int = VOCABULARY.n_codes) -> DVAETokenizer:
    torch.manual_seed(seed)
    dvae = DVAE(Dimensions(codebook_size=size, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1))
    # A new encoder's latents all lie near zero; codes among them make it use many.
    with torch.no_grad():
        rows = dvae.encoder(torch.randn(1, 80, 4 * size) * 2)[0].t()
        dvae.codebook.set_codes(rows[:size], 1.0)
    return DVAETokenizer(dvae, MelSpec())


def candidate(name: str, made: DVAETokenizer) -> MelCandidate:
    return MelCandidate(name, name, made, GriffinLim(MelSpec(), iterations=2), torch.device("cpu"))


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, ...]:
    folder = tmp_path_factory.mktemp("voices")
    clips = []
    for name, hz in (("ann", 220), ("bob", 110)):
        save_waveform(folder / f"{name}.flac", hum(hz), 22_050)
        clips.append(verify(Clip(name, folder / f"{name}.flac", "", 0.0, speaker=name)))
    return tuple(clips)


@pytest.fixture(scope="module")
def question(voices: tuple[Clip, ...]) -> Question:
    teacher = replace(make_teacher(), tokenizer=tokenizer(0))
    writing = Writing(teacher, voices, "pocket", N, 3)
    return Question(writing, tuple(corpus_clips("tortoise-voices", "test", 2)), None, "natural", torch.device("cpu"))


def asked_of(question: Question, **changes: object) -> Question:
    """Another question to the GPT, and none about recordings."""
    assert question.writing is not None
    return replace(question, writing=replace(question.writing, **changes), natural=())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def answer(question: Question, cache: Cache) -> AgreementData:
    return answered(question, cache)


def tables(made: DVAETokenizer, answer: AgreementData, cache: Cache) -> dict[str, Table]:
    return {t.group: t for t in agreement_of(candidate("one", made), answer, cache)}


def hear(made: DVAETokenizer, waveform: Tensor) -> list[int]:
    with torch.inference_mode():
        return made.dvae.encode(MelFrontEnd(MelSpec())(waveform)[None])[0].tolist()


def test_each_sequence_is_counted_as_by_hand(answer: AgreementData, cache: Cache) -> None:
    made = tokenizer(1)
    table = tables(made, answer, cache)["token_agreement"]
    assert len(table.row_ids) == len(answer.written) > 0
    for row, target in enumerate(answer.written):
        heard, wanted = hear(made, target.waveform), target.sequence.codes.tolist()
        # Rendered from n tokens, a waveform is heard as n + 1.
        assert len(heard) == len(wanted) + 1
        assert table.columns["tokens"][row] == len(wanted)
        assert table.columns["matches"][row] == sum(a == b for a, b in zip(wanted, heard, strict=False))
        true = hear(answer.teacher.tokenizer, target.waveform)  # type: ignore[arg-type]
        assert table.columns["ceiling_matches"][row] == sum(a == b for a, b in zip(wanted, true, strict=False))


def test_ranks_and_distances_are_those_of_the_candidates_own_codebook(answer: AgreementData, cache: Cache) -> None:
    made = tokenizer(1)
    table = tables(made, answer, cache)["token_agreement"]
    codebook = made.codebook.numpy()
    counts = np.bincount(np.concatenate([t.sequence.codes for t in answer.written]), minlength=64)
    share = counts / counts.sum()
    apart = np.linalg.norm(codebook[:, None] - codebook[None], axis=-1)
    chance = share @ apart @ share
    for row, target in enumerate(answer.written):
        (latents,) = made.latents([MelFrontEnd(MelSpec())(target.waveform)])
        wanted = target.sequence.codes
        squared = np.square(latents[: len(wanted), None].numpy() - codebook[None]).sum(-1)
        ranks = (squared < squared[np.arange(len(wanted)), wanted][:, None] - 1e-6).sum(1)
        assert table.columns["top5_matches"][row] == (ranks < 5).sum()
        distance = apart[squared.argmin(1), wanted].sum() / chance
        assert table.columns["distance_sum"][row] == pytest.approx(distance, rel=1e-4)


def test_the_true_tokenizer_is_its_own_ceiling_and_right_on_human_speech(answer: AgreementData, cache: Cache) -> None:
    found = tables(answer.teacher.tokenizer, answer, cache)  # type: ignore[arg-type]
    written, natural = found["token_agreement"], found["token_agreement.natural"]
    assert np.array_equal(written.columns["matches"], written.columns["ceiling_matches"])
    assert np.array_equal(natural.columns["matches"], natural.columns["tokens"])
    assert set(natural.row_ids) == {f"natural/{clip.id}" for clip in corpus_clips("tortoise-voices", "test", 2)}


def test_a_candidate_with_fewer_codes_cannot_be_right_about_the_others(answer: AgreementData, cache: Cache) -> None:
    table = tables(tokenizer(2, size=16), answer, cache)["token_agreement"]
    assert table.constants["codebook_size"] == 64
    for row, target in enumerate(answer.written):
        beyond = int((target.sequence.codes >= 16).sum())
        assert beyond > 0
        assert table.columns["top10_matches"][row] <= table.columns["tokens"][row] - beyond
        assert np.isfinite(table.columns["distance_sum"][row])


def test_without_a_known_tokenizer_there_is_no_ceiling(question: Question, cache: Cache) -> None:
    unknown = asked_of(question, teacher=replace(question.teacher, tokenizer=None))  # type: ignore[type-var]
    (table,) = agreement_of(candidate("one", tokenizer(1)), answered(unknown, cache), cache)
    assert sum(table.columns["ceiling_tokens"]) == 0


def test_the_second_time_nothing_is_spoken_or_heard(
    question: Question, answer: AgreementData, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tables(tokenizer(1), answer, cache)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this was known")

    monkeypatch.setattr(writing, "generate_pairs", refuse)
    again = answered(question, cache)
    monkeypatch.setattr(hearing, "_encode", refuse)
    assert tables(tokenizer(1), again, cache) == first


@pytest.mark.parametrize("damage", ["a shard is gone", "a shard is cut", "no cache is wanted"])
def test_what_is_not_whole_any_more_is_spoken_again(
    damage: str, question: Question, answer: AgreementData, cache: Cache, tmp_path: Path
) -> None:
    own = Cache(Path(shutil.copytree(cache.folder, tmp_path / "cache")))
    (shard,) = own.folder.glob("pairs/*/pairs-00000.parquet")
    before = shard.read_bytes()
    if damage == "a shard is gone":
        shard.unlink()
    elif damage == "a shard is cut":
        shard.write_bytes(before[: len(before) // 2])
    else:
        shard.write_bytes(before + b"not what the teacher said")
        own = Cache(own.folder, read=False)
    again = answered(question, own)
    assert [target.clip for target in again.written] == [target.clip for target in answer.written]
    assert shard.read_bytes() == before


def test_other_sampling_is_another_question(question: Question, answer: AgreementData, cache: Cache) -> None:
    assert question.teacher is not None
    sampling = replace(question.teacher.sampling, temperature=0.1)
    other = asked_of(question, teacher=replace(question.teacher, sampling=sampling))
    found = answered(other, cache)
    assert {target.clip.sha256 for target in found.written} != {target.clip.sha256 for target in answer.written}


def test_only_held_out_sentences_of_a_file_are_said_and_each_once(
    question: Question, cache: Cache, tmp_path: Path
) -> None:
    lines = [f"The {what} of number {i} was found." for i in range(60) for what in ("map", "bell")]
    held_out = [line for line in lines if split_of(line) == "test"]
    path = tmp_path / "sentences.txt"
    path.write_text("\n".join([*lines, *(line.upper() for line in lines)]), encoding="utf-8")
    asked = asked_of(question, sentences=str(path), n=len(held_out))
    texts = [target.sequence.sentence for target in answered(asked, cache).written]
    assert texts and set(texts) <= set(held_out)
    assert len(set(texts)) == len(texts)
    with pytest.raises(DataError, match=f"only {len(held_out)} sentences of this file are held out"):
        answered(asked_of(asked, n=len(held_out) + 1), cache)


def test_a_candidate_at_another_token_rate_is_not_compared(answer: AgreementData, cache: Cache) -> None:
    torch.manual_seed(0)
    half = DVAE(Dimensions(codebook_size=64, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1, num_layers=3))
    found = tables(DVAETokenizer(half, MelSpec()), answer, cache)
    assert not found["token_agreement"].row_ids
    assert set(found["token_agreement"].unscored) == {target.clip.id for target in answer.written}
    assert "10.77 tokens a second" in next(iter(found["token_agreement"].unscored.values()))


def test_a_candidate_without_numbers_is_named_and_has_no_figure(answer: AgreementData, cache: Cache) -> None:
    broken = tokenizer(4)
    with torch.no_grad():
        next(broken.dvae.encoder.parameters()).fill_(float("nan"))
    table = tables(broken, answer, cache)["token_agreement"]
    assert not table.row_ids
    assert set(table.unscored.values()) == {"the encoder's latents are not finite"}


def test_the_shipped_suite_asks_the_shipped_teacher() -> None:
    suite = load_suite(Path(__file__).parents[2] / "suites/pocket.yaml")
    question = pose_question(suite, torch.device("cpu"), ())
    assert question.teacher is not None and question.writing is not None
    assert question.teacher.name == "pocket"
    assert question.teacher.tokenizer is not None
    assert (question.writing.n, question.writing.sentences) == (96, "pocket")
    assert {clip.speaker for clip in question.writing.voices} == {"joe", "slt", "rms", "awb"}
    assert len(question.natural) == 17
    assert {"token_agreement.raw", "token_agreement.natural.raw"} <= {spec.name for spec in question.specs}


def test_utterances_that_were_not_kept_are_counted(answer: AgreementData) -> None:
    found = answer.identity["token_agreement"]
    assert isinstance(found, dict)
    assert found["utterances"] == len(answer.written)
    assert found["left_out"] == N - len(answer.written)


def test_the_true_tokenizer_as_a_candidate_is_not_heard_again(
    answer: AgreementData, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the ceiling was heard already")

    monkeypatch.setattr(hearing, "_encode", refuse)
    written_only = replace(answer, natural=(), unscored={})
    table = tables(answer.teacher.tokenizer, written_only, cache)["token_agreement"]  # type: ignore[arg-type]
    assert np.array_equal(table.columns["matches"], table.columns["ceiling_matches"])


def test_silence_is_not_audible() -> None:
    waveform = torch.cat([hum(200, 4 * 1024), torch.zeros(3 * 1024)])
    clip, codes = ClipRecord("x", "", 0.0, ""), np.zeros(8, np.int64)
    target = writing._target(clip, waveform, codes, 1024)
    # The eighth token lies beyond the waveform's end.
    assert target.sequence.audible.tolist() == [True] * 4 + [False] * 4
    nothing = writing._target(clip, waveform * 0, codes, 1024)
    assert not nothing.sequence.audible.any()


@pytest.fixture
def suite_file(tmp_path: Path, question: Question, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A suite whose teacher is the tiny one."""
    monkeypatch.setattr(bench, "pose_question", lambda suite, device, speech: question)
    clip = corpus_clips("tortoise-voices", "test", 1)[0]
    line = {"id": clip.id, "path": str(clip.path), "text": clip.text, "speaker": clip.speaker}
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "clip").mkdir()
    local = tmp_path / "clip" / clip.path.name
    local.write_bytes(clip.path.read_bytes())
    (tmp_path / "clips.jsonl").write_text(json.dumps({**line, "path": f"clip/{clip.path.name}"}) + "\n")
    for name, seed in (("one", 1), ("two", 2)):
        save_checkpoint(tmp_path / f"{name}.safetensors", tokenizer(seed).dvae, MelSpec(), {})

    def write(**changes: object) -> Path:
        content = {
            "name": "tiny",
            "teacher": "pocket",
            "data": {"speech": {"manifest": "clips.jsonl"}, "pairs": {"n": N}},
            "candidates": [{"name": n, "checkpoint": f"{n}.safetensors"} for n in ("one", "two")],
            "metrics": ["token_agreement", "codebook"],
            "interval": {"resamples": 200},
            "device": "cpu",
            **changes,
        }
        path = tmp_path / "suite.yaml"
        path.write_text(json.dumps(content))
        return path

    return write


def test_a_run_holds_agreement_beside_the_rest(
    suite_file: Callable[..., Path], tmp_path: Path, cache: Cache, answer: AgreementData
) -> None:
    suite = load_suite(suite_file(gate=["token_agreement.raw >= 0.9", "token_agreement.floor >= 0"], min_clips=2))
    run = run_suite(suite, cache, Silent()).run
    check_run(run)
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run") == run
    found = {(r.candidate, r.metric): r for r in run.results}
    for name in ("one", "two"):
        raw, floor = found[name, "token_agreement.raw"], found[name, "token_agreement.floor"]
        assert raw.value is not None and raw.ci_low is not None
        assert raw.n == len(answer.written) and raw.n_clusters is None  # every sentence is a row of its own
        assert floor.value is not None and floor.value > 0
    assert {clip.clip_set for clip in run.clips} == {"speech", "pairs", "natural"}
    assert ("original", "token_agreement.raw") not in found


def test_two_candidates_are_compared_pair_by_pair(
    suite_file: Callable[..., Path], cache: Cache, answer: AgreementData
) -> None:
    run = run_suite(load_suite(suite_file()), cache, Silent()).run
    table = compare_runs([Selection("run", run)], ["token_agreement.raw"])
    (raw,) = table.comparisons
    assert (raw.reference, raw.candidate, raw.n_pairs) == ("one", "two", len(answer.written))
    assert raw.delta is not None and raw.ci_low is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": None}, "teacher"),
        ({"data": {"speech": {"manifest": "clips.jsonl"}}}, "sequences"),
        ({"teacher": "nowhere"}, "nowhere"),
        ({"data": {"speech": {"manifest": "clips.jsonl"}, "pairs": {"n": 1}}}, "pairs.n"),
        ({"data": {"speech": {"manifest": "clips.jsonl"}, "pairs": {"n": 4, "sentences": "no.txt"}}}, "no.txt"),
    ],
)
def test_what_agreement_needs_is_asked_for(
    suite_file: Callable[..., Path], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(VqbenchError) as raised:
        load_suite(suite_file(**changes))
    errors = raised.value.errors if isinstance(raised.value, ManyErrors) else (raised.value,)
    assert any(said in str(error) for error in errors)
