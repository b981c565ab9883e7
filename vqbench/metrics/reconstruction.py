"""How far the reconstruction is from the original: on the mel, and on the waveform after vocoding."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vqbench.audio.mel import LOG_FLOOR, MelFrontEnd, MelSpec
from vqbench.errors import DataError
from vqbench.metrics.base import Context, MetricGroup, Output, Rendering
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec

_DB_PER_NEPER = 10.0 / math.log(10.0)
"""Natural logs of power times this are dB."""

_RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""(n_fft, hop, window) of the multi-resolution STFT distance, as in Yamamoto et al. 2020 (Parallel WaveGAN)."""

_N_CEPSTRA = 13
_VERSION = 1

SPEECH_DB = 40.0
"""A frame is speech where its power is within so many dB of the clip's loudest frame."""


def _spec(name: str, columns: tuple[str, str], unit: str, description: str, **flags: bool) -> MetricSpec:
    return MetricSpec(
        name=f"reconstruction.{name}",
        group="reconstruction",
        columns=columns,
        reduction="ratio",
        unit=unit,
        higher_is_better=False,
        version=_VERSION,
        description=description,
        needs_same_front_end=flags.get("needs_same_front_end", False),
        headline=flags.get("headline", False),
        decimals=2 if unit == "dB" else 3,
    )


class ReconstructionDistance:
    """Mel distances before vocoding, spectral distances after it."""

    name = "reconstruction"
    needs: Output = "mel"
    specs = (
        _spec(
            "mel_l1",
            ("mel_l1_sum", "mel_cells"),
            "",
            "mean |mel - mel_hat| in the units the VQVAE is trained in (log-mel / norms)",
            needs_same_front_end=True,
            headline=True,
        ),
        _spec(
            "mel_l2",
            ("mel_l2_sum", "mel_cells"),
            "",
            "mean (mel - mel_hat)^2 in the units the VQVAE is trained in",
            needs_same_front_end=True,
        ),
        _spec(
            "mel_db",
            ("mel_db_sum", "mel_cells"),
            "dB",
            "mean |difference| of the mel powers in dB",
            needs_same_front_end=True,
        ),
        _spec(
            "mr_stft",
            ("mr_stft", "one"),
            "",
            "multi-resolution STFT distance after vocoding: spectral convergence + log magnitude",
        ),
        _spec(
            "mcd_db",
            ("mcd_db_sum", "frames"),
            "dB",
            "mel-cepstral distortion after vocoding, c1..c13, frames paired in time",
        ),
        _spec(
            "mcd_speech_db",
            ("mcd_speech_db_sum", "speech_frames"),
            "dB",
            f"mcd_db over the frames within {SPEECH_DB:g} dB of the recording's loudest: without silences",
        ),
    )

    def __init__(self, mel_spec: MelSpec) -> None:
        self._front_end = MelFrontEnd(mel_spec)

    @property
    def identity(self) -> Mapping[str, object]:
        """The version of the formulas, and what is counted; the front end is part of the rendering."""
        return {"version": _VERSION, "speech_db": SPEECH_DB}

    @torch.inference_mode()
    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """Sums and counts, so that long clips weigh as much as their frames."""
        return [self._measure(rendering) for rendering in renderings]

    def _measure(self, rendering: Rendering) -> Measured:
        assert rendering.mel_hat is not None
        mel, mel_hat = rendering.mel, rendering.mel_hat
        if mel.shape != mel_hat.shape:
            raise ValueError(f"mel {tuple(mel.shape)} and its reconstruction {tuple(mel_hat.shape)} differ in length")
        difference = (mel - mel_hat).double()
        return Measured(
            {
                "mel_l1_sum": float(difference.abs().sum()),
                "mel_l2_sum": float(difference.square().sum()),
                "mel_db_sum": float((difference * self._front_end.norms[:, None]).abs().sum()) * _DB_PER_NEPER,
                "mel_cells": float(difference.numel()),
                **waveform_cells(rendering, self._front_end),
            }
        )


class CopyDistance:
    """The same on waveforms alone, of systems that give no mel back."""

    name = "reconstruction"
    needs: Output = "copy"
    specs = tuple(spec for spec in ReconstructionDistance.specs if not spec.needs_same_front_end)

    def __init__(self, mel_spec: MelSpec) -> None:
        self._front_end = MelFrontEnd(mel_spec)

    @property
    def identity(self) -> Mapping[str, object]:
        """As of `ReconstructionDistance`."""
        return {"version": _VERSION, "speech_db": SPEECH_DB}

    @torch.inference_mode()
    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """Sums and counts."""
        return [Measured(waveform_cells(rendering, self._front_end)) for rendering in renderings]


def waveform_cells(rendering: Rendering, front_end: MelFrontEnd) -> dict[str, float]:
    """What is counted on waveforms: the original's and the copy's, as far as both go.

    Args:
        rendering: of one clip.
        front_end: whose mel bands the cepstral distortion is of.
    """
    assert rendering.waveform_hat is not None
    n = min(len(rendering.waveform), len(rendering.waveform_hat))
    original, copy = rendering.waveform[:n], rendering.waveform_hat[:n]
    log_power = _log_power(original, front_end)
    distortion = mel_cepstral_distortion(log_power, _log_power(copy, front_end))
    spoken = distortion[speech_frames(log_power)]
    return {
        "mr_stft": multi_resolution_stft_distance(original, copy),
        "one": 1.0,
        "mcd_db_sum": float(distortion.sum()),
        "frames": float(len(distortion)),
        "mcd_speech_db_sum": float(spoken.sum()),
        "speech_frames": float(len(spoken)),
    }


def _log_power(waveform: Tensor, front_end: MelFrontEnd) -> Tensor:
    mel: Tensor = front_end(waveform)
    return mel * front_end.norms[:, None]


def multi_resolution_stft_distance(reference: Tensor, estimate: Tensor) -> float:
    """Spectral convergence plus mean log-magnitude difference, averaged over three resolutions.

    For each: ‖S - Ŝ‖_F / ‖S‖_F + mean |ln S - ln Ŝ| with S the STFT magnitude (Yamamoto et al. 2020).

    Args:
        reference: (N,) float32.
        estimate: (N,) float32.

    Returns:
        0 for equal waveforms, unbounded above.
    """
    total = 0.0
    for n_fft, hop, width in _RESOLUTIONS:
        s, s_hat = (_magnitude(x, n_fft, hop, width) for x in (reference, estimate))
        convergence = torch.linalg.norm(s - s_hat) / torch.linalg.norm(s).clamp_min(1e-7)
        log_magnitude = (s.log() - s_hat.log()).abs().mean()
        total += float(convergence + log_magnitude)
    return total / len(_RESOLUTIONS)


def _magnitude(waveform: Tensor, n_fft: int, hop: int, width: int) -> Tensor:
    spectrum = torch.stft(
        waveform,
        n_fft,
        hop,
        width,
        window=_hann(width),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.abs().square().clamp_min(1e-7).sqrt()


@functools.lru_cache(maxsize=4)
def _hann(width: int) -> Tensor:
    return torch.hann_window(width)


def speech_frames(log_power: Tensor) -> Tensor:
    """Which frames are speech: those within `SPEECH_DB` of the loudest, by the sum of their mel powers above the floor.

    Args:
        log_power: (n_mels, T) float32, natural log of mel power.

    Returns:
        (T,) bool.
    """
    # Eighty bands at the floor of the logarithm are not far below quiet speech, and silence is not speech.
    level = (log_power.double().exp() - LOG_FLOOR).clamp_min(0).sum(0)
    return (level > 0) & (level >= level.max() * 10 ** (-SPEECH_DB / 10))


def mel_cepstral_distortion(reference: Tensor, estimate: Tensor) -> Tensor:
    """Mel-cepstral distortion of each frame.

    `(10 / ln 10) sqrt(2 sum_k (c_k - ĉ_k)^2)` over k = 1..13, with c the cosine series of the log amplitude over the
    mel bands (Kubichek 1993): the RMS difference in dB between the two smoothed spectra, loudness left out. Frames are
    paired
    in time: a reconstruction has the original's length, so nothing is warped.

    Args:
        reference: (n_mels, T) float32, natural log of mel power.
        estimate: (n_mels, T) float32.

    Returns:
        (T,) float32, dB.
    """
    n_mels = reference.shape[0]
    k = torch.arange(1, _N_CEPSTRA + 1, dtype=torch.float32)[:, None]
    band = torch.arange(n_mels, dtype=torch.float32)[None, :] + 0.5
    cosines = torch.cos(math.pi * k * band / n_mels) * (2.0 / n_mels)
    floor = math.log(LOG_FLOOR)
    log_amplitude = 0.5 * (reference.clamp_min(floor) - estimate.clamp_min(floor))
    return _DB_PER_NEPER * (2.0 * (cosines @ log_amplitude).square().sum(0)).sqrt()


def make_groups(context: Context) -> Sequence[MetricGroup]:
    """Mel distances before vocoding, spectral distances after it."""
    return [CopyDistance(context.mel_spec), ReconstructionDistance(context.mel_spec)]
