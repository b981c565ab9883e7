"""The table of clips, a clip's own view, and the charts, in a real browser."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from builders import replace_table, table_of, without_clips
from chromium import until
from exhibited import exhibited_run, save_exhibited

from vqbench.judging.clip_figures import clip_metrics, clip_values
from vqbench.judging.compare import compare_runs
from vqbench.judging.evidence import Evidence, selections
from vqbench.report.page.document import comparison_page, run_page, write_page

TABLE = "#clips-body table.clips"


@pytest.fixture
def page(open_page, document):
    page = open_page(document)
    page.wait_for_selector(f"{TABLE} tbody tr")
    return page


def rows(page) -> list[str]:
    return page.locator(f"{TABLE} tbody th.ids a").all_inner_texts()


def cells(page, column: int) -> list[str]:
    return page.locator(f"{TABLE} tbody tr td:nth-of-type({column})").all_inner_texts()


def choose(page, name: str) -> None:
    """One figure for everybody."""
    page.locator("#clips-view").select_option(label=name)
    page.wait_for_timeout(50)


def values(run, metric: str, candidate: str) -> dict[str, float]:
    spec = next(spec for spec in run.metrics if spec.name == metric)
    table = table_of(run, candidate, spec.group)
    return dict(zip(table.row_ids, clip_values(spec, table), strict=True))


def head(page, text: str):
    return page.locator(f"{TABLE} thead th", has=page.get_by_role("button", name=re.compile(rf"^{text}\b")))


@pytest.mark.parametrize("metric", ["speech.wer", "speech.speaker_similarity", "reconstruction.mel_l1"])
def test_clips_are_sorted_worst_first_then_best_first(page, run, metric):
    choose(page, metric)
    found = values(run, metric, "fair")
    worst_last = next(spec.higher_is_better for spec in run.metrics if spec.name == metric)
    head(page, "fair").get_by_role("button").click()
    shown = [found[clip] for clip in rows(page)]
    assert len(shown) == len(found)
    assert shown == sorted(shown, reverse=not worst_last)
    head(page, "fair").get_by_role("button").press("Enter")
    shown = [found[clip] for clip in rows(page)]
    assert shown == sorted(shown, reverse=worst_last)
    assert head(page, "fair").get_attribute("aria-sort") in ("ascending", "descending")


def test_every_figure_of_every_clip_is_what_the_run_says(page, run):
    for spec in clip_metrics(run.metrics):
        if spec.clip_set != "speech":
            continue
        choose(page, spec.name)
        names = page.locator(f"{TABLE} thead button.sort").all_inner_texts()
        for name in ("good", "untrained"):
            found = values(run, spec.name, name)
            column = names.index(name)
            shown = dict(zip(rows(page), cells(page, column), strict=True))
            assert shown == {clip: f"{round(value, spec.decimals):.{spec.decimals}f}" for clip, value in found.items()}


def test_clips_are_filtered_by_words_and_by_a_limit(page, run):
    choose(page, "speech.wer")
    page.locator("#clips-words").fill("number 1")
    until(page, "document.querySelector('#clips-status').textContent.includes('11 of')")
    assert rows(page) == [clip.id for clip in run.clips if "number 1" in clip.text]
    page.locator("#clips-words").fill("")
    page.locator("#clips-limit-column").select_option(label="untrained")
    page.locator("#clips-limit-kind").select_option("least")
    page.locator("#clips-limit-value").fill("0.3")
    found = values(run, "speech.wer", "untrained")
    expected = [clip for clip, value in found.items() if value >= 0.3]
    assert 0 < len(expected) < len(found)
    until(page, f"document.querySelector('#clips-status').textContent.startsWith('{len(expected)} ')")
    assert sorted(rows(page)) == sorted(expected)


def test_a_clip_shows_all_that_is_known_of_it_and_gives_the_focus_back(page, run):
    link = page.locator(f"{TABLE} tbody th.ids a").nth(3)
    link.press("Enter")
    dialog = page.locator("#clip-detail dialog[open]")
    dialog.wait_for()
    assert run.clips[3].text in dialog.inner_text()
    # "this is sentence number 3" was heard with one word wrong and one too many, by everybody.
    assert dialog.locator("table.heard ins").count() == 2 * len(run.candidates)
    for name in ("good", "fair", "untrained"):
        assert f"{values(run, 'speech.wer', name)['clip003']:.3f}" in dialog.locator("table.of-clip").inner_text()
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#clip-detail dialog[open]')")
    assert page.evaluate("document.activeElement.textContent") == "clip003"


def test_a_link_to_a_clip_opens_it(open_page, document):
    page = open_page(document)
    page.evaluate("location.hash = '#clip=clip007'")
    page.locator("#clip-detail dialog[open]").wait_for()
    assert "sentence number 7" in page.locator("#clip-detail dialog").inner_text()


def test_from_the_table_to_the_sound(page):
    page.locator(f"{TABLE} tbody button.listen").nth(1).click()
    page.wait_for_selector("article.exhibit[data-exhibit='1']")


def test_unscored_clips_come_last_and_say_why(open_page, run, tmp_path):
    lost = without_clips(table_of(run, "fair", "speech"), {"clip001": "the recording is silent", "clip005": "cut off"})
    file = tmp_path / "page.html"
    write_page(run_page(Evidence("this", replace_table(run, lost))), file, None)
    page = open_page(file)
    page.wait_for_selector(f"{TABLE} tbody tr")
    choose(page, "speech.wer")
    for _ in range(2):
        head(page, "fair").get_by_role("button").click()
        assert set(rows(page)[-2:]) == {"clip001", "clip005"}
    page.locator("#clips-unscored").check()
    until(page, "document.querySelectorAll('#clips-body tbody tr').length === 2")
    titles = [cell.get_attribute("title") for cell in page.locator(f"{TABLE} td.unscored").all()]
    assert any("the recording is silent" in title for title in titles)
    page.locator(f"{TABLE} tbody th.ids a").first.press("Enter")
    assert page.locator("#clip-detail dialog .reasons li").count() >= 1


def test_what_got_worse_comes_first_where_two_runs_are_compared(open_page, run, evidence, tmp_path):
    after = save_exhibited(exhibited_run(quality={"good": 1.5, "fair": 2.0, "untrained": 6.0}), tmp_path / "after")
    runs = [evidence, after]
    file = tmp_path / "page.html"
    headline = [spec.name for spec in run.metrics if spec.headline]
    write_page(comparison_page(runs, compare_runs(selections(runs), headline)), file, None)
    page = open_page(file)
    page.wait_for_selector(f"{TABLE} tbody tr")
    old, new = (values(one.run, "reconstruction.mel_l1", "good") for one in runs)
    differences = [new[clip] - old[clip] for clip in rows(page)]
    assert len(differences) == 24
    assert differences == sorted(differences, reverse=True)
    assert differences[0] > 0
    assert page.locator(f"{TABLE} td.worse").count() > 0
    who = page.locator("section.takes .lane .who").all_inner_texts()
    assert who == ["this:original", "this:good", "this:fair", "after:good", "after:fair"]


def test_charts_say_in_words_and_in_numbers_what_they_draw(page, run):
    for place in page.locator("#codebook-charts canvas, #scatter-body canvas").all():
        assert place.get_attribute("role") == "img"
        assert len(place.get_attribute("aria-label")) > 20
    table = table_of(run, "good", "token_agreement")
    gpt, own = (table.columns[name] for name in ("gpt_codes", "codes"))
    first = [g[0] == o[0] for g, o in zip(gpt.rows(), own.rows(), strict=True)]
    details = page.locator("#codebook-charts details.numbers").nth(1)
    details.locator("summary").click()
    assert f"{np.mean(first):.3f}" in details.inner_text()


def test_one_figure_against_another(page, run):
    page.locator("#scatter-x-figure").select_option(label="speech.wer")
    page.locator("#scatter-y-figure").select_option(label="reconstruction.mcd_db")
    x, y = values(run, "speech.wer", "good"), values(run, "reconstruction.mcd_db", "good")
    both = sum(math.isfinite(x[clip]) and math.isfinite(y[clip]) for clip in x)
    until(page, f"document.querySelector('#scatter-status').textContent.includes('{both}')")


def test_the_table_is_downloaded_as_it_is_shown(page, run):
    choose(page, "speech.wer")
    page.locator("#clips-words").fill("number 2")
    until(page, "document.querySelector('#clips-status').textContent.includes('5 of')")
    with page.expect_download() as waiting:
        page.locator("#clips-csv").click()
    text = waiting.value.path().read_text(encoding="utf-8")
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == rows(page)
