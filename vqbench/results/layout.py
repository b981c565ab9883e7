"""How a result file is laid out: JSON, one record a line so that a committed baseline diffs, packed columns at the end.

A file in this very layout is read as far as the statistics; of those only the places of the lines are noted, and a line
is read when its column is asked for. Any other JSON of the same content is read whole.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeAlias

from vqbench.errors import ResultError
from vqbench.results.mapping import MappingError, from_plain
from vqbench.results.migrate import MIGRATIONS, migrate
from vqbench.results.record import SCHEMA_VERSION

Packed: TypeAlias = Mapping[str, Any]
"""Index of a table and name of a column, with a dot between → the packed column."""

_STATISTICS = b'"statistics": {\n'
_END = [b"}\n", b"}\n"]


def write_layout(plain: Mapping[str, Any], packed: Packed) -> str:
    """The text of a result file.

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
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read_layout(file: Path) -> tuple[dict[str, Any], Packed]:
    """The whole result but its statistics, in today's schema; and these, each read when it is asked for.

    Raises:
        ResultError: it cannot be read, is no JSON, or no result of a schema that is known.
        MappingError: it is no result of the schema that it says.
    """
    where = str(file)
    try:
        with file.open("rb") as stream:
            head = b"".join(_until(stream, _STATISTICS))
            lines = _lines(stream) if head.endswith(b",\n") else None
            if lines is not None:
                plain = _parse(head[: -len(b",\n")] + b"\n}", where)
                if _schema(plain, where) == SCHEMA_VERSION:
                    return plain, _Lines(file, lines, _identity(stream))
            # Of an earlier version, or not written by us: by a pretty-printer, say.
            stream.seek(0)
            plain = _parse(stream.read(), where)
    except OSError as error:
        raise ResultError(f"cannot be read: {error.strerror}", where=where) from error
    whole = migrate(plain, _schema(plain, where))
    statistics = whole.pop("statistics", None)
    return whole, from_plain(dict[str, Any], statistics, "statistics")


def _until(stream: BinaryIO, last: bytes) -> Iterator[bytes]:
    for line in stream:
        if line == last:
            return
        yield line


_Spans: TypeAlias = dict[str, tuple[int, int]]
"""Key of a column → where its value begins in the file, and how long it is."""


def _lines(stream: BinaryIO) -> _Spans | None:
    """The places of `"key": value,` from here to the end of the file; None where it ends otherwise."""
    spans: _Spans = {}
    place = stream.tell()
    ending: list[bytes] = []
    for line in stream:
        if line in _END:
            ending.append(line)
        elif line != b"\n":
            key_end = line.find(b'": ') + 1
            try:
                spans[json.loads(line[:key_end])] = (place + key_end + 2, len(line) - key_end - 2)
            except ValueError:
                return None
        place += len(line)
    return spans if ending == _END else None


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
