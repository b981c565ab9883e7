"""The conditioning mels are upstream's, whatever a recording's length."""

from __future__ import annotations

import random

import librosa
import pytest
import torch
from torch.nn import functional as F

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import DataError
from vqbench.teachers.tortoise.conditioning import gpt_conditioning, mel_conditioning, tacotron_conditioning
from vqbench.teachers.tortoise.upstream import resample, upstream_module


def noise(n_samples: int) -> torch.Tensor:
    return torch.rand(n_samples, generator=torch.Generator().manual_seed(n_samples)) - 0.5


@pytest.mark.parametrize("n_samples", [1, 30_000, 132_299, 132_300, 132_301, 150_000])
def test_the_gpt_hears_what_upstream_lets_it_hear(n_samples):
    waveform = noise(n_samples)
    random.seed(4)
    gap = n_samples - 132_300
    start = random.randint(0, gap) if gap > 0 else 0
    heard = F.pad(waveform[start : start + 132_300], (0, max(0, -gap)))
    expected = upstream_module("models.arch_util").TorchMelSpectrogram()(heard[None])[0]
    mel = gpt_conditioning(waveform, seed=4)
    assert mel.shape == (80, 517)
    torch.testing.assert_close(mel, expected, atol=1e-4, rtol=0)


def test_where_a_long_recording_is_cut_depends_on_the_seed_alone():
    waveform = noise(140_000)
    random.seed(0)
    first = gpt_conditioning(waveform, seed=1)
    assert torch.equal(gpt_conditioning(waveform, seed=1), first)
    assert not torch.equal(gpt_conditioning(waveform, seed=2), first)
    # One sample too long leaves two places to begin, both of which come up.
    waveform = noise(132_301)
    assert {float(gpt_conditioning(waveform, seed)[0, 0]) for seed in range(8)} == {
        float(gpt_conditioning(waveform[start : start + 132_300], 0)[0, 0]) for start in (0, 1)
    }


@pytest.mark.parametrize("n_samples", [1, 50_000, 94_080, 94_081, 120_000])
def test_the_diffusion_decoder_hears_the_first_seconds_at_24_khz(n_samples):
    waveform = noise(n_samples)
    heard = resample(waveform, 22_050, 24_000)[:102_400]
    heard = F.pad(heard, (0, 102_400 - len(heard))).numpy()
    magnitudes = librosa.feature.melspectrogram(
        y=heard, sr=24_000, n_fft=1024, hop_length=256, n_mels=100, fmax=12_000, power=1, pad_mode="reflect"
    )
    mel = tacotron_conditioning(waveform)
    assert mel.shape == (100, 401)
    torch.testing.assert_close(mel, torch.from_numpy(magnitudes).clamp_min(1e-5).log(), atol=2e-3, rtol=0)


def test_the_pockets_decoder_hears_the_vqvaes_mel():
    waveform = noise(20_000)
    expected = MelFrontEnd()(F.pad(waveform[:15_000], (0, 0)))
    torch.testing.assert_close(mel_conditioning(waveform, n_samples=15_000), expected)
    spec = MelSpec().with_norms([-2.0] * 80)
    longer = mel_conditioning(waveform, spec, 40_000)
    torch.testing.assert_close(longer, MelFrontEnd(spec)(F.pad(waveform, (0, 20_000))))


@pytest.mark.parametrize("shape", [(0,), (2, 500)])
@pytest.mark.parametrize(
    "conditioning", [lambda waveform: gpt_conditioning(waveform, 0), mel_conditioning, tacotron_conditioning]
)
def test_what_is_no_recording_is_refused(conditioning, shape):
    with pytest.raises(DataError, match="holds no voice"):
        conditioning(torch.zeros(shape))
