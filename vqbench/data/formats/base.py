"""What every format reads from, and what it gives: lines in the words of our own manifest."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, Protocol, cast

from vqbench.data.clip import CHECKS, MAX_NAME, Line
from vqbench.errors import DataError
from vqbench.files import require_file

SOUNDS = frozenset(
    f".{suffix}"
    for suffix in (
        *("wav", "wave", "flac", "mp3", "ogg", "oga", "opus", "m4a", "mp4", "aac", "webm"),
        *("aiff", "aif", "aifc", "au", "w64", "rf64", "caf", "sph"),
    )
)
"""Suffixes of recordings, lower case."""

_HEAD_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 20
_MAX_UNPACKED_BYTES = 1 << 28
"""What a .gz may unpack to: some million clips."""

_MAX_BLANK_LINES = 100_000

_MAX_FILES = 2_000_000
"""In a folder."""

TEXT_NAMES = (
    "text", "sentence", "transcription", "transcript", "normalized_text", "text_normalized", "normalised_text",
    "raw_text", "text_original",
)  # fmt: skip
"""Columns that hold what is said, the first that is there being taken."""

SPEAKER_NAMES = ("speaker", "speaker_id", "speaker_name", "spk_id", "client_id")
LANGUAGE_NAMES = ("language", "lang", "locale")


class Format(Protocol):
    """One format."""

    title: str
    """How it is called, and how its lines look."""

    def knows(self, source: Source) -> bool:
        """Whether this is one, by its content."""

    def lines(self, source: Source) -> Iterator[Line]:
        """What it says, line by line, so that who wants few need not read all. Notes go to `source.notes`.

        Raises:
            DataError: where the file as a whole is at fault.
        """


class Source:
    """A file or folder that may be a manifest. A `.gz` is read unpacked, told by its content.

    Args:
        path: of the file or folder.
        folder: what paths in it are relative to; the file's own folder, or the folder itself, where left out.

    Attributes:
        notes: what is assumed, as the reader finds it.
        counts: what is skipped or lacking, and how often.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.is_folder = path.is_dir()
        if not self.is_folder:
            require_file(path)
        self.path = path
        self.folder = (folder or (path if self.is_folder else path.parent)).resolve()
        self.notes: list[str] = []
        self.counts: Counter[str] = Counter()

    @cached_property
    def magic(self) -> bytes:
        """The first 64 KiB, unpacked; empty for a folder."""
        if self.is_folder:
            return b""
        with self._open() as file:
            return self._read(file, _HEAD_BYTES)

    @cached_property
    def head(self) -> list[str]:
        """Its first lines with something on them, at most 50; empty for a folder or what is no text."""
        if b"\0" in self.magic:
            return []
        whole = self.magic if len(self.magic) < _HEAD_BYTES else self.magic[: self.magic.rfind(b"\n") + 1] or self.magic
        lines = whole.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
        return list(islice((line.rstrip("\r") for line in lines if line.strip()), 50))

    @property
    def first(self) -> str:
        """The first line that has something on it; empty where none has."""
        return self.head[0] if self.head else ""

    def object(self) -> dict[str, Any]:
        """The first line's JSON object; empty where there is none."""
        try:
            value = json.loads(self.first) if self.first.lstrip().startswith("{") else None
        except (ValueError, RecursionError):
            value = None
        return value if isinstance(value, dict) else {}

    def header(self, delimiter: str) -> list[str]:
        """The first line's fields."""
        try:
            return next(csv.reader([self.first], delimiter=delimiter), [])
        except csv.Error:  # a field of more than 128 KiB
            return []

    def text_lines(self) -> Iterator[tuple[str, str]]:
        """`file:line` and text of all lines, those without anything on them left out.

        Raises:
            DataError: UTF-16, a line that is not UTF-8 or has no end, or a .gz that unpacks to too much.
        """
        for number, line in enumerate(self._all_lines(), start=1):
            if line.strip():
                yield f"{self.path}:{number}", line

    def table(self, delimiter: str, quoted: bool = True) -> Iterator[tuple[str, dict[str, Any] | DataError]]:
        """`file:line` and fields by name of a table with a header.

        Raises:
            DataError: as `text_lines`, or where a quotation does not end.
        """
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        lines = (f"{line}\n" for line in self._all_lines())
        rows = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        header: list[str] = []
        try:
            for row in rows:
                if not any(field.strip() for field in row):
                    continue
                if not header:
                    header = [name.strip() for name in row]
                    continue
                found: dict[str, Any] | DataError = dict(zip(header, row, strict=False))
                if len(row) != len(header):
                    # An unquoted mark in a text would cut it short, and nobody would know.
                    problem = f"the line has {len(row)} fields, the header {len(header)}"
                    found = DataError(problem, fix=f"put texts that hold {delimiter!r} in quotes" if quoted else None)
                yield f"{self.path}:{rows.line_num}", found
        except csv.Error as error:
            raise DataError(f"the table cannot be read: {error}", where=f"{self.path}:{rows.line_num}") from error

    def objects(self) -> Iterator[tuple[str, dict[str, Any] | DataError]]:
        """`file:line` and JSON object of all lines."""
        for where, line in self.text_lines():
            try:
                yield where, json_object(line)
            except DataError as error:
                yield where, error

    def _all_lines(self) -> Iterator[str]:
        if self.magic.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError("the manifest is UTF-16 text", where=str(self.path), fix="save it as UTF-8")
        n_bytes, n_blank, number = 0, 0, 0
        with self._open() as file:
            packed = isinstance(file, gzip.GzipFile)
            while line := self._read(file, _MAX_LINE_BYTES + 1, line=True):
                number += 1
                n_bytes += len(line)
                where = f"{self.path}:{number}"
                if len(line) > _MAX_LINE_BYTES:
                    raise DataError(f"the line is longer than {_MAX_LINE_BYTES} bytes", where=where)
                n_blank += not line.strip()
                if n_blank > _MAX_BLANK_LINES:
                    raise DataError(f"more than {_MAX_BLANK_LINES} lines have nothing on them", where=where)
                if packed and n_bytes > _MAX_UNPACKED_BYTES:
                    size = f"{_MAX_UNPACKED_BYTES >> 20} MiB"
                    raise DataError(f"the file unpacks to more than {size}", where=str(self.path), fix="unpack it")
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise DataError("the line is not UTF-8 text", where=where, fix="save the file as UTF-8") from error
                yield (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")

    def _open(self) -> IO[bytes]:
        try:
            file = self.path.open("rb")
            if file.read(2) != b"\x1f\x8b":
                file.seek(0)
                return file
            file.close()
            return cast(IO[bytes], gzip.open(self.path, "rb"))
        except OSError as error:
            raise DataError(f"the file cannot be read: {error.strerror}", where=str(self.path)) from error

    def _read(self, file: IO[bytes], n: int, line: bool = False) -> bytes:
        try:
            return file.readline(n) if line else file.read(n)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"the file cannot be read: {error}", where=str(self.path)) from error


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that a line is.

    Raises:
        DataError: it is none, a key is there twice, or a number is none.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise DataError(f"the line is not JSON: {error.msg}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # thousands of digits, thousands of brackets
        raise DataError(f"the line is no JSON that can be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError("the line is not a JSON object", expected='{"id": …, "path": …}')
    return value


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"the key {next(name for name in names if names.count(name) > 1)!r} is written twice")
    return value


def _no_number(name: str) -> float:
    raise DataError(f"{name} is not a number", expected="a finite number, or leave the key out")


def line_of(where: str, source: Source, path: str, columns: Mapping[str, Any], **values: Any) -> Line:
    """A line of another tool's manifest in the words of ours.

    Args:
        where: it stands.
        source: it stands in.
        path: of the recording, as written or absolute.
        columns: whatever else the line says.
        **values: by our keys; the id is made of the path where it is left out, and what is empty counts as not there.
    """
    known = {key: value for key, value in values.items() if value not in (None, "")}
    language = known.get("language")
    if isinstance(language, str):
        # `zh-CN`, `en_US`; whatever is no code stays as a column.
        code = re.split("[-_]", language.lower())[0]
        known["language"] = code if re.fullmatch("[a-z]{2,3}", code) else None
        columns = columns if known["language"] else {**columns, "language written": language}
    known.setdefault("id", name_of(path, source.folder, known.get("start_s")))
    rest = {f"{key} written" if key in CHECKS else key: value for key, value in columns.items() if value != "" and key}
    return Line(where, {**known, "path": path}, rest)


def name_of(path: str, folder: Path, start_s: Any = None) -> str:
    """An id for a recording: its path in the folder without the suffix, and where a segment begins."""
    written = Path(path.replace("\\", "/"))
    if written.is_absolute() and written.is_relative_to(folder):
        written = written.relative_to(folder)
    known = written.suffix.lower() in SOUNDS
    name = (written.with_suffix("") if known else written).as_posix().lstrip("./")
    name = f"{name}@{start_s:g}" if isinstance(start_s, int | float) and start_s else name
    return name[-MAX_NAME:] or "."


def first_of(columns: dict[str, Any], names: tuple[str, ...]) -> tuple[str | None, Any]:
    """Takes the first of several columns that is there out of them: its name and its value."""
    for name in names:
        if name in columns:
            return name, columns.pop(name)
    return None, None


def is_sound(written: str) -> bool:
    """Whether a path looks like a recording's."""
    return os.path.splitext(written.strip())[1].lower() in SOUNDS  # noqa: PTH122 - it may be no path at all


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, in order, through links to folders; what begins with a dot is left out.

    Raises:
        DataError: there are too many.
    """
    seen: set[str] = set()
    n = 0
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a loop of links
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                n += 1
                if n > _MAX_FILES:
                    raise DataError(f"the folder holds more than {_MAX_FILES} files", where=str(folder))
                yield Path(place) / name


def text_beside(path: Path) -> str | None:
    """The content of a small text file as one line; None where there is none.

    Raises:
        DataError: it is not UTF-8, or no text of one clip.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(_HEAD_BYTES + 1)
    if len(content) > _HEAD_BYTES or b"\0" in content:
        raise DataError("this is not the text of a clip", where=str(path), expected=f"at most {_HEAD_BYTES} bytes")
    try:
        return " ".join(content.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise DataError("the text is not UTF-8", where=str(path), fix="save the file as UTF-8") from error
