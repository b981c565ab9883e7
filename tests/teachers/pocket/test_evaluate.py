"""The figures of the card, on cases worked out by hand: who is heard how is given, what is made of it is tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_teacher import hum, teacher
from torch import Tensor

from vqbench.audio.io import file_digest, save_waveform
from vqbench.audio.mel import MelSpec
from vqbench.data.manifest import Clip
from vqbench.errors import DataError
from vqbench.progress import Silent
from vqbench.teachers.tortoise.clvp import score
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.pocket.evaluate import (
    Figure,
    at_most,
    evaluate_corpus,
    evaluate_teacher,
    evaluate_tokenizer,
    new_sentences,
)

ANN, BOB = hum(220), hum(110)
TEXTS = (
    "The judge took the key.",
    "Our cousin sold a bell.",
    "The boys hid the map.",
    "A child drew the lamp.",
    "The choir broke two bells.",
)
"""Twenty-five words, for Ann, Bob, Ann, Bob and Ann."""


class Asr:
    """Hears what it is told to hear, call by call."""

    identity: dict[str, Any] = {"asr": "told"}  # noqa: RUF012
    languages = frozenset({"en"})

    def __init__(self, *heard: Sequence[str]) -> None:
        self.heard = list(heard)

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        heard = list(self.heard.pop(0))
        assert len(heard) == len(waveforms)
        assert all(len(waveform) for waveform in waveforms)
        return heard


class Encoder:
    """Knows Ann and Bob, and puts everybody else nearer to Ann; some of these it does not hear at all."""

    identity: dict[str, Any] = {"encoder": "told"}  # noqa: RUF012

    def __init__(self, *deaf_to: int) -> None:
        self.deaf_to, self.strangers = deaf_to, -1

    def embed(self, waveform: Tensor, sample_rate_hz: int) -> np.ndarray:
        for known, place in ((ANN, [1.0, 0.0]), (BOB, [0.0, 1.0])):
            if len(waveform) == len(known) and torch.allclose(waveform, known, atol=1e-3):
                return np.array(place)
        self.strangers += 1
        if self.strangers in self.deaf_to:
            raise DataError("no voice was found")
        return np.array([0.8, 0.6])


def evaluated(heard: Sequence[str], encoder: Encoder | None = None, best: Sequence[str] = TEXTS) -> dict[str, Figure]:
    judges: Any = (Asr(heard, best), encoder or Encoder())
    return evaluate_teacher(teacher(), {"ann": [ANN], "bob": [BOB]}, TEXTS, 3, *judges, Silent())


def test_the_figures_of_a_teacher() -> None:
    heard = [TEXTS[0], "our cousin sold the bell", "the boys hid", "", TEXTS[4]]
    figures = evaluated(heard)
    wer = figures["spoken_wer"]
    assert wer.value == pytest.approx((0 + 1 + 2 + 5 + 0) / 25)
    assert (wer.n, wer.met) == (5, False)
    assert wer.ci_low is not None
    assert wer.ci_high is not None
    assert 0 <= wer.ci_low < 0.32 < wer.ci_high <= 1
    # Whoever should have spoken is heard as 0.8 Ann and 0.6 Bob.
    assert figures["own_similarity"].value == pytest.approx((3 * 0.8 + 2 * 0.6) / 5)
    assert not figures["own_similarity"].met
    assert figures["similarity_margin"].value == pytest.approx((3 * 0.2 - 2 * 0.2) / 5)
    assert figures["seconds_for_24"].n == 5
    assert figures["seconds_for_24"].ci_low is None


def test_what_clvp_chose_is_heard_by_itself() -> None:
    figures = evaluated(TEXTS, best=[TEXTS[0], "", *TEXTS[2:]])
    assert figures["spoken_wer"].value == 0
    assert figures["chosen_wer"].value == pytest.approx(5 / 25)
    assert "of 3 tries" in figures["chosen_wer"].about


def test_all_heard_right_meets_the_target() -> None:
    figures = evaluated(TEXTS)
    assert figures["spoken_wer"].value == 0
    assert figures["spoken_wer"].met


def test_who_is_not_heard_is_named_not_averaged_and_meets_no_target() -> None:
    deaf = evaluated(TEXTS, Encoder(1, 3))["own_similarity"]
    assert (deaf.n, deaf.value) == (3, pytest.approx(0.8))  # what would be enough, without the two
    assert deaf.unscored == (f"{TEXTS[1]!r}: no voice was found", f"{TEXTS[3]!r}: no voice was found")
    assert not deaf.met


def test_clvp_is_asked_about_every_utterance_with_tokens() -> None:
    figures = evaluated(TEXTS)
    above, finished = figures["clvp_above"], figures["finished"]
    voices = teacher().voices({"ann": [ANN], "bob": [BOB]})
    spoken = teacher().speak(TEXTS, [voices[i % 2] for i in range(5)], range(5))
    said = [u for u in spoken if len(u.codes)]
    assert (above.n, len(above.unscored)) == (len(said), 5 - len(said))
    with teacher().clvp.loaded() as clvp:
        scores = [[float(score(clvp, [teacher().encode(t.text)], [u.codes])) for t in said] for u in said]
    won = [row[i] > row[(i + 1) % len(said)] for i, row in enumerate(scores)]
    assert above.value == pytest.approx(np.mean(won))
    assert finished.value == pytest.approx(np.mean([u.finished for u in spoken]))


def test_the_figures_of_a_tokenizer(tmp_path: Path) -> None:
    clips = []
    for name, waveform, text in (("ann", ANN, TEXTS[0]), ("bob", BOB, TEXTS[1])):
        path = tmp_path / f"{name}.wav"
        save_waveform(path, waveform, 22_050)
        clips.append(Clip(name, path, file_digest(path), 0.5, text=text, speaker=name))
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(n_mels=80, hidden_dim=8, codebook_size=16, codebook_dim=8, num_resnet_blocks=1))
    judges: Any = (Asr([TEXTS[0], "our cousin sold a ball"], ["", TEXTS[1]]), Encoder(1))
    figures = evaluate_tokenizer(DVAETokenizer(dvae, MelSpec()), clips, *judges, Silent())
    assert figures["easy_wer"].value == pytest.approx(1 / 10)
    assert figures["copy_wer"].value == pytest.approx(5 / 10)
    assert figures["copy_similarity"].value == pytest.approx(0.8)  # Ann's copy; of Bob's nothing was heard
    assert figures["copy_similarity"].unscored == ("bob: no voice was found",)


def test_the_corpus_is_heard_whatever_it_says(tmp_path: Path) -> None:
    path = tmp_path / "ann.wav"
    save_waveform(path, ANN, 22_050)
    clips = [Clip(name, path, file_digest(path), 0.5, text=TEXTS[0], speaker="ann") for name in "ab"]
    judge: Any = Asr([TEXTS[0], "the judge took"])
    wer = evaluate_corpus(clips, judge)["corpus_wer"]
    assert (wer.value, wer.n) == (pytest.approx(2 / 10), 2)


def test_new_sentences_are_new() -> None:
    first = new_sentences(frozenset(), 20, 8)
    known = frozenset(first[:5])
    again = new_sentences(known, 20, 8)
    assert again[:15] == first[5:]
    assert len(set(again)) == 20
    assert max(len(text.split()) for text in again) <= 8


@pytest.mark.parametrize(("value", "met"), [(39.0, True), (40.0, True), (40.1, False), (math.inf, False)])
def test_what_is_measured_once(value: float, met: bool) -> None:
    figure = at_most(value, 40, "size")
    assert (figure.met, figure.ci_low, figure.target) == (met, None, "<= 40")
