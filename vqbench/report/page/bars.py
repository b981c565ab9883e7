"""Figures with their intervals as small bars beside their texts: all of a column on one scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vqbench.report.tables.grid import Grid, Span

WIDTH = 120
HEIGHT = 14
_INSET = 6.0
"""Pixels that are kept free at both ends, for dots and ends of intervals."""


@dataclass(frozen=True)
class Bar:
    """Places in pixels of a picture that is `WIDTH` wide, from left to right.

    Attributes:
        value: of the figure.
        low, high: of its interval; None where there is none.
        lines: what it is held against: name, place.
        good: begin and width of the side that is better; None where there is but the figure itself.
    """

    value: float
    low: float | None
    high: float | None
    lines: tuple[tuple[str, float], ...]
    good: tuple[float, float] | None


def column_bars(spans: Sequence[Span | None]) -> list[Bar | None]:
    """Draws the figures of one column on one scale; None where there is no figure."""
    values = [end for span in spans if span is not None for end in _ends(span)]
    return _drawn(spans, min(values, default=0.0), max(values, default=0.0))


def _around_line(span: Span | None) -> Bar | None:
    """Draws a difference on a scale of its own, whose middle is the line that it is held against."""
    if span is None:
        return None
    line = next(iter(span.lines.values()), span.value)
    reach = max(abs(end - line) for end in _ends(span))
    return _drawn([span], line - reach, line + reach)[0]


def _drawn(spans: Sequence[Span | None], low: float, high: float) -> list[Bar | None]:
    room = (WIDTH - 2 * _INSET) / (high - low) if high > low else 0.0

    def place(value: float) -> float:
        return round(_INSET + (value - low) * room, 1) if room else WIDTH / 2

    return [None if span is None else _bar(span, place) for span in spans]


def grid_bars(grid: Grid, *, each: bool = False) -> list[list[Bar | None]]:
    """The bars of a table, row by row and cell by cell.

    Args:
        grid: the table.
        each: whether each cell has a scale of its own around its line, because its row is another metric.
    """
    columns = [[row.cells[place].span for row in grid.rows] for place in range(len(grid.columns))]
    drawn = [[_around_line(span) for span in spans] if each else column_bars(spans) for spans in columns]
    return [[column[row] for column in drawn] for row in range(len(grid.rows))]


def _ends(span: Span) -> Iterable[float]:
    return (end for end in (span.low, span.value, span.high, *span.lines.values()) if end is not None)


def _bar(span: Span, place: Callable[[float], float]) -> Bar:
    lines = tuple((name, place(value)) for name, value in span.lines.items())
    good = None
    if span.good is not None and len(lines) == 1 and lines[0][0] in ("limit", "no difference"):
        at = lines[0][1]
        good = (at, WIDTH - at) if span.good == "above" else (0.0, at)
    low, high = (None if end is None else place(end) for end in (span.low, span.high))
    return Bar(place(span.value), low, high, lines, good)
