"""Waveforms to mels and back, against librosa, torchaudio where it is there, and torch's own transforms."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from audio_reference import librosa_mel, plain_griffin_lim

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import LOG_FLOOR, MelFrontEnd, MelSpec

SPEC = MelSpec()


@pytest.fixture
def waveform(measured: bool) -> torch.Tensor:
    """Noise that swells and fades as syllables do: 10 s when measured."""
    n = 22_050 * (10 if measured else 1)
    noise = torch.randn(n, generator=torch.Generator().manual_seed(0))
    return 0.1 * noise * torch.sin(torch.arange(n) / 22_050 * 12).abs()


def torchaudio_mel():
    torchaudio = pytest.importorskip("torchaudio")
    transform = torchaudio.transforms.MelSpectrogram(
        22_050, 1024, 1024, 256, 0.0, 8_000.0, n_mels=80, norm="slaney", power=2, normalized=False
    )
    norms = torch.tensor(SPEC.norms)[:, None]
    return lambda waveform: transform(waveform).clamp(min=LOG_FLOOR).log() / norms


@pytest.mark.parametrize("contender", ["ours", "torchaudio", "librosa"])
def test_mel(benchmark, contender, waveform) -> None:
    benchmark.group = "mel of one clip"
    front_end = MelFrontEnd(SPEC)
    contenders = {
        "ours": lambda: front_end,
        "torchaudio": torchaudio_mel,
        "librosa": lambda: lambda waveform: torch.from_numpy(librosa_mel(waveform.numpy())).float(),
    }
    mel = benchmark(contenders[contender](), waveform)
    torch.testing.assert_close(mel, front_end(waveform), rtol=0, atol=1e-4)


@pytest.mark.parametrize("contender", ["ours", "plain", "librosa"])
@pytest.mark.parametrize("iterations", [8, 32])
def test_griffin_lim(benchmark, contender, iterations, waveform) -> None:
    """All vocoders start from the same power spectrum, found by ours."""
    benchmark.group = f"Griffin-Lim, {iterations} iterations"
    vocoder, mel = GriffinLim(SPEC, iterations), MelFrontEnd(SPEC)(waveform)

    def plain() -> torch.Tensor:
        return plain_griffin_lim(vocoder.power_spectrum(mel).sqrt(), len(waveform), iterations, vocoder.momentum)

    def librosas() -> torch.Tensor:
        magnitudes = vocoder.power_spectrum(mel).sqrt().numpy()
        found = librosa.griffinlim(
            magnitudes, n_iter=iterations, hop_length=256, momentum=0.99, length=len(waveform), pad_mode="reflect",
            random_state=np.random.default_rng(0),
        )  # fmt: skip
        return torch.from_numpy(found)

    contenders = {"ours": lambda: vocoder(mel, length=len(waveform)), "plain": plain, "librosa": librosas}
    rendered = benchmark(contenders[contender])
    ours = contenders["ours"]()
    if contender == "plain" and iterations == 8:  # differences of rounding grow with the iterations
        assert (rendered - ours).norm() < 0.01 * ours.norm()
    # librosa draws other phases at the start, so that only the mel can be the same.
    assert abs(mel_error(rendered, mel) - mel_error(ours, mel)) < 0.1 * mel_error(ours, mel)


def mel_error(waveform: torch.Tensor, mel: torch.Tensor) -> float:
    return float((MelFrontEnd(SPEC)(waveform) - mel).abs().mean())
