"""The committed transcripts belong to the recordings that tortoise-tts ships, byte for byte."""

import hashlib
import importlib.util
import json
from importlib import resources
from pathlib import Path

import pytest
import soundfile

from vqbench.judges.asr.text import normalize_english

CLIPS = [
    json.loads(line)
    for line in (resources.files("vqbench.data") / "tortoise_voices.jsonl").read_text(encoding="utf-8").splitlines()
]
NARRATORS = ("atkins", "daws", "dotrice", "dreams", "empire", "grace", "kennard", "lescault", "mouse")
AUDIOBOOK_VOICES = {"lj", *(f"train_{name}" for name in NARRATORS)}


@pytest.fixture(scope="module")
def voices() -> Path:
    spec = importlib.util.find_spec("tortoise")
    return Path(spec.submodule_search_locations[0]) / "voices"


@pytest.mark.parametrize("clip", CLIPS, ids=[clip["id"] for clip in CLIPS])
def test_the_recording_is_the_one_that_was_transcribed(voices, clip):
    path = voices / clip["path"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == clip["sha256"]
    assert soundfile.info(path).duration == pytest.approx(clip["duration_s"], abs=1e-3)
    assert clip["id"] == str(Path(clip["path"]).with_suffix(""))
    assert clip["speaker"] == clip["path"].split("/")[0]


def test_all_audiobook_voices_and_nobody_else(voices):
    recordings = {
        f"{folder.name}/{file.name}"
        for folder in voices.iterdir()
        if folder.name in AUDIOBOOK_VOICES
        for file in folder.iterdir()
    }
    assert {clip["path"] for clip in CLIPS} == recordings
    assert {clip["speaker"] for clip in CLIPS} == AUDIOBOOK_VOICES
    assert len({clip["id"] for clip in CLIPS}) == len(CLIPS)


def test_no_speaker_is_on_both_sides():
    speakers = {split: {clip["speaker"] for clip in CLIPS if clip["split"] == split} for split in ("train", "test")}
    assert speakers["train"] | speakers["test"] == AUDIOBOOK_VOICES
    assert not speakers["train"] & speakers["test"]
    assert len(speakers["train"]) == 3
    assert sum(clip["duration_s"] for clip in CLIPS if clip["split"] == "train") >= 60


def test_the_test_split_holds_every_kind_of_file():
    tested = [clip for clip in CLIPS if clip["split"] == "test"]
    assert len(tested) >= 17
    assert {Path(clip["path"]).suffix for clip in tested} == {".wav", ".mp3"}


@pytest.mark.parametrize("clip", CLIPS, ids=[clip["id"] for clip in CLIPS])
def test_every_text_can_be_scored_and_tells_its_origin(clip):
    words_per_s = len(normalize_english(clip["text"]).split()) / clip["duration_s"]
    assert 1.5 < words_per_s < 5
    assert not any(character.isdigit() for character in clip["text"])
    assert clip["text_origin"]
