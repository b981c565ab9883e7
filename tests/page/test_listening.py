"""Takes of a clip in a real browser: heard against each other at one position, and seen on one scale."""

from __future__ import annotations

import re
import shutil

import pytest
from chromium import until
from exhibited import SPEAKERS

from vqbench.report.page.document import run_page, write_page

GROUP = "section.takes"


@pytest.fixture
def page(open_page, document):
    page = open_page(document)
    page.wait_for_selector(f"{GROUP} .lane[data-take='2']")
    return page


def heard(page) -> str | None:
    return page.locator(f"{GROUP} .lane[data-heard]").get_attribute("data-take")


def sounding(page) -> list[tuple[str, float]]:
    """Which takes can be heard now, and where they are."""
    return page.evaluate(
        """() => [...document.querySelectorAll("audio")].filter((a) => !a.paused && !a.muted)
            .map((a) => [a.dataset.take, a.currentTime])"""
    )


def place(page) -> float:
    return page.evaluate(
        "document.querySelectorAll('audio')[document.querySelector('.lane[data-heard]').dataset.take].currentTime"
    )


def play(page) -> None:
    page.locator(f"{GROUP} [data-action='play']").click()
    until(page, "[...document.querySelectorAll('audio')].some((a) => !a.paused && a.currentTime > 0.1)")


def test_every_system_has_a_lane_with_its_figures_and_what_was_heard(page, run):
    assert page.locator(f"{GROUP} .lane .who").all_inner_texts() == list(SPEAKERS)
    lane = page.locator(f"{GROUP} .lane[data-take='1']")
    table = next(t for t in run.tables if (t.candidate, t.group) == ("good", "speech"))
    row = table.row_ids.index("clip003")
    assert f"{table.columns['errors'][row] / table.columns['words'][row]:.3f}" in lane.locator(".scores").inner_text()
    assert f"{table.columns['similarity'][row]:.3f}" in lane.locator(".scores").inner_text()
    # Said "this is sentence number 3", heard "this is sentences number 3 indeed".
    assert lane.locator(".hypothesis ins").count() == 2
    assert [text.split()[0] for text in lane.locator(".hypothesis ins").all_text_contents()] == ["sentences", "indeed"]


@pytest.mark.parametrize("pausing", [False, True])
def test_switching_keeps_the_position(page, pausing):
    play(page)
    until(page, "document.querySelector('audio').currentTime > 0.4")
    for key, take in (("2", "1"), ("3", "2"), ("x", "1"), ("x", "2"), ("1", "0")):
        if pausing:
            page.keyboard.press("Space")
            page.wait_for_selector(f"{GROUP}[data-state='paused']")
            assert sounding(page) == []
        before = place(page)
        page.keyboard.press(key)
        sound = f"document.querySelectorAll('audio')[{take}]"
        until(page, f"document.querySelector('.lane[data-heard]').dataset.take === '{take}'")
        until(page, f"{sound}.currentTime > 0 && !{sound}.seeking && !{sound}.muted && !{sound}.paused")
        # Time goes on; a busy machine may take a moment to answer, but nobody starts anew or falls back.
        assert before - 0.08 <= place(page) <= before + 0.6
    assert [take for take, _ in sounding(page)] == ["0"]


def test_keys_work_within_the_group_alone(page):
    page.locator("h1").click()
    page.keyboard.press("2")
    page.keyboard.press("Space")
    assert heard(page) == "0"
    assert sounding(page) == []
    page.locator(f"{GROUP} button.take").nth(1).focus()
    page.keyboard.press("3")
    assert heard(page) == "2"


def test_keys_move_and_a_click_on_a_mel_goes_there(page):
    page.locator(f"{GROUP} [data-action='start']").click()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('audio').currentTime === 0.5")
    page.keyboard.press("Home")
    until(page, "document.querySelector('audio').currentTime === 0")
    canvas = page.locator(f"{GROUP} .lane[data-take='2'] canvas.mel")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    until(page, "document.querySelectorAll('audio')[2].currentTime > 0")
    assert heard(page) == "2"
    duration = page.evaluate("document.querySelectorAll('audio')[2].duration")
    assert place(page) == pytest.approx(duration / 2, abs=0.06 * duration)


def picture(page, take: int) -> bytes:
    return page.locator(f"{GROUP} .lane[data-take='{take}'] canvas.mel").screenshot()


def test_mels_share_a_scale_and_their_difference_is_shown(page):
    original, good = picture(page, 0), picture(page, 1)
    assert original != good
    assert page.locator(f"{GROUP} .scale[data-of='mel']").count() == 1
    page.locator(f"{GROUP} [data-action='difference']").click()
    assert page.locator(GROUP).get_attribute("data-shows") == "difference"
    page.wait_for_selector(f"{GROUP} .scale[data-of='difference']")
    assert picture(page, 1) != good


def test_tokens_are_marked_that_are_the_teachers(page):
    strip = page.locator(f"{GROUP} .lane[data-take='1'] .tokens")
    assert strip.get_attribute("role") == "slider"
    # Every second token of `good` is the teacher's, two in three of `fair` are.
    text = page.locator(f"{GROUP} .lane[data-take='1'] .scores").inner_text()
    agreeing, total = map(int, re.search(r"(\d+) of (\d+)", text).groups())
    assert agreeing == total // 2
    strip.focus()
    first = strip.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    assert strip.get_attribute("aria-valuetext") != first


def test_names_can_be_hidden_to_judge_by_ear(page):
    page.locator(f"{GROUP} [data-action='blind']").click()
    seen = " ".join(page.locator(f"{GROUP} .lane[data-take]").all_inner_texts())
    for name in (*SPEAKERS, "sentences", "0."):
        assert name not in seen
    assert not page.locator(f"{GROUP} canvas.mel").first.is_visible()
    page.locator(f"{GROUP} [data-action='blind']").click()
    assert sorted(page.locator(f"{GROUP} .lane .who").all_inner_texts()) == sorted(SPEAKERS)


def test_another_clip_is_chosen_and_the_first_falls_silent(page):
    play(page)
    page.locator("[data-action='next']").click()
    page.wait_for_selector("article.exhibit[data-exhibit='1']")
    assert sounding(page) == []
    assert "this is sentence number 7" in page.locator("article.exhibit h3").inner_text()


def test_sounds_beside_the_page_are_played_from_there(open_page, evidence, tmp_path):
    file, sounds = tmp_path / "page.html", tmp_path / "page sounds"
    write_page(run_page(evidence, assets="page sounds"), file, sounds)
    assert len(list(sounds.iterdir())) == 6
    page = open_page(file, assets=sounds)
    page.wait_for_selector(f"{GROUP} .lane[data-take='2']")
    play(page)
    assert len(sounding(page)) == 1
    assert len(file.read_bytes()) < 1_500_000
    shutil.rmtree(sounds)
