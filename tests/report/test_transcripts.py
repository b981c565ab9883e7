"""What people read beside the figures: every sentence, what was heard from whom, and which words were wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders import make_run

from vqbench.records.run import Table
from vqbench.records.transcripts import Transcript, save_transcripts
from vqbench.report.tables.transcripts import transcripts_markdown

SENTENCE = "the old farmer sold a horse"


def line_of(hypothesis: str, reference: str = SENTENCE) -> str:
    text = transcripts_markdown(make_run(), [Transcript("good", "clip000", reference, hypothesis)])
    (line,) = (line for line in text.splitlines() if line.startswith("| good |"))
    return line


@pytest.mark.parametrize(
    ("hypothesis", "line"),
    [
        (SENTENCE, f"| good | none | {SENTENCE} |"),
        ("the old father sold a horse", "| good | 1 wrong | the old ~~farmer~~ **father** sold a horse |"),
        ("the old farmer sold", "| good | 2 missing | the old farmer sold ~~a horse~~ |"),
        ("well the old farmer sold a horse", f"| good | 1 too many | **well** {SENTENCE} |"),
        ("", f"| good | 6 missing | ~~{SENTENCE}~~ |"),
        (
            "old father sold a red horse",
            "| good | 1 wrong, 1 missing, 1 too many | ~~the~~ old ~~farmer~~ **father** sold a **red** horse |",
        ),
    ],
)
def test_errors_are_marked_where_they_are(hypothesis: str, line: str) -> None:
    assert line_of(hypothesis) == line


def test_of_a_loop_all_is_shown_and_one_saying_counts() -> None:
    heard, counted = f"{SENTENCE} a horse a horse a horse", f"{SENTENCE} a horse"
    text = transcripts_markdown(make_run(), [Transcript("good", "clip000", SENTENCE, heard, counted)])
    assert f"| good | 2 too many, a loop | {SENTENCE} **a horse a horse a horse** |" in text.splitlines()


def test_what_was_heard_stays_text() -> None:
    assert line_of("<b>|*x*", "a") == "| good | 1 wrong | ~~a~~ **&lt;b\\>\\|\\*x\\*** |"


def test_everybody_stands_under_the_sentence_in_the_order_of_the_run() -> None:
    run = make_run()
    names = [candidate.name for candidate in run.candidates]
    given = [Transcript(name, clip, SENTENCE, name) for clip in ("clip001", "clip000") for name in reversed(names)]
    text = transcripts_markdown(run, given)
    assert text.index("## clip000") < text.index("## clip001")
    places = [text.index(f"| {name} |") for name in names]
    assert places == sorted(places)
    assert "## clip002" not in text


def test_who_was_not_scored_says_why() -> None:
    run = make_run()
    fair = Table("fair", "speech", (), {}, unscored={"clip000": "the utterance is *silent*"})
    text = transcripts_markdown(replace(run, tables=(fair,)), [Transcript("good", "clip000", SENTENCE, SENTENCE)])
    assert "| fair | | *not scored: the utterance is \\*silent\\** |" in text


def test_a_clip_that_nobody_was_scored_on_is_there_too() -> None:
    run = make_run()
    other = Table("good", "codebook", (), {}, unscored={"clip001": "no codes"})
    for group, listed in (("speech", True), ("codebook", False)):
        table = replace(other, group=group)
        text = transcripts_markdown(replace(run, tables=(table,)), [])
        assert ("## clip001" in text) is listed


def test_machines_read_one_a_line(tmp_path: Path) -> None:
    save_transcripts([Transcript("good", "a", "wanted", "heard"), Transcript("fair", "a", "wanted", "£5")], tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[1] == {"candidate": "fair", "clip": "a", "reference": "wanted", "hypothesis": "£5"}
