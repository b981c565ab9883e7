"""Recordings in containers that libsndfile does not know (m4a, mp4, webm, AAC), by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, BinaryIO

import numpy as np

from vqbench.audio.header import EXPECTED, Header, check_rate
from vqbench.errors import DataError

_SLACK_S = 0.1
"""Lossy encoders pad, and some containers count in milliseconds."""


class Foreign:
    """A recording as FFmpeg decodes it: its first stream of sound."""

    def __init__(self, container: Any, length_s: float, where: str) -> None:
        stream = _stream(container, where)
        rate_hz = int(stream.rate or 0)
        check_rate(rate_hz, where)
        if length_s <= 0:
            raise DataError("the file holds no samples", where=where, expected="a recording")
        self._container, self._stream, self._where = container, stream, where
        # AAC's last packet is padded; where the stream says its length in samples, what is beyond is none of it.
        self._n_samples = round(length_s * rate_hz)
        decoder = f"decoded by PyAV {metadata.version('av')}"
        several = len(container.streams.audio)
        notes = (decoder, f"the first of {several} streams of sound is read") if several > 1 else (decoder,)
        name = str(container.format.name).split(",")[0]
        self.header = Header(rate_hz, stream.codec_context.channels, length_s, name, notes)

    def read(self, start: int, n: int | None) -> np.ndarray:
        """(N, channels) float32, N >= 1; what comes before `start` is decoded as well.

        Raises:
            DataError: it is cut off or damaged.
        """
        import av

        end = self._n_samples if n is None else min(start + n, self._n_samples)
        rate_hz, blocks, at = self.header.rate_hz, [], 0
        # Several channels stay apart; all else becomes float32 at the stream's own rate.
        to_float = av.AudioResampler(format="fltp", rate=rate_hz)
        failure = ""
        try:
            for frame in self._container.decode(self._stream):
                for part in to_float.resample(frame):
                    samples = part.to_ndarray().T
                    if at + len(samples) > start:
                        blocks.append(samples[max(0, start - at) : end - at])
                    at += len(samples)
                if at >= end:
                    break
        except (av.error.FFmpegError, ValueError) as error:
            failure = f" ({getattr(error, 'strerror', None) or error})"
        n_read = sum(map(len, blocks))
        if failure or not n_read or n_read + _SLACK_S * rate_hz < end - start:
            raise DataError(
                f"cut off or damaged: the header promises {end - start} samples, {n_read} can be read{failure}",
                where=self._where,
            )
        return np.concatenate(blocks).astype(np.float32, copy=False)


@contextmanager
def open_foreign(stream: BinaryIO, container: str, where: str) -> Iterator[Foreign]:
    """Opens a recording by the name that FFmpeg has for its container.

    Raises:
        DataError: not audio, or of unknown length.
    """
    import av

    try:
        opened = _open(stream, container)
        with opened:
            found = _stream(opened, where)
            length_s = float((found.duration or 0) * found.time_base)
            if container != "mov" or not length_s:
                # AAC by itself says no length, and a browser's webm none either: the packets do.
                ends = [p.pts + (p.duration or 0) for p in opened.demux(found) if p.pts is not None]
                length_s = float(max(ends, default=0) * found.time_base)
                promised_s = (opened.duration or 0) / 1_000_000
                # Of AAC by itself FFmpeg only guesses.
                if container != "aac" and length_s + _SLACK_S < promised_s:
                    problem = f"cut off: the header promises {promised_s:g} s, the file holds {length_s:g} s"
                    raise DataError(problem, where=where)
        stream.seek(0)
        opened = _open(stream, container)
    except (av.error.FFmpegError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"this is not audio that can be read: {why}", where=where, expected=EXPECTED) from error
    with opened:
        yield Foreign(opened, length_s, where)


def _open(stream: BinaryIO, container: str) -> Any:
    import av

    # From an open file and by the format's name, so that nothing which the file names is opened as well.
    return av.open(stream, format=container, metadata_errors="replace")


def _stream(container: Any, where: str) -> Any:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise DataError("the file holds no sound", where=where, expected="a recording")
    return stream
