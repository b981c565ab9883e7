"""What tests of pages start from: a browser, and the page of a run with something to hear and to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_fixtures import browser, open_page, pytest_collection_finish  # noqa: F401
from exhibited import exhibited_run, save_exhibited

from vqbench.judging.evidence import Evidence
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import Run
from vqbench.report.page.document import run_page, write_page


@pytest.fixture(scope="session")
def run() -> Run:
    """A run with rules, references, and the tokens of a GPT."""
    return exhibited_run(gate=["speech.wer <= 0.2", "speech.wer <= baseline + 0.02"])


@pytest.fixture(scope="session")
def evidence(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """The run in its folder, with what was heard, and two clips to listen to."""
    return save_exhibited(run, tmp_path_factory.mktemp("runs") / "this")


@pytest.fixture(scope="session")
def document(run: Run, evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    write_page(run_page(evidence, gate(run, Selection("main", run))), file, None)
    return file
