"""What the documents say that commands print is what they print, and it is the story that they tell."""

from __future__ import annotations

import json

import pytest
from documented import ROOT, answered
from typer.testing import CliRunner

from vqbench.cli import app

DOCUMENTS = ["docs/release.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_print_what_the_document_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    document = (ROOT / name).read_text(encoding="utf-8")
    assert "\n$ vqbench " in document
    assert answered(document) == document


def gate(candidate: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, str]]:
    monkeypatch.chdir(ROOT)
    asked = ["gate", "baselines/adapted.json", "--baseline", "adapted:released", "--candidate", candidate, "--json"]
    result = CliRunner().invoke(app, asked)
    return result.exit_code, {o["metric"]: o["status"] for o in json.loads(result.stdout)["outcomes"]}


def test_the_good_one_passes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    code, statuses = gate("guarded", monkeypatch)
    assert code == 0
    assert set(statuses.values()) == {"pass"}


def test_the_drifted_one_fails_on_agreement_and_wer_though_it_reconstructs_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, statuses = gate("drifted", monkeypatch)
    assert code == 1
    assert statuses["reconstruction.mel_l1"] == "pass"
    assert statuses["token_agreement.raw"] == statuses["downstream.wer"] == "fail"
