"""The one place that imports tortoise-tts, and what its modules miss on a CPU-only machine.

Its network modules import torchaudio for two functions, a mel front end and a resampler. torchaudio needs a CUDA build
of torch, so where it cannot be imported a stand-in with these two, written here in plain torch, takes its place for
the time of the import alone: afterwards `import torchaudio` fails as honestly as before.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import math
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.mel import MelSpec, mel_filters
from vqbench.errors import MissingExtraError

_LOWPASS_WIDTH = 6
"""Zero crossings on either side of torchaudio's resampling filter."""

_ROLLOFF = 0.99
"""torchaudio's cut-off, as a share of the lower rate's Nyquist frequency."""


def upstream_module(name: str) -> Any:
    """Imports one of tortoise-tts's modules.

    Args:
        name: below `tortoise`, such as `models.clvp`.

    Raises:
        MissingExtraError: where tortoise-tts, or a package that this module of it imports, is not installed.

    >>> upstream_module("models.vocoder").UnivNetGenerator.__name__
    'UnivNetGenerator'
    """
    full_name = f"tortoise.{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    try:
        with _torchaudio():
            return importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        missing = MissingExtraError("tortoise-tts" if package == "tortoise" else package, "bench", "TorToiSe")
        if sys.version_info >= (3, 12):
            # tortoise-tts pins a tokenizers that has no wheels there; the modules used here do without it.
            missing.fix = (
                "pip install einops rotary-embedding-torch tqdm tokenizers inflect Unidecode; "
                "pip install --no-deps tortoise-tts"
            )
        raise missing from error


@contextlib.contextmanager
def _torchaudio() -> Iterator[None]:
    """Lets `import torchaudio` work inside, by the real one where there is one that loads."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):  # OSError: its library was built for another torch
        sys.modules["torchaudio"] = _stand_in()
        try:
            yield
        finally:
            del sys.modules["torchaudio"]
    else:
        yield


def _stand_in() -> ModuleType:
    module: Any = ModuleType("torchaudio", "Two functions of torchaudio, for tortoise-tts alone.")
    # transformers asks for the spec of all that it may use.
    module.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    module.transforms = ModuleType("torchaudio.transforms")
    module.transforms.MelSpectrogram = MelSpectrogram
    module.functional = ModuleType("torchaudio.functional")
    module.functional.resample = resample
    return module  # type: ignore[no-any-return]


class MelSpectrogram(torch.nn.Module):
    """torchaudio's mel front end, for the settings that tortoise-tts uses: power 2, slaney-normalised HTK filters.

    Raises:
        NotImplementedError: for other settings.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        f_min: float,
        f_max: float,
        n_mels: int,
        power: float = 2,
        normalized: bool = False,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        if (win_length, power, normalized, norm) != (n_fft, 2, False, "slaney"):
            raise NotImplementedError("only power 2, slaney's norm and a window as long as n_fft are provided")
        spec = MelSpec(sample_rate, n_fft, hop_length, n_mels, f_min, f_max, norms=(1.0,) * n_mels)
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(spec), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Computes mel powers: (…, N) float32 → (…, n_mels, N // hop_length + 1)."""
        spectrum = torch.stft(
            waveform,
            self.n_fft,
            self.hop_length,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return self.filters @ spectrum.abs().square()


def resample(waveform: Tensor, orig_freq: int, new_freq: int) -> Tensor:
    """Converts the sample rate as torchaudio does by default: a sinc filter under a Hann window of six zero crossings.

    It is cruder than `vqbench.audio.io.resample`, but it is what TorToiSe's diffusion conditioning went through.

    Args:
        waveform: (…, N) float32.
        orig_freq: its rate in Hz.
        new_freq: the rate asked for.

    Returns:
        (…, ceil(N * new_freq / orig_freq)) float32.

    >>> resample(torch.zeros(1, 147), 22_050, 24_000).shape
    torch.Size([1, 160])
    """
    if orig_freq == new_freq:
        return waveform
    shared = math.gcd(orig_freq, new_freq)
    old, new = orig_freq // shared, new_freq // shared
    kernel, width = _sinc_kernel(old, new)
    shape, n_samples = waveform.shape[:-1], waveform.shape[-1]
    padded = F.pad(waveform.reshape(-1, 1, n_samples), (width, width + old))
    # One output channel a phase: interleaved they are the new samples.
    phases = F.conv1d(padded, kernel.to(waveform), stride=old)
    return phases.transpose(1, 2).reshape(*shape, -1)[..., : -(-new * n_samples // old)]


@functools.lru_cache(maxsize=8)
def _sinc_kernel(old: int, new: int) -> tuple[Tensor, int]:
    """The filter of each output phase, (new, 1, taps), and how far it reaches to either side, in input samples."""
    cutoff = min(old, new) * _ROLLOFF
    width = math.ceil(_LOWPASS_WIDTH * old / cutoff)
    taps = torch.arange(-width, width + old, dtype=torch.float64) / old
    delays = torch.arange(new, dtype=torch.float64) / new
    t = ((taps - delays[:, None]) * cutoff).clamp(-_LOWPASS_WIDTH, _LOWPASS_WIDTH)
    window = torch.cos(t * math.pi / _LOWPASS_WIDTH / 2).square()
    return (torch.sinc(t) * window * cutoff / old).float()[:, None], width
