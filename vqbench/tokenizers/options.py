"""Options of a tokenizer that a suite names: read and checked in one way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from vqbench.errors import ConfigError, did_you_mean

T = TypeVar("T")


def read_options(given: Mapping[str, Any], defaults: Mapping[str, T], what: str) -> dict[str, T]:
    """Fills in what is not given.

    Args:
        given: as a suite has it.
        defaults: of every option that there is, whose type decides what may be given.
        what: the tokenizer's name.

    Raises:
        ConfigError: an option that there is not, or a value of another type.
    """
    for name, value in given.items():
        if name not in defaults:
            near = did_you_mean(name, defaults)
            raise ConfigError(f"{what} has no option {name!r}{near}", expected=f"one of {', '.join(defaults)}")
        kind = type(defaults[name])
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or isinstance(value, bool) != (kind is bool):
            raise ConfigError(f"{what}: {name} is {value!r}", expected=f"{kind.__name__}, like {defaults[name]!r}")
    return {**defaults, **given}
