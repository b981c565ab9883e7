"""Fixtures for tests of pages: a browser, which is installed where that is possible, and pages that are watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import chromium
import pytest
from playwright.sync_api import Browser, Page

CHOICE = pytest.StashKey[chromium.Choice]()

OpenPage = Callable[..., Page]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Brings the browser if a test will need it: here, since inside a test the timeout would run."""
    if session.config.option.collectonly:
        return
    if not any("browser" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    choice = chromium.find(may_install=True)
    if choice.act == "install":
        session.config.get_terminal_writer().line(f"\n{choice.what}")
        problem = chromium.install()
        choice = chromium.find(may_install=False)
        if problem and choice.act != "use":
            choice = chromium.Choice(choice.act, f"{choice.what}; it could not be installed: {problem}")
    session.config.stash[CHOICE] = choice


# A module, not a session: while Playwright runs, its event loop is the running one, and asyncio.run would fail in every
# test that comes after.
@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """Chromium without a window."""
    choice = pytestconfig.stash[CHOICE]
    if choice.act == "skip":
        pytest.skip(choice.what)
    if choice.act == "fail":
        pytest.fail(choice.what, pytrace=False)
    with chromium.launched(choice.what) as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """`open_page(document, assets=None, **options)` is a page that must behave to the end of the test.

    See `chromium.opened` for what it takes and what no page may do.
    """
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(chromium.opened(browser, *arguments, **options))
