"""Reconstruction distances against hand-worked cases and an independent implementation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.manifest import Clip
from vqbench.metrics.base import Rendering
from vqbench.metrics.reconstruction import (
    ReconstructionDistance,
    mel_cepstral_distortion,
    multi_resolution_stft_distance,
    speech_frames,
)
from vqbench.records.rows import Measured

COUNTS = ("mel_cells", "one", "frames", "speech_frames")
CLIP = Clip(id="a", path=Path("a.wav"), sha256="0", duration_s=1.0)


@pytest.fixture
def waveform() -> torch.Tensor:
    t = torch.arange(22_050) / 22_050
    tones = sum(torch.sin(2 * math.pi * f * t) / f**0.5 for f in (120, 480, 1900, 5200))
    noise = torch.randn(22_050, generator=torch.Generator().manual_seed(0))
    return 0.1 * tones * (0.6 + 0.4 * torch.sin(2 * math.pi * 3 * t)) + 0.001 * noise


def row(waveform: torch.Tensor, mel_hat: torch.Tensor, waveform_hat: torch.Tensor) -> dict[str, float]:
    mel = MelFrontEnd()(waveform)
    rendering = Rendering(CLIP, waveform, mel, waveform_hat, mel_hat)
    (measured,) = ReconstructionDistance(MelSpec()).measure([rendering])
    assert isinstance(measured, Measured)
    return dict(measured.cells)


def test_mel_errors_by_hand(waveform: torch.Tensor) -> None:
    mel = MelFrontEnd()(waveform)
    norms = torch.tensor(MelSpec().norms)
    # Every band 2 dB too loud: |Δ ln power| = 2 ln(10) / 10.
    louder = mel + (2 * math.log(10) / 10 / norms)[:, None]
    cells = row(waveform, louder, waveform)
    assert cells["mel_db_sum"] / cells["mel_cells"] == pytest.approx(2.0, abs=1e-4)
    in_units = (2 * math.log(10) / 10 / norms).abs().double()
    assert cells["mel_l1_sum"] / cells["mel_cells"] == pytest.approx(in_units.mean().item(), rel=1e-5)
    assert cells["mel_l2_sum"] / cells["mel_cells"] == pytest.approx(in_units.square().mean().item(), rel=1e-5)
    assert cells["mel_cells"] == mel.numel()


def test_the_same_is_at_distance_zero(waveform: torch.Tensor) -> None:
    cells = row(waveform, MelFrontEnd()(waveform), waveform)
    assert {name: value for name, value in cells.items() if name not in COUNTS} == {
        "mel_l1_sum": 0,
        "mel_l2_sum": 0,
        "mel_db_sum": 0,
        "mr_stft": 0,
        "mcd_db_sum": 0,
        "mcd_speech_db_sum": 0,
    }


def test_a_longer_or_shorter_waveform_is_compared_where_both_exist(waveform: torch.Tensor) -> None:
    mel = MelFrontEnd()(waveform)
    assert row(waveform, mel, waveform[:-700])["mr_stft"] < 0.05
    assert row(waveform, mel, torch.cat([waveform, torch.ones(700)]))["mr_stft"] < 0.05


def test_mels_of_different_length_are_a_bug_not_a_broadcast(waveform: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        row(waveform, MelFrontEnd()(waveform)[:, :1], waveform)


def test_mr_stft_against_numpy(waveform: torch.Tensor) -> None:
    estimate = 0.8 * waveform + 0.01 * torch.randn(len(waveform))
    total = 0.0
    for n_fft, hop, width in ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200)):
        s, s_hat = (_magnitude(x.double().numpy(), n_fft, hop, width) for x in (waveform, estimate))
        total += np.linalg.norm(s - s_hat) / np.linalg.norm(s) + np.abs(np.log(s) - np.log(s_hat)).mean()
    assert multi_resolution_stft_distance(waveform, estimate) == pytest.approx(total / 3, rel=1e-3)


def _magnitude(x: np.ndarray, n_fft: int, hop: int, width: int) -> np.ndarray:
    window = np.zeros(n_fft)
    left = (n_fft - width) // 2
    window[left : left + width] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    padded = np.pad(x, n_fft // 2)
    starts = range(0, len(padded) - n_fft + 1, hop)
    frames = np.stack([padded[start : start + n_fft] * window for start in starts])
    return np.sqrt(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-7))


def test_mcd_ignores_loudness() -> None:
    log_power = torch.randn(80, 5)
    torch.testing.assert_close(mel_cepstral_distortion(log_power, log_power + 1.7), torch.zeros(5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("ripple", [1, 5, 13])
def test_mcd_of_a_ripple_is_its_rms_in_db(ripple: int) -> None:
    band = torch.arange(80) + 0.5
    decibels = 6.0 * torch.cos(math.pi * ripple * band / 80)
    log_power = torch.randn(80, 1)
    changed = log_power + (decibels * math.log(10) / 10)[:, None]
    assert mel_cepstral_distortion(log_power, changed).item() == pytest.approx(6.0 / math.sqrt(2), rel=1e-4)


def test_mcd_does_not_see_finer_ripples() -> None:
    band = torch.arange(80) + 0.5
    changed = torch.cos(math.pi * 14 * band / 80)[:, None]
    torch.testing.assert_close(mel_cepstral_distortion(torch.zeros(80, 1), changed), torch.zeros(1), atol=1e-4, rtol=0)


def test_mcd_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(-2, 1.5, (2, 80, 7))
    cepstra = [scipy.fft.dct(0.5 * x, type=2, axis=0) / 80 for x in (a, b)]  # scipy's sum carries a factor 2
    expected = 10 / np.log(10) * np.sqrt(2 * ((cepstra[0] - cepstra[1])[1:14] ** 2).sum(0))
    ours = mel_cepstral_distortion(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4)


def test_silent_frames_are_left_out_of_the_distortion_of_speech(waveform: torch.Tensor) -> None:
    """A second of speech, and one of white noise far below it, of which the copy has another."""
    torch.manual_seed(0)
    quiet = 0.001 * torch.randn(len(waveform))
    spoken = torch.cat([5 * waveform, quiet])
    copied = torch.cat([5 * waveform, 0.001 * torch.randn(len(waveform))])
    cells = row(spoken, MelFrontEnd()(spoken), copied)
    assert cells["speech_frames"] == pytest.approx(cells["frames"] / 2, abs=6)
    assert cells["mcd_speech_db_sum"] < 0.05 * cells["mcd_db_sum"]


def test_a_frame_is_speech_by_its_level_beside_the_loudest() -> None:
    """By hand: 0, 39.9 and 40.1 dB below the loudest, all power in one of two bands."""
    ln = torch.tensor([[30.0, -9.9, -10.1], [-400.0, -400.0, -400.0]]) * math.log(10) / 10
    assert speech_frames(ln).tolist() == [True, True, False]
    assert speech_frames(torch.full((2, 3), -20.0)).tolist() == [False, False, False]
