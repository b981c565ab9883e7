"""Dataclasses to plain JSON values and back, strictly: no missing keys, no unknown ones, no values of another type.

Written out here, because a validation library would take longer to import than reading a result takes.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vqbench.errors import did_you_mean


class MappingError(Exception):
    """A plain value that is not what the type says; `place` is the way to it, e.g. `tables[3].columns.errors[5]`."""

    def __init__(self, problem: str, place: str, expected: str | None) -> None:
        self.problem, self.place, self.expected = problem, place, expected
        super().__init__(problem)


def to_plain(value: Any) -> Any:
    """Dataclasses and mappings become dicts, tuples and lists become lists; all else stays.

    >>> to_plain({"codes": (1, 2)})
    {'codes': [1, 2]}
    """
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: Any, plain: Any, place: str = "") -> Any:
    """Makes a value of the type `kind`.

    Args:
        kind: a dataclass, `tuple[X, ...]`, `Mapping[str, X]`, a union, a `Literal`, `Any`, or a plain scalar.
        plain: what `json.loads` gave. Whole numbers are accepted where a float belongs, and nothing else is converted.
        place: where `plain` stands, for messages.

    Raises:
        MappingError: `plain` is no such value.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return plain
    if is_dataclass(kind):
        return _dataclass(kind, plain, place)
    if kind is float:
        if type(plain) not in (int, float) or not abs(plain) <= sys.float_info.max:
            raise _wrong(plain, place, "a finite number")
        return float(plain)
    if kind in (int, str, bool, type(None)):
        if type(plain) is not kind:
            raise _wrong(plain, place, _NAMES[kind])
        return plain
    if origin is Literal:
        if plain not in arguments:
            raise _wrong(plain, place, " or ".join(map(repr, arguments)))
        return plain
    if origin is tuple:
        return _tuple(arguments[0], plain, place)
    if origin in (Union, types.UnionType):
        return _union(arguments, plain, place)
    if not isinstance(plain, dict):
        raise _wrong(plain, place, "an object")
    return {key: from_plain(arguments[1], item, f"{place}.{key}") for key, item in plain.items()}


_NAMES: dict[Any, str] = {int: "a whole number", str: "a text", bool: "true or false", type(None): "null"}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: Any, plain: Any, place: str) -> Any:
    if not isinstance(plain, dict):
        raise _wrong(plain, place, "an object")
    hints = _hints(kind)
    for name in plain:
        if name not in hints:
            raise MappingError(f"unknown key {name!r}{did_you_mean(name, hints)}", place or "top level", None)
    for field in fields(kind):
        if field.name not in plain and field.default is MISSING and field.default_factory is MISSING:
            raise MappingError(f"the key {field.name!r} is missing", place or "top level", None)
    prefix = f"{place}." if place else ""
    return kind(**{name: from_plain(hints[name], item, f"{prefix}{name}") for name, item in plain.items()})


def _tuple(kind: Any, plain: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(plain, list):
        raise _wrong(plain, place, "a list")
    if kind is int and set(map(type, plain)) <= {int}:  # the codes of a clip: many, and checked at once
        return tuple(plain)
    if kind is float and set(map(type, plain)) <= {float} and all(map(math.isfinite, plain)):  # likewise a vector
        return tuple(plain)
    return tuple(from_plain(kind, item, f"{place}[{index}]") for index, item in enumerate(plain))


def _union(kinds: tuple[Any, ...], plain: Any, place: str) -> Any:
    """The members of our unions are told apart by their JSON type: null, a list, or something else.

    Of two kinds of lists, of whole numbers and of any, the first is meant where all numbers are whole.
    """
    if plain is None and type(None) in kinds:
        return None
    lists = [kind for kind in kinds if get_origin(kind) is tuple]
    if len(lists) == 2 and isinstance(plain, list) and float in map(type, plain):
        lists.reverse()
    others = [kind for kind in kinds if get_origin(kind) is not tuple and kind is not type(None)]
    return from_plain((lists if isinstance(plain, list) and lists else others)[0], plain, place)


def _wrong(plain: Any, place: str, expected: str) -> MappingError:
    came = repr(plain) if len(repr(plain)) <= 40 else f"{repr(plain)[:37]}…"
    return MappingError(f"holds {came}", place or "top level", expected)
