"""What people hear and see, on disk: it comes back as it was, and what is not of the run is refused."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from builders import make_run

from vqbench.errors import DataError, ResultError
from vqbench.records.exhibits import (
    NOTHING,
    Exhibit,
    Exhibits,
    Mel,
    Relabelling,
    Shown,
    Take,
    load_exhibits,
    pack_whole,
    read_sound,
    save_exhibits,
    sound_name,
    unpack_whole,
)
from vqbench.records.packing import pack

RUN = make_run(n_clips=4)
SOUNDS = {sound_name(content, kind): content for content, kind in ((b"one", "flac"), (b"other", "opus"))}
ONE, OTHER = SOUNDS
LEVELS = np.random.default_rng(0).integers(0, 256, 3 * 5, dtype=np.uint8)
MEL = Mel(3, 5, 86.13, "decoder", pack_whole(LEVELS))
TAKES = (Take("original", ONE, 1.5), Take("good", OTHER, 2, MEL, pack_whole(np.array([5, 1023, 0]))))
RELABELLING = Relabelling(
    "good", *(pack_whole(np.array(row)) for row in ([3, 7], [7, 0], [40, 2], [60, 3])), tokens=100
)
EXHIBITS = Exhibits(
    (
        Exhibit(
            ("worst speech.wer of good: 1.000",),
            (
                Shown("clip001", TAKES, pack_whole(np.array([5, 9, 0])), "the true tokenizer"),
                Shown("clip002", (Take("", ONE, 1.5),)),
            ),
        ),
    ),
    (RELABELLING,),
)


@pytest.fixture
def folder(tmp_path):
    save_exhibits(EXHIBITS, SOUNDS, tmp_path)
    return tmp_path


def test_all_of_it_comes_back(folder):
    found = load_exhibits(folder, RUN)
    assert found == EXHIBITS
    assert [take.candidate for take in found.takes] == ["original", "good", ""]
    mel = found.exhibits[0].shown[0].takes[1].mel
    assert np.array_equal(unpack_whole(mel.levels, "levels"), LEVELS)
    assert {name: read_sound(folder, name) for name in SOUNDS} == SOUNDS


def test_a_run_without_any_shows_nothing(tmp_path):
    assert load_exhibits(tmp_path, RUN) == NOTHING
    save_exhibits(NOTHING, {}, tmp_path)
    assert load_exhibits(tmp_path, RUN) == NOTHING
    assert [path.name for path in tmp_path.iterdir()] == ["exhibits.json"]


def test_sounds_of_an_earlier_run_go_and_what_is_somebody_elses_stays(folder):
    (folder / "exhibits" / "notes.txt").write_text("mine")
    save_exhibits(
        Exhibits(
            (replace(EXHIBITS.exhibits[0], shown=())),
        ),
        {ONE: SOUNDS[ONE]},
        folder,
    )
    assert sorted(path.name for path in (folder / "exhibits").iterdir()) == sorted([ONE, "notes.txt"])


def test_a_disk_that_refuses(tmp_path):
    (tmp_path / "exhibits").touch()
    with pytest.raises(DataError, match="cannot be written"):
        save_exhibits(EXHIBITS, SOUNDS, tmp_path)
    assert not (tmp_path / "exhibits.json").exists()


def test_a_name_tells_what_is_in_the_file():
    assert sound_name(b"one", "flac") == ONE != sound_name(b"One", "flac")
    assert sound_name(b"", "opus") == "e3b0c44298fc1c14.opus"  # as sha256sum says of nothing


@pytest.mark.parametrize("content", [b"", b"One", b"one more"])
def test_a_sound_that_has_changed_is_not_played(folder, content):
    (folder / "exhibits" / ONE).write_bytes(content)
    with pytest.raises(ResultError, match="has changed since the run wrote it"):
        read_sound(folder, ONE)


def test_a_sound_that_is_no_file_is_not_waited_for(folder):
    (folder / "exhibits" / ONE).unlink()
    with pytest.raises(ResultError, match="there is no such file"):
        read_sound(folder, ONE)
    os.mkfifo(folder / "exhibits" / ONE)
    with pytest.raises(ResultError, match="not a regular file"):
        read_sound(folder, ONE)


TAKE = ("exhibits", 0, "shown", 0, "takes", 1)
DAMAGE = {
    "another schema": (("schema",), 2, "another version of vqbench: schema '2'"),
    "no list": (("exhibits",), {}, "exhibits"),
    "another run's clip": (("exhibits", 0, "shown", 0, "clip"), "clip900", "is no clip of the run beside it"),
    "another run's candidate": ((*TAKE, "candidate"), "better", "is of nobody in the run beside it"),
    "another run's relabelling": (("relabellings", 0, "candidate"), "better", "is nobody in the run beside it"),
    "a sound elsewhere": ((*TAKE, "sound"), "../../x.flac", "names the sound '../../x.flac'"),
    "a sound anywhere": ((*TAKE, "sound"), "/etc/passwd", "names the sound '/etc/passwd'"),
    "a sound with a name behind": ((*TAKE, "sound"), f"{ONE}\n", "names the sound"),
    "a page for a sound": ((*TAKE, "sound"), "0123456789abcdef.html", "names the sound"),
    "a sound of no length": ((*TAKE, "duration_s"), 0, "lasts 0.0 s"),
    "a sound without an end": ((*TAKE, "duration_s"), float("inf"), "duration_s"),
    "a length that is no number": ((*TAKE, "duration_s"), float("nan"), "duration_s"),
    "codes that are none": ((*TAKE, "codes"), "abc", "codes"),
    "codes with fractions": ((*TAKE, "codes", "values", "type"), "float64", "is of the type 'float64'"),
    "fewer codes than promised": ((*TAKE, "codes", "values", "data"), "", "holds 0 values"),
    "another kind of mel": ((*TAKE, "mel", "of"), "nobody", "mel.of"),
    "a mel of no bands": ((*TAKE, "mel", "bands"), 0, "is of 0 bands and 5 frames"),
    "a mel of another shape": ((*TAKE, "mel", "frames"), 6, "has other levels than its shape says"),
    "codes that fill the memory": (
        (*TAKE, "codes"),
        {"lengths": pack(np.array([3e9])), "values": pack(np.zeros(9))},
        "says that it holds 3,000,000,000 values",
    ),
    "a mel that fills the memory": ((*TAKE, "mel", "frames"), 1 << 40, "is of 3 bands and 1099511627776 frames"),
    "a level below the floor": ((*TAKE, "mel", "levels", "values", "type"), "int8", "other levels than its shape says"),
    "columns of two lengths": (
        ("relabellings", 0, "counts"),
        {"lengths": {"type": "uint8", "data": "AQ=="}, "values": {"type": "uint8", "data": "AQ=="}},
        "has columns of different lengths",
    ),
    "a key too many": (("exhibits", 0, "because"), "", "unknown key 'because'"),
    "no reasons": (("exhibits", 0, "why"), "none", "why"),
}


@pytest.mark.parametrize(("way", "value", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_list_that_is_not_the_runs_is_refused(folder, way, value, said):
    file = folder / "exhibits.json"
    plain = inner = json.loads(file.read_text())
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    file.write_text(json.dumps(plain))
    with pytest.raises(ResultError) as caught:
        load_exhibits(folder, RUN)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "run the suite again" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b'{"exhibits": [', b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"3"])
def test_what_is_no_list_at_all_is_refused(folder, content):
    (folder / "exhibits.json").write_bytes(content)
    with pytest.raises(ResultError) as caught:
        load_exhibits(folder, RUN)
    assert "exhibits.json" in str(caught.value)


def test_a_list_that_is_no_file_is_refused_without_hanging(tmp_path):
    os.mkfifo(tmp_path / "exhibits.json")
    with pytest.raises(ResultError, match="not a regular file"):
        load_exhibits(tmp_path, RUN)
