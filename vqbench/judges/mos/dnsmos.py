"""How clean speech sounds: DNSMOS, a network that predicts what listeners would rate it."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import torch

from vqbench.audio.io import resample
from vqbench.judges.prerequisites import checked_waveform, import_judge

SAMPLE_RATE_HZ = 16_000


class QualityPredictor:
    """DNSMOS with the weights that its package carries: no reference, no text, on the CPU.

    It was trained on ratings of noisy and denoised calls. It hears noise, hum and distortion well, and says little of
    whether speech is natural, and nothing of whether the right words are said.

    Source: Reddy et al. 2022, "DNSMOS P.835: A Non-Intrusive Perceptual Objective Speech Quality Metric to Evaluate
    Noise Suppressors"; the package `speechmos`.

    Attributes:
        identity: everything that changes a rating.

    Raises:
        MissingExtraError: where speechmos, or a package that it imports, is not installed.
    """

    def __init__(self) -> None:
        self._dnsmos = import_judge("speechmos.dnsmos", "predicting MOS", extra="judges")
        self.identity: dict[str, str] = {
            package: metadata.version(package) for package in ("speechmos", "onnxruntime", "librosa", "soxr")
        }

    def rate(self, waveform: np.ndarray | torch.Tensor, sample_rate_hz: int) -> dict[str, float]:
        """Rates one recording.

        It is heard in windows of 9 s, one each second, over which ratings are averaged; a shorter one is repeated until
        it fills one.

        Args:
            waveform: (N,) floats; clipped to [-1, 1], as a player would.
            sample_rate_hz: its rate.

        Returns:
            `overall`, `signal`, `background` as ITU-T P.835 asks for them, and `p808`, one rating as P.808 asks for it:
            1 (bad) to 5 (excellent), in practice 1 to some 4.5.

        Raises:
            DataError: for an empty waveform, NaN or infinite samples.
        """
        samples = resample(torch.from_numpy(checked_waveform(waveform, "waveform")), sample_rate_hz, SAMPLE_RATE_HZ)
        rated = self._dnsmos.run(samples.numpy().clip(-1, 1), SAMPLE_RATE_HZ)
        names = {"overall": "ovrl_mos", "signal": "sig_mos", "background": "bak_mos", "p808": "p808_mos"}
        return {name: float(rated[theirs]) for name, theirs in names.items()}
