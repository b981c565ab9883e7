"""Segments of recordings, what is noted of how one is read, and what is too long to be read."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vqbench.audio.io import load_waveform
from vqbench.config.source import DataSource
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.data.manifest import Clip, read_manifest, verify, write_manifest
from vqbench.data.recordings import load_clip
from vqbench.errors import DataError
from vqbench.notes import collected

RATE_HZ = 22_050


@pytest.fixture
def long(tmp_path) -> Path:
    """Ten seconds of noise."""
    path = tmp_path / "long.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE_HZ), RATE_HZ, subtype="PCM_16")
    return path


def listed(folder: Path, *lines: dict) -> Path:
    path = folder / "clips.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_segments_of_one_file_are_clips_of_their_own(tmp_path, long):
    path = listed(
        tmp_path,
        {"id": "a", "path": "long.flac", "start_s": 1.5, "duration_s": 2},
        {"id": "b", "path": "long.flac", "start_s": 4},
        {"id": "c", "path": "long.flac"},
    )
    a, b, c = read_manifest(path)
    whole = load_waveform(long, RATE_HZ)
    assert (load_clip(a, RATE_HZ) == whole[33_075:77_175]).all()
    assert (load_clip(b, RATE_HZ) == whole[4 * RATE_HZ :]).all()
    assert (load_clip(c, RATE_HZ) == whole).all()
    assert [clip.duration_s for clip in (a, b, c)] == [2, 6, 10]
    assert c.sha256 == hashlib.sha256(long.read_bytes()).hexdigest()
    assert len({clip.sha256 for clip in (a, b, c)}) == 3
    write_manifest(tmp_path / "new.jsonl", [a, b, c])
    assert read_manifest(tmp_path / "new.jsonl") == [a, b, c]


def test_a_segments_digest_names_file_and_segment(tmp_path, long):
    segment = verify(Clip("a", long, "", 2.0, start_s=1.0))
    assert segment.sha256 != verify(replace(segment, sha256="", start_s=1.25)).sha256
    assert segment.sha256 != verify(replace(segment, sha256="", duration_s=2.25)).sha256
    # The file's own digest may be written, too.
    assert verify(replace(segment, sha256=hashlib.sha256(long.read_bytes()).hexdigest())) == segment
    soundfile.write(long, np.zeros(10 * RATE_HZ), RATE_HZ)
    with pytest.raises(DataError, match="another one"):
        verify(segment)


def test_the_same_segment_twice_is_refused(tmp_path, long):
    line = {"path": "long.flac", "start_s": 1, "duration_s": 2}
    with pytest.raises(DataError, match=r"the segment 'long\.flac' stands in line 1 already"):
        read_manifest(listed(tmp_path, {"id": "a", **line}, {"id": "b", **line}))


def test_a_segment_that_is_all_of_its_file_is_the_file(tmp_path, long):
    (clip,) = read_manifest(listed(tmp_path, {"id": "a", "path": "long.flac", "start_s": 0, "duration_s": 9.996}))
    assert clip.start_s is None and clip.duration_s == 10
    assert clip.sha256 == hashlib.sha256(long.read_bytes()).hexdigest()


def test_a_segment_rounded_beyond_the_end_ends_with_its_file(tmp_path, long):
    (clip,) = read_manifest(listed(tmp_path, {"id": "a", "path": "long.flac", "start_s": 9, "duration_s": 1.05}))
    assert clip.duration_s == 1 and len(load_clip(clip, RATE_HZ)) == RATE_HZ


def test_what_is_too_long_is_told_and_not_decoded(tmp_path, long):
    path = listed(
        tmp_path,
        # The header decides, not what the manifest says.
        {"id": "whole", "path": "long.flac", "duration_s": 1},
        {"id": "part", "path": "long.flac", "start_s": 1, "duration_s": 2},
    )
    with collected() as told:
        whole, part = load_clips(DataSource(manifest=path, max_clip_s=5))
    with pytest.raises(DataError, match="the clip is 10 s long, and max_clip_s is 5"):
        load_clip(whole, RATE_HZ)
    assert len(load_clip(part, RATE_HZ)) == 2 * RATE_HZ
    assert "longer or larger than max_clip_s allows, and so not scored: 1 clip, e.g. whole" in told[0]
    assert load_clips(DataSource(manifest=path))[0].fault is None


def test_a_length_that_is_not_the_headers_is_told(tmp_path, long):
    with collected() as told:
        (clip,) = read_manifest(listed(tmp_path, {"id": "a", "path": "long.flac", "duration_s": 3}))
    assert "another length than the manifest says; all of it is read: 1 clip, e.g. a" in told[0]
    assert len(load_clip(clip, RATE_HZ)) == 10 * RATE_HZ


@pytest.mark.parametrize("corpus", ["tortoise-voices", "pocket"])
def test_nothing_is_to_be_told_of_the_corpora_that_come_along(corpus):
    with collected() as told:
        clips = corpus_clips(corpus)
    assert told == [] and not any(clip.notes or clip.fault or clip.start_s for clip in clips)
