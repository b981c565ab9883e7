"""`vqbench pocket`, by the command line; `build` itself is in tests/pocket."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.data.manifest import read_manifest
from vqbench.teachers.pocket import card as cards
from vqbench.training.pocket.build import stages
from vqbench.training.pocket.plan import TINY

FIGURE = {"value": 0.1234, "ci_low": 0.1, "ci_high": 0.15, "n": 200, "target": "<= 0.2", "met": True, "about": "words"}
PART: dict[str, Any] = {"sha256": "f" * 64, "bytes": 12_345_678, "numbers": 6_000_000, "check": {"right": 0.41}}
CARD: dict[str, Any] = {
    "format": 1,
    "name": "pocket",
    "plan": "0123456789abcdef",
    "source": "0123456789abcdef",
    "parts": {name: {**PART, "file": f"{name}.safetensors"} for name in cards.PARTS},
    "bytes": 12_345_678,
    "settings": {"sampling": {"temperature": 0.7}, "diffusion_steps": 24},
    "corpus": {"utterances": 12_000, "hours": 10.5, "voices": {"joe": "Piper", "slt": "flite"}},
    "licence": "as vqbench's own",
    "figures": {
        "spoken_wer": FIGURE,
        "own_similarity": {
            **FIGURE,
            "value": 0.71,
            "ci_low": None,
            "ci_high": None,
            "target": ">= 0.8",
            "met": False,
            "about": "voice",
            "unscored": ["'Yes.': no voice was found"],
        },
        "similarity_margin": {**FIGURE, "unscored": ["'Yes.': no voice was found"]},
    },
    "judges": {"asr": {"backend": "faster-whisper"}},
    "notes": ["more steps of the diffusion did not help"],
}


def vqbench(line: str) -> Any:
    return CliRunner().invoke(app, shlex.split(line), env={"COLUMNS": "140"})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    return tmp_path


def test_info_shows_the_card(package: Path) -> None:
    shown = vqbench(f"pocket info {package}")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    (gpt,) = [line for line in lines if line.split()[:1] == ["gpt"]]
    assert gpt.split() == ["gpt", "12.35", "6,000,000", "f" * 16, "right", "0.41"]
    (wer,) = [line for line in lines if line.split()[:1] == ["spoken_wer"]]
    assert wer.split() == ["spoken_wer", "0.123", "0.100–0.150", "200", "<=", "0.2", "met", "words"]
    (voice,) = [line for line in lines if line.split()[:1] == ["own_similarity"]]
    assert voice.split() == ["own_similarity", "0.710", "200", ">=", "0.8", "missed", "voice"]
    for told in (
        "sampling (temperature 0.7), diffusion steps 24",
        "utterances 12,000, hours 10.5, voices (joe Piper, slt flite)",
        "missed: own_similarity 0.710 (target >= 0.8)",
        "not scored in own_similarity, similarity_margin: 'Yes.': no voice was found",
        "tried: more steps of the diffusion did not help",
        "licence: as vqbench's own",
    ):
        assert told in shown.stdout


def test_info_as_json_is_the_card(package: Path) -> None:
    shown = vqbench(f"pocket info {package} --json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == CARD


def test_a_card_without_figures_says_so(package: Path) -> None:
    (package / "card.json").write_text(json.dumps({**CARD, "figures": {}}))
    assert "nothing was measured yet" in vqbench(f"pocket info {package}").stdout


def test_where_none_was_shipped_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "SHIPPED", tmp_path / "data")
    shown = vqbench("pocket info")
    assert shown.exit_code == 2
    assert "this vqbench was shipped no pocket TorToiSe" in shown.stderr
    assert "vqbench pocket build" in shown.stderr
    assert shown.stdout == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no pocket TorToiSe in this folder"),
        ("{", "the card cannot be read"),
        ("\udcff", "the card cannot be read"),
        ("[]", "the card has another format"),
        (json.dumps({**CARD, "format": 2}), "expected: format 1"),
        (json.dumps({"format": 1, "name": "pocket"}), "the card lacks plan, source, parts"),
        (json.dumps({**CARD, "figures": None, "parts": []}), "the card's parts, figures cannot be read"),
        (json.dumps({**CARD, "parts": {}}), "the card's parts are not a pocket TorToiSe's"),
        (json.dumps({**CARD, "parts": {**CARD["parts"], "gpt": {**PART, "file": "../gpt"}}}), "the card's parts are"),
        (json.dumps({**CARD, "parts": {**CARD["parts"], "gpt": {"file": "gpt.safetensors"}}}), "each with its file"),
    ],
    ids=["absent", "damaged", "binary", "list", "newer", "half", "kinds", "no parts", "other file", "no digest"],
)
def test_a_card_that_is_none(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "card.json").write_bytes(content.encode(errors="surrogateescape"))
    shown = vqbench(f"pocket info {tmp_path}")
    assert shown.exit_code == 2
    assert says in shown.stderr
    assert str(tmp_path) in shown.stderr


def test_info_imports_no_torch(package: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; from vqbench.cli import main; main()"
    command = [sys.executable, "-c", script, "pocket", "info", str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "spoken_wer" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--device gpu", "'gpu' is no device"),
        ("--asr tiny.em", "did you mean 'tiny.en'?"),
        ("--asr ./nowhere", "there is no ASR model"),
        ("--plan small", "'small' is not one of 'full', 'tiny'"),
    ],
)
def test_mistakes_are_said_before_anything_is_begun(tmp_path: Path, options: str, says: str) -> None:
    done = vqbench(f"pocket build --plan tiny -o {tmp_path / 'out'} --device cpu {options}")
    assert done.exit_code == 2, done.output
    assert says in done.stderr.replace("\n", " ").replace("│", "")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("flite") is None, reason="the tiny corpus is spoken by flite")
def test_the_corpus_can_be_had_alone_and_the_build_takes_it(tmp_path: Path) -> None:
    done = vqbench(f"pocket corpus --plan tiny -o {tmp_path} -q")
    assert done.exit_code == 0, done.output
    manifest = tmp_path / "corpus/manifest.jsonl"
    assert done.stdout.strip() == str(manifest)
    clips = read_manifest(manifest)
    assert len(clips) == 44
    before = manifest.stat().st_mtime_ns
    assert vqbench(f"pocket corpus --plan tiny -o {tmp_path} -q").exit_code == 0
    assert manifest.stat().st_mtime_ns == before
    assert [stage.done for stage in stages(TINY, tmp_path)[:2]] == [True, False]
