"""Broken input, given to the real verbs: exit 2, one clear message a fault, and not one file more than before."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from damages import (
    RATE_HZ,
    Damage,
    RunsCode,
    clip,
    cut,
    folder,
    gone,
    header,
    make_project,
    nothing,
    put,
    recipe,
    result,
    sound,
    suite,
    together,
    torch_file,
    weights,
)
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.engine.cache import CACHE_VARIABLE
from vqbench.records.store import load_run


class Case(NamedTuple):
    """A command line, what was broken before, and what the message must say; the first part names the culprit."""

    line: str
    damage: Damage
    says: tuple[str, ...]
    n_faults: int = 1


@pytest.fixture(scope="module")
def faultless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without faults."""
    folder = tmp_path_factory.mktemp("faultless")
    make_project(folder)
    return folder


@pytest.fixture
def project(faultless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, in which one stands; its cache lies beside it and is not there yet."""
    folder = tmp_path / "project"
    shutil.copytree(faultless, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return folder


def vqbench(line: str) -> Any:
    return CliRunner().invoke(app, shlex.split(line))


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder, with its content."""
    return {
        str(path.relative_to(folder)): "a folder" if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }


# ---- what can be broken

OFFICIAL = suite("small.safetensors", "small.pth")
"""The suite with the same weights as a torch file."""

RUN = "run suites/tiny.yaml -o out"
TRAIN = "train recipes/brief.yaml -o out"
COMPARE = "compare runs/quick"

TUNED = "name: brief\nteacher: pocket\nfinetune: {data: [{manifest: ../clips/m.jsonl}]}\n"

SUITES: dict[str, Case] = {
    "no file": Case("run suites/tinny.yaml", nothing, ("tinny.yaml", "no such file (did you mean 'tiny.yaml'?)")),
    "a folder": Case("run suites", nothing, ("suites", "this is a folder")),
    "empty": Case(RUN, put("suites/tiny.yaml", ""), ("tiny.yaml", "the file is empty")),
    "syntax": Case(RUN, suite("[codebook]", "[codebook"), ("tiny.yaml:7", "not valid YAML")),
    "not text": Case(RUN, put("suites/tiny.yaml", b"\x80\x81"), ("tiny.yaml:1", "not UTF-8 text")),
    "tag that wants to run code": Case(
        RUN, suite("name: tiny", "name: !!python/object/apply:os.mkdir [it-ran]"), ("tiny.yaml:1", "is not read here")
    ),
    "unknown key": Case(RUN, suite("min_clips", "min_clip"), ("tiny.yaml:8", "(did you mean 'min_clips'?)")),
    "wrong type": Case(RUN, suite("100", "many"), ("tiny.yaml:7", "expected a whole number, got 'many'")),
    "a recipe in place of a suite": Case("run recipes/brief.yaml", nothing, ("brief.yaml:1", "candidates"), 4),
    "name twice": Case(
        RUN,
        suite("references", "  - {name: small, checkpoint: ../checkpoints/small.pth}\nreferences"),
        ("tiny.yaml:5", "'small' is the name of an earlier candidate"),
    ),
    "missing checkpoint": Case(
        RUN, gone("checkpoints/small.safetensors"), ("tiny.yaml:4", "there is no file", "(did you mean 'small.pth'?)")
    ),
    "missing manifest": Case(RUN, gone("clips/m.jsonl"), ("tiny.yaml:2", "there is no file '../clips/m.jsonl'")),
    "path out of the project": Case(
        RUN, suite("../clips/m.jsonl", "../../m.jsonl"), ("tiny.yaml:2", "'../../m.jsonl' leads out of")
    ),
    "rule that is no rule": Case(
        RUN, suite("min_clips", "gate: [codebook.dead < 1]\nmin_clips"), ("tiny.yaml:8", "expected <= or >=")
    ),
    "rule about what is not measured": Case(
        RUN, suite("min_clips", "gate: [speech.wer <= 1]\nmin_clips"), ("tiny.yaml:8", "metrics lacks 'speech'")
    ),
    "rule about an unknown metric": Case(
        RUN,
        suite("min_clips", "gate: [codebook.deed <= 1]\nmin_clips"),
        ("tiny.yaml", "`codebook.deed <= 1`", "(did you mean 'codebook.dead'?)"),
    ),
    "percent of a figure in bits": Case(
        RUN,
        suite("min_clips", "gate: [codebook.entropy_bits >= 50%]\nmin_clips"),
        ("tiny.yaml", "% is a hundredth, but codebook.entropy_bits is in bits"),
    ),
    "device of another machine": Case(
        RUN, suite("device: cpu", "device: cuda:999"), ("tiny.yaml", "cuda:999", "auto takes")
    ),
    "several faults": Case(RUN, together(suite("name: tiny", "name: Tiny"), suite("100", "1")), ("tiny.yaml:7",), 2),
}

RECIPES: dict[str, Case] = {
    "no file": Case("train recipes/breif.yaml", nothing, ("breif.yaml", "no such file (did you mean 'brief.yaml'?)")),
    "syntax": Case(TRAIN, recipe("data:\n", "data:\n\t"), ("brief.yaml:5", "a tab stands where YAML wants spaces")),
    "a suite in place of a recipe": Case("train suites/tiny.yaml", nothing, ("tiny.yaml", "unknown key"), 7),
    "unknown key": Case(TRAIN, recipe("crop_frames", "crop_frame"), ("brief.yaml:8", "(did you mean 'crop_frames'?)")),
    "crops that are no whole tokens": Case(
        TRAIN, recipe("crop_frames: 16", "crop_frames: 18"), ("brief.yaml:8", "crops of 18 frames are not whole tokens")
    ),
    "nothing to train on": Case(
        TRAIN, recipe("\n    - {manifest: ../clips/m.jsonl}", " []"), ("brief.yaml:4", "expected a list of at least 1")
    ),
    "missing manifest": Case(TRAIN, gone("clips/m.jsonl"), ("brief.yaml:5", "there is no file '../clips/m.jsonl'")),
    "all clips held out": Case(
        TRAIN,
        together(
            recipe("validation_share: 0.0", "validation_share: 0.5"),
            put("clips/m.jsonl", '{"id": "b", "path": "b.wav"}'),
        ),
        ("brief.yaml", "no clip is left to train on"),
    ),
    "a section of an older vqbench": Case(TRAIN, recipe("reconstruct:", "training:"), ("brief.yaml:3", "unknown key")),
    "no pairs in the folder": Case(
        TRAIN,
        put("recipes/brief.yaml", "name: brief\npairs: {folder: ../clips}\ndistil: {}\n"),
        ("clips", "there are no pairs in this folder"),
    ),
    "more codes than the GPT can write": Case(
        TRAIN,
        put("recipes/brief.yaml", f"{TUNED}model: {{codebook_size: 2048}}\n"),
        ("brief.yaml", "the VQVAE has 2048 codes, the teacher's GPT 1024"),
    ),
    "no transcripts to fine-tune on": Case(
        TRAIN,
        together(put("recipes/brief.yaml", f"{TUNED}model: {{codebook_size: 16}}\n"), clip(text=None)),
        ("a: the clip has no transcript",),
    ),
    "start of other layers": Case(
        TRAIN,
        put(
            "recipes/brief.yaml",
            "name: brief\nstart: ../checkpoints/small.safetensors\n"
            "joint: {data: [{manifest: ../clips/m.jsonl}], crop_frames: 30, guard: {kind: none}}\n",
        ),
        ("brief.yaml", "crops of 30 frames are not whole tokens of 4 frames"),
    ),
    "another training in the folder": Case(
        TRAIN, put("out/training.json", '{"digest": "0"}'), ("out", "a training of another recipe or other clips")
    ),
    "broken marker in the folder": Case(TRAIN, put("out/training.json", "{"), ("out/training.json", "cannot be read")),
    "broken recipe of a candidate": Case(
        RUN,
        together(
            suite("checkpoint: ../checkpoints/small.safetensors", "recipe: ../recipes/brief.yaml"),
            recipe("name: brief\n", ""),
        ),
        ("brief.yaml:1", "name: this key is missing"),
    ),
    "broken clip of a candidate's recipe": Case(
        RUN,
        together(
            suite("checkpoint: ../checkpoints/small.safetensors", "recipe: ../recipes/brief.yaml"),
            recipe("clips/m.jsonl", "clips/n.jsonl"),
            put("clips/n.jsonl", '{"id": "d", "path": "d.wav", "duration_s": 1.0}'),
            put("clips/d.wav", "no sound"),
        ),
        ("d.wav", "this is not audio that can be read"),
    ),
    "broken checkpoint beside a recipe": Case(
        RUN,
        together(
            suite("references", "  - {name: brief, recipe: ../recipes/brief.yaml}\nreferences"),
            cut("checkpoints/small.safetensors", 0.5),
        ),
        ("small.safetensors", "truncated"),
    ),
}

MANIFESTS: dict[str, Case] = {
    "empty": Case(RUN, put("clips/m.jsonl", ""), ("m.jsonl", "the manifest has no clips")),
    "not JSON": Case(RUN, put("clips/m.jsonl", "a.wav\n"), ("m.jsonl", "`format:`")),
    "cut off": Case(RUN, cut("clips/m.jsonl", 0.9), ("m.jsonl:3", "the line is not JSON")),
    "UTF-16": Case(RUN, put("clips/m.jsonl", '{"id": "a"}'.encode("utf-16")), ("m.jsonl", "UTF-16")),
    "no object": Case(RUN, put("clips/m.jsonl", "[]"), ("m.jsonl", "`format:`")),
    "missing key": Case(RUN, clip(path=None), ("m.jsonl:1", "the key 'path' is missing")),
    "wrong type": Case(RUN, clip(text=5), ("m.jsonl:1", "text: 5 is not text")),
    "NaN": Case(RUN, clip(duration_s=float("nan")), ("m.jsonl:1", "NaN is not a number")),
    "id twice": Case(RUN, clip(id="b"), ("m.jsonl:2", "the id 'b' stands in line 1 already")),
    "recording twice": Case(RUN, clip(path="b.wav"), ("m.jsonl:2", "the recording 'b.wav' stands in line 1 already")),
    "missing recording": Case(RUN, clip(path="d.wav"), ("m.jsonl:1", "'d.wav': there is no such file")),
    "another recording": Case(RUN, clip(sha256="0" * 64), ("m.jsonl:1", "the recording of clip 'a' is another one")),
    "no sha256": Case(RUN, clip(sha256="abc"), ("m.jsonl:1", "is no sha256")),
    "path out of the folder": Case(RUN, clip(path="../pyproject.toml"), ("m.jsonl:1", "leads out of")),
    "no clip of the split": Case(
        RUN, suite("m.jsonl}", "m.jsonl, split: test}"), ("m.jsonl", "no clip is of the split 'test'")
    ),
    "several faults": Case(
        RUN, put("clips/m.jsonl", '{"id": "a"}\n{"id": "", "path": "a.wav"}'), ("m.jsonl:1", "m.jsonl:2"), 2
    ),
    "in a training": Case(TRAIN, clip(path="d.wav"), ("m.jsonl:1", "'d.wav': there is no such file")),
}

# Without `duration_s` a manifest's clips are opened before anything is measured, and training needs every one of them.
BROKEN_SOUNDS: dict[str, tuple[Damage, str]] = {
    "empty": (put("clips/a.wav", ""), "the file is empty (0 bytes)"),
    "no samples": (sound("clips/a.wav", []), "the file holds no samples"),
    "text": (put("clips/a.wav", "no sound"), "this is not audio that can be read"),
    "cut off in the header": (cut("clips/a.wav", 0.001), "this is not audio that can be read"),
    "cut off": (cut("clips/a.wav", 0.5), "cut off"),
    "NaN": (sound("clips/a.wav", [0.0, np.nan, 0.0]), "sample 1 is nan"),
    "infinity": (sound("clips/a.wav", [np.inf, 0.0]), "sample 0 is inf"),
    "unscaled integers": (sound("clips/a.wav", [0.0, 20_000.0]), "the samples reach 20000"),
}
IN_THE_HEADER = ("empty", "no samples", "text", "cut off in the header")

SOUNDS: dict[str, Case] = {
    **{
        f"{name}, in a training": Case(
            TRAIN, damage, ("a.wav", says) if name not in IN_THE_HEADER else ("m.jsonl:1", says)
        )
        for name, (damage, says) in BROKEN_SOUNDS.items()
    },
    **{name: Case(RUN, BROKEN_SOUNDS[name][0], ("m.jsonl:1", BROKEN_SOUNDS[name][1])) for name in IN_THE_HEADER},
    "a folder": Case(RUN, folder("clips/a.wav"), ("m.jsonl:1", "'a.wav': this is a folder")),
}

CHECKPOINTS: dict[str, Case] = {
    "empty": Case(RUN, put("checkpoints/small.safetensors", ""), ("small.safetensors", "truncated")),
    "a folder": Case(RUN, folder("checkpoints/small.safetensors"), ("tiny.yaml:4", "is a folder")),
    "cut off": Case(RUN, cut("checkpoints/small.safetensors", 0.7), ("small.safetensors", "truncated")),
    "text": Case(RUN, put("checkpoints/small.safetensors", "weights"), ("small.safetensors", "no safetensors file")),
    "pickle under another name": Case(
        RUN,
        put("checkpoints/small.safetensors", pickle.dumps(RunsCode())),
        ("small.safetensors", "no safetensors file"),
    ),
    "another network": Case(
        RUN, weights(lambda s: s.pop("codebook.embed")), ("small.safetensors", "'codebook.embed' is missing")
    ),
    "missing tensor": Case(
        RUN, weights(lambda s: s.pop("decoder.0.bias")), ("small.safetensors", "missing decoder.0.bias")
    ),
    "unexpected tensor": Case(RUN, weights(lambda s: s.update(x=torch.ones(1))), ("small.safetensors", "unexpected x")),
    "wrong shape": Case(
        RUN,
        weights(lambda s: s.update({"decoder.0.bias": torch.ones(3)})),
        ("small.safetensors", "decoder.0.bias has shape (3,), wanted (32,)"),
    ),
    "other dtype": Case(
        RUN,
        weights(lambda s: s.update({"decoder.0.bias": torch.ones(32, dtype=torch.int32)})),
        ("small.safetensors", "decoder.0.bias is torch.int32, wanted floats"),
    ),
    "NaN": Case(
        RUN,
        weights(lambda s: s["decoder.0.bias"].fill_(torch.nan)),
        ("small.safetensors", "decoder.0.bias holds NaN or infinity"),
    ),
    "header of another version": Case(RUN, header(format=99), ("small.safetensors", "format is 99")),
    "header that is no JSON": Case(RUN, weights(lambda s: None, "{"), ("small.safetensors", "header is not what")),
    "header with other sizes": Case(
        RUN, header(dimensions={"hidden_dim": 32}), ("small.safetensors", "disagree with the tensors")
    ),
    "header without a front end": Case(RUN, header(front_end=None), ("small.safetensors", "front_end")),
    "header with text for a number": Case(
        RUN, header(front_end={"hop_length": "256"}), ("small.safetensors", "sizes are impossible")
    ),
    "header with a fraction of a sample": Case(
        RUN, header(front_end={"n_fft": 1024.5}), ("small.safetensors", "sizes are impossible")
    ),
    "header with other bands": Case(
        RUN, header(front_end={"n_mels": 3, "norms": [1, 2, 3]}), ("small.safetensors", "reads 80 bands")
    ),
    "torch file cut off": Case(
        RUN, together(OFFICIAL, cut("checkpoints/small.pth", 0.5)), ("small.pth", "truncated or no torch file")
    ),
    "torch file of something else": Case(
        RUN, together(OFFICIAL, torch_file("checkpoints/small.pth", [1, 2])), ("small.pth", "holds a list")
    ),
    "pickle that wants to run code": Case(
        RUN,
        together(OFFICIAL, put("checkpoints/small.pth", pickle.dumps(RunsCode()))),
        ("small.pth", "a pickle that wants more than tensors"),
    ),
    "torch file that wants to run code": Case(
        RUN,
        together(OFFICIAL, torch_file("checkpoints/small.pth", {"codebook.embed": RunsCode()})),
        ("small.pth", "a pickle that wants more than tensors"),
    ),
    "norms that want to run code": Case(
        RUN,
        together(
            suite("small.safetensors", "small.pth, mel_norms: n.pth"), put("suites/n.pth", pickle.dumps(RunsCode()))
        ),
        ("n.pth", "a pickle that wants more than tensors"),
    ),
    "norms for other bands": Case(
        RUN,
        together(
            suite("small.safetensors", "small.pth, mel_norms: n.pth"), torch_file("suites/n.pth", torch.ones(100))
        ),
        ("small.pth", "100 values for 80 bands"),
    ),
    "norms of zero": Case(
        RUN,
        together(
            suite("small.safetensors", "small.pth, mel_norms: n.pth"), torch_file("suites/n.pth", torch.zeros(80))
        ),
        ("small.pth", "other than zero"),
    ),
    "two broken ones": Case(
        RUN,
        together(
            suite("references", "  - {name: official, checkpoint: ../checkpoints/small.pth}\nreferences"),
            cut("checkpoints/small.pth", 0.5),
            cut("checkpoints/small.safetensors", 0.5),
        ),
        ("small.pth", "small.safetensors"),
        2,
    ),
    "state of a training of unknown recipe": Case(
        TRAIN, put("out/reconstruct/state.pt", "PK"), ("error: out: ", "not the training.json")
    ),
}

JUDGING = {
    "compare": "compare runs/quick main",
    "gate": "gate runs/quick --junit gate.xml --markdown gate.md",
    "report": "report runs/quick -o page.html",
    "baseline save": "baseline save runs/quick other",
}
"""Every verb that reads a run, with all that it would write."""

RESULTS: dict[str, Case] = {
    **{
        f"cut off, for {verb}": Case(line, cut("runs/quick/result.json", 0.5), ("result.json:", "is not JSON"))
        for verb, line in JUDGING.items()
    },
    "no run": Case("compare runs/quik", nothing, ("'runs/quik'", "no baseline, run or file")),
    "no result": Case(COMPARE, gone("runs/quick/result.json"), ("runs/quick/result.json", "no such file")),
    "empty": Case(COMPARE, put("runs/quick/result.json", ""), ("result.json", "is empty")),
    "a picture": Case(COMPARE, put("runs/quick/result.json", b"\x89PNG\xff"), ("result.json", "is not text")),
    "a list": Case(COMPARE, put("runs/quick/result.json", "[]"), ("result.json", "no result of vqbench")),
    "NaN": Case(COMPARE, result('"value": 0.', '"value": NaN, "n": 0.'), ("result.json", "holds the literal NaN")),
    "number beyond all bounds": Case(
        COMPARE,
        result('"resamples": 100', '"resamples": 100, "confidence": 1e999'),
        ("result.json", "finite numbers only"),
    ),
    "another schema": Case(COMPARE, result('"schema": 3', '"schema": 99'), ("result.json", "written in schema 99")),
    "missing key": Case(COMPARE, result('"seed": 0, ', ""), ("result.json: ", "the key 'seed' is missing")),
    "unknown key": Case(
        COMPARE, result('"schema": 3', '"schema": 3, "clip": []'), ("result.json", "unknown key 'clip'")
    ),
    "text for a number": Case(
        COMPARE, result('"resamples": 100', '"resamples": "100"'), ("result.json: interval", "a whole number")
    ),
    "cells that are gone": Case(
        COMPARE, result('"row_ids": null', '"row_ids": ["clip001"]'), ("result.json", "does not agree with itself")
    ),
    "rule that is no rule": Case("gate runs/quick", result("<= 0.9", "< 0.9"), ("speech.wer < 0.9", "<= or >=")),
    "baseline that is broken": Case(
        "gate runs/quick --baseline main --rule 'speech.wer <= baseline' --junit gate.xml",
        cut("baselines/main.json", 0.5),
        ("main.json:", "is not JSON"),
    ),
    "baseline of a suite that is broken": Case(
        RUN,
        together(
            suite("min_clips", "baseline: ../baselines/main.json\ngate: [codebook.dead <= baseline]\nmin_clips"),
            cut("baselines/main.json", 0.5),
        ),
        ("main.json:", "is not JSON"),
    ),
    "baseline to be shown that is broken": Case(
        "baseline show main", put("baselines/main.json", "{}"), ("main.json", "no result of vqbench")
    ),
}

OPTIONS: dict[str, Case] = {
    "no verb": Case("rnu suites/tiny.yaml", nothing, ("No such command 'rnu'",)),
    "no such verb of data": Case("data synthesise out", nothing, ("No such command 'synthesise'",)),
    "no suite": Case("run", nothing, ("Missing argument 'SUITE'",)),
    "unknown option": Case(f"{RUN} --metrics codebook", nothing, ("No such option: --metrics",)),
    "unknown candidate": Case(f"{RUN} -c smal", nothing, ("candidate 'smal'", "(did you mean 'small'?)")),
    "unknown metric group": Case(f"{RUN} -m codebok", nothing, ("'codebok'", "(did you mean 'codebook'?)")),
    "unknown baseline": Case(f"{RUN} -b mian", nothing, ("'mian'", "(did you mean 'main'?)")),
    "unknown candidate of a baseline": Case(f"{RUN} -b main:god", nothing, ("'god'", "(did you mean 'good'?)")),
    "baseline without a rule": Case(f"{RUN} -b main", nothing, ("tiny.yaml", "no rule to gate on")),
    "unknown device": Case(f"{TRAIN} --device nonsense", nothing, ("--device", "'nonsense'", "auto, cpu")),
    "device of another machine": Case(f"{TRAIN} --device cuda:999", nothing, ("--device", "cuda:999")),
    "device that torch alone knows": Case(f"{TRAIN} --device meta", nothing, ("--device", "'meta'", "auto, cpu")),
    "run into a file": Case("run suites/tiny.yaml -o pyproject.toml", nothing, ("pyproject.toml", "is a file")),
    "run below a file": Case("run suites/tiny.yaml -o pyproject.toml/x/y", nothing, ("pyproject.toml", "is a file")),
    "run over a folder": Case(RUN, folder("out/result.json"), ("out/result.json", "this is a folder")),
    "training into a file": Case(
        "train recipes/brief.yaml -o pyproject.toml", nothing, ("pyproject.toml", "is a file")
    ),
    "corpus into a file": Case("data synthesize pyproject.toml -n 1", nothing, ("pyproject.toml", "is a file")),
    "no utterances": Case("data synthesize out -n 0", nothing, ("'-n'", "greater than or equal to 1")),
    "report into a folder": Case("report runs/quick -o runs", nothing, ("runs", "this is a folder")),
    "report as nothing known": Case("report runs/quick -f yaml", nothing, ("'yaml' is not one of",)),
    "gate into a folder": Case(
        "gate runs/quick --junit gate.xml --markdown runs", nothing, ("runs", "this is a folder")
    ),
    "gate for an unknown candidate": Case(
        "gate runs/quick --candidate god", nothing, ("'god'", "(did you mean 'good'?)")
    ),
    "gate by a rule that is no rule": Case(
        "gate runs/quick --rule 'speech.wer = 1'", nothing, ("speech.wer = 1", "expected <= or >=")
    ),
    "gate by a rule about nothing": Case(
        "gate runs/quick --rule 'speech.were <= 1'", nothing, ("speech.were <= 1", "(did you mean 'speech.wer'?)")
    ),
    "unknown metric to compare": Case(
        f"{COMPARE} -m speech.were", nothing, ("'speech.were'", "(did you mean 'speech.wer'?)")
    ),
    "unknown candidate to compare": Case("compare runs/quick:god", nothing, ("'god'", "(did you mean 'good'?)")),
    "baseline of that name": Case("baseline save runs/quick main", nothing, ("main.json", "such a baseline already")),
    "baseline with a path for a name": Case("baseline save runs/quick ../x", nothing, ("'../x'", "a plain name")),
    "cache in a file": Case(RUN, put("../cache", ""), ("cache", "is a file", "$VQBENCH_CACHE")),
}

TABLES = {
    "suite": SUITES,
    "recipe": RECIPES,
    "manifest": MANIFESTS,
    "clip": SOUNDS,
    "checkpoint": CHECKPOINTS,
    "result": RESULTS,
    "option": OPTIONS,
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{what}: {name}") for what, cases in TABLES.items() for name, case in cases.items()]
)
def test_one_message_a_fault_and_not_a_file_more(project: Path, case: Case) -> None:
    case.damage(project)
    before = tree(project.parent)
    done = vqbench(case.line)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stdout == ""
    assert len(re.findall("^error: ", done.stderr, re.IGNORECASE | re.MULTILINE)) == case.n_faults, done.stderr
    for part in case.says:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert tree(project.parent) == before


def test_the_pickle_would_run_code(project: Path) -> None:
    pickle.loads(pickle.dumps(RunsCode()))
    assert (project / "it-ran").exists()


def test_the_project_itself_has_no_fault(project: Path) -> None:
    assert vqbench(RUN).exit_code == 0
    assert vqbench(TRAIN.replace("out", "trained")).exit_code == 0
    for line in JUDGING.values():
        assert vqbench(line).exit_code == 0


@pytest.mark.parametrize("name", BROKEN_SOUNDS)
def test_a_clip_that_cannot_be_scored_is_named_and_the_others_are_scored(project: Path, name: str) -> None:
    damage, says = BROKEN_SOUNDS[name]
    damage(project)
    clip(duration_s=0.5)(project)
    done = vqbench(RUN)
    assert done.exit_code == 0, done.output
    run = load_run(project / "out")
    (table,) = run.tables
    assert table.row_ids == ("b", "c")
    assert list(table.unscored) == ["a"]
    assert says in table.unscored["a"]
    assert {result.n for result in run.results} == {2}


@pytest.mark.parametrize("name", BROKEN_SOUNDS)
def test_a_clip_that_cannot_be_scored_never_passes_a_gate(project: Path, name: str) -> None:
    BROKEN_SOUNDS[name][0](project)
    together(clip(duration_s=0.5), suite("min_clips: 3", "gate: [codebook.dead <= 1]\nmin_clips: 2"))(project)
    done = vqbench(RUN)
    assert done.exit_code == 1
    assert "1 clip could not be scored" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("samples", "n_tokens"),
    [([0.0] * RATE_HZ, 22), ([0.5], 1), ([1.9, -1.9] * 600, 2), (np.zeros((2048, 2)), 3)],
    ids=["silence", "one sample", "clipped", "stereo"],
)
def test_odd_sounds_are_sounds(project: Path, samples: list[float], n_tokens: int) -> None:
    sound("clips/a.wav", samples)(project)
    assert vqbench(RUN).exit_code == 0
    (table,) = load_run(project / "out").tables
    assert table.unscored == {}
    codes = dict(zip(table.row_ids, table.columns["codes"].rows(), strict=True))["a"]
    assert len(codes) == n_tokens
