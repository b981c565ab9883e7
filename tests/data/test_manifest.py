"""Manifests as people write them: what is read, and what is said of every broken line."""

import gzip
import hashlib
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vqbench.data import clip as clips
from vqbench.data.manifest import MAX_FAULTS, Clip, read_manifest, verify, write_manifest
from vqbench.errors import DataError, ManyErrors
from vqbench.notes import collected

SHA = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project folder with recordings a.wav, b.wav and sub/c.wav, and one outside of it."""
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    for i, path in enumerate((project / "a.wav", project / "b.wav", project / "sub" / "c.wav", tmp_path / "out.wav")):
        soundfile.write(path, np.full(100, i / 10), 22_050)
    return project


def manifest(folder: Path, *lines: object) -> Path:
    """A manifest of lines that are bytes, text, or values to be written as JSON."""
    encoded = (
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    )
    path = folder / "clips.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in encoded))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_key_is_kept(folder):
    line = {
        "id": "a/1", "path": "sub/c.wav", "sha256": digest(folder / "sub" / "c.wav").upper(), "duration_s": 2,
        "text": "¿Sí?", "speaker": "anna", "split": "test", "text_origin": "by hand", "language": "es",
    }  # fmt: skip
    (clip,) = read_manifest(manifest(folder, line))
    assert clip == Clip(
        id="a/1",
        path=folder / "sub" / "c.wav",
        sha256=digest(folder / "sub" / "c.wav"),
        duration_s=2.0,
        text="¿Sí?",
        speaker="anna",
        split="test",
        text_origin="by hand",
        language="es",
    )


def test_id_and_path_suffice_and_null_is_left_out(folder):
    clips = read_manifest(manifest(folder, {"id": "a", "path": "a.wav"}, {"id": "b", "path": "b.wav", "text": None}))
    assert clips == [
        Clip("a", folder / "a.wav", digest(folder / "a.wav"), duration_s=100 / 22_050),
        Clip("b", folder / "b.wav", digest(folder / "b.wav"), duration_s=100 / 22_050),
    ]


def test_marks_blank_lines_and_line_ends_of_other_systems_do_not_matter(folder):
    path = folder / "clips.jsonl"
    lines = [
        '{"id": "a", "path": "a.wav"}',
        "",
        '  {"path": "b.wav", "id": "b"}  ',
        " \t ",
        "",
        '{"id": "c", "path": "sub/c.wav"}',
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert [clip.id for clip in read_manifest(path)] == ["a", "b", "c"]


def test_paths_may_lead_elsewhere_when_written_absolute(folder):
    outside = folder.parent / "out.wav"
    assert read_manifest(manifest(folder, {"id": "a", "path": str(outside)}))[0].path == outside


def test_links_that_the_user_made_inside_the_folder_are_followed(folder):
    elsewhere = folder.parent / "disk"
    elsewhere.mkdir()
    shutil.copy(folder / "a.wav", elsewhere / "x.wav")
    (folder / "wavs").symlink_to(elsewhere)
    (folder / "link.wav").symlink_to(folder.parent / "out.wav")
    path = manifest(folder, {"id": "x", "path": "wavs/x.wav"}, {"id": "y", "path": "link.wav"})
    clips = read_manifest(path)
    assert [clip.path for clip in clips] == [folder / "wavs" / "x.wav", folder / "link.wav"]
    write_manifest(folder / "new.jsonl", clips)
    written = [json.loads(line)["path"] for line in (folder / "new.jsonl").read_text().splitlines()]
    assert written == ["wavs/x.wav", "link.wav"]
    with pytest.raises(DataError, match=r"the recording 'a\.wav' stands in line 1 already"):
        (folder / "again.wav").symlink_to(folder / "a.wav")
        read_manifest(manifest(folder, {"id": "b", "path": "again.wav"}, {"id": "a", "path": "a.wav"}))


def test_back_slashes_are_slashes_unless_a_file_is_called_so(folder):
    shutil.copy(folder / "a.wav", folder / r"sub\b.wav")
    clips = read_manifest(manifest(folder, {"id": "a", "path": r"sub\c.wav"}, {"id": "b", "path": r"sub\b.wav"}))
    assert [clip.path for clip in clips] == [folder / "sub" / "c.wav", folder / r"sub\b.wav"]


def test_other_keys_are_kept_as_text_and_near_misses_are_told(folder):
    line = {"id": "a", "path": "a.wav", "sekaper": "x", "n": 3, "ok": True, "deep": {"b": [1], "a": "é"}, "none": None}
    with collected() as told:
        (clip,) = read_manifest(manifest(folder, line))
    assert clip.columns == (("deep", '{"a": "é", "b": [1]}'), ("n", "3"), ("ok", "true"), ("sekaper", "x"))
    (note,) = told
    assert "unknown key 'sekaper' (did you mean 'speaker'?) is kept as a column" in note
    assert "'n'" not in note
    write_manifest(folder / "new.jsonl", [clip])
    assert read_manifest(folder / "new.jsonl") == [clip]


def test_a_plain_manifest_tells_nothing(folder):
    with collected() as told:
        read_manifest(manifest(folder, GOOD))
    assert told == []


@pytest.mark.parametrize("name", ["clips.jsonl.gz", "clips.jsonl"])
def test_a_packed_manifest_is_told_by_its_content(folder, name):
    (folder / name).write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert read_manifest(folder / name)[0].id == "b"


def test_a_manifest_that_is_named_gz_is_written_packed_and_the_same_again(folder):
    clips = read_manifest(manifest(folder, GOOD))
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_manifest(folder / name, clips)
    assert (folder / "one.jsonl.gz").read_bytes() == (folder / "two.jsonl.gz").read_bytes()
    assert read_manifest(folder / "one.jsonl.gz") == clips


def test_many_missing_recordings_are_one_message(folder):
    lines = [{"id": str(i), "path": f"gone/{i}.wav"} for i in range(1_000)]
    with pytest.raises(DataError) as caught:
        read_manifest(manifest(folder, GOOD, *lines))
    assert caught.value.problem == "1000 recordings are missing: 'gone/0.wav', 'gone/1.wav', 'gone/2.wav' and 997 more"


def test_split_and_limit_choose_in_order(folder):
    path = manifest(
        folder,
        {"id": "a", "path": "a.wav", "split": "train"},
        {"id": "b", "path": "b.wav", "split": "test"},
        {"id": "c", "path": "sub/c.wav", "split": "train"},
    )
    chosen = [
        [clip.id for clip in read_manifest(path, split=split, limit=limit)]
        for split, limit in ((None, None), (None, 2), ("train", None), ("train", 1), ("test", 9))
    ]
    assert chosen == [["a", "b", "c"], ["a", "b"], ["a", "c"], ["a"], ["b"]]
    with pytest.raises(DataError, match=r"no clip is of the split 'tain' \(did you mean 'train'\?\)"):
        read_manifest(path, split="tain")


def test_only_the_chosen_recordings_are_compared(folder):
    path = manifest(folder, {"id": "a", "path": "a.wav"}, {"id": "b", "path": "b.wav", "sha256": SHA})
    assert len(read_manifest(path, limit=1)) == 1
    with pytest.raises(DataError, match="another one"):
        read_manifest(path)


def test_lines_that_repeat_a_file_are_not_read_to_the_end(folder, monkeypatch):
    read = []
    original = clips._clip
    monkeypatch.setattr(clips, "_clip", lambda line, find: read.append(line) or original(line, find))
    for lines in ([{"id": "a", "path": "a.wav"}] * 100_000, [{"id": str(n), "path": "a.wav"} for n in range(100_000)]):
        read.clear()
        with pytest.raises(ManyErrors, match="in line 1 already"):
            read_manifest(manifest(folder, *lines), limit=5)
        assert len(read) < 2 * MAX_FAULTS


def test_the_file_of_many_segments_is_looked_for_once(folder, monkeypatch):
    looked = []
    original = clips.require_file
    monkeypatch.setattr(clips, "require_file", lambda path: looked.append(path) or original(path))
    lines = [{"id": str(n), "path": "a.wav", "start_s": n * 1e-6, "duration_s": 0.001} for n in range(1000)]
    assert len(read_manifest(manifest(folder, *lines), limit=5)) == 5
    assert len(looked) == 1


GOOD = {"id": "b", "path": "b.wav"}
BAD_LINES = {
    "not JSON": ("a.wav|hello", "not JSON: Expecting value, column 1"),
    "half a line": ('{"id": "a", "path": ', "not JSON: Expecting value, column 21"),
    "two objects": ('{"id": "a", "path": "a.wav"} {}', "not JSON: Extra data, column 30"),
    "a list": (["a", "a.wav"], "not a JSON object"),
    "a number": ("12", "not a JSON object"),
    "very deep": ("[" * 100_000, "no JSON that can be read"),
    "very long number": ('{"id": ' + "9" * 5_000 + "}", "no JSON that can be read"),
    "Latin-1": ('{"id": "a", "path": "a.wav", "text": "señor"}'.encode("latin-1"), "not UTF-8"),
    "no id": ({"path": "a.wav"}, "the key 'id' is missing"),
    "null id": ({"id": None, "path": "a.wav"}, "the key 'id' is missing"),
    "no path": ({"id": "a"}, "the key 'path' is missing"),
    "key twice": ('{"id": "a", "id": "c", "path": "a.wav"}', "the key 'id' is written twice"),
    "id is a number": ({"id": 1, "path": "a.wav"}, "id: 1 is not text"),
    "empty id": ({"id": "", "path": "a.wav"}, 'id: "" cannot be a name'),
    "blank id": ({"id": "  ", "path": "a.wav"}, 'id: "  " cannot be a name'),
    "id with a line end": ({"id": "a\nb", "path": "a.wav"}, r'id: "a\nb" cannot be a name'),
    "id with an escape": ({"id": "a\x1b[2J", "path": "a.wav"}, r'id: "a\u001b[2J" cannot be a name'),
    "long id": ({"id": "x" * 201, "path": "a.wav"}, "cannot be a name"),
    "surrogate in id": (r'{"id": "\ud800", "path": "a.wav"}', "half of a surrogate pair"),
    "surrogate in text": (r'{"id": "a", "path": "a.wav", "text": "\udfff"}', "half of a surrogate pair"),
    "surrogate in path": (r'{"id": "a", "path": "\ud800.wav"}', "half of a surrogate pair"),
    "id twice": ({"id": "b", "path": "a.wav"}, "the id 'b' stands in line 1 already"),
    "recording twice": ({"id": "a", "path": "sub/../b.wav"}, "the recording 'b.wav' stands in line 1 already"),
    "missing file": ({"id": "a", "path": "sub/d.wav"}, "path: 'sub/d.wav': there is no such file"),
    "a folder": ({"id": "a", "path": "sub"}, "path: 'sub': this is a folder"),
    "a pipe": ({"id": "a", "path": "pipe"}, "path: 'pipe': this is not a regular file"),
    "empty path": ({"id": "a", "path": ""}, "path: the path is empty"),
    "NUL in path": ({"id": "a", "path": "a\0.wav"}, "path: "),
    "path out": ({"id": "a", "path": "../out.wav"}, "path: '../out.wav' leads out of"),
    "path out and back": ({"id": "a", "path": "../project/../out.wav"}, "leads out of"),
    "link out, by way of ..": ({"id": "a", "path": "sub/../link.wav"}, "path: 'sub/../link.wav' leads out of"),
    "not audio": ({"id": "a", "path": "notes.txt"}, "this is not audio that can be read"),
    "short sha256": ({"id": "a", "path": "a.wav", "sha256": "12ab"}, 'sha256: "12ab" is no sha256'),
    "other sha256": ({"id": "a", "path": "a.wav", "sha256": SHA}, "the recording of clip 'a' is another one"),
    "NaN duration": ('{"id": "a", "path": "a.wav", "duration_s": NaN}', "NaN is not a number"),
    "endless duration": ('{"id": "a", "path": "a.wav", "duration_s": 1e999}', "duration_s: Infinity is no duration"),
    "no duration": ({"id": "a", "path": "a.wav", "duration_s": 0}, "duration_s: 0 is no duration"),
    "start below 0": ({"id": "a", "path": "a.wav", "start_s": -1}, "start_s: -1 is no place in a recording"),
    "start in quotes": ({"id": "a", "path": "a.wav", "start_s": "1"}, 'start_s: "1" is no place'),
    "segment beyond the end": (
        {"id": "a", "path": "a.wav", "start_s": 0.004, "duration_s": 1},
        "the segment 'a' is from 0.004 to 1.004 s of a recording of 0.00453515 s",
    ),
    "surrogate in a column": (r'{"id": "a", "path": "a.wav", "x": "\ud800"}', "'x': "),
    "true duration": ({"id": "a", "path": "a.wav", "duration_s": True}, "duration_s: true is no duration"),
    "duration in quotes": ({"id": "a", "path": "a.wav", "duration_s": "3"}, 'duration_s: "3" is no duration'),
    "text is a list": ({"id": "a", "path": "a.wav", "text": ["hi"]}, 'text: ["hi"] is not text'),
    "speaker is a number": ({"id": "a", "path": "a.wav", "speaker": 3}, "speaker: 3 is not text"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_broken_line_is_named_with_its_fault(folder, line, message):
    os.mkfifo(folder / "pipe")
    (folder / "link.wav").symlink_to(folder.parent / "out.wav")
    (folder / "notes.txt").write_text("hello")
    path = manifest(folder, GOOD, "", line)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert message in caught.value.problem
    assert caught.value.where == f"{path}:3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no clips"),
        (b"\n \r\n\t\n", "no clips"),
        (b"\xef\xbb\xbf\n", "no clips"),
        ('{"id": "a", "path": "a.wav"}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_files_without_clips_are_refused(folder, content, message):
    path = folder / "clips.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert caught.value.where == str(path)


def test_what_is_no_file_is_refused(folder):
    os.mkfifo(folder / "pipe")
    for path, message in (
        (folder, "folder"),
        (folder / "pipe", "regular file"),
        (folder / "clips.json", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            read_manifest(path)


def test_all_faults_are_reported_at_once(folder):
    path = manifest(
        folder,
        {"id": "", "path": "d.wav", "spekaer": "x", "duration_s": -1},
        GOOD,
        "nonsense",
        {"id": "b", "path": "b.wav"},
    )
    with pytest.raises(ManyErrors) as caught:
        read_manifest(path)
    lines = [str(error.where).rpartition(":")[2] for error in caught.value.errors]
    assert lines == ["1"] * 3 + ["3"] + ["4"] * 2
    assert all(isinstance(error, DataError) for error in caught.value.errors)


def test_faulty_recordings_are_reported_at_once(folder):
    path = manifest(
        folder, {"id": "a", "path": "a.wav", "sha256": SHA}, GOOD, {"id": "c", "path": "sub/c.wav", "sha256": SHA}
    )
    with pytest.raises(ManyErrors) as caught:
        read_manifest(path)
    assert [error.where for error in caught.value.errors] == [f"{path}:1", f"{path}:3"]


def test_a_file_of_another_kind_does_not_flood_the_terminal(folder):
    with pytest.raises(ManyErrors) as caught:
        read_manifest(manifest(folder, *["a|b"] * 5_000))
    assert len(caught.value.errors) == MAX_FAULTS + 1
    assert "not read" in caught.value.errors[-1].problem


def test_a_recording_that_changed_later_is_found(folder):
    (clip,) = read_manifest(manifest(folder, {"id": "a", "path": "a.wav"}))
    assert verify(clip) == clip
    (folder / "a.wav").write_bytes(b"other")
    with pytest.raises(DataError, match="another one"):
        verify(clip)
    (folder / "a.wav").unlink()
    with pytest.raises(DataError, match="no such file"):
        verify(clip)


def test_what_is_written_is_what_is_read(folder):
    clips = [
        Clip(
            "ä 1",
            folder / "a.wav",
            digest(folder / "a.wav"),
            1.5,
            "line\nbreak \u2028 “quotes”",
            "s",
            "train",
            "by hand",
        ),
        Clip("b", folder / "sub" / "c.wav", digest(folder / "sub" / "c.wav"), 2),
        Clip("out", folder.parent / "out.wav", digest(folder.parent / "out.wav"), 1 / 3),
    ]
    path = folder / "new.jsonl"
    write_manifest(path, clips)
    assert read_manifest(path) == clips
    written = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [line["path"] for line in written] == ["a.wav", "sub/c.wav", str(folder.parent / "out.wav")]
    assert "text" not in written[1]


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""}, {"id": "b"}, {"sha256": ""}, {"sha256": "xyz"}, {"duration_s": math.nan}, {"duration_s": 0.0},
        {"text": "\ud800"}, {"speaker": "\n"}, {"path": Path("gone.wav")},
    ],
)  # fmt: skip
def test_what_could_not_be_read_back_is_not_written(folder, change):
    path = folder / "clips.jsonl"
    path.write_text("old")
    good = Clip("a", folder / "a.wav", SHA, 1.0)
    with pytest.raises(DataError):
        write_manifest(path, [Clip("b", folder / "b.wav", SHA, 1.0), replace(good, **change)])
    assert path.read_text() == "old"
    with pytest.raises(DataError, match="no clips"):
        write_manifest(path, [])
