"""Recordings in and out: whatever can be decoded becomes one float32 waveform, or an error that says why not."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from vqbench.audio.decoding import decode_stream, open_sound, read_header
from vqbench.errors import DataError
from vqbench.files import file_digest as file_digest
from vqbench.files import write_whole

OVERDRIVE = 2.0
"""Peaks up to this are clipped to 1, as TorToiSe does; above it the samples are taken for unscaled integers."""

_OPUS_RATE_HZ = 24_000
"""Of Opus's own rates the one next to TorToiSe's; its speech has nothing above 12 kHz."""

_OPUS_COMPRESSION = (256 - 64) / (256 - 6)
"""How libsndfile is asked for 64 kbit/s: its compression level goes from 256 kbit/s at 0 to 6 at 1."""

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""


def load_waveform(
    path: Path, sample_rate_hz: int, start_s: float | None = None, duration_s: float | None = None
) -> Tensor:
    """Reads a recording, or a segment of it, as one channel at one rate.

    Any format that libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF, …) or, of the others, m4a, mp4, webm and AAC; any rate
    (resampled by soxr, very high quality), any number of channels (averaged). Silence and a single sample are valid
    recordings. Samples beyond ±1 are clipped, as TorToiSe does, unless the peak is above `OVERDRIVE`.

    A shortened Ogg or MP3 file may be a valid one in its own right, and damaged PCM is only other PCM: such changes are
    found by a manifest's `sha256`, not here.

    Args:
        path: the file.
        sample_rate_hz: the rate asked for.
        start_s: where the segment begins; None reads the whole file, whatever `duration_s` is.
        duration_s: how long it is; None for all that follows.

    Returns:
        (N,) float32 in [-1, 1], N >= 1.

    Raises:
        DataError: no regular file, not audio, no samples, a segment beyond the end, cut off or damaged (naming what was
            promised and what came), NaN or infinity (naming the first), or a peak above `OVERDRIVE`.
    """
    samples, rate_hz = _decode(path, start_s, duration_s)
    finite = np.isfinite(samples)
    if not finite.all():
        frame, channel = (int(i) for i in np.argwhere(~finite)[0])
        place = f"sample {frame}" if samples.shape[1] == 1 else f"sample {frame} of channel {channel}"
        raise DataError(f"{place} is {samples[frame, channel]}", where=str(path), expected="finite samples")
    peak = float(np.abs(samples).max())
    if peak > OVERDRIVE:
        raise DataError(
            f"the samples reach {peak:g}",
            where=str(path),
            expected="floats in [-1, 1]",
            fix="divide integers that were stored as floats by 32768",
        )
    return resample(torch.from_numpy(samples.mean(axis=1)), rate_hz, sample_rate_hz).clamp(-1, 1)


def resample(waveform: Tensor, from_hz: float, to_hz: float) -> Tensor:
    """Converts the sample rate with soxr's very high quality.

    Args:
        waveform: (N,) float32, N >= 1.
        from_hz: its rate; neither rate needs to be a whole number.
        to_hz: the rate asked for.

    Returns:
        (round(N * to_hz / from_hz),) float32, at least one sample, which may overshoot the input's range a little; the
        waveform itself where the rates are equal.
    """
    if from_hz == to_hz:
        return waveform
    converted = torch.from_numpy(soxr.resample(waveform.numpy(), from_hz, to_hz, quality="VHQ"))
    # One sample at 48 kHz is less than half a sample at 22 kHz.
    return converted if len(converted) else waveform[:1]


def save_waveform(path: Path, waveform: Tensor, sample_rate_hz: int) -> None:
    """Writes 16-bit FLAC or WAV, by the suffix, atomically. 16-bit audio that was read comes out bit for bit.

    Args:
        path: ends in `.flac` or `.wav`; an older file is replaced.
        waveform: (N,) float32, N >= 1; clipped to [-1, 1].
        sample_rate_hz: its rate.

    Raises:
        DataError: another suffix, no samples, NaN or infinity, or a disk that refuses.
    """
    formats: dict[str, Literal["FLAC", "WAV"]] = {".flac": "FLAC", ".wav": "WAV"}
    if path.suffix.lower() not in formats:
        raise DataError(f"cannot write {path.suffix or 'no suffix'}", where=str(path), expected=".flac or .wav")
    write_whole(path, encode_waveform(waveform, sample_rate_hz, str(path), formats[path.suffix.lower()]))


def encode_waveform(
    waveform: Tensor, sample_rate_hz: int, where: str, container: Literal["FLAC", "WAV"] = "FLAC"
) -> bytes:
    """The bytes of a 16-bit FLAC or WAV file.

    Args:
        waveform: (N,) float32, N >= 1; clipped to [-1, 1].
        sample_rate_hz: its rate.
        where: what errors name as the place.
        container: the file's format.

    Raises:
        DataError: no samples, NaN or infinity.
    """
    _check_samples(waveform, where)
    pcm = (waveform.detach().cpu().double() * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()
    content = io.BytesIO()
    soundfile.write(content, pcm, sample_rate_hz, format=container, subtype="PCM_16")
    return content.getvalue()


def encode_opus(waveform: Tensor, sample_rate_hz: int, where: str) -> bytes:
    """The bytes of an Ogg Opus file: lossy, some 64 kbit/s. The same sound gives the same bytes.

    Args:
        waveform: (N,) float32, N >= 1; resampled to 24 kHz, then clipped to [-1, 1].
        sample_rate_hz: its rate.
        where: what errors name as the place.

    Raises:
        DataError: no samples, NaN or infinity.
    """
    _check_samples(waveform, where)
    samples = resample(waveform.detach().cpu().float(), sample_rate_hz, _OPUS_RATE_HZ).clamp(-1, 1).numpy()
    content = io.BytesIO()
    soundfile.write(content, samples, _OPUS_RATE_HZ, format="OGG", subtype="OPUS", compression_level=_OPUS_COMPRESSION)
    return _with_serial(content.getvalue(), serial=1)


def decode_waveform(content: bytes, where: str) -> Tensor:
    """What `encode_waveform` was given, rounded to 16 bits: (N,) float32 in [-1, 1].

    Raises:
        DataError: for bytes that are no whole one-channel recording; it names `where`.
    """
    samples, _ = decode_stream(io.BytesIO(content), where)
    if samples.shape[1] != 1:
        raise DataError(f"the recording has {samples.shape[1]} channels", where=where, expected="one")
    return torch.from_numpy(samples[:, 0].copy())


def _check_samples(waveform: Tensor, where: str) -> None:
    if not len(waveform):
        raise DataError("there are no samples to write", where=where)
    broken = (~waveform.isfinite()).nonzero()
    if len(broken):
        raise DataError(f"sample {int(broken[0])} is {float(waveform[broken[0]])}", where=where)


def _with_serial(ogg: bytes, serial: int) -> bytes:
    """An Ogg stream under another serial number: libsndfile draws one, so that no two files would be the same.

    Each page (RFC 3533) has the number in its bytes 14 to 17, a checksum of itself in 22 to 25, the count of its
    segments in byte 26 and then their sizes.
    """
    pages, start = [], 0
    while start < len(ogg):
        body = start + 27 + ogg[start + 26]
        end = body + sum(ogg[start + 27 : body])
        page = bytearray(ogg[start:end])
        page[14:18], page[22:26] = serial.to_bytes(4, "little"), bytes(4)
        page[22:26] = _ogg_checksum(page)
        pages.append(page)
        start = end
    return b"".join(pages)


def _ogg_checksum(page: bytes | bytearray) -> bytes:
    """zlib's polynomial, but from the other end of every byte, and inverted neither before nor after."""
    inverted = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return inverted.to_bytes(4, "big").translate(_MIRRORED)


def header_duration_s(path: Path) -> float:
    """Seconds that a recording's header promises, above 0. Nothing is decoded, so the promise may be a false one.

    Raises:
        DataError: no regular file, not audio, or no samples.
    """
    return read_header(path).duration_s


def _decode(path: Path, start_s: float | None, duration_s: float | None) -> tuple[np.ndarray, int]:
    """Returns (N, channels) float32 with N >= 1, and the rate."""
    with open_sound(path) as sound:
        rate_hz, length_s = sound.header.rate_hz, sound.header.duration_s
        if start_s is None:
            return sound.read(0, None), rate_hz
        start, n = round(start_s * rate_hz), None if duration_s is None else max(1, round(duration_s * rate_hz))
        if start >= round(length_s * rate_hz):
            raise DataError(f"the segment begins at {start_s:g} s of {length_s:g} s", where=str(path))
        return sound.read(start, n), rate_hz
