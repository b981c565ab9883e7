"""The mel front end that the VQVAE reads, in torch alone.

The numbers are TorToiSe's: 22,050 Hz, n_fft = win = 1024, hop 256, 80 slaney-normalised bands on the HTK scale up to
8 kHz, power 2, natural log clamped at 1e-5, divided by `mel_norms`. It is not the diffusion model's mel (24 kHz, 100
bands).
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources

import torch
from torch import Tensor

from vqbench.errors import CheckpointError

LOG_FLOOR = 1e-5
"""Mel powers below this are clamped before the logarithm."""


MAX_SIZE = 1_000_000
"""No sample rate and no window is larger; a header that says so would only fill the memory."""


@functools.cache
def tortoise_mel_norms() -> tuple[float, ...]:
    """The 80 divisors that TorToiSe ships as `mel_norms.pth` (all negative, -9.48 to -1.60)."""
    text = resources.files("vqbench.audio").joinpath("mel_norms.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


@dataclass(frozen=True)
class MelSpec:
    """A mel front end, down to every number that changes its output.

    Two candidates whose `fingerprint` differs read different mels, so their mel errors are not comparable.
    """

    sample_rate_hz: int = 22_050
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min_hz: float = 0.0
    f_max_hz: float = 8_000.0
    norms: tuple[float, ...] = field(default_factory=tortoise_mel_norms)

    def __post_init__(self) -> None:
        if len(self.norms) != self.n_mels or not all(math.isfinite(n) and n != 0 for n in self.norms):
            raise CheckpointError(
                f"the mel norms do not fit the front end: {len(self.norms)} values for {self.n_mels} bands",
                expected=f"{self.n_mels} finite numbers other than zero",
            )
        sizes = (self.sample_rate_hz, self.n_fft, self.hop_length)
        # A checkpoint's header is JSON, where nothing else would stop half a sample.
        if not all(isinstance(size, int) and 0 < size <= MAX_SIZE for size in sizes) or not (
            0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2
        ):
            raise CheckpointError(
                "the front end's sizes are impossible",
                expected=f"whole numbers from 1 to {MAX_SIZE:,}, and 0 <= f_min_hz < f_max_hz <= sample_rate_hz / 2",
            )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any number of the front end."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def frame_rate_hz(self) -> float:
        """Mel frames a second (86.13 for TorToiSe)."""
        return self.sample_rate_hz / self.hop_length

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples`: one more than whole hops, since frames are centred."""
        return n_samples // self.hop_length + 1

    def with_norms(self, norms: Sequence[float]) -> MelSpec:
        """The same front end with other divisors (XTTS keeps them in `mel_stats.pth`)."""
        return replace(self, norms=tuple(float(n) for n in norms))


def _hz_to_mel(hz: Tensor) -> Tensor:
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def _mel_to_hz(mel: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@functools.lru_cache(maxsize=8)
def mel_filters(spec: MelSpec) -> Tensor:
    """Triangular filters on the HTK scale, each of unit area in Hz (slaney's normalisation).

    Returns:
        (n_mels, n_fft // 2 + 1) float32.
    """
    bins_hz = torch.linspace(0, spec.sample_rate_hz // 2, spec.n_fft // 2 + 1, dtype=torch.float64)
    low, high = _hz_to_mel(torch.tensor([spec.f_min_hz, spec.f_max_hz], dtype=torch.float64)).tolist()
    edges_hz = _mel_to_hz(torch.linspace(low, high, spec.n_mels + 2, dtype=torch.float64))
    widths_hz = edges_hz.diff()
    rising = (bins_hz - edges_hz[:-2, None]) / widths_hz[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz) / widths_hz[1:, None]
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles * (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]).float()


class MelFrontEnd(torch.nn.Module):
    """Waveforms to normalised log mels and back to mel powers.

    Silence is not zero: it is `log(1e-5) / norms`, 1.21 to 7.18 by band.
    """

    window: Tensor
    filters: Tensor
    norms: Tensor

    def __init__(self, spec: MelSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or MelSpec()
        self.register_buffer("window", torch.hann_window(self.spec.n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(self.spec), persistent=False)
        self.register_buffer("norms", torch.tensor(self.spec.norms), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Computes the normalised log mel.

        Args:
            waveform: (B, N) or (N,) float32 in [-1, 1] at `spec.sample_rate_hz`; N may be as short as one sample.

        Returns:
            (B, n_mels, N // hop + 1) float32, log-mel / norms (without B for a 1-D waveform).
        """
        # Reflecting needs more samples than the padding; shorter clips are what they are, followed by silence.
        shortfall = self.spec.n_fft // 2 + 1 - waveform.shape[-1]
        n_frames = self.spec.n_frames(waveform.shape[-1])
        if shortfall > 0:
            waveform = torch.nn.functional.pad(waveform, (0, shortfall))
        spectrum = torch.stft(
            waveform,
            self.spec.n_fft,
            self.spec.hop_length,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = self.filters @ spectrum.abs().square()
        return (power.clamp_min(LOG_FLOOR).log() / self.norms[:, None])[..., :n_frames]

    def power(self, mel: Tensor) -> Tensor:
        """Undoes normalisation and logarithm: (…, n_mels, T) → mel power, same shape."""
        return (mel * self.norms[:, None]).exp()
