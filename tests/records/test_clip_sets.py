"""A set of clips is known by its record: whatever is not listed is called by its own name, wherever it is shown."""

import io
from dataclasses import replace

import pytest
from builders import make_run
from rich.console import Console

from vqbench.judging.selection import Selection
from vqbench.records.clip_sets import CLIP_SETS
from vqbench.records.run import Run
from vqbench.report.card.model_card import card_subject, model_card
from vqbench.report.tables.markdown import run_markdown
from vqbench.report.tables.terminal import run_tables


def of_set(run: Run, clip_set: str) -> Run:
    """The run as if all that it measures by clip had been measured on clips of a set."""
    clips = tuple(replace(clip, clip_set=clip_set) for clip in run.clips)
    metrics = tuple(replace(spec, clip_set=clip_set) for spec in run.metrics)
    return replace(run, clips=clips, metrics=metrics)


def terminal_text(run: Run) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(*run_tables(run, headline=True, width=160))
    return console.file.getvalue()


@pytest.mark.parametrize("clip_set, noun", [("pairs", "GPT sequences"), ("phrases", "clips of phrases")])
def test_every_report_calls_clips_as_their_set_does(clip_set, noun):
    run = of_set(make_run(), clip_set)
    card = model_card(card_subject(Selection("quick:good", run, "good")))
    for text in (terminal_text(run), run_markdown(run), card):
        assert f"24 {noun}" in text


def test_each_set_is_listed_once_by_its_name():
    assert all(name == one.name for name, one in CLIP_SETS.items())
    nouns = [one.noun for one in CLIP_SETS.values()]
    assert len({*nouns}) == len(nouns)
