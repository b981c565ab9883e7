"""The front end against torchaudio's numbers, against librosa, and at its edges."""

import math
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from audio_reference import librosa_mel

from vqbench.audio.io import load_waveform
from vqbench.audio.mel import LOG_FLOOR, MelFrontEnd, MelSpec, mel_filters
from vqbench.data.corpora import corpus_clips
from vqbench.errors import CheckpointError

GOLDEN = np.load(Path(__file__).with_name("golden_torchaudio_mel.npz"))
SPEC = MelSpec()
FRONT_END = MelFrontEnd(SPEC)


def real_speech(name: str) -> torch.Tensor:
    """The part of a clip that the golden mels were made of."""
    paths = {f"{clip.path.parent.name}/{clip.path.name}": clip.path for clip in corpus_clips("tortoise-voices")}
    return load_waveform(paths[name], SPEC.sample_rate_hz)[30_000:55_343]


@pytest.mark.parametrize("name", GOLDEN.files)
def test_real_clips_equal_torchaudio(name):
    np.testing.assert_allclose(FRONT_END(real_speech(name)).numpy(), GOLDEN[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", GOLDEN.files)
def test_real_clips_equal_librosa(name):
    waveform = real_speech(name)
    expected = librosa_mel(waveform.numpy())
    np.testing.assert_allclose(FRONT_END(waveform).numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, sample_rate_hz=24_000, f_max_hz=12_000.0),
        replace(SPEC, n_mels=40, norms=(-1.0,) * 40, f_min_hz=80.0, n_fft=2048),
    ],
)
def test_filters_equal_librosas(spec):
    expected = librosa.filters.mel(
        sr=spec.sample_rate_hz, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.f_min_hz, fmax=spec.f_max_hz,
        htk=True, norm="slaney",
    )  # fmt: skip
    np.testing.assert_allclose(mel_filters(spec).numpy(), expected, rtol=0, atol=1e-7)


def test_every_filter_has_unit_area_and_stays_in_its_range():
    filters = mel_filters(SPEC)
    bin_width_hz = SPEC.sample_rate_hz / SPEC.n_fft
    assert ((filters.sum(1) * bin_width_hz - 1).abs() < 0.07).all()
    assert (filters >= 0).all()
    assert not filters[:, math.ceil(SPEC.f_max_hz / bin_width_hz) :].any()
    peaks = filters.argmax(1)
    assert (peaks.diff() >= 0).all()


def test_silence_has_its_own_value_in_every_band():
    mel = FRONT_END(torch.zeros(22_050))
    expected = torch.tensor([math.log(LOG_FLOOR) / norm for norm in SPEC.norms])
    torch.testing.assert_close(mel, expected[:, None].expand_as(mel))
    assert round(float(mel.min()), 2) == 1.21
    assert round(float(mel.max()), 2) == 7.18


def test_frames_at_every_length_up_to_two_tokens():
    noise = torch.randn(2_048, generator=torch.Generator().manual_seed(0)) * 0.1
    lengths = [FRONT_END(noise[:n]).shape[-1] for n in range(1, 2_049)]
    assert lengths == [n // 256 + 1 for n in range(1, 2_049)]
    assert lengths == [SPEC.n_frames(n) for n in range(1, 2_049)]


@pytest.mark.parametrize("n", [1, 2, 255, 511, 512])
def test_short_waveforms_are_followed_by_silence(n):
    waveform = torch.full((n,), 0.5)
    mel = FRONT_END(waveform)
    padded = FRONT_END(torch.nn.functional.pad(waveform, (0, 4_096)))
    assert mel.shape == (80, n // 256 + 1)
    torch.testing.assert_close(mel[:, 0], padded[:, 0], rtol=0, atol=1e-4)


def test_the_loudest_waveform_is_finite():
    square = torch.ones(8_192)
    square[::2] = -1
    for waveform in (square, torch.ones(8_192), torch.sin(torch.arange(8_192) * 0.3).sign()):
        assert FRONT_END(waveform).isfinite().all()


def test_a_batch_equals_its_clips_one_by_one():
    batch = torch.randn(3, 10_000, generator=torch.Generator().manual_seed(0)) * 0.1
    together = FRONT_END(batch)
    assert together.shape == (3, 80, 40)
    torch.testing.assert_close(together, torch.stack([FRONT_END(clip) for clip in batch]), rtol=0, atol=1e-5)


def test_power_undoes_norms_and_logarithm():
    waveform = real_speech("lj/1.wav")
    spectrum = torch.stft(waveform, 1024, 256, window=torch.hann_window(1024), return_complex=True).abs().square()
    expected = (mel_filters(SPEC) @ spectrum).clamp_min(LOG_FLOOR)
    torch.testing.assert_close(FRONT_END.power(FRONT_END(waveform)), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate_hz": 24_000}, {"n_fft": 2048}, {"hop_length": 128}, {"f_min_hz": 1.0}, {"f_max_hz": 7_999.0},
        {"norms": (*SPEC.norms[:-1], -1.0)},
    ],
)  # fmt: skip
def test_any_number_changes_the_fingerprint(change):
    assert replace(SPEC, **change).fingerprint != SPEC.fingerprint
    assert replace(SPEC).fingerprint == SPEC.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"norms": SPEC.norms[:79]}, {"norms": (*SPEC.norms[:79], 0.0)}, {"norms": (*SPEC.norms[:79], math.nan)},
        {"hop_length": 0}, {"f_max_hz": 12_000.0}, {"f_min_hz": 9_000.0},
    ],
)  # fmt: skip
def test_impossible_front_ends_are_refused(change):
    with pytest.raises(CheckpointError):
        replace(SPEC, **change)
