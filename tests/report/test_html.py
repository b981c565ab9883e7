import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.report.html import run_page
from vqbench.results.gate import gate
from vqbench.results.record import GateOutcome, GateReport, Run
from vqbench.results.selection import Selection

SCRIPT = "<script>alert(1)</script>"
HOSTILE = ("\"><img src=x onerror='alert(1)'>", "{{ 7 * 7 }}", "</td></table>", "a\x1b\ud800\u202eb", "&lt;", SCRIPT)
VOID = {"meta", "wbr", "br", "link", "img"}


class Page(HTMLParser):
    """Tags, attributes and texts of a page; fails where tags do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] != "style":
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(gate=["speech.wer <= 0.2", "speech.wer <= baseline + 0.02"])


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page(run_page(run, gate(run, Selection("main", run))))


def test_the_page_needs_nothing_but_itself(run):
    source = run_page(run)
    page = Page(source)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img|<iframe", source)
    assert not [name for _, attributes in page.tags for name in attributes if name in ("src", "href", "style")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source


def test_the_page_shows_verdict_figures_clips_and_provenance(run, page):
    assert "gate: fail" in page.texts
    assert [text for text in page.texts if text in ("pass", "fail")].count("fail") == 1
    wer = next(r for r in run.results if (r.candidate, r.metric) == ("good", "speech.wer"))
    assert f"▲ {wer.value:.3f}" in page.texts
    assert f"{wer.ci_low:.3f}–{wer.ci_high:.3f}" in page.texts
    for clip in run.clips:
        assert clip.id in page.texts
        assert clip.text in page.texts
        assert f"{clip.duration_s:.2f}" in page.texts
    for text in (*run.provenance, *run.provenance.values(), run.suite.digest):
        assert text in page.texts


def test_the_best_is_marked_and_references_stand_apart(page):
    assert sum("best" in attributes.get("class", "").split() for attributes in page.all("td")) >= 10
    assert {"class": "references"} in page.all("tbody")


def test_every_section_is_labelled_and_every_table_has_headers(page):
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {section["aria-labelledby"] for section in page.all("section")} == ids
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))


def test_a_run_that_was_not_gated_does_not_look_passed(run):
    page = Page(run_page(run))
    assert any(text.startswith("Not gated") for text in page.texts)
    assert "pass" not in page.texts
    assert not any("gate" in text.lower() for text in Page(run_page(make_run())).texts)


def test_unscored_clips_are_listed_with_their_reasons(run):
    speech = table_of(run, "fair", "speech")
    lost = without_clips(speech, {clip: f"too short: {clip}" for clip in speech.row_ids[:8]})
    texts = Page(run_page(replace_table(run, lost))).texts
    assert "fair, speech: 8 clips" in texts
    assert sum(text.startswith("too short: clip00") for text in texts) == 8


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_are_shown_as_text(run, hostile):
    def renamed(name: str) -> str:
        return hostile if name == "fair" else name

    named = replace(
        run,
        suite=replace(run.suite, name=hostile, digest=hostile),
        candidates=tuple(
            replace(c, name=renamed(c.name), source=hostile, digest=hostile, front_end=hostile) for c in run.candidates
        ),
        clips=tuple(replace(c, id=hostile, text=hostile, speaker=hostile) for c in run.clips[:1]),
        metrics=tuple(replace(m, unit=hostile, description=hostile) for m in run.metrics),
        tables=tuple(
            replace(t, candidate=renamed(t.candidate), unscored={hostile: hostile} if t.candidate == "fair" else {})
            for t in run.tables
        ),
        results=tuple(replace(r, candidate=renamed(r.candidate), reason=hostile) for r in run.results),
        provenance={hostile: {hostile: [hostile]}},
    )
    outcome = GateOutcome(hostile, hostile, hostile, "fail", 1.0, None, None, None, 0, hostile)
    source = run_page(named, GateReport((outcome,), hostile))
    source.encode()
    page = Page(source)
    plain = Page(run_page(run, GateReport((outcome,), None)))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags} | {"dl", "dt", "dd"}
    assert not [name for _, attributes in page.tags for name in attributes if name in ("src", "style", "onerror")]
    shown = re.sub("[\x1b\ud800\u202e]", "\ufffd", hostile)
    assert page.texts.count(shown) > 10
    assert "49" not in page.texts
