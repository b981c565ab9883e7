"""What a page says without its script; what the script does with it is tested in a browser, in tests/page."""

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.judging.compare import compare_runs
from vqbench.judging.evidence import Evidence, selections
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import Run
from vqbench.records.transcripts import Transcript
from vqbench.records.verdict import GateOutcome, GateReport
from vqbench.report.page import document
from vqbench.report.page.document import comparison_page, run_page
from vqbench.report.page.packed import pack_figures

SCRIPT = "<script>alert(1)</script>"
HOSTILE = ("\"><img src=x onerror='alert(1)'>", "{{ 7 * 7 }}", "</td></table>", "a\x1b\ud800\u202eb", "&lt;", SCRIPT)
VOID = {"meta", "wbr", "br", "link", "img"}


class Page(HTMLParser):
    """Tags, attributes, texts and data of a page; fails where tags do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
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
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif data.strip() and self.open[-1] != "style":
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def block(self, name: str):
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == name)
        return json.loads(text)


def unpacked(block):
    return json.loads(zlib.decompress(base64.b64decode(block["zlib"])))


def page_of(run: Run, report: GateReport | None = None, **beside) -> Page:
    return Page(run_page(Evidence("this", run, **beside), report).html)


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(gate=["speech.wer <= 0.2", "speech.wer <= baseline + 0.02"])


@pytest.fixture(scope="module")
def page(run) -> Page:
    return page_of(run, gate(run, Selection("main", run)))


def test_the_page_needs_nothing_but_itself(page):
    ours = page.source.replace(next(text for attributes, text in page.scripts if not attributes), "")
    assert not re.search(r"https?:|url\(|@import|<script src|<img|<iframe", ours)
    assert not [name for _, attributes in page.tags for name in attributes if name in ("src", "style")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert {a["href"][0] for a in page.all("a")} == {"#"}
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source


def test_only_the_pages_own_script_may_run(page):
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    (script,) = (text for attributes, text in page.scripts if attributes.get("type") != "application/json")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


def test_the_page_shows_verdict_figures_clips_and_provenance(run, page):
    assert "gate: fail (1 failed, 0 inconclusive, of 6, against the baseline main)" in page.texts
    assert [text for text in page.texts if text in ("pass", "fail")].count("fail") == 1
    wer = next(r for r in run.results if (r.candidate, r.metric) == ("good", "speech.wer"))
    assert f"▲ {wer.value:.3f}" in page.texts
    assert f"{wer.ci_low:.3f}–{wer.ci_high:.3f}" in page.texts
    for text in (*run.provenance, *run.provenance.values(), run.suite.digest):
        assert any(text in shown for shown in page.texts)


def test_the_best_is_marked_and_references_stand_apart(page):
    assert sum("best" in attributes.get("class", "").split() for attributes in page.all("td")) >= 10
    assert {"class": "references"} in page.all("tbody")


def test_every_section_is_labelled_and_every_table_has_headers(page):
    titles = {heading["id"] for heading in page.all("h2")}
    assert {section["aria-labelledby"] for section in page.all("section")} == titles
    named = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {a["href"][1:] for a in page.all("a")} <= named
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))


def test_a_run_that_was_not_gated_does_not_look_passed(run):
    texts = page_of(run).texts
    assert any(text.startswith("Not gated") for text in texts)
    assert "pass" not in texts
    assert not any("gate" in text.lower() for text in page_of(make_run()).texts)


def test_unscored_clips_are_listed_with_their_reasons(run):
    speech = table_of(run, "fair", "speech")
    lost = without_clips(speech, {clip: f"too short: {clip}" for clip in speech.row_ids[:8]})
    page = page_of(replace_table(run, lost))
    assert "fair, speech: 8 clips" in page.texts
    assert sum(text.startswith("too short: clip00") for text in page.texts) == 8
    unscored = unpacked(page.block("unscored"))
    assert len(unscored["rows"]) == 8
    assert [unscored["reasons"][reason] for *_, reason in unscored["rows"]] == list(lost.unscored.values())


def test_many_unscored_clips_are_counted_where_the_table_of_clips_has_them(run):
    speech = table_of(run, "fair", "speech")
    texts = page_of(replace_table(run, without_clips(speech, dict.fromkeys(speech.row_ids[:23], "no voice")))).texts
    assert texts.count("no voice") == 20
    assert "and 3 more: the table of clips has them all" in texts


def test_a_picture_shows_each_margin_from_its_limit(run, page):
    outcomes = gate(run, Selection("main", run)).outcomes
    rules = page.source.split('<section id="gate"')[1].split("</section>")[0]
    values = [float(value) for value in re.findall(r'data-value="([^"]+)"', rules)]
    assert values == [outcome.value - outcome.limit for outcome in outcomes]
    limits = re.findall(r'class="limit" x1="([\d.]+)"', rules)
    dots = re.findall(r'<circle cx="([\d.]+)"', rules)
    assert set(limits) == {"60.0"}
    for outcome, dot in zip(outcomes, dots, strict=True):
        assert (float(dot) < 60) == (outcome.value < outcome.limit)


def test_bars_of_a_column_share_a_scale(run, page):
    headline = page.source.split('<section id="figures"')[1].split("</table>")[0]
    wer = {r.candidate: r for r in run.results if r.metric == "speech.wer"}
    column = [c for c in re.findall(r"<th[^>]*>(.*?)</th>", headline, re.S) if "button" in c]
    place = next(i for i, text in enumerate(column) if "wer" in text)
    dots = {}
    for row in re.findall(r"<tr>(.*?)</tr>", headline, re.S)[1:]:
        cells = re.findall(r"<t[dh].*?</t[dh]>", row, re.S)
        name = re.search(r'class="entry">([^<]*)', cells[0]).group(1)
        dots[name] = float(re.search(r"<circle cx=\"([\d.]+)\"", cells[place]).group(1))
    least, most = (min(r.ci_low for r in wer.values()), max(r.ci_high for r in wer.values()))
    for name, result in wer.items():
        assert dots[name] == pytest.approx(6 + 108 * (result.value - least) / (most - least), abs=0.06)


def test_two_runs_show_their_differences_and_what_got_worse(run):
    other = make_run(seed=0, quality={"good": 1.5, "fair": 2.0, "untrained": 8.0})
    runs = [Evidence("before", run), Evidence("after", other)]
    page = Page(comparison_page(runs, compare_runs(selections(runs))).html)
    assert "after against before" in page.texts
    assert "worse" in page.texts
    index = page.block("index")
    assert index["compares"]
    assert [one["label"] for one in index["contenders"]][:2] == ["before:good", "before:fair"]
    differences = [column for column in page.block("columns") if column["reference"] is not None]
    assert {(column["contender"], column["reference"]) for column in differences} == {(5, 0), (6, 1), (7, 2)}


def test_what_was_heard_is_in_the_page(run):
    heard = (Transcript("good", "clip003", "one two", "one too"),)
    (block,) = page_of(run, transcripts=heard).block("heard")
    assert (block["contender"], block["set"]) == (0, "speech")


def test_two_runs_with_other_clips_say_which_clip_is_in_which(run):
    renamed = {clip.id: f"other{place}" for place, clip in enumerate(run.clips)}
    other = replace(
        run,
        clips=tuple(replace(clip, id=renamed[clip.id]) for clip in run.clips),
        tables=tuple(replace(t, row_ids=tuple(renamed.get(row, row) for row in t.row_ids)) for t in run.tables),
    )
    lost = without_clips(table_of(other, "fair", "speech"), {"other3": "cut off"})
    runs = [Evidence("a", run), Evidence("b", replace_table(other, lost))]
    page = Page(comparison_page(runs, compare_runs(selections(runs))).html)
    clips = unpacked(page.block("clips"))
    assert len(clips["ids"]) == 2 * len(run.clips)
    assert clips["runs"] == [[0]] * len(run.clips) + [[1]] * len(run.clips)
    assert {one["label"]: one["run"] for one in page.block("index")["contenders"]}["b:fair"] == 1
    assert "b:fair, speech: 1 clip" in page.texts


def test_a_page_keeps_to_its_budget_and_says_what_it_left_out(run, monkeypatch):
    many = make_run(n_clips=400)
    for name in ("good", "fair"):
        for group in ("speech", "reconstruction"):
            table = table_of(many, name, group)
            reasons = {
                clip: hashlib.sha512(f"{name} {group} {clip}".encode()).hexdigest() for clip in table.row_ids[1:]
            }
            many = replace_table(many, without_clips(table, reasons))
    whole = len(page_of(many).source)
    assert "unscored" in page_ids(page_of(many))
    monkeypatch.setattr(document, "BUDGET_BYTES", whole - 30_000)
    page = page_of(many)
    assert len(page.source.encode()) <= whole - 30_000
    assert "unscored" not in page_ids(page)
    assert any("why clips were not scored" in text for text in page.texts)
    assert page.block("index")["notes"] == ["why clips were not scored"]


def page_ids(page: Page) -> list[str | None]:
    return [attributes.get("id") for attributes, _ in page.scripts]


@pytest.mark.parametrize("decimals", [0, 3, 9])
@pytest.mark.parametrize("value", [0.0, -1.5, 0.05514999, 0.05515001, 123456.789, 4e9])
def test_figures_are_packed_so_that_they_round_as_they_would(value, decimals):
    packed = pack_figures(np.array([value, np.nan]), decimals)
    values = packed["values"]
    plain = base64.b64decode(values["data"]) if "data" in values else zlib.decompress(base64.b64decode(values["zlib"]))
    whole, missing = np.frombuffer(plain, np.dtype(values["type"]).newbyteorder("<")).tolist()
    assert values["type"] != "int64"
    assert missing == packed["missing"] != whole
    assert round(whole / packed["scale"], decimals) == pytest.approx(round(value, decimals), abs=1e-12, rel=1e-15)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_are_shown_as_text(run, hostile):
    def renamed(name: str) -> str:
        return hostile if name == "fair" else name

    first = run.clips[0].id
    tables = tuple(
        replace(
            t,
            candidate=renamed(t.candidate),
            row_ids=tuple(hostile if row == first else row for row in t.row_ids),
            unscored={},
        )
        for t in run.tables
    )
    named = replace(
        run,
        suite=replace(run.suite, name=hostile, digest=hostile),
        candidates=tuple(
            replace(c, name=renamed(c.name), source=hostile, digest=hostile, front_end=hostile) for c in run.candidates
        ),
        clips=(replace(run.clips[0], id=hostile, text=hostile, speaker=hostile), *run.clips[1:]),
        metrics=tuple(replace(m, unit=hostile, description=hostile) for m in run.metrics),
        tables=tables,
        results=tuple(replace(r, candidate=renamed(r.candidate), reason=hostile) for r in run.results),
        provenance={hostile: {hostile: [hostile]}, "command": [hostile], "commit": hostile},
    )
    lost = without_clips(table_of(named, "good", "speech"), {hostile: hostile})
    named = replace(
        named, tables=tuple(lost if (t.candidate, t.group) == ("good", "speech") else t for t in named.tables)
    )
    outcome = GateOutcome(hostile, hostile, hostile, "fail", 1.0, None, None, None, 0, hostile)
    heard = (Transcript("good", hostile, hostile, hostile),)
    page = page_of(named, GateReport((outcome,), hostile), transcripts=heard)
    page.source.encode()
    plain = page_of(run, GateReport((outcome,), None))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags} | {"pre"}
    assert not [name for _, attributes in page.tags for name in attributes if name in ("src", "style", "onerror")]
    assert len(page.scripts) == len(plain.scripts)
    shown = re.sub("[\x1b\ud800\u202e]", "\ufffd", hostile)
    assert page.texts.count(shown) > 10
    assert page.block("index")["contenders"][1]["label"] == shown
    assert unpacked(page.block("unscored"))["reasons"] == [shown]
    assert "49" not in page.texts
