"""Clips, and the JSONL manifests that list them, one JSON object a line.

    {"id": "a/1", "path": "wavs/a1.flac", "text": "Hello there.", "speaker": "a", "split": "test", "language": "en"}

`id` and `path` are needed. `path` is relative to the manifest and stays inside its folder, unless written absolute.
`sha256` is compared with the file, so that a changed recording cannot pass for the old one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vqbench.audio.io import file_digest, header_duration_s
from vqbench.errors import DataError, ManyErrors, VqbenchError, did_you_mean, raise_all
from vqbench.files import require_file, write_whole
from vqbench.languages import language_of
from vqbench.paths import resolve_inside

MAX_NAME = 200
"""Characters of an id, speaker or split."""

MAX_FAULTS = 100
"""After so many a manifest is not read on: a file of another kind has a fault in every line."""


@dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
        id: unique in its manifest, printable.
        path: absolute.
        sha256: of the file's bytes, 64 lower-case hex digits.
        duration_s: as the manifest says, else as the recording's header says.
        text: what is said, as published or transcribed.
        text_origin: who wrote the text, e.g. which ASR transcribed it.
        language: in which it is said, an ISO 639 code; None where nobody says.
        columns: further columns of the manifest, name and text, in the order of their names.
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


def read_manifest(
    path: Path, *, folder: Path | None = None, split: str | None = None, limit: int | None = None
) -> list[Clip]:
    """Reads clips: every line is checked, and the recordings of the clips that are asked for.

    Args:
        path: a JSONL file in UTF-8; empty lines are skipped.
        folder: what its paths are relative to and may not leave; where left out, the manifest's own folder.
        split: only the clips of this split.
        limit: at most so many of them, the first ones.

    Returns:
        at least one clip, in the manifest's order; every `sha256` was compared with the recording, or was taken from it
        where the manifest has none.

    Raises:
        DataError: for one fault, `where` being `file:line`; also where no clip is left.
        ManyErrors: for several.
    """
    require_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    places = _parse(content, path, path.parent if folder is None else folder)
    clips: list[Clip] = []
    errors: list[DataError] = []
    for clip in select(list(places), split, limit, where=str(path)):
        try:
            clips.append(verify(clip))
        except DataError as error:
            errors += _at(places[clip], error)
    raise_all(errors)
    return clips


def select(clips: Sequence[Clip], split: str | None, limit: int | None, where: str) -> list[Clip]:
    """The first `limit` clips of a split, in order; None asks for all.

    Raises:
        DataError: where no clip is left; `where` names the list.
    """
    chosen = [clip for clip in clips if split is None or clip.split == split][:limit]
    if not chosen:
        splits = sorted({clip.split for clip in clips if clip.split})
        raise DataError(
            f"no clip is of the split {split!r}{did_you_mean(split or '', splits)}",
            where=where,
            expected=f"one of {', '.join(splits)}" if splits else 'clips with a "split"',
        )
    return chosen


def verify(clip: Clip) -> Clip:
    """Compares a clip with its recording, and fills in `sha256` and `duration_s` where they are empty or 0.

    Raises:
        DataError: for another recording than `sha256` says, or none.
    """
    digest = file_digest(clip.path)
    if clip.sha256 and clip.sha256 != digest:
        raise DataError(
            f"the recording of clip {clip.id!r} is another one: its sha256 is {digest}",
            where=str(clip.path),
            expected=f"sha256 {clip.sha256}",
            fix="restore the recording, or correct the manifest if the change is meant",
        )
    return replace(clip, sha256=digest, duration_s=clip.duration_s or header_duration_s(clip.path))


def write_manifest(path: Path, clips: Sequence[Clip]) -> None:
    """Writes a manifest atomically; recordings inside its folder are named relative to it.

    Raises:
        DataError: for clips that could not be read back (several: ManyErrors), or a disk that refuses.
    """
    folder = path.parent.resolve()
    lines = []
    for clip in clips:
        values = {field.name: getattr(clip, field.name) for field in fields(Clip)}
        place = clip.path.resolve()
        values["path"] = place.relative_to(folder).as_posix() if place.is_relative_to(folder) else str(place)
        values |= dict(values.pop("columns"))
        written = {key: value for key, value in values.items() if value is not None}
        lines.append(json.dumps(written, ensure_ascii=False) + "\n")
    # Lone surrogates pass here, so that reading the bytes back finds them, with all other faults.
    content = "".join(lines).encode("utf-8", "surrogatepass")
    _parse(content, path, folder)
    write_whole(path, content)


def _parse(content: bytes, path: Path, folder: Path) -> dict[Clip, str]:
    """Clip → `file:line`, all checked but the recordings' content; what `verify` fills in is empty or 0."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the manifest is UTF-16 text", where=str(path), fix="save it as UTF-8")
    places: dict[Clip, str] = {}
    errors: list[DataError] = []
    seen: dict[tuple[str, object], str] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        if len(errors) >= MAX_FAULTS:
            errors.append(DataError("too many faults: the lines from here on are not read", where=where))
            break
        try:
            clip = _clip(_json_object(line), folder)
        except VqbenchError as error:
            errors += _at(where, error)
            continue
        for what, value, shown in (("id", clip.id, clip.id), ("recording", clip.path, clip.path.name)):
            if (what, value) in seen:
                problem = f"the {what} {shown!r} stands in line {seen[what, value]} already"
                errors.append(DataError(problem, where=where, expected="every clip once"))
            seen.setdefault((what, value), str(number))
        places[clip] = where
    if not places and not errors:
        errors.append(DataError("the manifest has no clips", where=str(path), expected="one JSON object a line"))
    raise_all(errors)
    return places


def _at(where: str, error: VqbenchError) -> list[DataError]:
    """The same faults, found at a line."""
    found = error.errors if isinstance(error, ManyErrors) else (error,)
    return [DataError(one.problem, where=where, expected=one.expected, fix=one.fix) for one in found]


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_unrepeated, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise DataError("the line is not UTF-8 text", fix="save the file as UTF-8") from error
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


def _clip(values: Mapping[str, Any], folder: Path) -> Clip:
    errors: list[DataError] = []
    checked: dict[str, Any] = {"sha256": "", "duration_s": 0.0}
    for key in values.keys() - _CHECKS.keys():
        errors.append(
            DataError(f"unknown key {key!r}{did_you_mean(key, _CHECKS)}", expected=f"one of {', '.join(_CHECKS)}")
        )
    for key, check in _CHECKS.items():
        value = values.get(key)
        if value is None:
            if key in ("id", "path"):
                errors.append(DataError(f"the key {key!r} is missing"))
            continue
        try:
            checked[key] = check(value)
        except DataError as error:
            errors.append(DataError(f"{key}: {error.problem}", expected=error.expected, fix=error.fix))
    if "path" in checked:
        try:
            checked["path"] = _recording(checked["path"], folder)
        except VqbenchError as error:
            errors.append(DataError(f"path: {error.problem}", expected=error.expected, fix=error.fix))
    raise_all(errors)
    return Clip(**checked)


def _recording(written: str, folder: Path) -> Path:
    path = resolve_inside(folder, written, folder)
    try:
        require_file(path)
    except DataError as error:
        raise DataError(f"{written!r}: {error.problem}", expected=f"a file at {path}") from error
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"{_shown(value)} is not text", expected="text in quotes")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{_shown(value)} holds half of a surrogate pair, which no file can hold")
    return value


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


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "id": _name,
    "path": _text,
    "sha256": _sha256,
    "duration_s": _duration_s,
    "text": _text,
    "speaker": _name,
    "split": _name,
    "text_origin": _text,
    "language": _language,
}
