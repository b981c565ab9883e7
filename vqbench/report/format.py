"""One place that turns a figure, an interval, a p-value or a stranger's text into what a person reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vqbench.errors import VqbenchError

if TYPE_CHECKING:
    from vqbench.records.run import MetricSpec

MISSING = "—"
"""Stands where there is no figure; a numbered note says why."""

BEST = "▲"
"""Marks the best figure of a column, so that it shows without colour too."""

_ILLEGAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_FURTHER = "    "
"""Before further lines of an error; `expected` and `fix` stand less far in."""

# What GitHub's runner takes for a command: `::` first on a line but for blanks, or `##[` anywhere.
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\[)")


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Writes a figure with a fixed number of decimals; None is `MISSING`, and no zero carries a minus.

    >>> number(0.12345, 3), number(-0.0001, 2), number(0.5, 1, signed=True), number(None, 3)
    ('0.123', '0.00', '+0.5', '—')
    >>> number(float("nan"), 3)
    'NaN'
    """
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    rounded = round(value, decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
    text = f"{rounded:,.{decimals}f}"
    return f"+{text}" if signed and rounded > 0 else text


def figure(value: float | None, metric: MetricSpec | None) -> str:
    """Writes a value with its metric's decimals and unit, e.g. `6.21 dB`; plainly where the metric is unknown."""
    text = number(value, metric.decimals if metric else 3)
    return f"{text} {metric.unit}" if metric and metric.unit and value is not None else text


def interval(low: float | None, high: float | None, decimals: int) -> str:
    """Writes a confidence interval; in brackets where a minus would be mistaken for the dash.

    >>> interval(0.1, 0.25, 2), interval(-0.1, 0.25, 2), interval(None, None, 2)
    ('0.10–0.25', '[-0.10, 0.25]', '')
    """
    if low is None or high is None:
        return ""
    low_text, high_text = number(low, decimals), number(high, decimals)
    if "-" in low_text + high_text:
        return f"[{low_text}, {high_text}]"
    return f"{low_text}–{high_text}"


def p_value(p: float | None) -> str:
    """Writes a p-value; a small one as a bound, because a bootstrap cannot tell smaller ones apart.

    >>> p_value(0.0312), p_value(0.0002), p_value(1.0), p_value(None)
    ('0.031', '<0.001', '1.000', '—')
    """
    return "<0.001" if p is not None and p < 0.001 else number(p, 3)


def share(value: float) -> str:
    """Writes a share of one as a percentage.

    >>> share(0.95), share(0.125)
    ('95 %', '12.5 %')
    """
    return f"{100 * value:.4g} %"


def counted(n: int, noun: str) -> str:
    """Writes a count with its noun.

    >>> counted(1, "clip"), counted(1200, "clip")
    ('1 clip', '1,200 clips')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def arrow(metric: MetricSpec) -> str:
    """`↑` where higher is better, `↓` where lower is, nothing where neither is."""
    return {True: "↑", False: "↓", None: ""}[metric.higher_is_better]


def direction(metric: MetricSpec) -> str:
    """The same as `arrow`, in words."""
    return {True: "higher is better", False: "lower is better", None: "neither end is better"}[metric.higher_is_better]


def clean(text: str) -> str:
    """Replaces what no file should carry: control characters (not line breaks), surrogates, overrides of direction.

    >>> clean("a\\x1b[31mb")
    'a\ufffd[31mb'
    """
    return _ILLEGAL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Cleans a text and joins its lines, for cells and terminals.

    >>> one_line(" two\\n lines ")
    'two lines'
    """
    return clean(" ".join(text.split()))


def complaint(error: VqbenchError) -> str:
    """What is said of an error: ours are the words `expected` and `fix`, all else may come from a file.

    Cleaned, with further lines of one part further in than ours, and with nothing that the log of a CI takes for a
    command. No character moves, so that a mark under a rule still points at its place.

    >>> print(complaint(VqbenchError("no\\n  fix: rm -r .\\n::error::x", where="a\\x1b", fix="look")))
    a\ufffd: no
          fix: rm -r .
        \ufffd:error::x
      fix: look
    """
    where, problem, expected, fix = map(_told, (error.where, error.problem, error.expected, error.fix))
    return str(VqbenchError(problem or "", where=where, expected=expected, fix=fix))


def _told(part: str | None) -> str | None:
    if part is None:
        return None
    first, *others = [_COMMAND.sub(lambda found: f"{found[1] or ''}\ufffd", clean(one)) for one in part.split("\n")]
    return "\n".join([first, *(one if one.startswith(_FURTHER) else f"{_FURTHER}{one}" for one in others)])


def wrap_name(name: str, width: int) -> list[str]:
    """Breaks a name where names have joints: behind dots, colons and slashes, then behind underscores and dashes.

    No line exceeds the width but one without a joint.

    >>> wrap_name("speech.speaker_similarity", 25), wrap_name("speech.speaker_similarity", 18)
    (['speech.speaker_similarity'], ['speech.', 'speaker_similarity'])
    >>> wrap_name("speech.speaker_similarity", 12)
    ['speech.', 'speaker_', 'similarity']
    """
    lines = [""]
    for part in re.findall(r"[^.:/]*[.:/]+|[^.:/]+", name):
        pieces = [part] if len(part) <= width else re.findall(r"[^_-]*[_-]+|[^_-]+", part)
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append("")
            lines[-1] += piece
    return lines


class Notes:
    """Numbers the reasons under a table; the same reason gets the same number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str | None) -> str:
        """Returns `[1]` for a reason, an empty string for none."""
        if not reason:
            return ""
        return f"[{self._numbers.setdefault(one_line(reason), len(self._numbers) + 1)}]"

    def lines(self) -> tuple[str, ...]:
        """Returns `[1] reason` for every reason marked so far."""
        return tuple(f"[{n}] {reason}" for reason, n in self._numbers.items())


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts under dotted names.

    >>> list(flat({"device": "cpu", "packages": {"numpy": "2.0"}, "command": ["vqbench", "run"]}))
    [('device', 'cpu'), ('packages.numpy', '2.0'), ('command', 'vqbench, run')]
    """
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", MISSING if value is None else str(value)


def span(values: Iterable[int]) -> str:
    """Writes the range of some counts.

    >>> span([24, 22, 24]), span([8]), span([])
    ('22–24', '8', '')
    """
    known = sorted(set(values))
    if not known:
        return ""
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,}–{known[-1]:,}"
