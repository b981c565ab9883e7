"""Our scripts and styles: they parse, alone and as the one script they become, and keep to what the page promises.

There is no Node.js here and no linter of JavaScript: the browser parses, and what must not be written is looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
from builders import make_run
from playwright.sync_api import Browser, Page

from vqbench.judging.evidence import Evidence
from vqbench.report.page.document import run_page

STATIC = Path(str(resources.files("vqbench.report.page") / "static"))
SCRIPTS = sorted(STATIC.glob("*.js"))
STYLES = sorted(STATIC.glob("*.css"))

FORBIDDEN = {
    "text that is read as HTML": r"\b(innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe|srcdoc|DOMParser)\b",
    "a document that is written": r"\bdocument\s*\.\s*write|\bcreateContextualFragment\b",
    "text that is run": r"\beval\b|\bFunction\s*\(|\bset(Timeout|Interval)\(\s*[\"'`]|\bimport\s*\(",
    "a handler in an attribute": r"""[\s"'`]on[a-z]+=""",
    "a request": r"\b(fetch|sendBeacon|importScripts)\s*\(|\b(XMLHttpRequest|WebSocket|EventSource|Worker)\b|@import\b",
    "something that is kept": r"\b(localStorage|sessionStorage|indexedDB|caches)\b|\bdocument\s*\.\s*cookie\b",
    # The names of namespaces look like addresses.
    "an address": r"\b(https?|wss?)://(?!www\.w3\.org/)|url\(\s*[\"']?(?!data:|#)",
    "another script's language": r"\b(require|exports|module\.)\b|^\s*(import|export)\b",
}

EXAMPLES = (
    "element.innerHTML = name",
    "document.write(name)",
    'new Function("return 1")',
    'setTimeout("go()", 1)',
    '"<img onerror=go()>"',
    "await fetch(place)",
    "new WebSocket(place)",
    '@import "other.css"',
    "localStorage.seen = 1",
    'open("http://example.invalid")',
    "background: url(picture.png)",
    'import { a } from "b"',
)


def broken(source: str) -> list[str]:
    """What of all that is forbidden a source has."""
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, source, re.MULTILINE)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_forbidden_is_found(example: str) -> None:
    assert len(broken(f"const a = 1;\n{example};\n")) == 1


@pytest.mark.parametrize(
    "fine",
    ['createElementNS("http://www.w3.org/2000/svg", tag)', "fill: url(#dots)", "setTimeout(go, 10)", "online = 1"],
)
def test_what_is_fine_is_not(fine: str) -> None:
    assert broken(f"const a = 1;\n{fine};\n") == []


@pytest.mark.parametrize("file", [*SCRIPTS, *STYLES], ids=lambda file: file.name)
def test_sources_keep_to_the_rules(file: Path) -> None:
    assert broken(file.read_text(encoding="utf-8")) == []


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Page:
    return browser.new_page()


def fault(page: Page, source: str) -> str:
    """What keeps a source from being parsed; nothing runs."""
    strict = f'"use strict";\n{source}'
    return page.evaluate(
        "(source) => { try { new Function(source); return ''; } catch (e) { return String(e); } }", strict
    )


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_scripts_parse(file: Path, blank: Page) -> None:
    assert fault(blank, file.read_text(encoding="utf-8")) == ""


def test_scripts_parse_as_one(blank: Page) -> None:
    sources = [file.read_text(encoding="utf-8") for file in SCRIPTS]
    assert "SyntaxError" in fault(blank, "const a = 1;\nconst a = 2;")
    assert fault(blank, "\n".join(sources)) == ""
    # Of two functions with one name the second would be silently taken.
    names = Counter(re.findall(r"^(?:async )?function\*? (\w+)", "\n".join(sources), re.MULTILINE))
    assert [name for name, n in names.items() if n > 1] == []


def test_every_script_and_style_is_on_the_page() -> None:
    html = run_page(Evidence("a", make_run())).html
    assert [file.name for file in [*SCRIPTS, *STYLES] if file.read_text(encoding="utf-8").strip() not in html] == []
