"""The page as a reader has it: opened from disk, sorted, in the dark, on paper, and with a hostile run in it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from builders import without_clips

from vqbench.judging.compare import compare_runs
from vqbench.judging.evidence import Evidence, load_evidence, selections
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import Run
from vqbench.records.verdict import GateReport
from vqbench.report.page.document import comparison_page, run_page, write_page

HOSTILE = (
    "</script><script>window.hit=1</script><img src=x onerror=window.hit=1><svg onload=window.hit=1>\"'&`${1}{{7}}"
)


def names(page, table: str = "#figures table") -> list[str]:
    return page.locator(table).first.locator("tbody:not(.references) th .entry").all_inner_texts()


def test_it_opens_from_disk_and_shows_every_section(open_page, document):
    page = open_page(document)
    titles = page.locator("h2").all_inner_texts()
    assert titles == ["Verdict", "Candidates", "Listen and look", "Codebook", "Clip by clip", "Provenance"]
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1


def test_candidates_are_sorted_better_first_then_worse(open_page, document, run):
    page = open_page(document)
    wer = {r.candidate: r.value for r in run.results if r.metric == "speech.wer"}
    judged = sorted((name for name in wer if name in ("good", "fair", "untrained")), key=wer.__getitem__)
    head = page.locator("#figures table").first.locator("th", has=page.get_by_role("button", name=re.compile("wer")))
    head.get_by_role("button").click()
    assert names(page) == judged
    assert head.get_attribute("aria-sort") == "ascending"
    assert "sorted by" in page.locator("#announcer").inner_text()
    head.get_by_role("button").press("Enter")
    assert names(page) == judged[::-1]
    assert head.get_attribute("aria-sort") == "descending"


def test_references_stay_below_whatever_sorts(open_page, document):
    page = open_page(document)
    for button in page.locator("#figures table").first.get_by_role("button").all():
        button.click()
    rows = page.locator("#figures table").first.locator("tbody th .entry").all_inner_texts()
    assert rows[-2:] == ["original", "mel_round_trip"]


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def colours(page, selector: str) -> tuple[str, str]:
    return page.evaluate(
        "(s) => [getComputedStyle(document.querySelector(s)).color, getComputedStyle(document.body).backgroundColor]",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_the_light_and_in_the_dark(open_page, document, scheme):
    page = open_page(document, color_scheme=scheme)
    for selector in ("body", ".faint", "nav a", ".verdict", "td.pass .entry", "td.fail .entry", "figcaption"):
        ink, paper = map(luminance, colours(page, selector))
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast >= 4.5, f"{selector}: {contrast:.1f}"
        if selector == "body":
            assert (ink > paper) == (scheme == "dark")


def test_on_paper_folded_parts_are_open_and_controls_are_gone(open_page, document):
    page = open_page(document)
    folded = page.locator("details:not([open])").count()
    assert folded
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("header nav").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded


def test_without_its_script_it_can_still_be_read(open_page, document):
    page = open_page(document, java_script_enabled=False)
    assert "drawn by the page's own script" in page.locator("noscript").inner_text()
    assert page.locator("#figures table").first.locator("tbody tr").count() == 5
    assert page.locator("#gate table tbody tr").count() == 6


def test_every_control_has_a_name_and_every_id_is_there_once(open_page, document):
    page = open_page(document)
    page.wait_for_selector("#clips-body table")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a[href], [role=img], canvas")]
            .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.innerText?.trim() || e.labels?.length
                || e.getAttribute("aria-labelledby") || e.closest("[aria-hidden=true]")))
            .map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_it_fits_a_narrow_screen(open_page, document):
    page = open_page(document, viewport={"width": 360, "height": 800})
    page.wait_for_selector("#clips-body table")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def hostile(run: Run) -> Run:
    """The run with a script wherever a text can be."""

    def name(text: str) -> str:
        return f"{text}{HOSTILE}"

    tables = tuple(
        replace(
            t, candidate=name(t.candidate), row_ids=tuple(map(name, t.row_ids)) if len(t.row_ids) > 8 else t.row_ids
        )
        for t in run.tables
    )
    lost = without_clips(tables[2], {tables[2].row_ids[0]: HOSTILE})
    return replace(
        run,
        suite=replace(run.suite, name=HOSTILE, digest=HOSTILE),
        candidates=tuple(
            replace(c, name=name(c.name), source=HOSTILE, digest=HOSTILE, front_end=HOSTILE) for c in run.candidates
        ),
        clips=tuple(replace(c, id=name(c.id), text=HOSTILE, speaker=HOSTILE) for c in run.clips),
        metrics=tuple(replace(m, unit=HOSTILE, description=HOSTILE) for m in run.metrics),
        tables=(*tables[:2], lost, *tables[3:]),
        results=tuple(replace(r, candidate=name(r.candidate), reason=HOSTILE) for r in run.results),
        provenance={HOSTILE: [HOSTILE], "command": [HOSTILE], "commit": HOSTILE, "started": HOSTILE},
    )


def hostile_evidence(evidence: Evidence) -> Evidence:
    def name(text: str) -> str:
        return f"{text}{HOSTILE}"

    exhibits = tuple(
        replace(
            exhibit,
            why=(HOSTILE,),
            shown=tuple(
                replace(
                    shown,
                    clip=name(shown.clip),
                    codes_by=HOSTILE,
                    takes=tuple(replace(take, candidate=name(take.candidate)) for take in shown.takes),
                )
                for shown in exhibit.shown
            ),
        )
        for exhibit in evidence.exhibits.exhibits
    )
    found = tuple(replace(one, candidate=name(one.candidate)) for one in evidence.exhibits.relabellings)
    heard = tuple(
        replace(one, candidate=name(one.candidate), clip=name(one.clip), reference=HOSTILE, hypothesis=f"x {HOSTILE}")
        for one in evidence.transcripts
    )
    return replace(
        evidence,
        label=HOSTILE,
        run=hostile(evidence.run),
        exhibits=replace(evidence.exhibits, exhibits=exhibits, relabellings=found),
        transcripts=heard,
    )


@pytest.mark.parametrize("compared", [False, True])
def test_a_hostile_run_executes_nothing(open_page, evidence, run, tmp_path, compared):
    bad = hostile_evidence(evidence)
    if compared:
        runs = [bad, replace(bad, run=replace(bad.run))]
        page = comparison_page(runs, compare_runs(selections(runs)))
    else:
        verdict = gate(run, Selection("main", run))
        outcomes = tuple(replace(o, candidate=HOSTILE, metric=HOSTILE, reason=HOSTILE) for o in verdict.outcomes)
        page = run_page(bad, GateReport(outcomes, HOSTILE))
    file = tmp_path / "hostile.html"
    write_page(page, file, None)
    opened = open_page(file)
    opened.wait_for_selector("#clips-body table")
    for control in opened.locator("main button:visible").all()[:40]:
        if control.is_visible() and control.is_enabled():
            control.click(timeout=5000)
    opened.locator("#clips-body a[href^='#clip=']").first.press("Enter")
    opened.wait_for_timeout(200)
    assert opened.evaluate("window.hit") is None
    # One icon of the page's own, and no picture, frame or script besides its own.
    assert opened.locator("img, iframe, object, embed").count() == 0
    assert opened.locator("script:not([type='application/json'])").count() == 1
    assert HOSTILE in opened.locator("h1").inner_text()


def test_what_was_written_is_what_is_read_again(evidence, run):
    again = load_evidence(str(evidence.folder))
    assert again.exhibits == evidence.exhibits
    assert again.transcripts == evidence.transcripts
