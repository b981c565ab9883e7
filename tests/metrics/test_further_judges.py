"""CLVP and DNSMOS before speech that is right, wrong and broken: their figures are upstream's own."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from vqbench.audio.io import load_waveform, resample
from vqbench.audio.mel import MelFrontEnd
from vqbench.data.corpora import corpus_clips
from vqbench.data.manifest import Clip
from vqbench.errors import DataError, MissingExtraError
from vqbench.judges.mos.dnsmos import QualityPredictor
from vqbench.judges.protocol import Heard, Judge
from vqbench.judges.ratings import SpeechRatings
from vqbench.records.rows import Measured
from vqbench.records.run import Table
from vqbench.records.summary import prepare
from vqbench.stats.columns import columns_of
from vqbench.teachers.pocket.assets import load_pocket
from vqbench.teachers.tortoise.fit import SpeechFit
from vqbench.teachers.tortoise.teacher import TortoiseTeacher

RATE_HZ = 22_050
HUMAN = {clip.id: clip for clip in corpus_clips("tortoise-voices")}
RECORDINGS = corpus_clips("pocket", "test")[:12]
SENTENCE = "nobody has ever said these words"


def of_clip(clip: Clip, text: str | None = None, *, own: bool = False) -> Heard:
    sound = load_waveform(clip.path, RATE_HZ)
    recording = clip.sha256 if own else None
    return Heard(text or clip.text or SENTENCE, clip.speaker or "", sound, RATE_HZ, recording=recording)


def noise(seconds: float, level: float = 0.1) -> Tensor:
    return level * torch.randn(int(seconds * RATE_HZ), generator=torch.Generator().manual_seed(0))


def sound(waveform: Tensor) -> Heard:
    return Heard(SENTENCE, "lj", waveform, RATE_HZ)


@pytest.fixture(scope="module")
def teacher() -> TortoiseTeacher:
    return load_pocket()


def judge_of(teacher: TortoiseTeacher, recordings: list[Clip]) -> SpeechFit:
    assert teacher.tokenizer is not None
    return SpeechFit(teacher, teacher.tokenizer, recordings)


@pytest.fixture(scope="module")
def fit(teacher: TortoiseTeacher) -> SpeechFit:
    return judge_of(teacher, RECORDINGS)


@pytest.fixture(scope="module")
def predictor() -> QualityPredictor:
    return QualityPredictor()


@pytest.fixture(scope="module")
def quality(predictor: QualityPredictor) -> SpeechRatings:
    return SpeechRatings(predictor, "downstream")


def figure(judge: Judge, spoken: list[Heard], name: str) -> float:
    (spec,) = (spec for spec in judge.specs if spec.name == f"downstream.{name}")
    cells = [row.cells for row in judge.measure(spoken) if isinstance(row, Measured)]
    columns = {column: tuple(row[column] for row in cells) for column in spec.columns}
    return prepare(spec, Table("x", spec.group, tuple(map(str, range(len(cells)))), columns_of(columns))).value


def tokens(teacher: TortoiseTeacher, waveform: Tensor) -> Tensor:
    assert teacher.tokenizer is not None
    (codes,) = teacher.tokenizer.quantize(
        teacher.tokenizer.latents([MelFrontEnd(teacher.tokenizer.mel_spec)(waveform)])
    )
    return codes


@torch.no_grad()
def upstream_score(teacher: TortoiseTeacher, text: str, codes: Tensor) -> float:
    with teacher.clvp.loaded() as clvp:
        scaled = clvp(teacher.encode(text)[None], codes[None])  # tortoise-tts's own forward
        return float(scaled / clvp.temperature.exp())


def test_scores_are_those_of_upstreams_clvp_for_what_the_true_vqvae_hears(
    fit: SpeechFit, teacher: TortoiseTeacher
) -> None:
    said = [of_clip(RECORDINGS[0]), of_clip(RECORDINGS[5]), of_clip(HUMAN["train_mouse/1"], SENTENCE)]
    expected = [upstream_score(teacher, one.text, tokens(teacher, one.waveform)) for one in said]
    rows = fit.measure(said)
    assert [row.cells["score"] for row in rows if isinstance(row, Measured)] == pytest.approx(expected, abs=1e-5)
    assert figure(fit, said, "clvp_score") == pytest.approx(np.mean(expected), abs=1e-5)


def test_other_rates_are_brought_to_the_vqvaes(fit: SpeechFit) -> None:
    said = [of_clip(clip) for clip in RECORDINGS[:4]]
    faster = [replace(one, waveform=resample(one.waveform, RATE_HZ, 44_100), sample_rate_hz=44_100) for one in said]
    assert figure(fit, faster, "clvp_score") == pytest.approx(figure(fit, said, "clvp_score"), abs=0.02)


def test_where_clvp_was_trained_on_padding_it_gets_its_padding(teacher: TortoiseTeacher) -> None:
    from vqbench.teachers.tortoise.tokens import settle

    padding = replace(teacher, scores_padding=True)
    said, codes = of_clip(RECORDINGS[0]), tokens(teacher, load_waveform(RECORDINGS[0].path, RATE_HZ))
    most = teacher.sampling.max_tokens
    sampled = torch.full((1, most), teacher.vocabulary.stop)
    sampled[0, : len(codes)] = codes
    (row, endless) = judge_of(padding, RECORDINGS[:2]).measure([said, sound(noise((most + 50) * 1024 / RATE_HZ))])
    assert isinstance(row, Measured) and isinstance(endless, Measured)
    expected = upstream_score(teacher, said.text, settle(sampled, teacher.vocabulary)[0])
    assert row.cells["score"] == pytest.approx(expected, abs=1e-5)
    assert row.cells["score"] != pytest.approx(upstream_score(teacher, said.text, codes), abs=1e-3)


def test_clvp_tells_the_right_sentence_from_a_wrong_one(fit: SpeechFit) -> None:
    right = figure(fit, [of_clip(clip) for clip in RECORDINGS], "clvp_score")
    turned = [*RECORDINGS[1:], RECORDINGS[0]]
    wrong = figure(
        fit, [of_clip(clip, other.text) for clip, other in zip(RECORDINGS, turned, strict=True)], "clvp_score"
    )
    assert -1 <= wrong < 0.3 < 0.8 < right <= 1


def test_the_distance_is_counted_over_embeddings(fit: SpeechFit, teacher: TortoiseTeacher) -> None:
    said = [of_clip(clip, SENTENCE) for clip in list(HUMAN.values())[:3]]
    with teacher.clvp.loaded() as clvp, torch.no_grad():

        def embed(waveform: Tensor) -> np.ndarray:
            embedding = clvp.speech_emb(tokens(teacher, waveform)[None])
            encoded = clvp.speech_transformer(embedding, mask=torch.ones(embedding.shape[:2], dtype=torch.bool))
            latent = clvp.to_speech_latent(encoded.mean(1))[0].numpy()
            return latent / np.linalg.norm(latent)

        points = np.stack([embed(one.waveform) for one in said])
        reference = np.stack([embed(load_waveform(clip.path, RATE_HZ)) for clip in RECORDINGS])
    within = [cdist(sample, sample)[np.triu_indices(len(sample), 1)].mean() for sample in (points, reference)]
    expected = 2 * cdist(points, reference).mean() - sum(within)
    assert figure(fit, said, "clvp_distance") == pytest.approx(expected, abs=1e-3)


def test_recordings_are_no_distance_from_themselves_and_noise_is_far_off(fit: SpeechFit) -> None:
    own = figure(fit, [of_clip(clip, own=True) for clip in RECORDINGS], "clvp_distance")
    assert own == pytest.approx(0, abs=1e-6)
    noises = [sound(noise(seconds)) for seconds in (1.7, 1.9, 2.1, 2.3, 2.5, 2.7)]
    assert figure(fit, noises, "clvp_distance") > 0.5


def test_without_a_second_recording_there_is_a_score_and_no_distance(teacher: TortoiseTeacher) -> None:
    for recordings, own in ((RECORDINGS[:1], False), (RECORDINGS[:1], True)):
        alone = judge_of(teacher, recordings)
        said = [of_clip(RECORDINGS[0], own=own), of_clip(RECORDINGS[1])]
        assert figure(alone, said, "clvp_score") > 0.5
        assert np.isnan(figure(alone, said, "clvp_distance"))


def test_no_row_depends_on_its_neighbours(fit: SpeechFit) -> None:
    said = [of_clip(RECORDINGS[0]), sound(torch.zeros(0)), sound(noise(20)), of_clip(RECORDINGS[1])]
    together = fit.measure(said)
    for one, row in zip(said, together, strict=True):
        (alone,) = fit.measure([one])
        assert alone == row or str(alone) == str(row)
    assert isinstance(together[1], DataError)


def test_whoever_is_compared_with_is_part_of_the_identity(fit: SpeechFit, teacher: TortoiseTeacher) -> None:
    assert judge_of(teacher, RECORDINGS[:3]).identity != fit.identity == judge_of(teacher, RECORDINGS).identity
    assert judge_of(replace(teacher, digest="another"), RECORDINGS).identity != fit.identity


def test_ratings_are_those_of_the_package(quality: SpeechRatings) -> None:
    from speechmos import dnsmos

    said = [of_clip(HUMAN["lj/1"]), of_clip(HUMAN["train_mouse/1"])]
    at_16k = [resample(one.waveform, RATE_HZ, 16_000).numpy().clip(-1, 1) for one in said]
    theirs = [dnsmos.run(samples, 16_000) for samples in at_16k]
    for name, key in (("overall", "ovrl_mos"), ("signal", "sig_mos"), ("background", "bak_mos"), ("p808", "p808_mos")):
        assert figure(quality, said, f"mos_{name}") == pytest.approx(np.mean([one[key] for one in theirs]), abs=1e-5)


def test_noise_costs_what_listeners_would_take_off(quality: SpeechRatings) -> None:
    clean = of_clip(HUMAN["lj/1"])
    noisy = replace(clean, waveform=clean.waveform + noise(len(clean.waveform) / RATE_HZ, 0.03)[: len(clean.waveform)])
    rated = [row.cells for row in quality.measure([clean, noisy]) if isinstance(row, Measured)]
    for name in ("overall", "background", "p808"):
        assert 1 <= rated[1][name] + 0.5 < rated[0][name] <= 5  # type: ignore[operator]


def test_the_louder_than_loud_is_clipped_as_a_player_would(quality: SpeechRatings) -> None:
    (row,) = quality.measure([sound(noise(9.2, 3.0))])
    assert isinstance(row, Measured)
    assert 1 <= row.cells["overall"] < 2  # type: ignore[operator]


BROKEN = {
    "no samples": (torch.zeros(0), "silent"),
    "zeros": (torch.zeros(RATE_HZ), "silent"),
    "hiss below -60 dBFS": (noise(2, 10 ** (-61 / 20)), "silent"),
    "NaN": (torch.cat([noise(1), torch.tensor([float("nan")])]), "NaN"),
    "infinity": (torch.cat([noise(1), torch.tensor([float("inf")])]), "infinity"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_has_no_voice_is_named(fit: SpeechFit, quality: SpeechRatings, name: str) -> None:
    waveform, said = BROKEN[name]
    for judge in (fit, quality):
        (row,) = judge.measure([sound(waveform)])
        assert isinstance(row, DataError)
        assert said in row.problem


def test_what_is_loud_is_scored_however_short_or_long(fit: SpeechFit, quality: SpeechRatings) -> None:
    for waveform in (torch.ones(1), noise(0.01), noise(60)):
        (row,) = fit.measure([sound(waveform)])
        assert isinstance(row, Measured)
        assert row.cells["score"] < 0.6  # type: ignore[operator]
    for waveform in (torch.ones(1), noise(11)):  # a minute of noise, 51 windows, gets 1.1 likewise and takes a while
        (row,) = quality.measure([sound(waveform)])
        assert isinstance(row, Measured)
        assert row.cells["overall"] < 2.5  # type: ignore[operator]


def test_a_sentence_that_the_teacher_cannot_read_is_named(fit: SpeechFit) -> None:
    endless, row = fit.measure([of_clip(RECORDINGS[0], SENTENCE * 50), of_clip(RECORDINGS[0])])
    assert isinstance(endless, DataError) and "tokens" in endless.problem
    assert isinstance(row, Measured)


def test_nothing_is_nothing(fit: SpeechFit, quality: SpeechRatings) -> None:
    assert fit.measure([]) == [] == quality.measure([])


def test_a_missing_package_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "speechmos", None)
    monkeypatch.delitem(sys.modules, "speechmos.dnsmos", raising=False)
    with pytest.raises(MissingExtraError, match="predicting MOS needs the package 'speechmos") as caught:
        QualityPredictor()
    assert caught.value.fix == "pip install 'vqbench[judges]'"
