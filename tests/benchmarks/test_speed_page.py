"""The page of a large run: laying it out against reading the run, which any report has to do.

Measured, it is 10 candidates × 10,000 clips with the metrics of the quick suite, transcripts, and four clips to hear.
How fast a browser shows the page is another question: `tests/first_paint.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from large_run import large_run, save_large_run

from vqbench.judging.evidence import Evidence, load_evidence
from vqbench.records.store import load_run
from vqbench.report.page.contents import BUDGET_BYTES
from vqbench.report.page.document import run_page, write_page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, measured: bool) -> Path:
    folder = tmp_path_factory.mktemp("large") / "run"
    metrics = load_run(ROOT / "baselines/quick.json").metrics
    save_large_run(large_run(metrics, 10) if measured else large_run(metrics, 3, 50), folder)
    return folder


@pytest.mark.parametrize("contender", ["read the run", "its page"])
def test_page(benchmark, contender, folder, tmp_path) -> None:
    benchmark.group = "10 candidates × 10,000 clips"
    evidence = load_evidence(str(folder))
    file = tmp_path / "page.html"
    contenders: dict[str, Callable[[], Evidence | None]] = {
        "read the run": lambda: load_evidence(str(folder)),
        "its page": lambda: write_page(run_page(evidence), file, None),
    }
    answer = benchmark.pedantic(contenders[contender], rounds=3)
    if contender == "read the run":
        assert len(answer.transcripts) == len(answer.run.candidates) * len(answer.run.clips)
    else:
        benchmark.extra_info["megabytes"] = file.stat().st_size / 1e6
        assert file.stat().st_size <= BUDGET_BYTES
        assert f'id="exhibit-{len(evidence.exhibits.exhibits) - 1}"' in file.read_text(encoding="utf-8")
