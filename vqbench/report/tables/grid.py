"""A table before it has a medium: what stands in its cells, not how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

WIDTH = 100
"""Characters that a table may be wide, in every medium."""

NAME_WIDTH = 18
"""Characters that a name takes before it wraps."""

Mark = Literal["best", "better", "worse", "pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Span:
    """A figure with its interval and what it is held against, in numbers, for media that draw and sort.

    Attributes:
        value: the figure.
        low, high: of its interval; None where there is none.
        lines: what it is held against, by name: `floor`, `ceiling`, `limit`, `no difference`.
        good: the side of those lines that is better; None where neither is.
    """

    value: float
    low: float | None = None
    high: float | None = None
    lines: Mapping[str, float] = field(default_factory=dict)
    good: Literal["above", "below"] | None = None


@dataclass(frozen=True)
class Cell:
    """One entry; `below` is its second, fainter line, e.g. the interval of a figure.

    A mark is always said by the text too, because a reader may have no colours; so is what a span draws.
    """

    text: str
    below: str = ""
    mark: Mark | None = None
    span: Span | None = None


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        lines: its name, broken where it may be broken.
        below: a second, fainter line, e.g. the unit.
        kind: a `name` wraps early, at its joints; `text` takes what is left of the width; a `figure` is
            aligned right and never broken.
        width: characters that a name may take before it wraps.
        about: one line that explains it, for media that can hide it.
    """

    lines: tuple[str, ...]
    below: str = ""
    kind: Literal["name", "text", "figure"] = "name"
    width: int = NAME_WIDTH
    about: str = ""


@dataclass(frozen=True)
class Row:
    """One cell a column; reference rows are drawn apart."""

    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True)
class Grid:
    """A table with what is said under it: how much data it stands on, and notes."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
