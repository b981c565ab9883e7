"""`vqbench data convert` and `describe`, and what a run says of the manifests that it read."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from vqbench.audio.mel import MelSpec
from vqbench.cli import app
from vqbench.records.store import load_run
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("wavs").mkdir()
    for name in "ab":
        soundfile.write(f"wavs/{name}.wav", np.random.default_rng(ord(name)).uniform(-0.5, 0.5, 22_050), 22_050)
    Path("metadata.csv").write_text("a|It is 5.|It is five.\nb|Bye.|Bye.\n")
    return tmp_path


def vqbench(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_convert_and_describe(project):
    code, _, said = vqbench("data", "convert", "metadata.csv", "-o", "ours.jsonl")
    assert code == 0
    assert "LJSpeech's id|text|normalised text" in said and "wrote ours.jsonl: 2 clips" in said
    line = json.loads(Path("ours.jsonl").read_text().splitlines()[0])
    assert (line["path"], line["text"], line["text as written"]) == ("wavs/a.wav", "It is five.", "It is 5.")
    for path in ("metadata.csv", "ours.jsonl"):
        code, told, _ = vqbench("data", "describe", path, "-q")
        assert code == 0
        assert "texts      2 of 2 clips, 4 words" in told and "wrong      nothing found" in told
    code, told, _ = vqbench("data", "describe", "metadata.csv", "--json", "-q")
    assert json.loads(told)["length_s"]["median"] == 1.0


def test_a_wrong_format_or_file_is_bad_input(project):
    code, _, said = vqbench("data", "describe", "metadata.csv", "--format", "ljspech")
    assert code == 2 and "did you mean 'ljspeech'?" in said
    Path("notes.csv").write_text("a,b\n1,2\n")
    for verb in (["describe", "notes.csv"], ["convert", "notes.csv", "-o", "x.jsonl"]):
        code, _, said = vqbench("data", *verb)
        assert code == 2 and said.count("error:") == 1
        assert "a table, its columns, between commas: a, b" in said
    assert not Path("x.jsonl").exists()


def test_a_run_says_what_it_read_and_keeps_it(project):
    dvae = DVAE(Dimensions(hidden_dim=32, codebook_size=64, codebook_dim=16, num_resnet_blocks=1))
    save_checkpoint(project / "m.safetensors", dvae, MelSpec(), {})
    soundfile.write("wavs/b.wav", np.zeros(30 * 8_000), 8_000)
    Path("suite.yaml").write_text(
        "name: s\ndata: {speech: {manifest: metadata.csv, max_clip_s: 20}}\n"
        "candidates: [{name: m, checkpoint: m.safetensors}]\nmetrics: [codebook]\nmin_clips: 1\ndevice: cpu\n"
    )
    code, _, said = vqbench("run", "suite.yaml", "-o", "out")
    assert code == 0, said
    run = load_run(Path("out"))
    (note,) = run.provenance["notes"]
    assert note in said
    assert "2 clips; the text is the third field, normalised; longer or larger than max_clip_s allows" in note
    assert "and so not scored: 1 clip" in note
    (table,) = run.tables
    assert table.row_ids == ("a",)
    assert dict(table.unscored) == {"b": "the clip is 30 s long, and max_clip_s is 20"}
