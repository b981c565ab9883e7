"""Manifests and folders as other tools make them: told by their content, read as those tools mean them."""

import csv
import gzip
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqbench.audio.io import load_waveform
from vqbench.config.source import DataSource
from vqbench.data.converting import convert
from vqbench.data.corpora import load_clips
from vqbench.data.describing import describe
from vqbench.data.manifest import Clip, read_manifest
from vqbench.data.reading import open_format, read_clips
from vqbench.data.recordings import load_clip
from vqbench.errors import DataError, ManyErrors
from vqbench.notes import collected
from vqbench.progress import Silent
from vqbench.registries import FORMATS
from vqbench.report.tables.description import description_text

RATE_HZ = 8_000
COQUI = "audio_file|text|speaker_name\nwavs/a.wav|Hello.|anna\n"


def sound(path: Path, seconds: float = 1.0, seed: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, path.name)) if seed is None else seed)
    soundfile.write(path, rng.uniform(-0.5, 0.5, int(RATE_HZ * seconds)), RATE_HZ)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with recordings wavs/a.wav, b.wav and c.wav, of 1, 2 and 3 s."""
    project = tmp_path / "project"
    for seconds, name in enumerate("abc", start=1):
        sound(project / "wavs" / f"{name}.wav", seconds)
    return project


def read(path: Path, **options) -> tuple[list[Clip], str]:
    """The clips, and the one line that is told."""
    with collected() as told:
        clips = read_clips(path, **options)
    (line,) = told
    return clips, line


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def brief(clips: list[Clip], *names: str) -> list[tuple]:
    return [tuple(getattr(clip, name) for name in names) for clip in clips]


# ---- lists


def test_ljspeech(folder):
    path = put(folder / "metadata.csv", 'a|Dr. "Who" said|Doctor "Who" said\nb|Yes, no.|Yes, no.\n')
    clips, told = read(path)
    assert brief(clips, "id", "text", "speaker") == [("a", 'Doctor "Who" said', None), ("b", "Yes, no.", None)]
    assert [clip.path for clip in clips] == [folder / "wavs" / "a.wav", folder / "wavs" / "b.wav"]
    assert clips[0].columns == (("text as written", 'Dr. "Who" said'),)
    assert told == f"{path}: {open_format('ljspeech').title}: 2 clips; the text is the third field, normalised"
    assert read(folder)[0] == clips


def test_ljspeech_of_two_fields_and_of_tabs(folder):
    for text in ("a|Hello.\nb|Bye.\n", "a\tHello.\nb\tBye.\n"):
        clips, told = read(put(folder / "list.csv", text))
        assert brief(clips, "id", "text") == [("a", "Hello."), ("b", "Bye.")]
        assert "the text is the second" in told


def test_ljspeech_finds_recordings_of_other_kinds(folder):
    soundfile.write(folder / "wavs" / "d.flac", np.zeros(8_000), RATE_HZ)
    (clip,), _ = read(put(folder / "metadata.csv", "d|Hello.\n"))
    assert clip.path.name == "d.flac"


def test_coqui_with_what_pandas_quotes(folder):
    text = (
        'audio_file|text|speaker_name|emotion_name\nwavs/a.wav|"She said ""no|yes""."|anna|calm\nwavs/b.wav|Bye|bo|\n'
    )
    clips, told = read(put(folder / "metadata_train.csv", text))
    assert brief(clips, "id", "text", "speaker") == [("wavs/a", 'She said "no|yes".', "anna"), ("wavs/b", "Bye", "bo")]
    assert clips[0].columns == (("emotion_name", "calm"),) and clips[1].columns == ()
    assert "coqui" in told


def test_coqui_with_quotes_that_a_script_wrote(folder):
    text = 'audio_file|text|speaker_name\nwavs/a.wav|"Yes," he said.|anna\nwavs/b.wav|"A" or "B"|bo\nwavs/c.wav|"|bo\n'
    clips, _ = read(put(folder / "metadata_train.csv", text))
    assert [clip.text for clip in clips] == ['"Yes," he said.', '"A" or "B"', '"']


def test_a_folder_of_coquis_has_splits(folder):
    put(folder / "metadata_train.csv", COQUI)
    put(folder / "metadata_eval.csv", COQUI.replace("a.wav", "b.wav"))
    clips, told = read(folder)
    assert brief(clips, "id", "split") == [("wavs/a", "train"), ("wavs/b", "eval")]
    assert "files: metadata_train.csv, metadata_eval.csv" in told
    assert brief(read(folder, split="eval")[0], "id") == [("wavs/b",)]
    put(folder / "metadata.csv", "a|Hello.\n")
    with pytest.raises(DataError, match=r"several lists of clips: metadata.csv, metadata_train.csv, metadata_eval.csv"):
        read_clips(folder)


def test_paths_with_text(folder):
    clips, _ = read(put(folder / "train.txt", "wavs/a.wav|Hello, you.\r\nwavs\\b.wav|Bye.\r\n"))
    assert brief(clips, "id", "text", "speaker") == [("wavs/a", "Hello, you.", None), ("wavs/b", "Bye.", None)]
    assert clips[1].path == folder / "wavs" / "b.wav"


@pytest.mark.parametrize(
    ("third", "speakers", "texts", "told"),
    [
        (("anna", "bo", "anna"), ["anna", "bo", "anna"], ["It is 5.", "Now go home.", "So I said."], "is the speaker"),
        (
            ("It is five.", "Now go home.", "So I said."),
            [None] * 3,
            ["It is five.", "Now go home.", "So I said."],
            "is the text, normalised",
        ),
    ],
)
def test_what_a_third_field_is_depends_on_how_it_looks_and_is_told(folder, third, speakers, texts, told):
    rows = zip("abc", ("It is 5.", "Now go home.", "So I said."), third, strict=True)
    clips, line = read(put(folder / "l.txt", "".join(f"wavs/{n}.wav|{t}|{more}\n" for n, t, more in rows)))
    assert [clip.speaker for clip in clips] == speakers
    assert [clip.text for clip in clips] == texts
    assert f"the third field {told}" in line


def test_audiofolder_as_csv_with_quoted_commas_and_lines(folder):
    text = 'file_name,transcription,speaker_id,gender\nwavs/a.wav,"Yes, ""I"" do.\nTwice.",7,f\nwavs/b.wav,No.,8,m\n'
    clips, told = read(put(folder / "metadata.csv", text))
    assert brief(clips, "text", "speaker", "columns") == [
        ('Yes, "I" do.\nTwice.', "7", (("gender", "f"),)),
        ("No.", "8", (("gender", "m"),)),
    ]
    assert "the text is the column 'transcription'; the speaker is the column 'speaker_id'" in told


def test_audiofolder_as_jsonl(folder):
    text = '{"file_name": "wavs/a.wav", "text": "Ja.", "language": "de-DE", "age": 30}\n'
    (clip,), _ = read(put(folder / "metadata.jsonl", text))
    assert (clip.text, clip.language, clip.columns) == ("Ja.", "de", (("age", "30"),))


def test_audiofolder_without_a_text_says_what_there_is(folder):
    clips, told = read(put(folder / "metadata.csv", "file_name,words\nwavs/a.wav,Hello\n"))
    assert clips[0].text is None and clips[0].columns == (("words", "Hello"),)
    assert "no column is a text: words" in told


def test_parquet_with_the_recordings_inside(folder, tmp_path, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    (folder / "data").mkdir()
    for split, names in (("train", "ab"), ("test", "c")):
        rows = [
            {
                "audio": {"bytes": (folder / "wavs" / f"{name}.wav").read_bytes(), "path": f"{name}.wav"},
                "sentence": f"This is {name}.",
                "speaker_id": 5,
            }
            for name in names
        ]
        parquet.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{split}-00000-of-00001.parquet")
    clips, told = read(folder)
    assert brief(clips, "id", "split", "speaker") == [("c", "test", "5"), ("a", "train", "5"), ("b", "train", "5")]
    for clip in clips:
        assert clip.path.is_relative_to(tmp_path / "cache")
        original = load_waveform(folder / "wavs" / f"{clip.id}.wav", RATE_HZ)
        assert (load_clip(clip, RATE_HZ) == original).all()
    assert "the text is the column 'sentence'" in told and str(tmp_path / "cache") in told
    (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(DataError, match="the Parquet file cannot be read"):
        read_clips(folder / "data" / "train-00000-of-00001.parquet")


def test_nemo(folder):
    lines = (
        {"audio_filepath": "wavs/c.wav", "offset": 1.0, "duration": 0.5, "text": "one", "speaker": 3, "lang": "en"},
        {"audio_filepath": "wavs/c.wav", "duration": 0.75, "text": "two"},
        {"audio_filepath": str(folder / "wavs" / "b.wav"), "duration": 2.0, "text": "", "pred_text": "x"},
    )
    clips, told = read(put(folder / "train.json", "".join(json.dumps(line) + "\n" for line in lines)))
    assert brief(clips, "id", "start_s", "duration_s", "text", "speaker", "language") == [
        ("wavs/c@1", 1.0, 0.5, "one", "3", "en"),
        # As NeMo reads it: from the start, so long.
        ("wavs/c", 0.0, 0.75, "two", None, None),
        ("wavs/b", None, 2.0, None, None, None),
    ]
    whole = load_waveform(folder / "wavs" / "c.wav", RATE_HZ)
    assert (load_clip(clips[0], RATE_HZ) == whole[8_000:12_000]).all()
    assert clips[2].columns == (("pred_text", "x"),)
    assert "1 without a text" in told


def cut(**changes) -> dict:
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "wavs/c.wav"}], "duration": 3.0}
    said = {"id": "s1", "recording_id": "r", "start": 0.0, "duration": 1.0, "text": "one", "speaker": "x"}
    made = {"id": "c1", "start": 0.5, "duration": 1.0, "channel": 0, "supervisions": [said], "recording": recording}
    return made | {"type": "MonoCut"} | changes


@pytest.mark.parametrize("packed", [False, True])
def test_lhotse(folder, packed):
    second = cut(id="c2", start=0, duration=3.0)["supervisions"][0]
    two = [
        second | {"start": 0.25, "duration": 1.0},
        second | {"id": "s2", "start": 2.0, "language": "de", "text": "two"},
    ]
    content = "".join(
        json.dumps(one) + "\n" for one in (cut(), cut(id="c2", start=0.0, duration=3.0, supervisions=two))
    )
    path = folder / ("cuts.jsonl.gz" if packed else "cuts.jsonl")
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    clips, told = read(path)
    assert brief(clips, "id", "start_s", "duration_s", "text", "speaker", "language") == [
        ("c1", 0.5, 1.0, "one", "x", None),
        ("s1", 0.25, 1.0, "one", "x", None),
        ("s2", 2.0, 1.0, "two", "x", "de"),
    ]
    assert "1 cuts with several supervisions, one clip for each" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "MixedCut", "tracks": []}, "a MixedCut is made of several sounds"),
        ({"recording": {"sources": [{"type": "command", "channels": [0], "source": "touch x"}]}}, "1, command"),
        ({"recording": {"sources": [{"type": "url", "channels": [0], "source": "http://x"}]}}, "1, url"),
        (
            {"recording": {"sources": [{"type": "file", "channels": [0, 1], "source": "wavs/a.wav"}]}},
            "several channels",
        ),
        ({"recording": {**cut()["recording"], "transforms": [{"name": "Speed"}]}}, "to be transformed"),
        ({"recording": 3}, "the cut cannot be read"),
        ({"duration": "long"}, "the cut cannot be read"),
    ],
)
def test_cuts_that_are_something_else_are_refused(folder, change, message):
    with pytest.raises(DataError) as caught:
        read_clips(put(folder / "cuts.jsonl", json.dumps(cut(**change))))
    assert message in caught.value.problem and str(caught.value.where).endswith("cuts.jsonl:1")


def kaldi(folder: Path, segments: bool = True) -> Path:
    put(folder / "wav.scp", f"r1 wavs/c.wav\nr2\t{folder}/wavs/b.wav\n")
    if segments:
        put(folder / "segments", "u1 r1 0.5 1.5\nu2 r1 1.5 -1\nu3 r2 0 2\n")
    names = ("u1", "u2", "u3") if segments else ("r1", "r2")
    put(folder / "text", "".join(f"{name} said by {name}\n" for name in names[:-1]))
    put(folder / "utt2spk", "".join(f"{name} anna\n" for name in names))
    return folder


def test_kaldi(folder):
    clips, told = read(kaldi(folder))
    assert brief(clips, "id", "start_s", "duration_s", "text", "speaker") == [
        ("u1", 0.5, 1.0, "said by u1", "anna"),
        ("u2", 1.5, 1.5, "said by u2", "anna"),
        ("u3", None, 2.0, None, "anna"),
    ]
    assert "1 utterances without a text" in told


def test_kaldi_without_segments(folder):
    clips, _ = read(kaldi(folder, segments=False))
    assert brief(clips, "id", "start_s", "text") == [("r1", None, "said by r1"), ("r2", None, None)]


@pytest.mark.parametrize("entry", ["touch {} |", "touch {}; cat x.wav|", "| touch {}", "flac -c -d {} |"])
def test_commands_in_a_kaldi_folder_are_refused_and_never_run(folder, entry):
    mark = folder / "executed"
    put(folder / "wav.scp", f"r1 {entry.format(mark)}\n")
    with pytest.raises(DataError, match="commands are not run"):
        read_clips(folder)
    assert not mark.exists()


def test_archives_in_a_kaldi_folder_are_refused(folder):
    put(folder / "wav.scp", "r1 raw.ark:1234\n")
    with pytest.raises(DataError, match="inside an archive"):
        read_clips(folder)


def test_common_voice(folder):
    shutil.move(folder / "wavs", folder / "clips")
    header = "client_id\tpath\tsentence\tup_votes\taccents\tlocale\n"
    put(folder / "train.tsv", header + '0f\ta.wav\tSie sagte "ja.\t2\t\tde\n1a\tb.wav\tNein.\t3\tWien\tzh-CN\n')
    put(folder / "test.tsv", header + "2b\tc.wav\tJa.\t2\t\tde\n")
    put(folder / "validated.tsv", header + "2b\tc.wav\tJa.\t2\t\tde\n")
    clips, _ = read(folder)
    assert brief(clips, "id", "text", "speaker", "language", "split") == [
        ("clips/a", 'Sie sagte "ja.', "0f", "de", "train"),
        ("clips/b", "Nein.", "1a", "zh", "train"),
        ("clips/c", "Ja.", "2b", "de", "test"),
    ]
    assert clips[1].columns == (("accents", "Wien"), ("up_votes", "3"))
    assert len(read(folder / "validated.tsv")[0]) == 1


def test_vctk(tmp_path):
    for speaker in ("p225", "p226"):
        for mic in ("mic1", "mic2"):
            sound(tmp_path / "wav48_silence_trimmed" / speaker / f"{speaker}_001_{mic}.flac", seed=len(speaker + mic))
        (tmp_path / "txt" / speaker).mkdir(parents=True)
        put(tmp_path / "txt" / speaker / f"{speaker}_001.txt", "Please call Stella.\n")
    clips, told = read(tmp_path)
    assert brief(clips, "id", "text", "speaker") == [
        ("p225_001", "Please call Stella.", "p225"),
        ("p226_001", "Please call Stella.", "p226"),
    ]
    assert "2 recordings of the second microphone are left out" in told


def test_libritts(tmp_path):
    stem = tmp_path / "train-clean-100" / "84" / "121123" / "84_121123_000007_000000"
    sound(stem.with_suffix(".wav"))
    put(stem.with_suffix(".original.txt"), "It is 5.")
    put(stem.with_suffix(".normalized.txt"), "It is five.")
    (clip,), told = read(tmp_path)
    assert (clip.id, clip.text, clip.speaker, clip.split) == (stem.name, "It is five.", "84", "train-clean-100")
    assert "the texts are the normalised ones" in told
    (clip,), _ = read(tmp_path / "train-clean-100")
    assert (clip.speaker, clip.split) == ("84", None)


def test_a_plain_folder(folder):
    put(folder / "wavs" / "a.txt", "\ufeffHello,\r\nyou.\n")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "wavs" / "a.wav", folder / ".hidden")
    clips, told = read(folder)
    assert brief(clips, "id", "text", "speaker") == [
        ("wavs/a", "Hello, you.", None),
        ("wavs/b", None, None),
        ("wavs/c", None, None),
    ]
    assert "2 without a text" in told
    sound(folder / "bo" / "d.wav")
    clips, told = read(folder)
    assert {clip.id: clip.speaker for clip in clips}["bo/d"] == "bo" and "the name of the folder" in told


def test_a_loop_of_links_ends(folder):
    (folder / "wavs" / "again").symlink_to(folder)
    assert len(read(folder)[0]) == 3


# ---- what is told apart


MANIFESTS = {
    "vqbench": '{"id": "a", "path": "wavs/a.wav", "recordings": 3}',
    "nemo": '{"id": "x", "audio_filepath": "wavs/a.wav"}',
    "lhotse": json.dumps(cut()),
    "audiofolder": "file_name\ttext\nwavs/a.wav\tHello.",
    "coqui": COQUI.strip(),
    "paths": "wavs/a.wav|Hello.",
    "ljspeech": "a|Hello.|Hello.",
    "commonvoice": "client_id\tpath\tsentence\nx\twavs/a.wav\tHello.",
}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("dress", ["bare", "mark", "crlf", "packed"])
def test_each_is_known_by_its_content_alone(folder, name, dress):
    content = MANIFESTS[name].encode()
    dressed = {
        "bare": content,
        "mark": b"\xef\xbb\xbf" + content + b"\n",
        "crlf": content.replace(b"\n", b"\r\n") + b"\r\n",
        "packed": gzip.compress(content),
    }[dress]
    path = folder / "list.dat"
    path.write_bytes(dressed)
    assert [other for other in FORMATS if open_format(other).knows(_source(path))] == [name]
    (clip,) = read_clips(path)
    assert clip.path.parent == folder / "wavs"
    # The format may be named as well.
    assert load_clips(DataSource(manifest=path, format=name)) == [clip]


def _source(path: Path):
    from vqbench.data.formats.base import Source

    return Source(path)


UNKNOWN = {
    "a,b,c\n1,2,3\n": "a table, its columns, between commas: a, b, c",
    '"x, y",b\n1,2\n': "a table, its columns, between commas: x, y, b",
    "one\ntwo\n": 'plain text, "one"',
    "a|b\n" * 3: 'lines of 2 fields between |, "a|b"',
    "id|text\na|Hello\n": 'lines of 2 fields between |, "id|text"',
    "a|b|c|d|e\n": "lines of 5 fields between |",
    '{"a": 1, "b": 2}\n': "JSON lines with the keys a, b",
    '[{"id": "a"}]': "a JSON list",
    "PK\x03\x04": "a zip archive",
    "RIFF....WAVE": "a recording, a WAV",
    "\0\1\2": "no text",
    "\x1b[2J": 'plain text, "?[2J"',
    "x" * 3_000_000: 'plain text, "xxx',
}


@pytest.mark.parametrize("content", UNKNOWN, ids=range(len(UNKNOWN)))
def test_what_is_none_of_these_gets_one_message_that_says_what_it_looks_like(folder, content):
    path = put(folder / "list.jsonl", content)
    with pytest.raises(DataError) as caught:
        read_clips(path)
    assert UNKNOWN[content] in caught.value.problem
    assert all(name in str(caught.value.expected) for name in FORMATS)
    assert len(str(caught.value)) < 800


def test_what_a_list_with_faults_was_taken_for_is_told(folder):
    path = put(folder / "counts.tsv", "one\t12\ntwo\t7\nthree\t5\nfour\t4\n")
    with collected() as told, pytest.raises(DataError, match=r"4 recordings are missing: 'wavs/one\.wav'"):
        read_clips(path)
    assert told == [f"{path}: read as {open_format('ljspeech').title}"]


def test_an_empty_folder_and_one_without_recordings(tmp_path):
    with pytest.raises(DataError, match="it looks like an empty folder"):
        read_clips(tmp_path)
    put(tmp_path / "notes.md", "x")
    with pytest.raises(DataError, match=r"without recordings, with notes.md"):
        read_clips(tmp_path)


def test_a_format_of_another_name_is_refused_with_the_nearest(folder):
    with pytest.raises(DataError, match=r"'ljspech' is not a format \(did you mean 'ljspeech'\?\)"):
        read_clips(folder, format_name="ljspech")
    with pytest.raises(ValueError, match=r"is not a known format \(did you mean 'nemo'\?\)"):
        DataSource(manifest=folder, format="nemmo")
    with pytest.raises(ValueError, match="for a manifest, and there is none"):
        DataSource(corpus="pocket", format="nemo")


def test_a_named_format_is_taken_at_its_word(folder):
    path = put(folder / "list.csv", "a|b\n" * 2)
    with pytest.raises(DataError, match=r"the recording 'a\.wav' stands in line 1 already"):
        try:
            read_clips(path, format_name="ljspeech")
        except ManyErrors as error:
            raise error.errors[1] from None


# ---- hostile and broken


def test_garbage_is_not_read_to_its_end(folder):
    for content in ("garbage, with commas\n" * 100_000, "a|b|c|d\n" * 100_000, "{broken\n" * 100_000):
        with pytest.raises(DataError):
            read_clips(put(folder / "list", content))
    with pytest.raises(ManyErrors) as caught:
        read_clips(put(folder / "list", MANIFESTS["vqbench"] + "\n" + "garbage\n" * 100_000))
    assert len(caught.value.errors) == 21


@pytest.mark.parametrize(
    ("unpacked", "message"),
    [
        (MANIFESTS["vqbench"].encode() + b"\n" + b" " * (3 << 20), "the line is longer than"),
        (MANIFESTS["vqbench"].encode() + b"\n" * 200_000, "more than 100000 lines have nothing on them"),
        (MANIFESTS["nemo"].encode() + bytes(3 << 20), "the line is longer than"),
    ],
)
def test_a_small_file_that_unpacks_to_much_is_not_read_on(folder, unpacked, message):
    path = folder / "list.jsonl.gz"
    path.write_bytes(gzip.compress(unpacked))
    with pytest.raises(DataError) as caught:
        read_clips(path, format_name="vqbench")
    assert message in str(caught.value)


def test_what_a_gz_may_unpack_to_is_bounded(folder, monkeypatch):
    monkeypatch.setattr("vqbench.data.formats.base._MAX_UNPACKED_BYTES", 1_000)
    path = folder / "list.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 10 + b"\n" * 10_000))
    with pytest.raises((DataError, ManyErrors), match="unpacks to more than"):
        read_clips(path, format_name="nemo")


def test_a_gz_that_is_cut_off(folder):
    path = folder / "list.jsonl.gz"
    path.write_bytes(gzip.compress(MANIFESTS["vqbench"].encode() * 100)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_clips(path)


ESCAPES = {
    "ljspeech": "../../secret|Hello.",
    "paths": "../secret.wav|Hello.",
    "coqui": "audio_file|text|speaker_name\n../secret.wav|Hello.|x",
    "audiofolder": "file_name,text\n../secret.wav,Hello.",
    "nemo": '{"audio_filepath": "wavs/../../secret.wav"}',
    "lhotse": json.dumps(cut()).replace("wavs/c.wav", "../secret.wav"),
    "commonvoice": "path\tsentence\n../secret.wav\tHello.",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_no_path_climbs_out_of_the_folder(folder, name):
    sound(folder.parent / "secret.wav")
    with pytest.raises(DataError, match="leads out of"):
        read_clips(put(folder / "list", ESCAPES[name]), format_name=name)


def test_paths_of_windows_and_names_that_move_the_cursor(folder):
    with pytest.raises(DataError, match="no such file"):
        read_clips(put(folder / "l.txt", "C:\\data\\a.wav|Hello.\n"))
    with pytest.raises(DataError, match="cannot be a name"):
        read_clips(put(folder / "m.csv", COQUI.replace("anna", "an\x1b[2Jna")))


def test_a_line_that_is_not_utf8_is_named(folder):
    path = folder / "train.txt"
    path.write_bytes("wavs/a.wav|Hello.\nwavs/b.wav|Señor.\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        read_clips(path)
    assert caught.value.where == f"{path}:2"


def test_lines_of_too_few_fields_are_named(folder):
    path = put(folder / "metadata.csv", COQUI + "wavs/b.wav\n")
    with pytest.raises(DataError, match="the line has 1 fields, the header 3") as caught:
        read_clips(path)
    assert caught.value.where == f"{path}:3"


def test_a_text_that_holds_the_mark_is_not_cut_short(folder):
    for text in ("file_name,text\nwavs/a.wav,Hello, you.\n", "audio_file|text|speaker_name\nwavs/a.wav|a|b|anna\n"):
        with pytest.raises(DataError, match=r"the line has . fields, the header") as caught:
            read_clips(put(folder / "metadata.csv", text))
        assert "in quotes" in str(caught.value.fix)
    for text in ("wavs/a.wav|a|b|anna\n", "a|b|c|d\n"):
        with pytest.raises(DataError):
            read_clips(put(folder / "list.txt", text))


def test_limits_stop_reading_where_nobody_needs_more(folder):
    path = put(folder / "train.txt", "wavs/a.wav|Hello.\nwavs/gone.wav|Bye.\n")
    assert len(read_clips(path, limit=1)) == 1


# ---- convert and describe


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_is_converted_is_read_as_the_same(folder, name):
    path = put(folder / "list", MANIFESTS[name])
    clips = read_clips(path)
    for target in (folder / "sub" / "ours.jsonl", folder / "ours.jsonl.gz"):
        target.parent.mkdir(exist_ok=True)
        assert convert(path, target, None) == len(clips)
        assert read_manifest(target) == clips
    assert '"path": "wavs/' in gzip.decompress((folder / "ours.jsonl.gz").read_bytes()).decode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text(max_size=30), st.text(max_size=12), st.dictionaries(st.text(max_size=8), st.text(max_size=8))
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_table_that_is_read_is_converted_without_loss(folder, rows):
    text = io.StringIO()
    names = sorted({name for _, _, more in rows for name in more} - {"file_name", "text", "speaker"})
    writer = csv.DictWriter(text, ["file_name", "text", "speaker", *names])
    writer.writeheader()
    for name, (said, speaker, more) in zip("abc", rows, strict=False):
        columns = {key: value for key, value in more.items() if key in names}
        writer.writerow({"file_name": f"wavs/{name}.wav", "text": said, "speaker": speaker, **columns})
    path = folder / "metadata.csv"
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    try:
        clips = read_clips(path)
    except (DataError, ManyErrors):
        return
    convert(path, folder / "ours.jsonl", None)
    assert read_manifest(folder / "ours.jsonl") == clips


def test_the_list_itself_is_not_written_over(folder):
    path = put(folder / "list.jsonl", MANIFESTS["vqbench"])
    with pytest.raises(DataError, match="the list itself"):
        convert(path, path, None)


def test_a_description_counts_and_names_what_is_wrong(folder):
    shutil.copy(folder / "wavs" / "a.wav", folder / "wavs" / "copy.wav")
    put(folder / "wavs" / "broken.wav", "not audio")
    sound(folder / "wavs" / "short.wav", 0.1)
    sound(folder / "wavs" / "long.wav", 31)
    lines = [
        {"path": "wavs/a.wav", "text": "one two", "speaker": "anna", "language": "en", "split": "train", "room": "3"},
        {"path": "wavs/b.wav", "text": " ", "speaker": "bo"},
        {"path": "wavs/c.wav", "text": "three", "speaker": "anna", "start_s": 2, "duration_s": 5},
        *({"path": f"wavs/{name}.wav", "text": "x"} for name in ("copy", "broken", "short", "long", "gone")),
    ]
    content = "".join(json.dumps({"id": str(i), **line}) + "\n" for i, line in enumerate(lines)) + "nonsense\n"
    found = describe(put(folder / "clips.jsonl", content), None, Silent())
    assert (found.n_clips, found.n_texts, found.words, found.under_2_s) == (7, 6, 7, 4)
    assert found.hours * 3600 == pytest.approx(1 + 2 + 1 + 1 + 0.1 + 31)
    assert found.length_s["shortest"] == pytest.approx(0.1) and found.length_s["longest"] == pytest.approx(31)
    assert list(found.speakers) == ["anna", "bo"] and found.speakers["anna"] == (2, pytest.approx(2 / 60))
    assert found.languages == {"en": 1} and found.splits == {"train": 1} and found.columns == ("room",)
    assert found.rates_hz == {str(RATE_HZ): 6}
    wrong = {one.what: one.examples for one in found.wrong}
    assert wrong["shorter than 0.5 s"] == ("5",) and wrong["longer than 30 s"] == ("6",)
    assert wrong["recordings of the same content"] == ("a.wav = copy.wav",)
    assert wrong["without a text"] == ("1",)
    assert wrong["segments that end after their recording"] == ("2",)
    assert any("gone.wav" in what for what in wrong) and any("not JSON" in what for what in wrong)
    assert any("not audio" in what for what in wrong)
    text = description_text(json.loads(json.dumps(vars(found), default=vars)))
    assert "speakers   2: anna (2 clips, 0.0 min), bo (1 clips, 0.0 min)" in text
