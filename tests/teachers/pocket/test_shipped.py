"""The pocket TorToiSe that is shipped, heard by the real judges: it says what it should, in the voice it should."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vqbench.audio.io import load_waveform, resample
from vqbench.audio.mel import MelFrontEnd
from vqbench.data.corpora import corpus_clips
from vqbench.data.sentences import sentences
from vqbench.judges.asr.text import word_errors
from vqbench.judges.speaker.encoder import similarity
from vqbench.report.tables.pocket import missed
from vqbench.teachers.pocket.assets import load_pocket, load_true_tokenizer, voices
from vqbench.teachers.pocket.card import SHIPPED, check_parts, load_card
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Utterance, Voice
from vqbench.training.pocket.evaluate import Judges, new_sentences
from vqbench.training.pocket.plan import FULL

SEED = 990_002
"""Other sentences than the card's, and than any that was trained on."""


@pytest.fixture(scope="module")
def card() -> Mapping[str, Any]:
    return load_card()


@pytest.fixture(scope="module")
def teacher() -> TortoiseTeacher:
    return load_pocket()


@pytest.fixture(scope="module")
def recordings() -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {}
    for clip in voices():
        found.setdefault(clip.speaker or "", []).append(load_waveform(clip.path, SAMPLE_RATE_HZ))
    return found


@pytest.fixture(scope="module")
def heard_voices(teacher: TortoiseTeacher, recordings: dict[str, list[Tensor]]) -> list[Voice]:
    return teacher.voices(recordings)


@pytest.fixture(scope="module")
def spoken(teacher: TortoiseTeacher, heard_voices: list[Voice]) -> list[Utterance]:
    texts = new_sentences(frozenset(), 16, FULL.corpus.max_words, SEED)
    return teacher.speak(texts, [heard_voices[i % 4] for i in range(16)], range(16))


def test_the_weights_are_the_cards_and_small_enough(card: Mapping[str, Any]) -> None:
    check_parts(card)
    assert card["name"] == FULL.name
    assert card["bytes"] == sum((SHIPPED / part["file"]).stat().st_size for part in card["parts"].values())
    assert card["bytes"] <= 40e6


def test_every_figure_of_the_card_was_measured_and_the_missed_ones_say_what_was_tried(card: Mapping[str, Any]) -> None:
    figures = card["figures"]
    assert all(figure["value"] is not None and not figure["unscored"] for figure in figures.values())
    tried = " ".join(card.get("notes", ()))
    assert not [line for line in missed(figures) if line.split()[0] not in tried]


def test_the_card_is_of_the_plan_that_is_committed(card: Mapping[str, Any]) -> None:
    from vqbench.training.pocket.build import plan_digest

    assert card["plan"] == plan_digest(FULL)
    assert card["settings"]["sampling"] == json.loads(json.dumps(FULL.speaking.sampling.__dict__))


def test_nothing_that_is_shipped_to_test_on_was_trained_on() -> None:
    test, conditioning = corpus_clips("pocket", "test"), corpus_clips("pocket", "conditioning")
    assert len(test) == FULL.speaking.n_packed
    assert {clip.speaker for clip in conditioning} == {clip.speaker for clip in test} == set(FULL.corpus.voices)
    assert not {clip.sha256 for clip in test} & {clip.sha256 for clip in conditioning}


def test_what_is_shipped_to_tune_on_is_of_all_voices_and_of_other_sentences() -> None:
    tuning = corpus_clips("pocket", "train")
    assert Counter(clip.speaker for clip in tuning) == dict.fromkeys(FULL.corpus.voices, FULL.speaking.n_tuning // 4)
    assert len({clip.text for clip in tuning}) == FULL.speaking.n_tuning
    others = [*corpus_clips("pocket", "test"), *corpus_clips("pocket", "conditioning")]
    assert not {clip.text for clip in tuning} & {clip.text for clip in others}
    # Nothing was trained on these sentences: the corpus is the first so many of its own seed.
    corpus = set(itertools.islice(sentences(FULL.seed, FULL.corpus.max_words), FULL.corpus.n))
    assert {clip.text for clip in others} <= corpus
    assert not {clip.text for clip in tuning} & corpus


def test_it_says_what_it_should(spoken: list[Utterance], judges: Judges, card: Mapping[str, Any]) -> None:
    heard = judges.asr.transcribe([u.waveform for u in spoken], spoken[0].sample_rate_hz)
    counts = [word_errors(u.text, text) for u, text in zip(spoken, heard, strict=True)]
    wer = sum(sum(c[:3]) for c in counts) / sum(c.n_reference for c in counts)
    # Sixteen sentences: the card's interval is of two hundred.
    assert wer < card["figures"]["spoken_wer"]["value"] + 0.2
    swapped = [word_errors(u.text, text) for u, text in zip(spoken, heard[1:] + heard[:1], strict=True)]
    assert wer < 0.8 * sum(sum(c[:3]) for c in swapped) / sum(c.n_reference for c in swapped)


def test_in_the_voice_it_should(spoken: list[Utterance], recordings: dict[str, list[Tensor]], judges: Judges) -> None:
    enrolled = {
        name: np.mean([judges.encoder.embed(w, SAMPLE_RATE_HZ) for w in waveforms], axis=0)
        for name, waveforms in recordings.items()
    }
    nearest = []
    for utterance in spoken:
        embedded = judges.encoder.embed(utterance.waveform, utterance.sample_rate_hz)
        nearest.append(max(enrolled, key=lambda name: similarity(embedded, enrolled[name])))
    assert sum(name == u.speaker for name, u in zip(nearest, spoken, strict=True)) >= 14


def test_the_true_tokenizer_hears_much_of_what_the_gpt_wrote(spoken: list[Utterance]) -> None:
    tokenizer = load_true_tokenizer()
    front_end = MelFrontEnd(tokenizer.mel_spec)
    matches, n_tokens = 0, 0
    written: list[Tensor] = []
    with torch.inference_mode():
        for utterance in spoken:
            waveform = resample(utterance.waveform, utterance.sample_rate_hz, tokenizer.mel_spec.sample_rate_hz)
            codes = tokenizer.dvae.encode(front_end(waveform)[None])[0]
            n = min(len(codes), len(utterance.codes))
            matches += int((codes[:n] == utterance.codes[:n]).sum())
            n_tokens += n
            written.append(utterance.codes)
    floor = torch.cat(written).bincount().max().item() / sum(map(len, written))
    assert matches / n_tokens > 4 * floor


def test_a_seed_says_the_same_again_alone_and_in_company(
    teacher: TortoiseTeacher, heard_voices: list[Voice], spoken: list[Utterance]
) -> None:
    (again,) = teacher.speak([spoken[5].text], [heard_voices[1]], [5])
    assert torch.equal(again.codes, spoken[5].codes)
    torch.testing.assert_close(again.waveform, spoken[5].waveform, atol=1e-3, rtol=0)
