"""From a recording's file to its samples: by libsndfile, and by PyAV where libsndfile does not know the container."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import soundfile

from vqbench.audio.header import EXPECTED, Header, check_rate
from vqbench.errors import DataError
from vqbench.files import digest_of, require_file

MENDED_BYTES = 64
"""A header may promise so many bytes more than there are: some programs count its own size in. It is noted."""

_MOST_SAMPLES = 1 << 34
"""Over two days at 96 kHz. FLACs of unknown length promise more, and no part of them would be safe to read."""

_BLOCK_FRAMES = 1 << 18

_MPEG_SLACK_SAMPLES = 4 * 1152
"""MPEG headers count whole packets, the encoder's padding among them, and tags may be counted as packets."""

_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile's log says that the sound's chunk (WAV, AIFF, AU, W64, RF64) has another size than its header says."""

_UNKNOWN_SIZE = 0x7FFF_0000
"""Programs that write to a pipe cannot know the size and promise some 2 or 4 GiB."""

_OGG_CUT = re.compile(r"^Ogg ?: (?:Last page lacks an end-of-stream bit|Junk after the last page)", re.MULTILINE)

_LEANING = ("MPEG", "VORBIS", "OPUS")
"""Codecs whose packets lean on those before them: a segment is decoded from a second before it."""


class Sound(Protocol):
    """A recording that is open."""

    @property
    def header(self) -> Header:
        """What its header says."""

    def read(self, start: int, n: int | None) -> np.ndarray:
        """(N, channels) float32: `n` samples from `start`, or all that follow."""


def read_header(path: Path) -> Header:
    """Reads the header alone.

    Raises:
        DataError: no regular file, not audio, or no samples.
    """
    with open_sound(path) as sound:
        return sound.header


def digest_and_header(path: Path) -> tuple[str, Header | DataError]:
    """A recording's sha256, 64 hex digits, and its header, or why it has none; the file is opened once.

    Raises:
        DataError: no regular file, or it cannot be read.
    """
    with _opened(path) as file:
        try:
            digest = digest_of(file)
            file.seek(0)
        except OSError as error:
            raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
        try:
            with _sound_in(file, str(path)) as sound:
                return digest, sound.header
        except DataError as error:
            return digest, error


@contextmanager
def open_sound(path: Path) -> Iterator[Sound]:
    """Opens a recording.

    Raises:
        DataError: no regular file, not audio, or no samples.
    """
    with _opened(path) as file, _sound_in(file, str(path)) as sound:
        yield sound


def _opened(path: Path) -> BinaryIO:
    require_file(path)
    try:
        # By number, because soundfile wants more arguments for some names (`x.raw`) than for their content.
        return open(os.open(path, os.O_RDONLY), "rb")  # noqa: PTH123 - closed by who asks
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error


@contextmanager
def _sound_in(file: BinaryIO, where: str) -> Iterator[Sound]:
    head = file.read(10)
    if not head:
        raise DataError("the file is empty (0 bytes)", where=where, expected="a recording")
    stream, notes = _behind_tag(file, head)
    start = stream.read(12)
    stream.seek(0)
    foreign = _foreign_container(start)
    if foreign is not None:
        from vqbench.audio.foreign import open_foreign

        with open_foreign(stream, foreign, where) as sound:
            yield sound
    else:
        with _open(stream, where) as opened:
            yield Sndfile(opened, stream, where, notes)


def _behind_tag(file: BinaryIO, head: bytes) -> tuple[BinaryIO, tuple[str, ...]]:
    """Skips an ID3 tag before a WAV or AIFF, which libsndfile takes for a part of the sound's size."""
    file.seek(0)
    if head[:3] != b"ID3" or len(head) < 10:
        return file, ()
    size = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(size)
    chunk = file.read(4)
    file.seek(0)
    if chunk not in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
        return file, ()
    return cast(BinaryIO, io.BufferedReader(cast(Any, _Rest(file, size)))), (
        "an ID3 tag before the recording is skipped",
    )


class _Rest(io.RawIOBase):
    """A file from some byte on."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            offset += self._start
        return self._file.seek(offset, whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]


def _foreign_container(start: bytes) -> str | None:
    """FFmpeg's name of a container that libsndfile does not know, by a file's first bytes.

    Only these are handed to FFmpeg, each by its name: of other files it may make a playlist that names further ones.
    """
    if start[4:8] == b"ftyp":
        return "mov"
    if start[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    # MPEG's layer bits are never 0 but in AAC.
    return "aac" if start[:1] == b"\xff" and start[1:2] and start[1] & 0xF6 == 0xF0 else None


class Sndfile:
    """A recording as libsndfile reads it."""

    def __init__(self, sound: soundfile.SoundFile, stream: BinaryIO, where: str, notes: tuple[str, ...] = ()) -> None:
        self._sound, self._stream, self._where = sound, stream, where
        too_few = [
            (int(promised), int(held))
            for promised, held in _SHORT_CHUNK.findall(sound.extra_info)
            if int(held) < int(promised) < _UNKNOWN_SIZE
        ]
        self._cut = next((pair for pair in too_few if pair[0] - pair[1] > MENDED_BYTES), None)
        if too_few and self._cut is None:
            notes = (*notes, f"the header promises up to {MENDED_BYTES} bytes more than the file holds")
        duration_s = sound.frames / sound.samplerate
        self.header = Header(sound.samplerate, sound.channels, duration_s, str(sound.format), notes)

    def read(self, start: int, n: int | None) -> np.ndarray:
        """(N, channels) float32, N >= 1.

        Raises:
            DataError: it is cut off or damaged.
        """
        sound, where = self._sound, self._where
        blocks: list[np.ndarray] = []
        failure = ""
        wanted = sound.frames - start if n is None else min(n, sound.frames - start)
        lead = min(start, sound.samplerate) if sound.subtype.startswith(_LEANING) else 0
        left = lead + wanted if n is not None else _MOST_SAMPLES
        try:
            if start:
                sound.seek(start - lead)
            while left and len(block := sound.read(min(_BLOCK_FRAMES, left), dtype="float32", always_2d=True)):
                blocks.append(block)
                left -= len(block)
        except soundfile.LibsndfileError as error:
            failure = f" ({error.error_string})"
        n_read = sum(map(len, blocks)) - lead
        if failure or n_read <= 0 or n_read + _slack(sound) < wanted:
            raise DataError(
                f"cut off or damaged: the header promises {wanted} samples, {n_read} can be read{failure}",
                where=where,
            )
        if self._cut:
            promised, held = self._cut
            raise DataError(
                f"cut off: the header promises {promised} bytes of sound, the file holds {held}", where=where
            )
        if _OGG_CUT.search(sound.extra_info):
            raise DataError(f"cut off: the Ogg stream breaks off after {n_read} samples", where=where)
        if _is_mpeg(sound) and n is None and not start:
            at = self._stream.tell()
            _check_nothing_follows(self._stream.read(), n_read, at, where)
        return np.concatenate(blocks)[lead:]


def decode_stream(stream: BinaryIO, where: str) -> tuple[np.ndarray, int]:
    """Returns (N, channels) float32 with N >= 1, and the rate, of what libsndfile reads.

    Raises:
        DataError: not audio, no samples, or cut off; it names `where`.
    """
    with _open(stream, where) as sound:
        return Sndfile(sound, stream, where).read(0, None), sound.samplerate


def _open(stream: BinaryIO, where: str) -> soundfile.SoundFile:
    try:
        sound = soundfile.SoundFile(stream)
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"this is not audio that can be read: {error.error_string}", where=where, expected=EXPECTED
        ) from error
    check_rate(sound.samplerate, where)
    if not sound.frames:
        raise DataError("the file holds no samples", where=where, expected="a recording")
    if sound.frames >= _MOST_SAMPLES:
        raise DataError("the header does not say how long the recording is", where=where, fix="encode it again")
    return sound


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
