"""What is said under figures about the languages of their clips."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import make_run

from vqbench.judging.contrast import Matches
from vqbench.judging.languages import ASSUMED, language_notes, spoken_in
from vqbench.records.run import Run

RUN = make_run()


def in_languages(run: Run, *codes: str | None) -> Run:
    """The languages taking turns among the clips."""
    clips = tuple(replace(clip, language=codes[i % len(codes)]) for i, clip in enumerate(run.clips))
    return replace(run, clips=clips)


def test_of_one_language_nothing_is_said() -> None:
    for run in (RUN, in_languages(RUN, "en"), in_languages(RUN, "de"), in_languages(RUN, None, "en")):
        assert language_notes(run, run.metrics) == []


@pytest.mark.parametrize(
    ("codes", "notes"),
    [
        (("de", "vi", "de"), ["speech.wer: over 2 languages, German (de) 16, Vietnamese (vi) 8"]),
        (
            ("zh",),
            [
                "speech.wer: without Chinese (zh) 24, written without spaces, so that no words can be counted; "
                "speech.cer counts the characters"
            ],
        ),
        # A file may say anything.
        (("xx", None), ["speech.wer: over 2 languages, English (en) 12, another language (xx) 12"]),
    ],
)
def test_several_languages_and_none_with_words_are_named(codes: tuple[str | None, ...], notes: list[str]) -> None:
    run = in_languages(RUN, *codes)
    assert language_notes(run, run.metrics) == notes
    assert language_notes(run, [spec for spec in run.metrics if spec.group != "speech"]) == []


def test_what_was_assumed_is_said() -> None:
    run = replace(RUN, provenance={**RUN.provenance, ASSUMED: {"speech": 24}})
    assert language_notes(run, run.metrics) == ["speech.wer: 24 of 24 name no language; English is assumed"]


def test_what_tortoise_makes_of_other_languages_is_said() -> None:
    (wer,) = (spec for spec in RUN.metrics if spec.name == "speech.wer")
    metric = replace(wer, name="downstream.wer", group="downstream", clip_set="downstream")
    clips = tuple(replace(clip, clip_set="downstream") for clip in RUN.clips)
    run = replace(RUN, clips=clips)
    assert language_notes(run, [metric]) == []
    (note,) = language_notes(in_languages(run, "de"), [metric])
    assert note.startswith("downstream.wer: TorToiSe reads every text as English")


def test_a_clip_in_another_language_is_another_clip() -> None:
    german = in_languages(RUN, "de", "en")
    others = Matches().other_clips(RUN, german)
    assert others == {clip.id for clip in german.clips if spoken_in(clip) == "de"}
    # English that is said and English that is assumed are the same.
    assert Matches().other_clips(RUN, in_languages(RUN, "en")) == frozenset()
