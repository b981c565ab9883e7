"""`vqbench pairs`, by the command line."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_teacher import hum, teacher
from typer.testing import CliRunner

from vqbench.audio.io import file_digest, save_waveform
from vqbench.cli import app
from vqbench.data.manifest import Clip, write_manifest
from vqbench.engine import teachers
from vqbench.teachers.tortoise.pairs import read_pairs, shard_path

GENERATE = "pairs generate --sentences sentences.txt --voices voices.jsonl --hold-out-speaker cy -n 24 --device cpu"


def vqbench(line: str) -> Any:
    return CliRunner().invoke(app, shlex.split(line))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sentences and voices, in which one stands; the pocket TorToiSe is the tiny one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vqbench.engine.teachers.open_teacher", lambda written, device: teacher())
    things = ("key", "lamp", "bell", "coat", "map", "box", "chair", "book", "stone", "glove")
    lines = [f"The {colour} {thing} was here." for thing in things for colour in ("green", "blue")]
    (tmp_path / "sentences.txt").write_text("\n".join(lines))
    clips = []
    for name, hz in (("ann", 220), ("bob", 110), ("cy", 160), ("ann", 230)):
        path = tmp_path / "wavs" / f"{name}-{hz}.wav"
        save_waveform(path, hum(hz), 22_050)
        clips.append(Clip(id=path.stem, path=path, sha256=file_digest(path), duration_s=0.5, speaker=name))
    write_manifest(tmp_path / "voices.jsonl", clips)
    return tmp_path


def test_generate_then_filter(project: Path) -> None:
    made = vqbench(f"{GENERATE} -o all")
    assert made.exit_code == 0, made.output
    assert made.stdout == "all\n"
    pairs = list(read_pairs(Path("all")))
    assert {p.speaker for p in pairs if p.split == "train"} == {"ann", "bob"}
    assert f"{Counter(p.split for p in pairs)['train']} pairs to train on" in made.stderr

    best = vqbench("pairs filter all -o best --keep 0.5")
    assert best.exit_code == 0, best.output
    assert best.stdout == "best\n"
    assert 0 < len(list(read_pairs(Path("best"), "train"))) < len(list(read_pairs(Path("all"), "train")))
    assert len(list(read_pairs(Path("best"), "test"))) == len(list(read_pairs(Path("all"), "test")))


def test_interrupted_and_resumed_by_the_same_command(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vqbench(f"{GENERATE} -n 70 -o whole")
    assert whole.exit_code == 0, whole.output
    speak = type(teacher()).speak
    calls = []

    def interrupted(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return speak(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(teacher()), "speak", interrupted)
        stopped = vqbench(f"{GENERATE} -n 70 -o resumed")
    assert stopped.exit_code == 130
    assert "the same command resumes" in stopped.stderr
    assert [path.name for path in Path("resumed").iterdir()] == ["pairs-00000.parquet"]
    assert vqbench(f"{GENERATE} -n 70 -o resumed").exit_code == 0
    for index in range(2):
        assert shard_path(Path("resumed"), index).read_bytes() == shard_path(Path("whole"), index).read_bytes()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{GENERATE} -o voices.jsonl", "voices.jsonl"),
        (f"{GENERATE} -o out --hold-out-speaker bop", "did you mean 'bob'?"),
        (f"{GENERATE} -o out --sentences nowhere.txt", "nowhere.txt: there is no such file"),
        (f"{GENERATE} -o out --voices nameless.jsonl", "clip 'a' names no speaker"),
        (f"{GENERATE} -o out --voices nowhere.jsonl", "nowhere.jsonl: there is no such file"),
        (f"{GENERATE} -o out --device gpu", "'gpu' is no device"),
        ("pairs filter out -o best --keep 0.5", "out: there are no pairs in this folder"),
        ("pairs filter out -o best", "cannot be filtered"),
    ],
)
def test_mistakes_are_said_and_leave_nothing(project: Path, line: str, says: str) -> None:
    (project / "nameless.jsonl").write_text('{"id": "a", "path": "wavs/ann-220.wav"}\n')
    before = sorted(project.rglob("*"))
    done = vqbench(line)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    ("written", "says"),
    [("pockt", r"no teacher 'pockt' \(did you mean 'pocket'\?\)"), ("wavs", r"autoregressive\.pth")],
)
def test_a_teacher_that_is_none(project: Path, monkeypatch: pytest.MonkeyPatch, written: str, says: str) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(project)
    done = vqbench(f"{GENERATE} -o out --teacher {written}")
    assert done.exit_code == 2, done.output

    assert re.search(says, done.stderr)
    assert not Path("out").exists()


def test_sentences_of_the_pocket_are_short_and_endless() -> None:
    found = [text for text, _ in zip(teachers.find_sentences("pocket", 0), range(500), strict=False)]
    assert len(set(found)) == 500
    assert max(len(text.split()) for text in found) <= teachers.POCKET_MAX_WORDS


def test_voices_that_come_along() -> None:
    clips = teachers.teacher_voices("some/folder", None)
    assert len({clip.speaker for clip in clips}) == 10
