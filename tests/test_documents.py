"""What the documents say that commands print is what they print, and it is the story that they tell."""

from __future__ import annotations

import json
import re

import pytest
from documented import ROOT, answered
from typer.testing import CliRunner

from vqbench.cli import app

DOCUMENTS = ["README.md", "docs/pocket.md", "docs/release.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_print_what_the_document_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    document = (ROOT / name).read_text(encoding="utf-8")
    assert "\n$ vqbench " in document
    assert answered(document) == document


@pytest.mark.parametrize("name", ["README.md", "docs/pocket.md"])
def test_a_figure_in_the_prose_is_one_that_a_command_prints(name: str) -> None:
    document = (ROOT / name).read_text(encoding="utf-8")
    printed = {
        figure for block in re.findall(r"^```console\n.*?^```$", document, re.M | re.S) for figure in _figures(block)
    }
    prose = re.sub(r"^```.*?^```$|^    .*?$|\]\([^)]*\)", "", document, flags=re.MULTILINE | re.DOTALL)
    told = _figures(prose)
    assert told <= printed, sorted(told - printed)


def _figures(text: str) -> set[str]:
    """Numbers with two digits or more behind the point: those of results, not of versions or settings."""
    return set(re.findall(r"(?<!Python )(?<![\w.])\d+\.\d{2,}(?![\w.]\d)", text))


def test_the_readme_fits_a_terminal() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 150]


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
