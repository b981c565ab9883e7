"""Speaker embeddings tell the human voices apart, and say when there is no voice to embed."""

import itertools

import numpy as np
import pytest
import torch

from vqbench.audio.io import load_waveform
from vqbench.data.corpora import corpus_clips
from vqbench.errors import DataError
from vqbench.judges.speaker.encoder import Resemblyzer, SpeakerEncoder, similarity

RATE_HZ = 22_050


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return Resemblyzer("cpu")


@pytest.fixture(scope="module")
def voices() -> dict[str, list[torch.Tensor]]:
    """Two clips each of five speakers, women and men."""
    wanted = ("lj", "train_dotrice", "train_grace", "train_lescault", "train_mouse")
    clips = [clip for clip in corpus_clips("tortoise-voices") if clip.speaker in wanted]
    return {
        speaker: [load_waveform(clip.path, RATE_HZ) for clip in list(own)[:2]]
        for speaker, own in itertools.groupby(clips, key=lambda clip: clip.speaker)
    }


@pytest.fixture(scope="module")
def embeddings(encoder, voices) -> dict[str, list[np.ndarray]]:
    return {speaker: [encoder.embed(clip, RATE_HZ) for clip in clips] for speaker, clips in voices.items()}


def test_an_embedding_is_a_direction(embeddings):
    assert len(embeddings) == 5
    for embedding in itertools.chain.from_iterable(embeddings.values()):
        assert embedding.shape == (256,)
        assert embedding.dtype == np.float32
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_every_voice_is_nearest_to_itself(embeddings):
    for speaker, (first, second) in embeddings.items():
        own = similarity(first, second)
        others = [similarity(first, e) for other, pair in embeddings.items() if other != speaker for e in pair]
        assert own > 0.8 > max(others), speaker
        assert similarity(first, first) == pytest.approx(1, abs=1e-5)
        assert similarity(first, second) == similarity(second, first)


def test_the_embedding_is_resemblyzers(encoder, voices):
    import resemblyzer  # after the fixture, which keeps its deprecation warnings away

    clip = voices["lj"][0].numpy()
    theirs = resemblyzer.VoiceEncoder("cpu", verbose=False).embed_utterance(
        resemblyzer.preprocess_wav(clip, source_sr=RATE_HZ)
    )
    np.testing.assert_array_equal(encoder.embed(clip, RATE_HZ), theirs)


def test_the_same_waveform_gives_the_same_embedding(encoder, voices):
    clip = voices["train_mouse"][0]
    np.testing.assert_array_equal(encoder.embed(clip, RATE_HZ), encoder.embed(clip.double().numpy(), RATE_HZ))


def test_louder_than_full_scale_is_clipped(encoder, voices):
    loud = voices["train_mouse"][0] * 30
    np.testing.assert_array_equal(encoder.embed(loud, RATE_HZ), encoder.embed(loud.clamp(-1, 1), RATE_HZ))


def test_loading_prints_nothing(capfd):
    Resemblyzer("cpu")
    assert capfd.readouterr() == ("", "")


def test_the_identity_names_versions_and_weights(encoder):
    assert encoder.identity["resemblyzer"]
    assert len(str(encoder.identity["weights"])) == 64


RNG = np.random.default_rng(0)
WITHOUT_VOICE = {
    "empty": (np.zeros(0), "empty"),
    "stereo": (np.zeros((2, RATE_HZ)), "mono"),
    "silent": (np.zeros(RATE_HZ), "silent"),
    "NaN": (np.full(RATE_HZ, np.nan), "NaN"),
    "one NaN": (np.r_[RNG.normal(size=RATE_HZ), np.nan], "1 of 22051 samples are NaN"),
    "infinite": (np.full(RATE_HZ, np.inf), "infinite"),
    "one sample": (np.ones(1), "0.00 s of voice"),
    "constant": (np.full(RATE_HZ, 0.5), "of voice were found in 1.00 s"),
    "whisper of noise": (RNG.normal(size=2 * RATE_HZ) * 1e-7, "of voice were found in 2.00 s"),
}


@pytest.mark.parametrize("name", WITHOUT_VOICE)
def test_no_voice_is_named(encoder, name):
    waveform, problem = WITHOUT_VOICE[name]
    with pytest.raises(DataError) as caught:
        encoder.embed(waveform.astype(np.float32), RATE_HZ)
    assert problem in str(caught.value)


def test_a_fraction_of_a_word_is_too_short(encoder, voices):
    with pytest.raises(DataError, match=r"of voice were found in 0\.40 s"):
        encoder.embed(voices["lj"][0][RATE_HZ : RATE_HZ + int(0.4 * RATE_HZ)], RATE_HZ)
