"""Opus, the codec of calls and of the web (RFC 6716), as a tokenizer: what bits buy without any vocabulary.

libsndfile encodes it, which comes with soundfile. Its packets are bits for its decoder, not codes that a language model
could read, so that it has no streams; how many bits it spends is counted on what it wrote, the frame of the file
included.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from vqbench.errors import ConfigError, DataError
from vqbench.tokenizers.options import read_options
from vqbench.tokenizers.protocol import Codes, Stream, bits_of


class Opus:
    """Opus in Ogg, mono.

    Args:
        compression: from 0, the most bits, to 1, the fewest (6 kbit/s and what the file needs).
        sample_rate_hz: one that Opus knows.

    Raises:
        ConfigError: another rate, or a compression outside [0, 1].
    """

    licence: str | None = "BSD-3-Clause"
    n_parameters: int | None = None
    streams: tuple[Stream, ...] = ()

    def __init__(self, compression: float, sample_rate_hz: int) -> None:
        if not 0 <= compression <= 1:
            raise ConfigError(f"compression is {compression}", expected="0 (the most bits) to 1 (the fewest)")
        if sample_rate_hz not in (8000, 12_000, 16_000, 24_000, 48_000):
            raise ConfigError(f"Opus knows no {sample_rate_hz} Hz", expected="8000, 12000, 16000, 24000 or 48000")
        self._compression, self.sample_rate_hz = compression, sample_rate_hz

    @classmethod
    def open(cls, options: Mapping[str, Any], device: torch.device) -> Opus:
        """Opus, on the CPU: `options: {compression: 1.0, sample_rate_hz: 16000}`."""
        found = read_options(options, {"compression": 1.0, "sample_rate_hz": 16_000}, "opus")
        return cls(float(found["compression"]), int(found["sample_rate_hz"]))

    @property
    def digest(self) -> str:
        """Over library and settings."""
        said = f"{soundfile.__libsndfile_version__} {self._compression} {self.sample_rate_hz}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def bits(self, codes: Codes) -> float:
        """The file's."""
        return bits_of(codes, self.streams)

    def encode(self, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
        """(N,) float32 each → the file, (bytes,) uint8 each."""
        return [self._encode(waveform) for waveform in waveforms]

    def _encode(self, waveform: Tensor) -> Codes | DataError:
        content = io.BytesIO()
        try:
            soundfile.write(
                content,
                waveform.clamp(-1, 1).numpy(),
                self.sample_rate_hz,
                format="OGG",
                subtype="OPUS",
                compression_level=self._compression,
            )
        except soundfile.LibsndfileError as error:
            return DataError(f"libsndfile cannot write Opus: {error}")
        return (torch.from_numpy(np.frombuffer(content.getvalue(), np.uint8).copy()),)

    def decode(self, codes: Sequence[Codes], lengths: Sequence[int]) -> list[Tensor | DataError]:
        """The files → (length,) float32 each."""
        decoded: list[Tensor | DataError] = []
        for (payload,), length in zip(codes, lengths, strict=True):
            samples, _ = soundfile.read(io.BytesIO(payload.numpy().tobytes()), dtype="float32")
            speech = torch.from_numpy(samples)
            decoded.append(torch.nn.functional.pad(speech, (0, max(0, length - len(speech))))[:length])
        return decoded
