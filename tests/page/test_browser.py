"""The browser that other tests here use: how it is found, and that nothing a page must not do goes unseen."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import chromium
import pytest
from chromium import MISSING, Choice
from playwright.sync_api import Browser
from playwright.sync_api import Error as BrowserError

pytest_plugins = ["pytester"]

NAMED = {chromium.VARIABLE: "/opt/mine"}


@pytest.mark.parametrize(
    ("environment", "programs", "may_install", "choice"),
    [
        ({}, {"chromium", "google-chrome"}, True, Choice("use", "chromium")),
        ({}, {"google-chrome"}, True, Choice("use", "google-chrome")),
        ({"CI": "true"}, {"chromium-browser"}, False, Choice("use", "chromium-browser")),
        (NAMED, {"chromium", "/opt/mine"}, True, Choice("use", "/opt/mine")),
        (NAMED, {"chromium"}, True, Choice("fail", f"{chromium.VARIABLE}: /opt/mine is no program that runs")),
        ({chromium.VARIABLE: ""}, {"chromium"}, False, Choice("use", "chromium")),
        ({}, set(), False, Choice("skip", MISSING)),
        ({"CI": ""}, set(), False, Choice("skip", MISSING)),
        ({"CI": "false"}, set(), False, Choice("skip", MISSING)),
        ({"CI": "true"}, set(), False, Choice("fail", MISSING)),
        ({"CI": "1"}, set(), False, Choice("fail", MISSING)),
    ],
)
def test_which_browser(environment: Mapping[str, str], programs: set[str], may_install: bool, choice: Choice) -> None:
    def which(name: str) -> str | None:
        return name if name in programs else None

    assert chromium.choose(environment, which, may_install) == choice


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}])
def test_a_browser_is_installed_where_that_is_possible(environment: Mapping[str, str]) -> None:
    choice = chromium.choose(environment, lambda name: None, True)
    assert choice.act == "install"
    assert choice.what.startswith(MISSING)


def test_what_keeps_a_browser_from_being_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    works = (sys.executable, "-c", "pass")
    fails = (sys.executable, "-c", "import sys; sys.exit('no space left')")
    monkeypatch.setattr(chromium, "INSTALLATION", (works, works))
    assert chromium.install() == ""
    monkeypatch.setattr(chromium, "INSTALLATION", (fails, works))
    assert chromium.install().endswith("no space left")


# ---- what a page must not do

STRICT = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:\">"
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="

BAD = {
    "an error on the console": ("<script>console.error('bad')</script>", "console error: bad"),
    "a warning": ("<script>console.warn('bad')</script>", "console warning: bad"),
    "an assertion": ("<script>console.assert(false, 'bad')</script>", "console assert: bad"),
    "an exception": ("<script>throw new Error('bad')</script>", "error: bad"),
    "an exception later on": ("<script>setTimeout(() => { throw new Error('bad'); })</script>", "error: bad"),
    "a rejected promise": ("<script>Promise.reject(new Error('bad'))</script>", "error: bad"),
    "an image of the network": ("<img src='http://example.invalid/a.png'>", "request: http://example.invalid/a.png"),
    "a picture of a style": (
        "<body style='background: url(//example.invalid/a)'>",
        "request: file://example.invalid/a",
    ),
    "a file beside it": ("<img src='other.png'>", "/other.png"),
    "a beacon": (
        "<script>navigator.sendBeacon('http://example.invalid/')</script>",
        "request: http://example.invalid/",
    ),
    "a dialog": ("<script>alert('bad')</script>", "dialog: alert: bad"),
    "a window": ("<script>open('about:blank')</script>", "it opened a window"),
    "a script that its policy blocks": (f"{STRICT}<script>alert(1)</script>", "Content Security Policy"),
    "a handler that its policy blocks": (f"{STRICT}<img src='{DOT}' onload='alert(1)'>", "Content Security Policy"),
    "an image that its policy blocks": (f"{STRICT}<img src='http://example.invalid/'>", "Content Security Policy"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_a_page_does_is_seen(bad: str, browser: Browser, tmp_path: Path) -> None:
    html, complaint = BAD[bad]
    document = tmp_path / "page.html"
    document.write_text(f"<!doctype html>{html}")
    with pytest.raises(AssertionError) as caught, chromium.opened(browser, document):
        pass
    assert complaint in str(caught.value)


GOOD = {
    "nothing": "<p>hello",
    "a picture inside": f"<img src='{DOT}'>",
    "a policy that is kept": f"{STRICT}<img src='{DOT}'>",
    "a message": "<script>console.log('hello'); console.info('hello')</script>",
    "a file of its folder": "<img src='assets/dot.gif'>",
}


@pytest.mark.parametrize("good", GOOD)
def test_what_a_page_may_do(good: str, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/dot.gif").write_bytes(b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\0;")
    document = tmp_path / "page.html"
    document.write_text(f"<!doctype html><title>t</title>{GOOD[good]}")
    with chromium.opened(browser, document, tmp_path / "assets", color_scheme="dark") as page:
        assert page.title() == "t"
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_a_condition_is_waited_for_whatever_the_policy(browser: Browser, tmp_path: Path) -> None:
    document = tmp_path / "page.html"
    document.write_text(f"{STRICT}<title>t</title>")
    with chromium.opened(browser, document) as page:
        page.evaluate("() => { setTimeout(() => { document.title = 'later'; }, 50); }")
        assert chromium.until(page, "document.title !== 't' && document.title") == "later"
        with pytest.raises(BrowserError, match="never came true"):
            chromium.until(page, "document.title === 't'", 0.05)


def test_a_page_without_scripts_is_watched_too(browser: Browser, tmp_path: Path) -> None:
    document = tmp_path / "page.html"
    document.write_text("<p><noscript>none</noscript><script>console.error('bad')</script>")
    with chromium.opened(browser, document, java_script_enabled=False) as page:
        assert page.locator("noscript").inner_text() == "none"
    document.write_text("<img src='http://example.invalid/a.png'>")
    with (
        pytest.raises(AssertionError, match="request: "),
        chromium.opened(browser, document, java_script_enabled=False),
    ):
        pass


def test_a_file_of_the_folder_is_a_request_where_no_folder_is_allowed(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    document = tmp_path / "page.html"
    document.write_text("<img src='assets/dot.gif'>")
    with pytest.raises(AssertionError, match="request: file://"), chromium.opened(browser, document):
        pass


def test_no_page_reaches_the_network(browser: Browser, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        document = tmp_path / "page.html"
        document.write_text(
            f"<img src='http://{place}/a.png'><link rel='preconnect' href='http://{place}'>"
            f"<script>fetch('http://{place}/'); new WebSocket('ws://{place}/')</script>"
        )
        with pytest.raises(AssertionError, match="ERR_INTERNET_DISCONNECTED"), chromium.opened(browser, document):
            pass
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_the_test_itself_finds_is_what_it_says(browser: Browser, tmp_path: Path) -> None:
    document = tmp_path / "page.html"
    document.write_text("<script>console.error('bad')</script>")
    with pytest.raises(ZeroDivisionError), chromium.opened(browser, document):
        raise ZeroDivisionError


# ---- the fixtures, in a pytest of their own

TESTS = """
def test_page(open_page, tmp_path):
    (tmp_path / "page.html").write_text("<script>console.{0}('hello')</script>")
    open_page(tmp_path / "page.html")
"""
AFTERWARDS = """
import asyncio

def test_asyncio(): asyncio.run(asyncio.sleep(0))
"""


def run_fixtures(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, does: str = "log") -> pytest.RunResult:
    pytester.makeconftest("from browser_fixtures import browser, open_page, pytest_collection_finish")
    pytester.makepyfile(test_1=TESTS.replace("{0}", does), test_2=AFTERWARDS)
    monkeypatch.setenv("PYTHONPATH", str(Path(chromium.__file__).parent))
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", "-rs")


def test_a_page_fails_its_test_and_leaves_nothing_behind(
    browser: Browser, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fixtures(pytester, monkeypatch).assert_outcomes(passed=2)
    done = run_fixtures(pytester, monkeypatch, "error")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*page.html did what no page of ours may do:", "*console error: hello *"])


def bare_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no programs but what is in the folder, and is no CI's."""
    for name in (chromium.VARIABLE, "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root installs packages")
def test_tests_bring_their_browser(
    browser: Browser, pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = chromium.find(may_install=False).what
    packed, apt_get = tmp_path / "packed", tmp_path / "apt-get"
    packed.write_text(f"#!/bin/sh\nPATH='{os.environ['PATH']}' exec '{real}' \"$@\"\n")
    apt_get.write_text(f"#!/bin/sh\n[ $1 = update ] || /bin/mv '{packed}' '{tmp_path}/chromium'\n")
    for program in (packed, apt_get):
        program.chmod(0o755)
    bare_machine(tmp_path, monkeypatch)
    done = run_fixtures(pytester, monkeypatch)
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines([f"{MISSING}; now Debian's chromium is installed*"])


def test_without_a_browser_tests_are_skipped_by_name_and_fail_in_ci(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_machine(tmp_path, monkeypatch)
    done = run_fixtures(pytester, monkeypatch)
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines([f"SKIPPED * {MISSING}"])
    monkeypatch.setenv("CI", "true")
    done = run_fixtures(pytester, monkeypatch)
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines([f"*{MISSING}"])
