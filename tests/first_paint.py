"""How long a page takes to show in a browser that has just started: each time another one, with an empty profile.

python tests/first_paint.py PAGE [TIMES]

Times count from when the browser begins to read the page: the first paint of something of it, the end of loading, and
the first row of the table of clips, which is filled by script. The system has the file in memory after the first time.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import chromium
from playwright.sync_api import Page

TIMES = {
    "first paint": "performance.getEntriesByName('first-contentful-paint')[0]?.startTime",
    "loaded": "performance.getEntriesByType('navigation')[0].loadEventEnd",
    "first row of the table of clips": "document.querySelector('#clips-body tbody tr') && performance.now()",
}
"""What is waited for → the time, in ms; nothing as long as it did not happen."""


def times_ms(page: Page, document: Path) -> list[float]:
    """The TIMES of a page that is opened in a new tab."""
    page.goto(document.resolve().as_uri(), wait_until="commit")
    waited_for = reversed(TIMES.values())  # The last first, since it is the one that cannot be asked for afterwards.
    return [chromium.until(page, time) for time in waited_for][::-1]


def main(document: str, times: str = "5") -> None:
    choice = chromium.find(may_install=False)
    if choice.act != "use":
        sys.exit(choice.what)
    rows = []
    for _ in range(int(times)):
        with chromium.launched(choice.what) as browser:
            rows.append(times_ms(browser.new_page(), Path(document)))
            version = browser.version
    print(f"chromium {version}, {Path(document).stat().st_size / 1e6:.1f} MB, {times} times; in seconds:")
    for name, column in zip(TIMES, zip(*rows, strict=True), strict=True):
        print(f"{name}: {statistics.median(column) / 1000:.2f} ({min(column) / 1000:.2f} to {max(column) / 1000:.2f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
