"""Dataclasses to plain JSON values and back, strictly: no missing keys, no unknown ones, no values of another type.

Written out here, because a validation library would take longer to import than reading a result takes.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vqbench.errors import did_you_mean


class MappingError(Exception):
    """A plain value that is not what the type says; `place` is the way to it, e.g. `tables[3].columns.errors[5]`."""

    def __init__(self, problem: str, place: str, expected: str | None) -> None:
        self.problem, self.place, self.expected = problem, place, expected
        super().__init__(problem)

    def within(self, outer: str) -> MappingError:
        """The same error, seen from further out."""
        joint = "." if self.place and not self.place.startswith("[") else ""
        return MappingError(self.problem, f"{outer}{joint}{self.place}", self.expected)


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


Reader = Callable[[Any], Any]
"""A plain value → the value, or a `MappingError` whose place begins there."""


def from_plain(kind: Any, plain: Any, place: str = "") -> Any:
    """Makes a value of the type `kind`.

    Args:
        kind: a dataclass, `tuple[X, ...]`, `Mapping[str, X]`, a union, a `Literal`, `Any`, or a plain scalar.
        plain: what `json.loads` gave. Whole numbers are accepted where a float belongs, and nothing else is converted.
        place: where `plain` stands, for messages.

    Raises:
        MappingError: `plain` is no such value.
    """
    try:
        return _reader(kind)(plain)
    except MappingError as error:
        found = error.within(place) if place else error
        raise MappingError(found.problem, found.place or "top level", found.expected) from error


@cache
def _reader(kind: Any) -> Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda plain: plain
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind is float:
        return _float
    if kind in _NAMES:
        return _scalar_reader(kind)
    if origin is Literal:
        return _literal_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments[0])
    if origin in (Union, types.UnionType):
        return _union_reader(arguments)
    if origin in (Mapping, dict):
        return _mapping_reader(arguments[1])
    return _unreadable(kind)


def _unreadable(kind: Any) -> Reader:
    """Arrays are read elsewhere; a record that holds some can still be read where it holds none of them."""

    def read(plain: Any) -> Any:
        raise TypeError(f"{kind} is no plain type")

    return read


_NAMES: dict[Any, str] = {int: "a whole number", str: "a text", bool: "true or false", type(None): "null"}


def _float(plain: Any) -> float:
    if type(plain) not in (int, float) or not abs(plain) <= sys.float_info.max:
        raise _wrong(plain, "a finite number")
    return float(plain)


def _scalar_reader(kind: Any) -> Reader:
    def read(plain: Any) -> Any:
        if type(plain) is not kind:
            raise _wrong(plain, _NAMES[kind])
        return plain

    return read


def _literal_reader(values: tuple[Any, ...]) -> Reader:
    def read(plain: Any) -> Any:
        if plain not in values:
            raise _wrong(plain, " or ".join(map(repr, values)))
        return plain

    return read


def _dataclass_reader(kind: Any) -> Reader:
    readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]

    def read(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise _wrong(plain, "an object")
        values = {}
        for name, item in plain.items():
            if name not in readers:
                raise MappingError(f"unknown key {name!r}{did_you_mean(name, readers)}", "", None)
            try:
                values[name] = readers[name](item)
            except MappingError as error:
                raise error.within(name) from None
        for name in required:
            if name not in values:
                raise MappingError(f"the key {name!r} is missing", "", None)
        return kind(**values)

    return read


def _mapping_reader(kind: Any) -> Reader:
    reader = _reader(kind)

    def read(plain: Any) -> dict[str, Any]:
        if not isinstance(plain, dict):
            raise _wrong(plain, "an object")
        values = {}
        for key, item in plain.items():
            try:
                values[key] = reader(item)
            except MappingError as error:
                raise error.within(key) from None
        return values

    return read


def _tuple_reader(kind: Any) -> Reader:
    reader = _reader(kind)

    def read(plain: Any) -> tuple[Any, ...]:
        if not isinstance(plain, list):
            raise _wrong(plain, "a list")
        values = []
        for item in plain:
            try:
                values.append(reader(item))
            except MappingError as error:
                raise error.within(f"[{len(values)}]") from None
        return tuple(values)

    return read


def _union_reader(kinds: tuple[Any, ...]) -> Reader:
    """The members of our unions are told apart by their JSON type: null, a list, or something else.

    Of two kinds of lists, of whole numbers and of any, the first is meant where all numbers are whole.
    """
    lists = [_reader(kind) for kind in kinds if get_origin(kind) is tuple]
    others = [_reader(kind) for kind in kinds if get_origin(kind) is not tuple and kind is not type(None)]
    nullable = type(None) in kinds

    def read(plain: Any) -> Any:
        if plain is None and nullable:
            return None
        if not isinstance(plain, list) or not lists:
            return (others or lists)[0](plain)
        return lists[-1 if float in map(type, plain) else 0](plain)

    return read


def _wrong(plain: Any, expected: str) -> MappingError:
    came = repr(plain) if len(repr(plain)) <= 40 else f"{repr(plain)[:37]}…"
    return MappingError(f"holds {came}", "", expected)
