"""How a result file is laid out: JSON, one record a line so that a committed baseline diffs, packed columns at the end.

A file in this very layout is read as far as the statistics; of those only the places of the lines are noted, and a line
is read when its column is asked for. Any other JSON of the same content is read whole. The second line is a checksum of
all the others.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeAlias

from vqbench.errors import ResultError
from vqbench.records.mapping import MappingError, from_plain
from vqbench.records.migrate import MIGRATIONS, migrate
from vqbench.records.run import SCHEMA_VERSION

Packed: TypeAlias = Mapping[str, Any]
"""Index of a table and name of a column, with a dot between → the packed column."""

_STATISTICS = b'\n"statistics": {\n'
_END = b"\n}\n}\n"
_CHECKSUM = b'{\n"checksum": "'
_SUM_LENGTH = 64

MAX_CONTAINERS = 4_000_000
"""Objects and lists that are read at once: a run of a million clips has fewer, and each takes some 100 bytes."""


class Layout(NamedTuple):
    """A result as it was found.

    Attributes:
        plain: all but its statistics, in today's schema.
        packed: these, each read when it is asked for.
        checksum: what was written as the checksum of the content; None in a schema that has none.
        intact: whether the bytes are those that were written with this checksum.
    """

    plain: dict[str, Any]
    packed: Packed
    checksum: str | None
    intact: bool


def write_layout(plain: Mapping[str, Any], packed: Packed) -> str:
    """The text of a result file, its checksum in the second line.

    Args:
        plain: plain JSON values, lists of records among them.
        packed: the packed columns.

    Raises:
        ValueError: a number is not finite.
    """

    def dumps(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    parts = []
    for name, value in plain.items():
        lines = "[\n" + ",\n".join(map(dumps, value)) + "\n]" if isinstance(value, list) and value else dumps(value)
        parts.append(f'"{name}": {lines}')
    columns = ",\n".join(f"{dumps(key)}: {dumps(column)}" for key, column in packed.items())
    parts.append(f'"statistics": {{\n{columns}\n}}')
    body = ",\n".join(parts) + "\n}\n"
    return f'{_CHECKSUM.decode()}{checksum_of(encoded(body))}",\n{body}'


def encoded(text: str) -> bytes:
    """The text of a result file as bytes; a lone surrogate, which JSON may carry and UTF-8 has not, is escaped."""
    return text.encode("utf-8", "backslashreplace")


def checksum_of(body: bytes | memoryview) -> str:
    """The checksum of a result file: of all that follows its line."""
    return hashlib.sha256(body).hexdigest()


def written_checksum(text: str) -> str:
    """The checksum that a text by `write_layout` carries."""
    return text[len(_CHECKSUM) : len(_CHECKSUM) + _SUM_LENGTH]


def read_layout(file: Path) -> Layout:
    """A result; of a file in our own layout the statistics are not read yet.

    Raises:
        ResultError: it cannot be read, is no JSON, or no result of a schema that is known.
        MappingError: it is no result of the schema that it says.
    """
    where = str(file)
    try:
        with file.open("rb") as stream:
            if not os.fstat(stream.fileno()).st_size:
                raise ResultError("is empty", where=where, expected="a result of vqbench, in JSON")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _read(content, file, _identity(stream))
    except (OSError, ValueError) as error:  # ValueError: something that cannot be mapped
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ResultError(f"cannot be read: {reason}", where=where) from error


def _read(content: mmap.mmap, file: Path, identity: tuple[int, ...]) -> Layout:
    where = str(file)
    head_end = content.find(_STATISTICS)
    spans = _spans(content, head_end + len(_STATISTICS)) if head_end > 0 else None
    if spans is not None:
        plain = _parse(content[:head_end].removesuffix(b",") + b"\n}", where)
        if _schema(plain, where) == SCHEMA_VERSION:
            own = _checksum(plain, where)
            return Layout(plain, _Lines(file, spans, identity), own, _is_intact(content, own))
    # Of an earlier version, or not written by us: by a pretty-printer, say.
    plain = _parse(content[:], where)
    schema = _schema(plain, where)
    checksum = _checksum(plain, where) if schema == SCHEMA_VERSION else None
    whole = migrate(plain, schema)
    statistics = whole.pop("statistics", None)
    return Layout(whole, from_plain(dict[str, Any], statistics, "statistics"), checksum, intact=False)


def _checksum(plain: dict[str, Any], where: str) -> str:
    checksum = plain.pop("checksum", None)
    if not isinstance(checksum, str):
        raise ResultError("has no checksum", where=where, fix="run the suite again")
    return checksum


def _is_intact(content: mmap.mmap, checksum: str) -> bool:
    start = len(_CHECKSUM) + _SUM_LENGTH + len(b'",\n')
    expected = _CHECKSUM + checksum.encode("utf-8", "backslashreplace") + b'",\n'
    with memoryview(content) as whole, whole[start:] as body:
        return content[:start] == expected and checksum_of(body) == checksum


_Spans: TypeAlias = dict[str, tuple[int, int]]
"""Key of a column → where its value begins in the file, and how long it is."""


def _spans(content: mmap.mmap, place: int) -> _Spans | None:
    """The places of `"key": value,` from here to the end of the file; None where it is laid out otherwise."""
    spans: _Spans = {}
    last = len(content) - len(_END)
    if content[last:] != _END:
        return None
    while place < last:
        line_end = content.find(b"\n", place, last)
        line_end = last if line_end < 0 else line_end
        key_end = content.find(b'": ', place, min(line_end, place + _MAX_KEY)) + 1
        try:
            key = json.loads(content[place:key_end])
        except ValueError:
            return None
        if not isinstance(key, str) or key in spans:
            return None
        spans[key] = (key_end + 2, line_end - key_end - 2)
        place = line_end + 1
    return spans


_MAX_KEY = 4096
"""The key of a column is the number of its table and a name."""


class _Lines(Mapping[str, Any]):
    """Values that stand on lines of their own in a file, each read when it is asked for."""

    def __init__(self, file: Path, spans: _Spans, identity: tuple[int, ...]) -> None:
        self._file, self._spans, self._read_from = file, spans, identity

    def __getitem__(self, key: str) -> Any:
        start, length = self._spans[key]
        where = str(self._file)
        try:
            with self._file.open("rb") as stream:
                if _identity(stream) != self._read_from:
                    raise ResultError("was changed while it was being read", where=where, fix="try again")
                stream.seek(start)
                line = stream.read(length)
        except OSError as error:
            raise ResultError(f"cannot be read any more: {error.strerror}", where=where) from error
        return _parse(line.rstrip(b",\n"), where)

    def __contains__(self, key: object) -> bool:
        return key in self._spans

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)


def _identity(stream: BinaryIO) -> tuple[int, ...]:
    """What is another when the file is."""
    found = os.fstat(stream.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _parse(content: bytes, where: str) -> Any:
    if content.count(b"[") + content.count(b"{") > MAX_CONTAINERS:
        problem = f"holds more than {MAX_CONTAINERS:,} lists and objects"
        raise ResultError(problem, where=where, expected="a result of vqbench, in JSON")
    try:
        return json.loads(
            content, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_each_key_once
        )
    except UnicodeDecodeError as error:
        raise ResultError("is not text", where=where, expected="a result of vqbench, in JSON") from error
    except json.JSONDecodeError as error:
        raise ResultError(
            f"is not JSON: {error.msg}",
            where=f"{where}:{error.lineno}:{error.colno}",
            fix="the file is truncated or was edited; run the suite again",
        ) from error
    except (RecursionError, ValueError) as error:
        raise ResultError("is nested too deeply, or holds too long a number, to be a result", where=where) from error
    except MappingError as error:
        raise ResultError(error.problem, where=where, expected=error.expected) from error


def _schema(plain: Any, where: str) -> int:
    """The version of the schema that a result is written in."""
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if type(schema) is not int:
        raise ResultError("is JSON, but no result of vqbench", where=where, expected='an object with a "schema"')
    if schema != SCHEMA_VERSION and schema not in MIGRATIONS:
        raise ResultError(
            f"was written in schema {schema}, this vqbench reads {min(MIGRATIONS)} to {SCHEMA_VERSION}",
            where=where,
            fix="update vqbench" if schema > SCHEMA_VERSION else "run the suite again with this vqbench",
        )
    return schema


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise MappingError(f"holds {literal}", "", "finite numbers only")
    return number


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which a second `"suite"` would be believed is one that says two things."""
    whole = dict(pairs)
    if len(whole) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise MappingError(f"names the key {twice!r} twice in one object", "", None)
    return whole


def _refuse_constant(literal: str) -> NoReturn:
    raise MappingError(f"holds the literal {literal}", "", "finite numbers only")
