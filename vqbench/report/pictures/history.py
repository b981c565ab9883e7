"""A history as a picture: one panel a metric, one line a candidate, in an SVG of its own that needs nothing else.

All places are in pixels of the picture, y downwards. Runs stand at equal distances, in order of time: a history has
busy days and quiet months, and a change is between two runs, however long the pause was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vqbench.judging.history import Comparable, History, Point, Series
from vqbench.records.run import MetricSpec
from vqbench.report import format as fmt
from vqbench.report.tables.findings import commit_text, findings, for_the_better, time_text
from vqbench.report.template import render_template
from vqbench.stats.changepoint import LEVEL

WIDTH = 900
LEFT, RIGHT = 76, 24
"""Room beside the plots; the left one holds the numbers of the axis."""

PLOT_HEIGHT = 150
"""Height of the area that figures are drawn in."""

LINE = 17
"""From one line of text to the next."""

_CHARACTER = 6.6
"""Width of a character, on the safe side: an SVG cannot ask how wide a text will be."""

_INSET = 14
"""Between the frame of a plot and its first and last run."""

_X_LABELS = 7
_Y_TICKS = 5

_NAME_SHOWN = 28
"""Characters of a stranger's name before it is cut; the whole one is in a tooltip or the description."""

N_COLOURS = 6
"""Colours in the template: those of Okabe and Ito that stand out on white as lines, in shades for light and dark."""

MARKERS = ("●", "■", "▲", "◆", "▼")
"""Shapes, so that nothing hangs on colour; as many as share no factor with the colours."""

_SHAPES = {
    "●": "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0z",
    "■": "M-3.2 -3.2h6.4v6.4h-6.4z",
    "▲": "M0 -4.2L4 3H-4z",
    "◆": "M0 -4.6L4.6 0L0 4.6L-4.6 0z",
    "▼": "M0 4.2L4 -3H-4z",
}


@dataclass(frozen=True)
class Style:
    """How a candidate is told from others: the number of its colour, and its marker."""

    colour: int
    marker: str

    @property
    def shape(self) -> str:
        """The marker as an SVG path around 0, 0."""
        return _SHAPES[self.marker]


@dataclass(frozen=True)
class Dot:
    """One figure; hollow where it does not compare with the newest, a cross at the foot where it failed."""

    x: float
    y: float
    told: str
    hollow: bool = False
    missing: bool = False


@dataclass(frozen=True)
class Curve:
    """One candidate in one panel: its dots, lines through them (`x,y x,y …`), interval bands and levels."""

    style: Style
    dots: tuple[Dot, ...]
    lines: tuple[str, ...]
    bands: tuple[str, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A change, or where a drift begins: its place, its label, and whose it is with which p.

    Attributes:
        dashed: a line down through the plot: the level shifted here, between two runs.
    """

    x: float
    label_y: float
    anchor: str
    label: str
    found: tuple[tuple[Style, str], ...]
    dashed: bool


@dataclass(frozen=True)
class Panel:
    """One metric; `top` is its first line of text, `plot` the upper edge of the area for figures."""

    top: float
    plot: float
    metric: MetricSpec
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]

    @property
    def foot(self) -> float:
        """The lower edge of the area for figures."""
        return self.plot + PLOT_HEIGHT


def history_svg(history: History) -> str:
    """Draws a history; every name and text in it is escaped."""
    styles = {
        name: Style(index % N_COLOURS, MARKERS[index % len(MARKERS)])
        for index, name in enumerate(dict.fromkeys(series.candidate for series in history.series))
    }
    legend, y = _legend(styles, 2.6 * LINE)
    panels = []
    for metric in dict.fromkeys(series.metric.name for series in history.series):
        of_metric = [series for series in history.series if series.metric.name == metric]
        panels.append(_panel(history, of_metric, styles, y))
        y = panels[-1].foot + 2.6 * LINE
    notes = _notes(history)
    return render_template(
        "history.svg",
        width=WIDTH,
        height=math.ceil(y + LINE * len(notes)),
        left=LEFT,
        right=WIDTH - RIGHT,
        line=LINE,
        title=_title(history),
        description=list(_description(history)),
        legend=legend,
        panels=panels,
        notes=list(zip((y + LINE * index for index in range(len(notes))), notes, strict=True)),
    )


def nice_ticks(low: float, high: float, most: int = _Y_TICKS) -> tuple[list[float], int]:
    """Round numbers that span two values, and the decimals it takes to write them.

    >>> nice_ticks(0.118, 0.141)
    ([0.115, 0.12, 0.125, 0.13, 0.135, 0.14, 0.145], 3)
    """
    raw = (high - low) / most
    power = math.floor(math.log10(raw))
    step = next(factor for factor in (1, 2, 5, 10) if factor * 10.0**power >= raw * (1 - 1e-9)) * 10.0**power
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, decimals) for index in range(first, last + 1)], decimals


def _title(history: History) -> str:
    first, last = (time_text(history.runs[index])[:10] for index in (0, -1))
    return f"history of {fmt.counted(len(history.runs), 'run')}, {first if first == last else f'{first} to {last}'}"


def _description(history: History) -> Iterator[str]:
    for series in history.series:
        found = "; ".join(text for group in series.groups for text in findings(history, series, group))
        yield f"{series.metric.name} of {series.candidate}: {found or 'no figure'}."


def _notes(history: History) -> list[str]:
    apart = any(group.reason for series in history.series for group in series.groups)
    missing = any(point.failed for series in history.series for point in series.points)
    notes = [
        f"bands: {fmt.share(history.runs[-1].confidence)} intervals of the figures; dashed: the level shifted; "
        f"p: permutation test of the order of the runs, corrected, at most {LEVEL:g}"
    ]
    if apart:
        notes.append("hollow: does not compare with the newest figure (other clips, version or machine)")
    if missing:
        notes.append("×: measured, but without a figure")
    return notes


def _legend(styles: dict[str, Style], y: float) -> tuple[list[tuple[float, float, Style, str]], float]:
    """The place, style and name of each candidate, in lines, and where what follows may begin."""
    x, entries = float(LEFT), []
    for name, style in styles.items():
        shown = _cut(name)
        width = (len(shown) + 4) * _CHARACTER
        if x + width > WIDTH - RIGHT and x > LEFT:
            x, y = float(LEFT), y + LINE
        entries.append((x, y, style, shown))
        x += width
    return entries, y + 2 * LINE


def _cut(name: str) -> str:
    text = fmt.one_line(name)
    return text if len(text) <= _NAME_SHOWN else f"{text[: _NAME_SHOWN - 1]}…"


def _panel(history: History, of_metric: Sequence[Series], styles: dict[str, Style], top: float) -> Panel:
    metric = of_metric[0].metric
    xs = _places(len(history.runs))
    marks, rows = _marks(history, of_metric, styles, xs, top + LINE)
    plot = top + LINE * (rows + 0.6)
    ends = [end for series in of_metric for point in series.points for end in _ends(point)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(high) / 10 or 1.0
        low, high = low - room, high + room
    ticks, decimals = nice_ticks(low, high)
    scale = _Scale(ticks[0], ticks[-1], plot)
    return Panel(
        top=top,
        plot=plot,
        metric=metric,
        curves=tuple(_curve(history, series, styles[series.candidate], xs, scale) for series in of_metric),
        marks=marks,
        y_ticks=tuple((scale.y(tick), fmt.number(tick, max(decimals, metric.decimals))) for tick in ticks),
        x_ticks=_x_ticks(history, xs),
    )


@dataclass(frozen=True)
class _Scale:
    """From a figure to its height in a plot."""

    low: float
    high: float
    plot: float

    def y(self, value: float) -> float:
        return round(self.plot + PLOT_HEIGHT * (self.high - value) / (self.high - self.low), 1)


def _places(n: int) -> list[float]:
    first, last = LEFT + _INSET, WIDTH - RIGHT - _INSET
    return [round(first + (last - first) * (index / (n - 1) if n > 1 else 0.5), 1) for index in range(n)]


def _x_ticks(history: History, xs: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """The newest run and others at equal steps before it, by date, or by time where several share a date."""
    step = max(1, math.ceil((len(xs) - 1) / (_X_LABELS - 1)))
    chosen = range(len(xs) - 1, -1, -step)
    texts = [time_text(history.runs[index]) for index in chosen]
    dates = [text[:10] for text in texts]
    labels = dates if len(set(dates)) == len(dates) else [text[5:] for text in texts]
    return tuple((xs[index], label) for index, label in zip(chosen, labels, strict=True))


def _ends(point: Point) -> list[float]:
    """All heights that a point takes: its figure and the ends of its interval."""
    return [] if point.value is None else [e for e in (point.ci_low, point.value, point.ci_high) if e is not None]


def _curve(history: History, series: Series, style: Style, xs: Sequence[float], scale: _Scale) -> Curve:
    dots: list[Dot] = []
    lines: list[str] = []
    bands: list[str] = []
    levels: list[str] = []
    for group in series.groups:
        dots += _dots(history, series, group, xs, scale)
        for piece in _unbroken(series, group):
            lines.append(_polyline((xs[index], scale.y(value)) for index in piece for value in _value(series, index)))
            bands += _bands(series, piece, xs, scale)
        if group.course.found:
            for stretch in group.course.stretches:
                ends = ((stretch.start, stretch.first), (stretch.stop - 1, stretch.last))
                levels.append(_polyline((xs[group.runs[place]], scale.y(level)) for place, level in ends))
    for index, point in enumerate(series.points):
        if point.failed:
            told = f"{history.runs[index].label}: {series.candidate} has no figure: {point.reason or 'unknown'}"
            dots.append(Dot(xs[index], scale.plot + PLOT_HEIGHT - 6, told, missing=True))
    return Curve(style, tuple(dots), tuple(lines), tuple(bands), tuple(levels))


def _value(series: Series, index: int) -> list[float]:
    value = series.points[index].value
    return [] if value is None else [value]


def _dots(history: History, series: Series, group: Comparable, xs: Sequence[float], scale: _Scale) -> Iterator[Dot]:
    for index in group.runs:
        run, point = history.runs[index], series.points[index]
        where = ", ".join(filter(None, (run.label, time_text(run), commit_text(run))))
        interval = fmt.interval(point.ci_low, point.ci_high, series.metric.decimals)
        told = f"{where}: {series.candidate} {fmt.figure(point.value, series.metric)}"
        for value in _value(series, index):
            yield Dot(
                xs[index], scale.y(value), f"{told} ({interval})" if interval else told, hollow=group.reason is not None
            )


def _unbroken(series: Series, group: Comparable) -> list[list[int]]:
    """The runs of a group, parted where a run between two of them was measured but has no figure."""
    pieces: list[list[int]] = []
    for index in group.runs:
        gap = not pieces or any(point.failed for point in series.points[pieces[-1][-1] : index])
        if gap:
            pieces.append([])
        pieces[-1].append(index)
    return pieces


def _bands(series: Series, piece: Sequence[int], xs: Sequence[float], scale: _Scale) -> Iterator[str]:
    """The intervals of neighbouring runs as one area, that of a single run as a narrow one."""
    parts: list[list[tuple[float, float, float]]] = [[]]
    for index in piece:
        point = series.points[index]
        if point.ci_low is None or point.ci_high is None:
            parts.append([])
        else:
            parts[-1].append((xs[index], scale.y(point.ci_low), scale.y(point.ci_high)))
    for part in filter(None, parts):
        if len(part) == 1:
            x, low, high = part[0]
            part = [(x - 2, low, high), (x + 2, low, high)]
        yield _polyline([*((x, high) for x, _, high in part), *((x, low) for x, low, _ in reversed(part))])


def _polyline(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _marks(
    history: History, of_metric: Sequence[Series], styles: dict[str, Style], xs: Sequence[float], top: float
) -> tuple[tuple[Mark, ...], int]:
    """The changes and drifts of all candidates, those at one place as one; and how many lines their labels take."""
    places: dict[tuple[float, str, bool], list[tuple[Style, str]]] = {}
    for series in of_metric:
        for x, label, dashed, p_value in _findings(history, series, xs):
            places.setdefault((x, label, dashed), []).append((styles[series.candidate], p_value))
    marks: list[Mark] = []
    free: list[float] = []  # up to where each line of labels is taken
    for (x, label, dashed), found in sorted(places.items(), key=lambda place: place[0]):
        width = _CHARACTER * (len(label) + sum(len(told) + 4 for _, told in found))
        anchor = "start" if x + width <= WIDTH - RIGHT else "end"
        start = x if anchor == "start" else x - width
        row = next((row for row, taken in enumerate(free) if taken <= start), len(free))
        free[row : row + 1] = [start + width + _CHARACTER]
        marks.append(Mark(x, top + LINE * (row + 0.9), anchor, label, tuple(found), dashed))
    return tuple(marks), max(1, len(free) + bool(free))


def _findings(history: History, series: Series, xs: Sequence[float]) -> Iterator[tuple[float, str, bool, str]]:
    """Place, label, whether it is a change, and which way it went with which p, of all that was found in a series."""
    for group in series.groups:
        for change in group.course.changes:
            before, after = group.runs[change.index - 1], group.runs[change.index]
            run = history.runs[after]
            label = " ".join(filter(None, (_cut(run.label), commit_text(run))))
            told = _told(series.metric, change.before, change.after, change.p_value)
            yield round((xs[before] + xs[after]) / 2, 1), label, True, told
        for stretch in group.course.stretches:
            if stretch.drift_p is not None:
                told = _told(series.metric, stretch.first, stretch.last, stretch.drift_p)
                yield xs[group.runs[stretch.start]], "drift", False, told


def _told(metric: MetricSpec, before: float, after: float, p_value: float) -> str:
    return f"{for_the_better(metric, before, after) or ''} p {fmt.p_value(p_value)}".strip()
