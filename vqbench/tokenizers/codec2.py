"""Codec2: a speech vocoder for radio, from 450 to 3,200 bits a second, as a tokenizer.

It is no neural network and no VQVAE: pitch, voicing, energy and a spectral envelope, quantised (Rowe, "Techniques for
harmonic sinusoidal coding", 1997, and the `codec2` library since). At the foot of a table it says how well speech can
be understood at so few bits. Debian's package `codec2` brings its programs; each clip is encoded by one of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import ConfigError, DataError, did_you_mean
from vqbench.files import file_digest
from vqbench.tokenizers.options import read_options
from vqbench.tokenizers.protocol import Codes, Stream

SAMPLE_RATE_HZ = 8000

_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Mode:
    """How one of Codec2's modes frames speech.

    Attributes:
        frame_ms: milliseconds of a frame.
        bits: of a frame; the program pads them to whole bytes.
        fields: the bits of each quantised parameter, where each is an index of a codebook, in the order of the frame.
    """

    frame_ms: int
    bits: int
    fields: tuple[int, ...] = ()

    @property
    def frame_bytes(self) -> int:
        """Of a frame as the programs write it."""
        return -(-self.bits // 8)

    @property
    def frame_samples(self) -> int:
        """Of a frame, at 8 kHz."""
        return SAMPLE_RATE_HZ * self.frame_ms // 1000


MODES: Mapping[str, Mode] = {
    "3200": Mode(20, 64),
    "2400": Mode(20, 48),
    "1600": Mode(40, 64),
    "1400": Mode(40, 56),
    "1300": Mode(40, 52),
    "1200": Mode(40, 48),
    # Two stages of a vector quantiser of the envelope, its energy, and pitch (0: unvoiced): as the library packs them.
    "700C": Mode(40, 28, (9, 9, 4, 6)),
    "450": Mode(40, 18, (9, 3, 6)),
}
"""The modes that c2enc knows, by name."""


class Codec2:
    """One mode of Codec2.

    `700C` and `450` write indices of codebooks, each a stream; frames of the other modes mix parameters of several
    kinds and are taken as they are, as bits.

    Args:
        mode: of `MODES`.

    Raises:
        ConfigError: there is no such mode, or the programs are not installed.
    """

    licence: str | None = "LGPL-2.1"
    n_parameters: int | None = None
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, mode: str) -> None:
        if mode not in MODES:
            raise ConfigError(
                f"Codec2 has no mode {mode!r}{did_you_mean(mode, MODES)}", expected=f"one of {', '.join(MODES)}"
            )
        missing = [name for name in ("c2enc", "c2dec") if shutil.which(name) is None]
        if missing:
            raise ConfigError(f"the program {missing[0]} is not on the PATH", fix="apt-get install codec2")
        self.name, self._mode = mode, MODES[mode]
        self._encoder, self._decoder = str(shutil.which("c2enc")), str(shutil.which("c2dec"))

    @classmethod
    def open(cls, options: Mapping[str, Any], device: torch.device) -> Codec2:
        """A mode of Codec2, on the CPU: `options: {mode: 700C}`."""
        return cls(str(read_options({k: str(v) for k, v in options.items()}, {"mode": "1300"}, "codec2")["mode"]))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The codebooks of a mode that has them."""
        return tuple(Stream(1000 / self._mode.frame_ms, 1 << bits) for bits in self._mode.fields)

    @property
    def digest(self) -> str:
        """Over the programs and the mode."""
        parts = [file_digest(Path(program)) for program in (self._encoder, self._decoder)]
        return hashlib.sha256(" ".join([self.name, *parts]).encode()).hexdigest()[:16]

    def bits(self, codes: Codes) -> float:
        """Those of the frames, without what fills up their last byte."""
        n = len(codes[0]) if self._mode.fields else len(codes[0]) // self._mode.frame_bytes
        return float(n * self._mode.bits)

    def encode(self, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
        """(N,) float32 at 8 kHz each; the last frame is filled up with silence."""
        return [self._encode(waveform) for waveform in waveforms]

    def decode(self, codes: Sequence[Codes], lengths: Sequence[int]) -> list[Tensor | DataError]:
        """Speech at 8 kHz, of the lengths that are asked for."""
        return [self._decode(one, length) for one, length in zip(codes, lengths, strict=True)]

    def _encode(self, waveform: Tensor) -> Codes | DataError:
        n_frames = max(1, -(-len(waveform) // self._mode.frame_samples))
        samples = np.zeros(n_frames * self._mode.frame_samples, np.int16)
        samples[: len(waveform)] = (waveform.clamp(-1, 1) * 32767).round().numpy()
        content = _run([self._encoder, self.name, "-", "-"], samples.tobytes())
        if isinstance(content, DataError):
            return content
        expected = n_frames * self._mode.frame_bytes
        if len(content) != expected:
            return DataError(f"c2enc wrote {len(content)} bytes for {n_frames} frames", expected=f"{expected} bytes")
        payload = np.frombuffer(content, np.uint8)
        if not self._mode.fields:
            return (torch.from_numpy(payload.copy()),)
        bits = np.unpackbits(payload.reshape(n_frames, -1), axis=1)
        return tuple(torch.from_numpy(row) for row in _unpacked(bits, self._mode.fields))

    def _decode(self, codes: Codes, length: int) -> Tensor | DataError:
        if self._mode.fields:
            packed = _packed([row.numpy() for row in codes], self._mode.fields, self._mode.frame_bytes)
        else:
            packed = codes[0].numpy().tobytes()
        content = _run([self._decoder, self.name, "-", "-"], packed)
        if isinstance(content, DataError):
            return content
        speech = torch.from_numpy(np.frombuffer(content, np.int16).astype(np.float32) / 32768)
        return torch.nn.functional.pad(speech, (0, max(0, length - len(speech))))[:length]


def _unpacked(bits: np.ndarray, fields: Sequence[int]) -> list[np.ndarray]:
    """(frames, bits) of 0 and 1, the most significant first → (frames,) int64 for each field.

    >>> [row.tolist() for row in _unpacked(np.array([[1, 0, 1, 1]]), (3, 1))]
    [[5], [1]]
    """
    rows, start = [], 0
    for width in fields:
        weights = 1 << np.arange(width - 1, -1, -1, dtype=np.int64)
        rows.append(bits[:, start : start + width].astype(np.int64) @ weights)
        start += width
    return rows


def _packed(rows: Sequence[np.ndarray], fields: Sequence[int], frame_bytes: int) -> bytes:
    bits = [(row[:, None] >> np.arange(width - 1, -1, -1)) & 1 for row, width in zip(rows, fields, strict=True)]
    frames = np.concatenate(bits, axis=1).astype(np.uint8)
    padded = np.pad(frames, ((0, 0), (0, 8 * frame_bytes - frames.shape[1])))
    return np.packbits(padded, axis=1).tobytes()


def _run(command: Sequence[str], content: bytes) -> bytes | DataError:
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        return DataError(f"{command[0]} was not done within {_DEADLINE_S:g} s")
    if done.returncode:
        return DataError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return done.stdout
