"""The script that measures how fast a page shows: that what it waits for is on the page."""

from __future__ import annotations

from pathlib import Path

from builders import make_run
from first_paint import TIMES, times_ms
from playwright.sync_api import Browser

from vqbench.judging.evidence import Evidence
from vqbench.report.page.document import run_page, write_page


def test_all_that_is_timed_happens(browser: Browser, tmp_path: Path) -> None:
    document = tmp_path / "page.html"
    write_page(run_page(Evidence("a", make_run())), document, None)
    times = times_ms(browser.new_page(), document)
    assert len(times) == len(TIMES)
    assert min(times) > 0
