"""Runs on disk: `RUN/result.json`, and the same file under a name in `baselines/`.

The file is the record types of `vqbench.results.record` as JSON, one record a line so that a committed baseline diffs.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from vqbench.errors import DataError, ResultError, VqbenchError, did_you_mean
from vqbench.files import require_file, write_whole
from vqbench.results.check import check_run
from vqbench.results.mapping import MappingError, from_plain, to_plain
from vqbench.results.record import SCHEMA_VERSION, Run

RESULT_FILE = "result.json"
BASELINES = Path("baselines")


def save_run(run: Run, folder: Path) -> Path:
    """Writes `folder/result.json`, whole or not at all, and returns its path.

    Raises:
        ResultError: the run does not agree with itself, or the file cannot be written.
    """
    return _write(run, folder / RESULT_FILE)


def load_run(path: Path) -> Run:
    """Reads a run from its folder, from a result.json, or from a baseline's file.

    Raises:
        ResultError: the file is missing, is no JSON, comes from another version of vqbench, or is broken; says where.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        require_file(file)
    except DataError as error:
        raise ResultError(
            error.problem,
            where=error.where,
            expected=f"a run folder with a {RESULT_FILE}, or a baseline's .json",
            fix="vqbench run writes one; a run that was interrupted has none yet",
        ) from error
    try:
        plain = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ResultError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except UnicodeDecodeError as error:
        raise ResultError("is not text", where=str(file), expected="a result of vqbench, in JSON") from error
    except json.JSONDecodeError as error:
        raise ResultError(
            f"is not JSON: {error.msg}",
            where=f"{file}:{error.lineno}:{error.colno}",
            fix="the file is truncated or was edited; run the suite again",
        ) from error
    except (RecursionError, ValueError) as error:
        raise ResultError(
            "is nested too deeply, or holds too long a number, to be a result", where=str(file)
        ) from error
    except MappingError as error:
        raise ResultError(str(error), where=str(file), expected="finite numbers only") from error
    _check_schema(plain, file)
    try:
        run: Run = from_plain(Run, plain)
    except MappingError as error:
        raise ResultError(error.problem, where=f"{file}: {error.place}", expected=error.expected) from error
    try:
        check_run(run)
    except VqbenchError as error:
        raise ResultError(f"does not agree with itself\n{error}", where=str(file)) from error
    return run


def save_baseline(run: Run, name: str, folder: Path = BASELINES, *, replace: bool = False) -> Path:
    """Writes `folder/name.json` and returns its path.

    Raises:
        ResultError: the name is no plain file name, or is taken and `replace` is not set.
    """
    if not name or name.startswith(".") or name != Path(name).name or "\\" in name or "\0" in name:
        raise ResultError(f"{name!r} cannot be the name of a baseline", expected="a plain name, e.g. quick")
    file = folder / f"{name.removesuffix('.json')}.json"
    if file.exists() and not replace:
        raise ResultError(
            "there is such a baseline already", where=str(file), fix="choose another name, or --replace it"
        )
    return _write(run, file)


def find_baseline(name_or_path: str, folder: Path = BASELINES) -> Path:
    """Finds a baseline by its name in `folder`, or a run or baseline by its path.

    Raises:
        ResultError: neither is there; near names are suggested.
    """
    named = folder / f"{name_or_path}.json"
    if name_or_path and "/" not in name_or_path and named.is_file():
        return named
    path = Path(name_or_path)
    if name_or_path and path.exists():
        return path
    known = list_baselines(folder)
    raise ResultError(
        f"no baseline, run or file is called {name_or_path!r}{did_you_mean(name_or_path, known)}",
        expected=f"a path, or a baseline in {folder}/: {', '.join(known) or 'there is none yet'}",
        fix="vqbench baseline save RUN NAME keeps a run as a baseline",
    )


def list_baselines(folder: Path = BASELINES) -> list[str]:
    """The names of the baselines in a folder, sorted; none where there is no such folder."""
    return sorted(file.stem for file in folder.glob("*.json"))


def _write(run: Run, file: Path) -> Path:
    check_run(run)
    try:
        text = _to_json(run)
    except ValueError as error:
        raise ResultError(f"holds a number that is not finite: {error}", where=str(file)) from error
    try:
        write_whole(file, text.encode("utf-8", "backslashreplace"))
    except DataError as error:
        raise ResultError(error.problem, where=error.where) from error
    return file


def _to_json(run: Run) -> str:
    def dumps(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    parts = []
    for name in ("schema", *(field.name for field in fields(run) if field.name != "schema")):
        plain = to_plain(getattr(run, name))
        lines = "[\n" + ",\n".join(map(dumps, plain)) + "\n]" if isinstance(plain, list) and plain else dumps(plain)
        parts.append(f'"{name}": {lines}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _check_schema(plain: Any, file: Path) -> None:
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if type(schema) is not int:
        raise ResultError("is JSON, but no result of vqbench", where=str(file), expected='an object with a "schema"')
    if schema != SCHEMA_VERSION:
        raise ResultError(
            f"was written in schema {schema}, this vqbench reads schema {SCHEMA_VERSION}",
            where=str(file),
            fix="update vqbench" if schema > SCHEMA_VERSION else "run the suite again with this vqbench",
        )


def _refuse_constant(literal: str) -> NoReturn:
    raise MappingError(f"holds the literal {literal}", "", None)
