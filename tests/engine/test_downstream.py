"""The downstream group in a run: a tiny teacher is tuned on candidates' tokens, speaks, and real judges listen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from interrupting import Interrupting
from rich.console import Console
from staged import judged_recordings, judges_for, spoken_by
from tiny_teacher import VOCABULARY, make_teacher

from vqbench.audio.io import file_digest, load_waveform, save_waveform
from vqbench.audio.mel import MelSpec
from vqbench.config.downstream import DownstreamConfig
from vqbench.config.suite import Suite, load_suite
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.data.manifest import Clip, read_manifest, verify, write_manifest
from vqbench.engine import assignment as assignments
from vqbench.engine import bench, downstream, speaking
from vqbench.engine.assignment import Assignment, make_assignment
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.engine.stages import speaking as stage
from vqbench.engine.systems import Original
from vqbench.errors import CheckpointError, DataError, DivergedError, ManyErrors, VqbenchError
from vqbench.judges.asr.recognizer import SpeechRecognizer, load_recognizer
from vqbench.judges.asr.text import normalize_english
from vqbench.judges.protocol import Judge
from vqbench.judges.speaker.encoder import Resemblyzer, SpeakerEncoder
from vqbench.judges.words import SpokenWords
from vqbench.judging.compare import compare_runs
from vqbench.judging.selection import Selection
from vqbench.progress import Progress, Silent
from vqbench.records.check import check_run
from vqbench.records.run import CandidateRecord, Table
from vqbench.records.store import load_run, save_run
from vqbench.records.transcripts import Transcript
from vqbench.report.tables import terminal
from vqbench.stats.columns import Ragged
from vqbench.teachers.tortoise.pair_generation import split_of
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

N = 6
TEXTS = ("The boys found a key.", "Our cousin sold the bell.", "A child drew the lamp.", "The choir broke a box.")
Judges = tuple[Judge, ...]

FINETUNE = {"steps": 4, "batch_size": 3, "learning_rate": 1e-2, "warmup_steps": 0, "checkpoint_every": 2}


def tokenizer(seed: int, **sizes: int) -> DVAETokenizer:
    torch.manual_seed(seed)
    small = {"codebook_size": VOCABULARY.n_codes, "codebook_dim": 8, "hidden_dim": 8, "num_resnet_blocks": 1, **sizes}
    dvae = DVAE(Dimensions(**small))
    with torch.no_grad():
        rows = dvae.encoder(torch.randn(1, 80, 8 * small["codebook_size"]) * 2)[0].t()
        dvae.codebook.set_codes(rows[: small["codebook_size"]], 1.0)
    return DVAETokenizer(dvae, MelSpec())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pieces of human speech by two speakers to train on, and one recording each that tells their voices."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    speakers = ("train_kennard", "train_mouse")
    clips, told = [], []
    for speaker in speakers:
        of_speaker = [clip for clip in corpus_clips("tortoise-voices") if clip.speaker == speaker]
        waveform = load_waveform(of_speaker[0].path, 22_050)
        for part, text in enumerate(TEXTS):
            path = folder / f"{speaker}-{part}.flac"
            save_waveform(path, waveform[part * 20_000 : (part + 1) * 20_000], 22_050)
            clips.append(verify(Clip(path.stem, path, "", 0.0, text=text, speaker=speaker)))
        path = folder / f"{speaker}-voice.flac"
        save_waveform(path, load_waveform(of_speaker[1].path, 22_050)[: 3 * 22_050], 22_050)
        told.append(verify(Clip(path.stem, path, "", 0.0, speaker=speaker)))
    write_manifest(folder / "clips.jsonl", clips)
    write_manifest(folder / "voices.jsonl", told)
    for name, seed in (("one", 1), ("two", 2)):
        save_checkpoint(folder / f"{name}.safetensors", tokenizer(seed).dvae, MelSpec(), {})
    return folder


def suite_of(project: Path, section: dict[str, Any] | None = None, **changes: Any) -> Suite:
    config = {
        "finetune": {"data": [{"manifest": "clips.jsonl"}], **FINETUNE},
        "n": N,
        "sentences": "pocket",
        "voices": {"manifest": "voices.jsonl"},
        "enrolment": {"manifest": "clips.jsonl"},
        **(section or {}),
    }
    content = {
        "name": "tiny",
        "teacher": "pocket",
        "data": {"speech": {"manifest": "clips.jsonl"}},
        "candidates": [{"name": name, "checkpoint": f"{name}.safetensors"} for name in ("one", "two")],
        "metrics": ["codebook", "downstream"],
        "downstream": config,
        "interval": {"resamples": 200},
        "device": "cpu",
        **changes,
    }
    path = project / "suite.yaml"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return load_suite(path)


def assign(project: Path, teacher: TortoiseTeacher | None = None, **section: Any) -> Assignment:
    return make_assignment(suite_of(project, section), torch.device("cpu"), teacher or make_teacher())


@pytest.fixture(scope="module")
def assignment(project: Path) -> Assignment:
    return assign(project)


@pytest.fixture(scope="module")
def recognizer() -> SpeechRecognizer:
    return load_recognizer("faster-whisper", "tiny.en", beam_size=1, window="clip", device="cpu")


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return Resemblyzer("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def judges(assignment: Assignment, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, cache: Cache) -> Judges:
    return judges_for(assignment, recognizer, encoder, cache)


class Deaf:
    """Hears nothing, quickly."""

    def __init__(self) -> None:
        self.identity: dict[str, str | int | float] = {"asr": "deaf"}
        self.languages = frozenset({"en"})
        self.n_heard = 0

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        self.n_heard += len(waveforms)
        return ["" for _ in waveforms]


@pytest.fixture
def deaf(judges: Judges) -> Judges:
    return SpokenWords(Deaf()), judges[1]


Found = tuple[dict[str, Table], list[Transcript]]


def measure(
    made: DVAETokenizer | None,
    assignment: Assignment,
    judges: Judges,
    cache: Cache,
    progress: Progress | None = None,
) -> Found:
    record = CandidateRecord("one", "candidate", made.digest, "one") if made else assignment.zero_shot
    tables, transcripts = spoken_by(record, made, assignment, judges, cache, progress or Silent())
    return {table.group: table for table in tables}, transcripts


@pytest.fixture(scope="module")
def first(assignment: Assignment, judges: Judges, cache: Cache) -> Found:
    return measure(tokenizer(1), assignment, judges, cache)


def spoken_folders(cache: Cache) -> list[Path]:
    return sorted((cache.folder / "spoken").iterdir())


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("this was known")


def test_the_figures_are_jiwers_and_resemblyzers(
    first: Found, assignment: Assignment, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, cache: Cache
) -> None:
    import resemblyzer  # after the fixture, which keeps its deprecation warnings away

    (folder,) = spoken_folders(cache)
    pairs = {pair.id: pair for pair in read_pairs(folder)}
    tables, transcripts = first
    words = tables["downstream"]
    assert words.row_ids == tuple(line.id for line in assignment.lines)
    heard = recognizer.transcribe([pairs[row].waveform() for row in words.row_ids], 22_050)
    wanted, heard = [[normalize_english(text) for text in texts] for texts in ([p.text for p in pairs.values()], heard)]
    assert [text.hypothesis for text in transcripts] == heard
    assert [text.reference for text in transcripts] == wanted
    errors, n_words = words.columns["word_errors"], words.columns["words"]
    assert sum(errors) / sum(n_words) == pytest.approx(jiwer.wer(wanted, heard))  # type: ignore[arg-type]

    voices, theirs = tables["downstream.voice"], resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(waveform: torch.Tensor) -> np.ndarray:
        return theirs.embed_utterance(resemblyzer.preprocess_wav(waveform.numpy(), source_sr=22_050))

    assert set(voices.row_ids) | set(voices.unscored) == set(words.row_ids)
    enrolled = [(clip.speaker, embed(load_waveform(clip.path, 22_050))) for clip in assignment.enrolment]
    for row, found in zip(voices.row_ids, voices.columns.get("similarity", ()), strict=True):
        own = embed(pairs[row].waveform())
        wanted_similarity = np.mean([own @ other for speaker, other in enrolled if speaker == pairs[row].speaker])
        assert found == pytest.approx(wanted_similarity, abs=1e-5)


def test_everybody_says_the_same_in_the_same_voices(first: Found, assignment: Assignment) -> None:
    lines = assignment.lines
    assert len({line.text for line in lines}) == N
    assert [line.speaker for line in lines] == ["train_kennard", "train_mouse"] * (N // 2)
    assert len({line.seed for line in lines}) == N
    assert all(split_of(line.text) == "test" for line in lines)
    assert [(r.id, r.text, r.speaker, r.clip_set) for r in assignment.records] == [
        (line.id, line.text, line.speaker, "downstream") for line in lines
    ]


def test_the_second_time_nothing_is_learnt_said_or_heard(
    first: Found, assignment: Assignment, judges: Judges, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "finetune_gpt", refuse)
    monkeypatch.setattr(TortoiseTeacher, "speak", refuse)
    monkeypatch.setattr(type(judges[0]._recognizer), "transcribe", refuse)
    monkeypatch.setattr(SpeakerEncoder, "embed", refuse)
    assert measure(tokenizer(1), assignment, judges, cache) == first
    again = judges_for(assignment, judges[0]._recognizer, judges[1]._encoder, cache)
    assert again[1].identity == judges[1].identity


def test_another_judge_hears_the_same_recordings(
    first: Found, assignment: Assignment, deaf: Judges, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "finetune_gpt", refuse)
    monkeypatch.setattr(TortoiseTeacher, "speak", refuse)
    words = measure(tokenizer(1), assignment, deaf, cache)[0]["downstream"]
    assert np.array_equal(words.columns["deletions"], words.columns["words"])
    assert deaf[0]._recognizer.n_heard == N  # type: ignore[attr-defined]


def test_without_the_cache_it_is_said_and_heard_again_but_not_learnt_again(
    first: Found, assignment: Assignment, judges: Judges, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = count_speaking(monkeypatch)
    monkeypatch.setattr("vqbench.training.finetune.optimize", refuse)
    assert measure(tokenizer(1), assignment, judges, Cache(cache.folder, read=False)) == first
    assert said == [N]


def count_speaking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    said: list[int] = []
    speak = TortoiseTeacher.speak

    def counting(self: TortoiseTeacher, texts: Sequence[str], *arguments: Any, **more: Any) -> Any:
        said.append(len(texts))
        return speak(self, texts, *arguments, **more)

    monkeypatch.setattr(TortoiseTeacher, "speak", counting)
    return said


@pytest.mark.parametrize("damage", ["gone", "cut", "of other lines"])
def test_a_damaged_shard_is_said_again(
    damage: str, assignment: Assignment, deaf: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "PER_SHARD", 2)
    cache = Cache(tmp_path)
    before = measure(None, assignment, deaf, cache)
    (folder,) = spoken_folders(cache)
    shard = folder / "pairs-00001.parquet"
    whole = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(whole[: len(whole) // 2])
    else:
        shard.write_bytes((folder / "pairs-00002.parquet").read_bytes())
    said = count_speaking(monkeypatch)
    assert measure(None, assignment, deaf, cache) == before
    assert said == [2]
    assert shard.read_bytes() == whole


def test_killed_among_the_sentences_it_goes_on_there(
    assignment: Assignment, deaf: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "PER_SHARD", 2)
    unbroken = measure(None, assignment, deaf, Cache(tmp_path / "unbroken"))
    cache = Cache(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        measure(None, assignment, deaf, cache, Interrupting("speaking", 4))
    said = count_speaking(monkeypatch)
    assert measure(None, assignment, deaf, cache) == unbroken
    assert said == [2]


def test_killed_in_training_it_goes_on_there(
    assignment: Assignment, first: Found, judges: Judges, cache: Cache, tmp_path: Path
) -> None:
    killed = Cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure(tokenizer(1), assignment, judges, killed, Interrupting("one: finetune", 3))
    (folder,) = (tmp_path / "trainings").iterdir()
    assert (folder / "state.pt").exists() and not (folder / "autoregressive.pth").exists()
    assert measure(tokenizer(1), assignment, judges, killed) == first
    (unbroken,) = (cache.folder / "trainings" / folder.name).glob("autoregressive.pth")
    assert file_digest(folder / "autoregressive.pth") == file_digest(unbroken)
    assert [row["step"] for row in csv.DictReader((folder / "log.csv").open())][-1] == "4"


def test_untuned_a_candidate_speaks_as_the_teacher_does(project: Path, deaf: Judges, tmp_path: Path) -> None:
    untuned = assign(project, finetune={"data": [{"manifest": "clips.jsonl"}], **FINETUNE, "steps": 0})
    cache = Cache(tmp_path)
    candidate, zero_shot = measure(tokenizer(1), untuned, deaf, cache)[0], measure(None, untuned, deaf, cache)[0]
    assert candidate["downstream"] == replace(zero_shot["downstream"], candidate=candidate["downstream"].candidate)
    assert zero_shot["downstream"].candidate == "zero-shot"
    one, other = ([pair.flac for pair in read_pairs(folder)] for folder in spoken_folders(cache))
    assert one == other


def test_tuned_it_speaks_otherwise_and_hears_voices_anew(
    assignment: Assignment, deaf: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners: list[str] = []
    listen = stage.listen
    monkeypatch.setattr(
        stage, "listen", lambda teacher, *more: listeners.append(teacher.name) or listen(teacher, *more)
    )
    cache = Cache(tmp_path)
    for made in (None, tokenizer(1), tokenizer(2)):
        measure(made, assignment, deaf, cache)
    assert listeners == ["tiny-0", "tiny-0, tuned", "tiny-0, tuned"]
    said = {tuple(tuple(pair.codes.tolist()) for pair in read_pairs(folder)) for folder in spoken_folders(cache)}
    assert len(said) == 3
    assert len({pair.teacher for folder in spoken_folders(cache) for pair in read_pairs(folder)}) == 3


OBSTACLES: dict[str, Callable[[], DVAETokenizer]] = {
    "has 65 codes, where the teacher's GPT can write 64": lambda: tokenizer(0, codebook_size=65),
    "writes 10.77 tokens a second, where the GPT writes 21.53": lambda: tokenizer(0, num_layers=3),
    "reads another mel than the one by which the GPT is told a voice": lambda: DVAETokenizer(
        tokenizer(0).dvae, replace(MelSpec(), norms=tuple(2 * norm for norm in MelSpec().norms))
    ),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_a_candidate_that_no_gpt_can_be_tuned_to_is_named(
    reason: str, assignment: Assignment, deaf: Judges, tmp_path: Path
) -> None:
    tables, transcripts = measure(OBSTACLES[reason](), assignment, deaf, Cache(tmp_path))
    assert not transcripts
    for table in tables.values():
        assert not table.row_ids
        assert table.unscored == {line.id: reason for line in assignment.lines}
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_is_named(
    assignment: Assignment, deaf: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object) -> Path:
        raise DivergedError("the loss became nan at step 3: training diverged", where="somewhere")

    monkeypatch.setattr(downstream, "finetune_gpt", diverge)
    tables, _ = measure(tokenizer(1), assignment, deaf, Cache(tmp_path))
    reason = "the GPT could not be tuned: the loss became nan at step 3: training diverged"
    assert set(tables["downstream"].unscored.values()) == set(tables["downstream.voice"].unscored.values()) == {reason}


def test_a_gpt_that_stops_at_once_has_said_nothing(
    project: Path, judges: Judges, recognizer: SpeechRecognizer, tmp_path: Path
) -> None:
    mute = assign(project, make_teacher(stop_bias=1000.0))
    for _ in range(2):  # made, and read
        tables, transcripts = measure(None, mute, judges, Cache(tmp_path))
        words, voices = tables["downstream"], tables["downstream.voice"]
        for name in ("deletions", "word_errors"):
            assert words.columns[name].tolist() == words.columns["words"].tolist()
        assert words.columns["runaways"].tolist() == [1.0] * N
        assert not words.unscored
        assert [text.hypothesis for text in transcripts] == [""] * N
        assert set(voices.unscored.values()) == {"the utterance is silent, so it has no voice"}


def test_a_gpt_that_never_stops_runs_away(project: Path, deaf: Judges, tmp_path: Path) -> None:
    endless = assign(project, make_teacher(stop_bias=-1000.0))
    words = measure(None, endless, deaf, Cache(tmp_path))[0]["downstream"]
    assert words.columns["unfinished"].tolist() == words.columns["runaways"].tolist() == [1.0] * N


def test_one_utterance_that_is_no_sound_is_named_and_its_neighbours_are_heard(
    assignment: Assignment, deaf: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(None, assignment, deaf, Cache(tmp_path / "whole"))[0]
    broken, render = assignment.lines[2], TortoiseTeacher.render

    def render_but_one(self: TortoiseTeacher, written: Any, progress: Progress | None = None) -> Any:
        if any(row.text == broken.text for row in written):
            raise DataError(f"the waveform of {broken.text!r} holds NaN", where=self.name)
        return render(self, written, progress)

    monkeypatch.setattr(TortoiseTeacher, "render", render_but_one)
    cache = Cache(tmp_path / "broken")
    for _ in range(2):  # made, and read
        tables, transcripts = measure(None, assignment, deaf, cache)
        words = tables["downstream"]
        assert words.unscored == {broken.id: f"nothing could be spoken: the waveform of {broken.text!r} holds NaN"}
        assert len(words.row_ids) == len(transcripts) == N - 1
        assert tables["downstream.voice"].unscored[broken.id] == words.unscored[broken.id]
        for row, words_heard in zip(words.row_ids, words.columns["heard_s"], strict=True):
            assert words_heard == whole["downstream"].columns["heard_s"][whole["downstream"].row_ids.index(row)]


def test_weights_that_are_no_numbers_are_named(project: Path, deaf: Judges, tmp_path: Path) -> None:
    broken = make_teacher()
    with broken.gpt.loaded() as gpt:
        gpt.mel_head.weight.data.fill_(float("nan"))
    tables, _ = measure(None, assign(project, broken), deaf, Cache(tmp_path))
    assert set(tables["downstream"].unscored.values()) == {"nothing could be spoken: the GPT's logits are not numbers"}


def test_more_tries_are_another_question_and_clvp_chooses(
    project: Path, assignment: Assignment, deaf: Judges, tmp_path: Path
) -> None:
    thrice = assign(project, k=3)
    cache = Cache(tmp_path)
    measure(None, assignment, deaf, cache)
    (once,) = spoken_folders(cache)
    measure(None, thrice, deaf, cache)
    (best,) = set(spoken_folders(cache)) - {once}
    for one, other in zip(read_pairs(once), read_pairs(best), strict=True):
        assert other.clvp >= one.clvp
    assert any(one.seed != other.seed for one, other in zip(read_pairs(once), read_pairs(best), strict=True))


@pytest.mark.parametrize(
    "section",
    [
        {"k": 2},
        {"enrolment": None},
        {"finetune": {"data": [{"manifest": "clips.jsonl"}], **FINETUNE, "steps": 5}},
        {"finetune": {"data": [{"manifest": "clips.jsonl", "limit": 6}], **FINETUNE}},
    ],
    ids=str,
)
def test_another_question_is_not_compared(project: Path, assignment: Assignment, section: dict[str, Any]) -> None:
    ours, theirs = assignment.records, assign(project, **section).records
    assert [record.id for record in ours] == [record.id for record in theirs]
    assert not {record.sha256 for record in ours} & {record.sha256 for record in theirs}


def test_how_often_a_training_is_saved_decides_nothing(project: Path, assignment: Assignment) -> None:
    finetune = {"data": [{"manifest": "clips.jsonl"}], **FINETUNE, "checkpoint_every": 3}
    assert assign(project, finetune=finetune).records == assignment.records


def test_what_was_trained_on_is_not_said(project: Path, assignment: Assignment) -> None:
    pairs = zip(assignment.clips, assignment.lines, strict=False)
    renamed = [replace(clip, text=line.text.upper()) for clip, line in pairs]
    write_manifest(project / "known.jsonl", renamed)
    again = assign(project, finetune={"data": [{"manifest": "known.jsonl"}], **FINETUNE})
    assert len(again.lines) == N
    assert not {line.text for line in again.lines} & {line.text for line in assignment.lines}


def test_enrolment_is_what_told_no_voice_where_there_is_any(project: Path, assignment: Assignment) -> None:
    told = {clip.sha256 for clip in assignment.voices}
    assert len(assignment.enrolment) == 8 and not told & {clip.sha256 for clip in assignment.enrolment}
    # Of one speaker nothing else is there.
    lines = (project / "clips.jsonl").read_text().splitlines()
    (project / "kennard.jsonl").write_text("\n".join(line for line in lines if "kennard" in line))
    mixed = assign(project, enrolment={"manifest": "kennard.jsonl"})
    assert {clip.speaker: clip.sha256 in told for clip in mixed.enrolment} == {
        "train_kennard": False,
        "train_mouse": True,
    }
    assert {clip.sha256 for clip in assign(project, enrolment=None).enrolment} == told


def test_the_pockets_own_voices_are_compared_with_its_test_recordings() -> None:
    from vqbench.teachers.pocket.assets import voices

    config = DownstreamConfig.model_construct(voices=None, enrolment=None)
    enrolment = assignments._find_enrolment("pocket", config, voices(), [])
    assert {clip.split for clip in enrolment} == {"test"}
    assert len(enrolment) == 40


def test_the_pocket_as_it_is_is_understood_and_in_the_right_voices(
    project: Path, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, tmp_path: Path
) -> None:
    asked = make_assignment(
        suite_of(project, {"voices": None, "enrolment": None, "n": 4}), torch.device("cpu"), opened=None
    )
    cache = Cache(tmp_path)
    listeners = judges_for(asked, recognizer, encoder, cache)
    tables, transcripts = measure(None, asked, listeners, cache)
    words, voices = tables["downstream"].columns, tables["downstream.voice"].columns
    assert len(transcripts) == 4
    assert sum(words["word_errors"]) < 0.7 * sum(words["words"])  # type: ignore[arg-type]
    assert words["runaways"].tolist() == [0.0] * 4
    impostors = voices["impostors"]
    assert isinstance(impostors, Ragged)
    for own, others in zip(voices["similarity"], impostors.rows(), strict=True):
        assert len(others) == 3
        assert own > others.mean() + 0.1


def test_recordings_that_cannot_be_compared_with_are_named_before_anything_is_trained(
    project: Path, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, tmp_path: Path
) -> None:
    save_waveform(project / "silent.flac", torch.zeros(22_050), 22_050)
    save_waveform(project / "short.flac", torch.ones(100), 22_050)
    silent = [
        verify(Clip(name, project / f"{name}.flac", "", 0.0, speaker="train_mouse")) for name in ("silent", "short")
    ]
    write_manifest(project / "silent.jsonl", silent)
    faulty = assign(project, enrolment={"manifest": "silent.jsonl"})
    with pytest.raises(ManyErrors) as caught:
        judges_for(faulty, recognizer, encoder, Cache(tmp_path))
    assert len(caught.value.errors) == 2
    assert "silent.flac: the waveform is silent" in str(caught.value)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"enrolment": {"corpus": "pocket"}}, "no recording is of a speaker whose voice is taken"),
        ({"sentences": "few.txt"}, "that downstream.n asks for"),
        ({"sentences": "long.txt", "n": 2}, "400 tokens|can be spoken|has .* tokens"),
        ({"finetune": {"data": [{"manifest": "voices.jsonl"}]}}, "the clip has no transcript"),
        ({"voices": {"corpus": "tortoise-voices", "limit": 1}}, "no recording is of a speaker"),
    ],
)
def test_faults_of_the_data_are_found_before_anything_is_done(
    project: Path, section: dict[str, Any], said: str
) -> None:
    held_out = [line for i in range(200) if split_of(line := f"Number {i} was found.") == "test"]
    (project / "few.txt").write_text("\n".join(held_out[: N - 1]))
    long = [line for i in range(60) if split_of(line := f"number {i} " * 300) == "test"]
    (project / "long.txt").write_text("\n".join(long))
    with pytest.raises(VqbenchError, match=said):
        assign(project, **section)


def test_weights_of_another_gpt_are_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(2)}, tmp_path / "autoregressive.pth")
    with (
        pytest.raises(CheckpointError, match="no weights of this teacher's GPT"),
        make_teacher().tuned(tmp_path / "autoregressive.pth").gpt.loaded(),
    ):
        pass


@pytest.fixture(scope="module")
def outcome(project: Path, cache: Cache) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vqbench.engine.assignment.open_teacher", lambda written, device: make_teacher())
        suite = suite_of(project, gate=["downstream.wer <= 2", "downstream.runaway <= 1"], min_clips=2)
        return run_suite(suite, cache, Silent())


def test_a_run_holds_the_group_beside_the_rest(outcome: Any, tmp_path: Path) -> None:
    run = outcome.run
    check_run(run)
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run") == run
    assert [(c.name, c.role) for c in run.candidates] == [
        ("original", "reference"),
        ("vocoded", "reference"),
        ("one", "candidate"),
        ("two", "candidate"),
        ("zero-shot", "reference"),
    ]
    found = {(r.candidate, r.metric): r for r in run.results}
    for name in ("one", "two", "zero-shot"):
        wer = found[name, "downstream.wer"]
        assert wer.value is not None and (wer.n, wer.n_clusters) == (N, 2)
    assert ("original", "downstream.wer") not in found
    assert {clip.clip_set for clip in run.clips} == {"speech", "downstream"}
    assert {text.candidate for text in outcome.transcripts} == {"one", "two", "zero-shot"}
    assert run.provenance["judges"]["downstream"]["training_clips"] == 8


def test_the_tables_show_the_teacher_as_it_is_beside_the_candidates(outcome: Any) -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, color_system=None, highlight=False)
    for part in terminal.run_tables(outcome.run, headline=False, width=100):
        console.print(part)
    section = text.getvalue()[text.getvalue().index("downstream") :]
    assert section.index(" one ") < section.index(" zero-shot ") < section.index(" reference ")
    assert f"n = {N} spoken sentences of 2 speakers" in section


@pytest.fixture(scope="module")
def recorded(project: Path) -> Suite:
    """The sentences are those of recordings, of other moments than what the GPT is tuned on."""
    clips = [clip for clip in corpus_clips("tortoise-voices") if clip.speaker in ("train_kennard", "train_mouse")]
    write_manifest(project / "recorded.jsonl", [replace(clip, text=(clip.text or "")[:60]) for clip in clips])
    return suite_of(
        project,
        {"sentences": None, "n": 4, "enrolment": None},
        data={"speech": {"manifest": "recorded.jsonl"}},
        metrics=["downstream"],
        candidates=[{"name": "one", "checkpoint": "one.safetensors"}],
    )


def test_recordings_of_the_sentences_stand_beside(
    recorded: Suite, cache: Cache, recognizer: SpeechRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqbench.engine.assignment.open_teacher", lambda written, device: make_teacher())
    asked = make_assignment(recorded, torch.device("cpu"), make_teacher())
    clips = {clip.sha256: clip for clip in load_clips(recorded.data.speech)}
    # The speakers take turns, each with sentences of their own.
    assert [line.speaker for line in asked.lines] == ["train_kennard", "train_mouse"] * 2
    for line in asked.lines:
        clip = asked.recordings[line.id]
        assert (line.text, line.speaker, line.id) == (clip.text, clip.speaker, f"downstream/{clip.id}")
    told = {clip.sha256 for clip in asked.voices}
    assert {clip.sha256 for clip in asked.enrolment} == set(clips) - told

    outcome = run_suite(recorded, cache, Silent())
    tables = {(table.candidate, table.group): table for table in outcome.run.tables}
    for name in ("original", "vocoded"):
        words = tables[name, "downstream"]
        assert set(words.row_ids) == {line.id for line in asked.lines}
        assert set(words.columns["unfinished"]) == {0.0}
    heard = {text.clip: text.hypothesis for text in outcome.transcripts if text.candidate == "original"}
    waveforms = [load_waveform(asked.recordings[line.id].path, 22_050) for line in asked.lines]
    alone = [normalize_english(text) for text in recognizer.transcribe(waveforms, 22_050)]
    assert [heard[line.id] for line in asked.lines] == alone
    # Beside each other on the same sentences, so that each difference is one of pairs.
    compared = compare_runs([Selection("run", outcome.run, "original")], ["downstream.wer"]).comparisons
    assert [(c.candidate, c.n_pairs) for c in compared] == [("one", 4)]
    # Nobody is compared with the recording of the very sentence: whoever is would be like it altogether.
    own = tables["original", "downstream.voice"].columns["similarity"]
    assert max(own) < 0.999  # type: ignore[type-var, operator]


def test_recordings_are_judged_once(recorded: Suite, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqbench.engine.assignment.open_teacher", lambda written, device: make_teacher())
    before = run_suite(recorded, cache, Silent())
    monkeypatch.setattr("vqbench.judges.asr.faster_whisper.FasterWhisper.transcribe", refuse)
    monkeypatch.setattr(SpeakerEncoder, "embed", refuse)
    # Nor are they read or vocoded again to be judged.
    monkeypatch.setattr(bench, "read_recording", refuse)
    assert run_suite(recorded, cache, Silent()).run.tables == before.run.tables


def test_a_recording_that_cannot_be_heard_is_named(
    recorded: Suite, project: Path, judges: Judges, tmp_path: Path
) -> None:
    asked = make_assignment(recorded, torch.device("cpu"), make_teacher())
    first = asked.lines[0].id
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(b"RIFF")
    broken = replace(asked, recordings={**asked.recordings, first: replace(asked.recordings[first], path=damaged)})
    for table in judged_recordings(Original(MelSpec()), broken, judges, Cache(tmp_path / "cache")):
        assert [*table.unscored] == [first]
        assert "damaged.wav" not in table.unscored[first] and "spoken" not in table.unscored[first]
        assert len(table.row_ids) == 3


def test_recordings_of_the_sentences_that_have_no_voice_are_not_compared_with(
    recorded: Suite, project: Path, recognizer: SpeechRecognizer, encoder: SpeakerEncoder, tmp_path: Path
) -> None:
    asked = make_assignment(recorded, torch.device("cpu"), make_teacher())
    save_waveform(tmp_path / "silent.flac", torch.zeros(22_050), 22_050)
    silent = verify(Clip("silent", tmp_path / "silent.flac", "", 0.0, speaker="train_mouse"))
    with_silence = replace(asked, enrolment=(*asked.enrolment, silent))
    cache = Cache(tmp_path / "cache")
    judges = judges_for(with_silence, recognizer, encoder, cache)
    assert judges[1].identity == judges_for(asked, recognizer, encoder, cache)[1].identity
    of_kennard = tuple(clip for clip in asked.enrolment if clip.speaker == "train_kennard")
    with pytest.raises(DataError, match="silent"):
        judges_for(replace(asked, enrolment=(*of_kennard, silent)), recognizer, encoder, cache)


def test_what_was_compared_and_counted_is_in_the_provenance(assignment: Assignment, judges: Judges) -> None:
    told = assignment.identity(judges)
    assert told["downstream"]["cut_off"] == [2, 0.25]  # type: ignore[index]
    assert told["downstream.voice"]["enrolment"] == len(assignment.enrolment)  # type: ignore[index]


@pytest.mark.parametrize(
    ("manifest", "n", "said"),
    [
        ("clips.jsonl", 4, "4 sentences are those of downstream.finetune.data, too, e.g. that of train_kennard-0"),
        ("otherwise.jsonl", 4, "4 sentences are those of downstream.finetune.data, too"),
        ("recorded.jsonl", 40, "[0-9]+ of [0-9]+ clips have a transcript and a speaker whose voice is taken"),
        ("strangers.jsonl", 2, "0 of 2 clips have a transcript and a speaker"),
    ],
)
def test_sentences_of_recordings_must_be_new_and_there(
    recorded: Suite, project: Path, manifest: str, n: int, said: str
) -> None:
    write_manifest(project / "strangers.jsonl", [c for c in corpus_clips("tortoise-voices") if c.speaker == "lj"])
    # The same words, whatever their case and punctuation, are the same sentence.
    clips = read_manifest(project / "clips.jsonl")
    write_manifest(project / "otherwise.jsonl", [replace(c, text=(c.text or "").upper()[:-1] + " !") for c in clips])
    suite = suite_of(project, {"sentences": None, "n": n, "enrolment": None}, data={"speech": {"manifest": manifest}})
    with pytest.raises(DataError, match=said):
        make_assignment(suite, torch.device("cpu"), make_teacher())


def test_candidates_are_compared_sentence_by_sentence(outcome: Any) -> None:
    table = compare_runs([Selection("run", outcome.run)], ["downstream.wer", "downstream.runaway"])
    assert [(c.reference, c.candidate, c.n_pairs, c.n_clusters) for c in table.comparisons] == [
        ("one", "two", N, 2)
    ] * 2


def test_clip_by_clip_where_the_suite_says_so(project: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqbench.engine.assignment.open_teacher", lambda written, device: make_teacher())
    suite = suite_of(project, metrics=["downstream"], interval={"unit": "clip", "resamples": 200})
    run = run_suite(suite, cache, Silent()).run
    assert {r.n_clusters for r in run.results if r.metric == "downstream.wer"} == {None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": None}, "metrics[1]: downstream needs a teacher whose GPT is tuned"),
        ({"downstream": None}, "metrics[1]: downstream needs speech that the GPT is tuned on"),
        ({"downstream": {"n": 4}}, "downstream.finetune: this key is missing"),
        ({"downstream": {"finetune": {"steps": 1}}}, "downstream.finetune.data: this key is missing"),
        ({"candidates": [{"name": "zero-shot", "checkpoint": "one.safetensors"}]}, "'zero-shot' is the name of a ref"),
        ({"metrics": ["codebook"], "gate": ["downstream.wer <= 1"]}, "metrics lacks 'downstream'"),
    ],
)
def test_what_the_group_needs_is_asked_for(project: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(VqbenchError) as caught:
        suite_of(project, **changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"k": 0}, "downstream.k: expected a number of at least 1"),
        ({"n": 1}, "downstream.n: expected a number of at least 2"),
        ({"sentences": "no.txt"}, "downstream.sentences: there is no file 'no.txt'"),
        ({"voices": {}}, "downstream.voices: expected exactly one of corpus, manifest"),
        ({"tries": 3}, "downstream.tries: unknown key"),
    ],
)
def test_the_section_is_checked(project: Path, section: dict[str, Any], said: str) -> None:
    with pytest.raises(VqbenchError) as caught:
        suite_of(project, section)
    assert said in str(caught.value)


def test_a_suite_without_the_group_needs_none_of_it(project: Path) -> None:
    suite = suite_of(project, metrics=["codebook"], downstream=None, teacher=None)
    assert suite.downstream is None
    assert "downstream" not in Suite.model_fields["metrics"].get_default()
