"""Heard sentences before the real judges: human speech that is understood, and all that can come in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from torch import Tensor

from vqbench.audio.io import load_waveform
from vqbench.data.corpora import corpus_clips
from vqbench.errors import DataError
from vqbench.judges.asr.recognizer import SpeechRecognizer, load_recognizer
from vqbench.judges.asr.text import normalize_english
from vqbench.judges.protocol import Heard
from vqbench.judges.speaker.encoder import Resemblyzer, SpeakerEncoder
from vqbench.judges.voice import Enrolled, SpokenVoice
from vqbench.judges.words import SpokenWords
from vqbench.languages import LANGUAGES
from vqbench.records.rows import Measured
from vqbench.records.run import Table
from vqbench.records.summary import prepare
from vqbench.stats.columns import columns_of

RATE_HZ = 22_050
CLIPS = {clip.id: clip for clip in corpus_clips("tortoise-voices")}
SAID = ("train_kennard/2", "train_mouse/1", "train_mouse/2")
ENROLLED = ("train_kennard/1", "train_mouse/2", "lj/1", "lj/2")

SENTENCE = "nobody has ever said these seven words"


def waveform(clip_id: str) -> Tensor:
    return load_waveform(CLIPS[clip_id].path, RATE_HZ)


def spoken(sound: Tensor, text: str = SENTENCE, speaker: str = "lj", *, finished: bool = True) -> Heard:
    return Heard(text, speaker, sound, RATE_HZ, finished)


def noise(seconds: float, level: float = 0.1) -> Tensor:
    return level * torch.randn(int(seconds * RATE_HZ), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def recognizer() -> SpeechRecognizer:
    return load_recognizer("faster-whisper", "tiny.en", beam_size=1, window="clip", device="cpu")


@pytest.fixture(scope="module")
def words(recognizer: SpeechRecognizer) -> SpokenWords:
    return SpokenWords(recognizer)


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return Resemblyzer("cpu")


@pytest.fixture(scope="module")
def voice(encoder: SpeakerEncoder) -> SpokenVoice:
    clips = [CLIPS[clip_id] for clip_id in ENROLLED]
    return SpokenVoice(
        encoder,
        [Enrolled(clip.speaker or "", clip.sha256, encoder.embed(waveform(clip.id), RATE_HZ)) for clip in clips],
    )


@pytest.fixture(scope="module")
def people() -> list[Heard]:
    return [spoken(waveform(name), CLIPS[name].text or "", CLIPS[name].speaker or "") for name in SAID]


def figure(rows: list[Measured | DataError], name: str) -> float:
    (spec,) = (spec for spec in (*SpokenWords.specs, *SpokenVoice.specs) if spec.name == f"downstream.{name}")
    cells = [row.cells for row in rows if isinstance(row, Measured)]
    columns = {column: tuple(row[column] for row in cells) for column in spec.columns}
    return prepare(spec, Table("x", spec.group, tuple(map(str, range(len(cells)))), columns_of(columns))).value


def test_word_errors_are_jiwers(words: SpokenWords, people: list[Heard], recognizer: SpeechRecognizer) -> None:
    rows = words.measure(people)
    heard = [normalize_english(text) for text in recognizer.transcribe([one.waveform for one in people], RATE_HZ)]
    wanted = [normalize_english(one.text) for one in people]
    assert figure(rows, "wer") == pytest.approx(jiwer.wer(wanted, heard))
    assert figure(rows, "cer") == pytest.approx(jiwer.cer(wanted, heard))
    assert figure(rows, "wer") < 0.1
    assert figure(rows, "runaway") == 0
    seconds = sum(len(one.waveform) for one in people) / RATE_HZ
    assert figure(rows, "speaking_rate") == pytest.approx(sum(len(text.split()) for text in wanted) / seconds)
    assert [row.texts["hypothesis"] for row in rows if isinstance(row, Measured)] == heard


def test_similarities_are_resemblyzers(voice: SpokenVoice, people: list[Heard]) -> None:
    import resemblyzer  # after the fixture, which keeps its deprecation warnings away

    theirs = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(sound: Tensor) -> np.ndarray:
        return theirs.embed_utterance(resemblyzer.preprocess_wav(sound.numpy(), source_sr=RATE_HZ))

    enrolled = {name: embed(waveform(name)) for name in ENROLLED}
    own, impostor = [], []
    for one in people:
        heard = embed(one.waveform)
        own.append(np.mean([heard @ e for name, e in enrolled.items() if CLIPS[name].speaker == one.speaker]))
        # Speaker by speaker, so that one with many recordings counts once.
        others = {clip.speaker for clip in CLIPS.values() if clip.id in ENROLLED} - {one.speaker}
        impostor.append(
            np.mean(
                [
                    np.mean([heard @ e for name, e in enrolled.items() if CLIPS[name].speaker == other])
                    for other in others
                ]
            )
        )
    rows = voice.measure(people)
    assert figure(rows, "speaker_similarity") == pytest.approx(np.mean(own), abs=1e-5)
    assert figure(rows, "impostor_similarity") == pytest.approx(np.mean(impostor), abs=1e-5)
    assert figure(rows, "speaker_similarity") > figure(rows, "impostor_similarity") + 0.1


def test_a_voice_alone_has_no_impostors(encoder: SpeakerEncoder, people: list[Heard]) -> None:
    clip = CLIPS["train_kennard/1"]
    alone = SpokenVoice(encoder, [Enrolled("train_kennard", clip.sha256, encoder.embed(waveform(clip.id), RATE_HZ))])
    rows = alone.measure(people[:1])
    assert figure(rows, "speaker_similarity") > 0.7
    assert np.isnan(figure(rows, "impostor_similarity"))


SILENCES = {
    "no samples": torch.zeros(0),
    "zeros": torch.zeros(RATE_HZ),
    "one sample": torch.zeros(1),
    "hiss below -60 dBFS": noise(2, 10 ** (-61 / 20)),
}


@pytest.mark.parametrize("name", SILENCES)
def test_silence_says_no_words_and_has_no_voice(words: SpokenWords, voice: SpokenVoice, name: str) -> None:
    (row,) = words.measure([spoken(SILENCES[name])])
    assert isinstance(row, Measured)
    assert (row.cells["deletions"], row.cells["word_errors"], row.cells["words"]) == (7, 7, 7)
    assert row.cells["character_errors"] == row.cells["characters"]
    assert (row.cells["silent"], row.cells["runaways"]) == (1, 1)
    assert row.texts["hypothesis"] == ""
    (without,) = voice.measure([spoken(SILENCES[name])])
    assert isinstance(without, DataError)
    assert "silent" in without.problem


def test_silence_takes_nothing_from_its_neighbours(words: SpokenWords, people: list[Heard]) -> None:
    alone = words.measure(people)
    between = words.measure([people[0], spoken(torch.zeros(0)), people[1], spoken(noise(1) * torch.nan), people[2]])
    assert [between[0], between[2], between[4]] == alone


def test_silence_does_not_speed_up_speech(words: SpokenWords, people: list[Heard]) -> None:
    rows = words.measure([*people, spoken(torch.zeros(0)), spoken(torch.zeros(RATE_HZ))])
    assert figure(rows, "speaking_rate") == pytest.approx(figure(words.measure(people), "speaking_rate"))
    assert figure(rows, "runaway") == pytest.approx(2 / 5)
    assert np.isnan(figure(words.measure([spoken(torch.zeros(0))]), "speaking_rate"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_sound_is_named(words: SpokenWords, voice: SpokenVoice, bad: float) -> None:
    sound = noise(1)
    sound[17] = bad
    for judge in (words, voice):
        (row,) = judge.measure([spoken(sound)])
        assert isinstance(row, DataError)
        assert row.problem == "the waveform holds NaN or infinity"


def test_a_minute_of_noise_is_scored_as_a_runaway(words: SpokenWords, voice: SpokenVoice) -> None:
    (row,) = words.measure([spoken(noise(60))])
    assert isinstance(row, Measured)
    assert (row.cells["overlong"], row.cells["silent"], row.cells["runaways"]) == (1, 0, 1)
    # An ASR that invents words is bounded, so that a minute of noise cannot outweigh all sentences.
    assert 7 <= row.cells["word_errors"] <= 7 + 3 * 224  # type: ignore[operator]
    (sounds,) = voice.measure([spoken(noise(60))])
    assert isinstance(sounds, DataError) or sounds.cells["similarity"] < 0.7  # type: ignore[operator]


@pytest.mark.parametrize(
    ("seconds", "finished", "runs_away"),
    [(8.9, True, False), (9.1, True, True), (3.0, True, False), (3.0, False, True)],
)
def test_seven_words_may_take_nine_seconds_and_must_end(
    words: SpokenWords, seconds: float, finished: bool, runs_away: bool
) -> None:
    (row,) = words.measure([spoken(noise(seconds), finished=finished)])
    assert isinstance(row, Measured)
    assert row.cells["runaways"] == float(runs_away)
    assert row.cells["unfinished"] == float(not finished)


class Says:
    """An ASR that hears what it is told."""

    def __init__(self, *texts: str) -> None:
        self.identity: dict[str, str | int | float] = {"asr": "told"}
        self.languages = frozenset(LANGUAGES)
        self._texts = texts

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        return [*self._texts]


def heard_as(hypothesis: str, sound: Tensor | None = None, text: str = SENTENCE) -> Measured:
    (row,) = SpokenWords(Says(hypothesis)).measure([spoken(noise(3) if sound is None else sound, text)])
    assert isinstance(row, Measured)
    return row


@pytest.mark.parametrize(
    ("hypothesis", "text", "looped", "errors"),
    [
        (SENTENCE, SENTENCE, False, 0),
        ("nobody nobody has ever said these seven words", SENTENCE, False, 1),
        # What is said again and again beyond the sentence counts once, and what follows it stays.
        ("nobody nobody nobody nobody has ever said these seven words", SENTENCE, True, 1),
        ("Nobody has ever said these seven words, said these seven words, said these seven words.", SENTENCE, True, 4),
        ("Nobody has ever has ever has ever has ever has ever said these seven words.", SENTENCE, True, 2),
        # Whoever is told to say it four times has to.
        ("very very very very good", "Very, very, very, very good.", False, 0),
        ("very good", "Very, very, very, very good.", False, 3),
    ],
)
def test_words_that_come_over_and_over_are_a_loop(hypothesis: str, text: str, looped: bool, errors: int) -> None:
    cells = heard_as(hypothesis, text=text).cells
    assert cells["word_errors"] == errors
    assert (cells["looped"], cells["runaways"]) == (float(looped), float(looped))


def test_what_is_read_is_all_that_was_heard() -> None:
    row = heard_as(f"{SENTENCE} said these seven words said these seven words")
    assert row.texts["hypothesis"].endswith("said these 7 words said these 7 words said these 7 words")
    assert row.texts["counted"].endswith("said these 7 words said these 7 words")
    assert "counted" not in heard_as(SENTENCE).texts


CHINESE = "今天天气很好，我们去公园散步吧。"
"""Fourteen characters."""


@pytest.mark.parametrize(
    ("hypothesis", "errors", "cut_off", "looped"),
    [
        ("今天天气很好我们去公园散步吧", 0, False, False),
        ("今天天气很好 我们去公园", 3, False, False),
        ("今天天气很好 我们去", 5, True, False),
        ("今天天气很好，我们去公园散步吧，散步吧，散步吧，散步吧", 3, False, True),
    ],
)
def test_languages_without_spaces_are_counted_by_characters(
    hypothesis: str, errors: int, cut_off: bool, looped: bool
) -> None:
    one = replace(spoken(noise(8.9), CHINESE), language="zh")
    (row,) = SpokenWords(Says(hypothesis)).measure([one])
    assert isinstance(row, Measured)
    assert (row.cells["character_errors"], row.cells["characters"]) == (errors, 14)
    # No words are counted, and no pace in words a second is told.
    assert [row.cells[name] for name in ("word_errors", "words", "heard_words", "heard_s")] == [0, 0, 0, 0]
    assert (row.cells["cut_offs"], row.cells["looped"], row.cells["overlong"]) == (cut_off, looped, 0)
    longer = replace(one, waveform=noise(9.1))
    (late,) = SpokenWords(Says(hypothesis)).measure([longer])
    assert isinstance(late, Measured)
    assert late.cells["overlong"] == 1  # two characters a word: 2 s + 7 s


@pytest.mark.parametrize(
    ("hypothesis", "cut_off"),
    [
        ("nobody has ever said these", True),
        ("nobody has ever said these seven", False),
        ("nobody has ever said these seven birds", False),
        ("has ever said these seven words", False),
        ("nobody has", True),
    ],
)
def test_what_ends_before_the_sentence_does_is_cut_off(hypothesis: str, cut_off: bool) -> None:
    cells = heard_as(hypothesis).cells
    assert (cells["cut_offs"], cells["runaways"]) == (float(cut_off), 0)


def test_of_many_words_two_may_be_missing_at_the_end() -> None:
    text = "one bird two birds red birds blue birds old birds new birds"
    assert heard_as("one bird two birds red birds blue birds old birds", text=text).cells["cut_offs"] == 0
    assert heard_as("one bird two birds red birds blue birds old", text=text).cells["cut_offs"] == 1


@pytest.mark.parametrize(("pause_s", "stalled"), [(7.9, False), (8.1, True)])
def test_eight_seconds_of_nothing_are_too_many(pause_s: float, stalled: bool) -> None:
    words = " ".join(["bird"] + ["tree", "house"] * 10)
    for parts in ([noise(2), zeros(pause_s), noise(2)], [zeros(pause_s), noise(3)], [noise(3), zeros(pause_s)]):
        cells = heard_as(words, torch.cat(parts), words).cells
        assert (cells["stalled"], cells["overlong"]) == (float(stalled), 0)


def test_a_pause_need_not_be_digital_silence() -> None:
    hiss = noise(9, 0.1 * 10 ** (-45 / 20))
    assert spoken(torch.cat([noise(1), hiss, noise(1)])).longest_pause_s == pytest.approx(9, abs=0.05)
    assert spoken(torch.cat([noise(1), 10 * hiss, noise(1)])).longest_pause_s < 0.1
    assert spoken(zeros(3)).longest_pause_s == pytest.approx(3, abs=0.05)
    assert spoken(torch.zeros(5)).longest_pause_s == pytest.approx(5 / RATE_HZ)


def zeros(seconds: float) -> Tensor:
    return torch.zeros(int(seconds * RATE_HZ))


def test_a_recording_is_not_compared_with_itself(encoder: SpeakerEncoder, voice: SpokenVoice) -> None:
    clip = CLIPS["lj/1"]
    itself = spoken(waveform(clip.id), clip.text or "", "lj")
    (compared,) = voice.measure([replace(itself, recording=clip.sha256)])
    (twice,) = voice.measure([itself])
    assert isinstance(compared, Measured) and isinstance(twice, Measured)
    other = float(encoder.embed(waveform("lj/1"), RATE_HZ) @ encoder.embed(waveform("lj/2"), RATE_HZ))
    assert compared.cells["similarity"] == pytest.approx(other, abs=1e-5)
    assert twice.cells["similarity"] == pytest.approx((1 + other) / 2, abs=1e-5)


def test_without_another_recording_there_is_nothing_to_compare_with(voice: SpokenVoice) -> None:
    clip = CLIPS["train_kennard/1"]
    one = spoken(waveform(clip.id), clip.text or "", "train_kennard")
    (row,) = voice.measure([replace(one, recording=clip.sha256)])
    assert isinstance(row, DataError)
    assert "no other recording" in row.problem


def test_whoever_speaks_in_another_voice_is_taken_for_the_other(voice: SpokenVoice, people: list[Heard]) -> None:
    rows = voice.measure(people)
    cells = [row.cells for row in rows if isinstance(row, Measured)]
    assert [row["own"] for row in cells] == [(row["similarity"],) for row in cells]
    assert [len(row["impostors"]) for row in cells] == [2] * len(people)  # type: ignore[arg-type]
    assert figure(rows, "eer") == 0
    assert figure(rows, "impostor_p95") == max(score for row in cells for score in row["impostors"])  # type: ignore[union-attr]
    other = {"train_kennard": "train_mouse", "train_mouse": "train_kennard"}
    assert figure(voice.measure([replace(one, speaker=other[one.speaker]) for one in people]), "eer") >= 0.5


def test_a_sentence_without_words_is_named(words: SpokenWords) -> None:
    (row,) = words.measure([spoken(noise(1), "...")])
    assert isinstance(row, DataError)
    assert "no words" in row.problem


def test_nothing_is_nothing(words: SpokenWords, voice: SpokenVoice) -> None:
    assert words.measure([]) == [] == voice.measure([])


def test_whoever_is_compared_with_is_part_of_the_identity(encoder: SpeakerEncoder, voice: SpokenVoice) -> None:
    assert SpokenVoice(encoder, voice._enrolled[:1]).identity != voice.identity
