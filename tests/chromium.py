"""The browser that tests and measurements drive: which one, and what a page of ours must not do in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, sync_playwright
from playwright.sync_api import Error as BrowserError

VARIABLE = "VQBENCH_CHROMIUM"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"no browser: install chromium, or set {VARIABLE} to a program like it"

INSTALLATION = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "chromium"),
)
MOST_SECONDS = 1200
"""After which an installation has hung."""


@dataclass(frozen=True)
class Choice:
    """What to do for a browser: use that program, install one, or skip or fail the tests for that reason."""

    act: Literal["use", "install", "skip", "fail"]
    what: str


def choose(environment: Mapping[str, str], which: Callable[[str], str | None], may_install: bool) -> Choice:
    """The program that $VQBENCH_CHROMIUM names, else one on the PATH, else what is to be done without; see MISSING."""
    if named := environment.get(VARIABLE):
        program = which(named)
        return Choice("use", program) if program else Choice("fail", f"{VARIABLE}: {named} is no program that runs")
    for name in PROGRAMS:
        if program := which(name):
            return Choice("use", program)
    if may_install:
        return Choice("install", f"{MISSING}; now Debian's chromium is installed, which takes a minute or two")
    in_ci = environment.get("CI", "").lower() not in ("", "0", "false")
    return Choice("fail" if in_ci else "skip", MISSING)


def find(may_install: bool) -> Choice:
    """`choose` on this machine, where packages can be installed by root and Debian's tools alone."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return choose(os.environ, shutil.which, may_install and is_root and shutil.which("apt-get") is not None)


def install() -> str:
    """Installs Debian's chromium; returns what went wrong, nothing where all is well."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in INSTALLATION:
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took more than {MOST_SECONDS} s"
        if done.returncode:
            return f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}"
    return ""


@contextmanager
def launched(program: str) -> Iterator[Browser]:
    """A browser without a window and a profile; without its sandbox, too, which root cannot have."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, document: Path, assets: Path | None = None, **options: Any) -> Iterator[Page]:
    """Opens a page from disk, off the network, and watches it, and whatever it opens, until it is left.

    Args:
        browser: where.
        document: the page; nothing else may be asked for ...
        assets: ... but files in this folder.
        options: of the browser's context, such as `color_scheme="dark"`.

    Raises:
        AssertionError: on leaving: an error or a warning on the console, among which is all that the page's Content
            Security Policy kept from happening; an error that nobody caught; a request; a dialog; a further window.
    """
    address = document.resolve().as_uri()
    folder = f"{assets.resolve().as_uri()}/" if assets else None
    complaints: list[str] = []
    context = browser.new_context(offline=True, **options)
    try:
        _watch(context, lambda url: url == address or (folder is not None and url.startswith(folder)), complaints)
        page = context.new_page()
        context.on("page", lambda further: complaints.append(f"it opened a window: {further.url}"))
        page.goto(address)
        yield page
        _wait_for_what_is_under_way(context, options.get("java_script_enabled", True), complaints)
        assert not complaints, "\n".join([f"{document.name} did what no page of ours may do:", *complaints])
    finally:
        context.close()


def until(page: Page, condition: str, most_s: float = 20.0) -> Any:
    """What a JavaScript expression gives as soon as that is not nothing; looked at before each frame is drawn.

    Playwright's own `wait_for_function` evaluates a text inside the page, which the policy of our pages forbids.

    Raises:
        playwright.sync_api.Error: it is nothing after `most_s`.
    """
    return page.evaluate(
        f"""async (end) => {{
            for (;;) {{
                const found = {condition};
                if (found) return found;
                if (Date.now() > end) throw new Error("this never came true");
                await new Promise(requestAnimationFrame);
            }}
        }}""",
        1000 * (time.time() + most_s),
    )


def _watch(context: BrowserContext, is_ours: Callable[[str], bool], complaints: list[str]) -> None:
    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            complaints.append(f"console {message.type}: {message.text} ({message.location['url']})")

    def on_request(request: Request) -> None:
        if not is_ours(request.url.partition("#")[0]):
            complaints.append(f"request: {request.url}")

    def on_dialog(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.type}: {dialog.message}")
        dialog.dismiss()

    context.on("console", on_console)
    context.on("weberror", lambda error: complaints.append(f"error: {error.error}"))
    context.on("request", on_request)
    context.on("dialog", on_dialog)


def _wait_for_what_is_under_way(context: BrowserContext, has_timers: bool, complaints: list[str]) -> None:
    """Events come in order: those of now are here when the answer to a question of now is."""
    question = "() => new Promise((resolve) => setTimeout(resolve, 0))" if has_timers else "0"
    for page in context.pages:
        try:
            page.evaluate(question)
        except BrowserError as error:
            complaints.append(f"it cannot be asked any more: {error.message}")
