"""Clips: what one is, and how a line of a manifest becomes one."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vqbench.errors import DataError, ManyErrors, VqbenchError, raise_all
from vqbench.files import require_file
from vqbench.languages import language_of
from vqbench.paths import resolve_inside

MAX_NAME = 200
"""Characters of an id, speaker or split."""

MAX_FAULTS = 20
"""After so many a manifest is not read on."""

_FILES_KEPT = 1024
"""So many of the files that lines name are not looked for again."""

_NAMED = 3
"""So many of the recordings that are missing are named."""


@dataclass(frozen=True)
class Clip:
    """One recording, or a segment of one.

    Attributes:
        id: unique in its manifest, printable.
        path: absolute.
        sha256: of the file's bytes, 64 lower-case hex digits; of a segment that of the file's, its start and its end.
        duration_s: as the manifest says, else as the recording's header says.
        text: what is said, as published or transcribed.
        text_origin: who wrote the text, e.g. which ASR transcribed it.
        language: in which it is said, an ISO 639 code; None where nobody says.
        columns: further columns of the manifest, name and text, in the order of their names.
        start_s: where in the file it begins; None where it is the whole file.
        notes: how it is read, where that is not as it stands.
        fault: why it is not read at all; None where it is.
    """

    id: str
    path: Path
    sha256: str
    duration_s: float
    text: str | None = None
    speaker: str | None = None
    split: str | None = None
    text_origin: str | None = None
    language: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    start_s: float | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    fault: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Line:
    """What some manifest says of a clip, in the words of ours.

    Attributes:
        where: `file:line`, or the recording itself.
        values: by the keys of our manifest, unchecked.
        columns: what else there is, by name.
        error: what is wrong with the line, where nothing can be made of it.
    """

    where: str
    values: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    error: VqbenchError | None = None


# ---- from lines to clips


def to_clips(lines: Iterable[Line], where: str, folder: Path, limit: int | None = None) -> dict[Clip, str]:
    """`check_lines`, where any fault is an error.

    Raises:
        DataError: for one fault; also where there is no clip.
        ManyErrors: for several.
    """
    places, errors = check_lines(lines, where, folder, limit)
    raise_all(errors)
    return places


def check_lines(
    lines: Iterable[Line], where: str, folder: Path, limit: int | None = None, max_faults: int = MAX_FAULTS
) -> tuple[dict[Clip, str], list[DataError]]:
    """Checks what a manifest says: names, numbers, that every recording is there, and that no clip is there twice.

    Args:
        lines: of the manifest.
        where: the manifest, for messages about all of it.
        folder: what its paths are relative to and, as written, do not leave; links inside it are followed.
        limit: after so many clips nothing is read on.
        max_faults: likewise.

    Returns:
        clip → its line's place, what `verify` fills in being empty or 0; and the faults, in the order of the lines.
    """
    places: dict[Clip, str] = {}
    errors: list[DataError] = []
    missing: list[tuple[str, _Missing]] = []
    seen: dict[tuple[object, ...], str] = {}
    root = folder.resolve()
    # Thousands of segments of one file stand side by side.
    find = lru_cache(maxsize=_FILES_KEPT)(partial(locate, folder=root))
    real = lru_cache(maxsize=_FILES_KEPT)(os.path.realpath)
    try:
        for line in lines:
            if len(errors) >= max_faults:
                errors.append(DataError("too many faults: the lines from here on are not read", where=line.where))
                break
            try:
                clip = _clip(line, find)
            except _Missing as error:
                missing.append((line.where, error))
                continue
            except VqbenchError as error:
                errors += _at(line.where, error)
                continue
            recording = "recording" if clip.start_s is None else "segment"
            segment = (real(clip.path), clip.start_s, None if clip.start_s is None else clip.duration_s)
            for what, key, shown in (("id", (clip.id,), clip.id), (recording, segment, clip.path.name)):
                if key in seen:
                    problem = f"the {what} {shown!r} stands in line {_number(seen[key])} already"
                    errors.append(DataError(problem, where=line.where, expected="every clip once"))
                seen.setdefault(key, line.where)
            places[clip] = line.where
            if limit is not None and len(places) >= limit:
                break
    except DataError as error:  # of the file as a whole
        errors.append(error)
    if len(missing) > _NAMED:
        named = ", ".join(repr(error.written) for _, error in missing[:_NAMED])
        problem = f"{len(missing)} recordings are missing: {named} and {len(missing) - _NAMED} more"
        errors.append(DataError(problem, where=where, expected=f"files, relative to {root}"))
    else:
        errors += [one for place, error in missing for one in _at(place, error)]
    if not places and not errors:
        errors.append(DataError("the manifest has no clips", where=where))
    return places, sorted(errors, key=lambda error: _line_number(str(error.where)))


def _line_number(where: str) -> int:
    number = _number(where)
    return int(number) if number.isdigit() else 0


def _number(where: str) -> str:
    return where.rpartition(":")[2]


class _Missing(DataError):  # noqa: N818 - what is missing
    """A recording that is not there."""

    def __init__(self, written: str, problem: str, expected: str) -> None:
        self.written = written
        super().__init__(f"path: {written!r}: {problem}", expected=expected)


def _at(where: str, error: VqbenchError) -> list[DataError]:
    """The same faults, found at a line."""
    found = error.errors if isinstance(error, ManyErrors) else (error,)
    return [DataError(one.problem, where=where, expected=one.expected, fix=one.fix) for one in found]


def _clip(line: Line, find: Callable[[str], Path]) -> Clip:
    if line.error is not None:
        raise line.error
    errors: list[VqbenchError] = []
    checked: dict[str, Any] = {"sha256": "", "duration_s": 0.0}
    for key, check in CHECKS.items():
        value = line.values.get(key)
        if value is None:
            if key in ("id", "path"):
                errors.append(DataError(f"the key {key!r} is missing"))
            continue
        try:
            checked[key] = check(value)
        except DataError as error:
            errors.append(DataError(f"{key}: {error.problem}", expected=error.expected, fix=error.fix))
    columns = {}
    for name, value in line.columns.items():
        if value is None:
            continue
        try:
            columns[_name(name)] = _column(value)
        except DataError as error:
            errors.append(DataError(f"{name[:MAX_NAME]!r}: {error.problem}", expected=error.expected))
    checked["columns"] = tuple(sorted(columns.items()))
    if "path" in checked:
        try:
            checked["path"] = find(checked["path"])
        except VqbenchError as error:
            if isinstance(error, _Missing) and not errors:
                raise
            errors.append(DataError(error.problem, expected=error.expected, fix=error.fix))
    raise_all(errors)
    return Clip(**checked)


def locate(written: str, folder: Path) -> Path:
    r"""Where a recording is that a manifest names.

    A relative path stays inside the manifest's folder as it is written; links that the user made in there are followed,
    since data often lie on another disk. A path that goes up (`..`) must stay inside with all its links resolved, and
    one written absolute is asking for elsewhere. Where there is no file with a `\` in its name, it means `/`.

    Args:
        written: as in the manifest.
        folder: the manifest's, resolved.

    Raises:
        ConfigError: a path that leaves the folder, or cannot be one.
        DataError: no regular file is there.
    """
    if "\\" in written and not os.path.lexists(folder / written):
        written = written.replace("\\", "/")
    if written.strip() and ".." not in Path(written).parts and not written.startswith("~"):
        path = folder / written
    else:
        try:
            path = resolve_inside(folder, written, folder)
        except VqbenchError as error:
            raise type(error)(f"path: {error.problem}", expected=error.expected, fix=error.fix) from error
    try:
        require_file(path)
    except DataError as error:
        expected = f"a file at {path}"
        if error.problem.startswith("there is no such file"):
            raise _Missing(written, error.problem, expected) from error
        raise DataError(f"path: {written!r}: {error.problem}", expected=expected) from error
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"{_shown(value)} is not text", expected="text in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{_shown(value)} holds half of a surrogate pair, which no file can hold") from None
    return value


def _column(value: Any) -> str:
    """Text as it is, all else as JSON writes it."""
    return _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))


def _name(value: Any) -> str:
    text = _text(value)
    if not text.strip() or len(text) > MAX_NAME or not text.isprintable():
        raise DataError(f"{_shown(text)} cannot be a name", expected=f"1 to {MAX_NAME} printable characters")
    return text


def _language(value: Any) -> str:
    return language_of(_text(value).lower()).code


def _sha256(value: Any) -> str:
    text = _text(value).lower()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise DataError(f"{_shown(value)} is no sha256", expected="64 hex digits")
    return text


def _duration_s(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"{_shown(value)} is no duration", expected="seconds, a number above 0")
    return float(value)


def _start_s(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(f"{_shown(value)} is no place in a recording", expected="seconds, a number of at least 0")
    return float(value)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "id": _name,
    "path": _text,
    "sha256": _sha256,
    "start_s": _start_s,
    "duration_s": _duration_s,
    "text": _text,
    "speaker": _name,
    "split": _name,
    "text_origin": _text,
    "language": _language,
}
"""The keys of our manifest, and what may stand there."""
