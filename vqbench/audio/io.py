"""Recordings in and out: whatever libsndfile reads becomes one float32 waveform, or an error that says why not."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from vqbench.errors import DataError
from vqbench.files import file_digest as file_digest
from vqbench.files import require_file, write_whole

OVERDRIVE = 2.0
"""Peaks up to this are clipped to 1, as TorToiSe does; above it the samples are taken for unscaled integers."""

_RATES_HZ = (1_000, 768_000)
"""A header outside this range is taken for a broken one: it would turn a second into gigabytes or into nothing."""

_MOST_SAMPLES = 1 << 34
"""Over two days at 96 kHz. FLACs of unknown length promise more, and no part of them would be safe to read."""

_BLOCK_FRAMES = 1 << 18

_MPEG_SLACK_SAMPLES = 4 * 1152
"""MPEG headers count whole packets, the encoder's padding among them, and tags may be counted as packets."""

_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile's log says that the sound's chunk (WAV, AIFF, AU, W64, RF64) has another size than its header says."""

_UNKNOWN_SIZE = 0x7FFF_0000
"""Programs that write to a pipe cannot know the size and promise some 2 or 4 GiB."""

_OPUS_RATE_HZ = 24_000
"""Of Opus's own rates the one next to TorToiSe's; its speech has nothing above 12 kHz."""

_OPUS_COMPRESSION = (256 - 64) / (256 - 6)
"""How libsndfile is asked for 64 kbit/s: its compression level goes from 256 kbit/s at 0 to 6 at 1."""

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""

_OGG_CUT = re.compile(r"^Ogg ?: (?:Last page lacks an end-of-stream bit|Junk after the last page)", re.MULTILINE)


def load_waveform(path: Path, sample_rate_hz: int) -> Tensor:
    """Reads a recording as one channel at one rate.

    Any format that libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF, …), any rate (resampled by soxr, very high quality),
    any number of channels (averaged). Silence and a single sample are valid recordings. Samples beyond ±1 are clipped,
    as TorToiSe does, unless the peak is above `OVERDRIVE`.

    A shortened Ogg or MP3 file may be a valid one in its own right, and damaged PCM is only other PCM: such changes are
    found by a manifest's `sha256`, not here.

    Returns:
        (N,) float32 in [-1, 1], N >= 1.

    Raises:
        DataError: no regular file, not audio, no samples, cut off or damaged (naming what was promised and what came),
            NaN or infinity (naming the first), or a peak above `OVERDRIVE`.
    """
    samples, rate_hz = _decode(path)
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
    samples, _ = _decode_stream(io.BytesIO(content), where)
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
    with _open(_content(path), str(path)) as sound:
        return float(sound.frames / sound.samplerate)


def _content(path: Path) -> io.BytesIO:
    require_file(path)
    try:
        # Into memory, because soundfile wants more arguments for some names (`x.raw`) than for their content.
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    if not content:
        raise DataError("the file is empty (0 bytes)", where=str(path), expected="a recording")
    return io.BytesIO(content)


def _open(content: io.BytesIO, where: str) -> soundfile.SoundFile:
    try:
        sound = soundfile.SoundFile(content)
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"this is not audio that can be read: {error.error_string}",
            where=where,
            expected="WAV, FLAC, Ogg, MP3 or what else libsndfile reads",
        ) from error
    if not _RATES_HZ[0] <= sound.samplerate <= _RATES_HZ[1]:
        raise DataError(f"the header claims a rate of {sound.samplerate} Hz", where=where)
    if not sound.frames:
        raise DataError("the file holds no samples", where=where, expected="a recording")
    if sound.frames >= _MOST_SAMPLES:
        raise DataError("the header does not say how long the recording is", where=where, fix="encode it again")
    return sound


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Returns (N, channels) float32 with N >= 1, and the rate."""
    return _decode_stream(_content(path), str(path))


def _decode_stream(stream: io.BytesIO, where: str) -> tuple[np.ndarray, int]:
    with _open(stream, where) as sound:
        blocks: list[np.ndarray] = []
        failure = ""
        try:
            while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                blocks.append(block)
        except soundfile.LibsndfileError as error:
            failure = f" ({error.error_string})"
        n_read = sum(map(len, blocks))
        if failure or n_read + _slack(sound) < sound.frames:
            raise DataError(
                f"cut off or damaged: the header promises {sound.frames} samples, {n_read} can be read{failure}",
                where=where,
            )
        for promised, held in _SHORT_CHUNK.findall(sound.extra_info):
            if int(held) < int(promised) < _UNKNOWN_SIZE:
                raise DataError(
                    f"cut off: the header promises {promised} bytes of sound, the file holds {held}", where=where
                )
        if _OGG_CUT.search(sound.extra_info):
            raise DataError(f"cut off: the Ogg stream breaks off after {n_read} samples", where=where)
        if _is_mpeg(sound):
            _check_nothing_follows(stream.getvalue()[stream.tell() :], n_read, stream.tell(), where)
        return np.concatenate(blocks), sound.samplerate


def _is_mpeg(sound: soundfile.SoundFile) -> bool:
    return bool(sound.subtype.startswith("MPEG"))


def _slack(sound: soundfile.SoundFile) -> int:
    return _MPEG_SLACK_SAMPLES if _is_mpeg(sound) else 0


def _check_nothing_follows(rest: bytes, n_read: int, n_bytes_read: int, where: str) -> None:
    """Finds MP3s of varying bit rate without a length header: libsndfile guesses a length and stops there."""
    is_packet = len(rest) > 1 and rest[0] == 0xFF and rest[1] & 0xE0 == 0xE0
    n_left = n_read * len(rest) // n_bytes_read
    if is_packet and n_left > _MPEG_SLACK_SAMPLES:
        raise DataError(
            f"the MP3 has no length header: {n_read} samples are read, and about {n_left} more follow",
            where=where,
            fix="rewrite the header, e.g. ffmpeg -i old.mp3 -c copy new.mp3",
        )
