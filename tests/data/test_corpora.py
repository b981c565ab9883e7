"""The corpus that tortoise-tts ships, found where it is installed, and recognised where it is not."""

import hashlib
import importlib.machinery
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vqbench.config.source import DataSource
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.errors import ConfigError, DataError

CLIPS = corpus_clips("tortoise-voices")


def test_the_recordings_are_there_and_are_the_listed_ones():
    assert len(CLIPS) == 26
    for clip in CLIPS:
        assert clip.sha256 == hashlib.sha256(clip.path.read_bytes()).hexdigest()
        assert clip.text
        assert clip.text_origin
        assert clip.duration_s and clip.duration_s > 3


def test_only_audiobook_voices_are_in():
    speakers = {clip.speaker for clip in CLIPS}
    assert len(speakers) == 10
    assert all(speaker == "lj" or str(speaker).startswith("train_") for speaker in speakers)


def test_no_speaker_is_in_both_splits():
    train, test = ({clip.speaker for clip in corpus_clips("tortoise-voices", split)} for split in ("train", "test"))
    assert train and test
    assert not train & test


def test_a_data_source_names_split_and_limit():
    clips = load_clips(DataSource(corpus="tortoise-voices", split="test", limit=3))
    assert clips == [clip for clip in CLIPS if clip.split == "test"][:3]
    with pytest.raises(DataError, match=r"split 'tset' \(did you mean 'test'\?\)") as caught:
        load_clips(DataSource(corpus="tortoise-voices", split="tset"))
    assert "tortoise-tts" not in str(caught.value)


def test_a_data_source_names_a_manifest(tmp_path):
    shutil.copy(CLIPS[0].path, tmp_path / "a.wav")
    path = tmp_path / "clips.jsonl"
    path.write_text(json.dumps({"id": "a", "path": "a.wav", "split": "x"}))
    (clip,) = load_clips(DataSource(manifest=path, split="x"))
    assert (clip.id, clip.sha256) == ("a", CLIPS[0].sha256)
    with pytest.raises(DataError, match="split 'y'"):
        load_clips(DataSource(manifest=path, split="y"))


def test_tortoise_is_not_imported():
    code = (
        "import sys; from vqbench.data.corpora import corpus_clips; corpus_clips('tortoise-voices'); "
        "assert 'tortoise' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A copy of the installed recordings that takes the place of the package."""
    voices = tmp_path / "tortoise" / "voices"
    for clip in CLIPS:
        target = voices / clip.path.parent.name / clip.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.path, target)
    spec = importlib.machinery.ModuleSpec("tortoise", None, origin=str(tmp_path / "tortoise" / "__init__.py"))
    spec.submodule_search_locations = [str(tmp_path / "tortoise")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return voices


def test_another_place_of_the_package_is_found(installed):
    assert [clip.path.parents[1] for clip in corpus_clips("tortoise-voices")] == [installed] * 26


def test_a_changed_recording_names_the_version_that_is_wanted(installed):
    (installed / "lj" / "1.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError) as caught:
        corpus_clips("tortoise-voices", split="train")
    assert "the recording of clip 'lj/1' is another one" in caught.value.problem
    assert "tortoise-tts 3.0.0; version 3.0.0 is installed" in str(caught.value.expected)
    assert "tortoise-tts==3.0.0" in str(caught.value.fix)


def test_missing_recordings_are_counted(installed):
    (installed / "lj" / "1.wav").unlink()
    (installed / "lj" / "2.wav").unlink()
    with pytest.raises(DataError, match=r"'lj/1.wav'.*no such file.*\(and 1 more\)"):
        corpus_clips("tortoise-voices")


def test_another_package_of_that_name_is_not_taken_for_it(installed):
    shutil.rmtree(installed)
    with pytest.raises(DataError, match="no folder 'voices'"):
        corpus_clips("tortoise-voices")


def test_without_the_package_the_fix_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="tortoise-tts") as caught:
        corpus_clips("tortoise-voices")
    assert caught.value.fix == "pip install --no-deps tortoise-tts==3.0.0"


def test_an_unknown_corpus_is_refused():
    with pytest.raises(ConfigError, match="nothing called 'librispeech' among the corpora"):
        corpus_clips("librispeech")
