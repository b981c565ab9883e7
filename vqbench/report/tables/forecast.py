"""What a run will take, for the terminal and for programs."""

from __future__ import annotations

from dataclasses import asdict

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from vqbench.records.forecast import Forecast, Memory, StageForecast
from vqbench.report import format as fmt
from vqbench.report.tables.documents import to_json

_UNITS = {
    "listening to enrolment": "recordings",
    "tokenising recordings": "recordings",
    "listening to voices": "recordings",
    "pairs": "utterances",
    "hearing tokens": "utterances",
    "listening": "clips",
    "reading and tokenising speech": "clips",
    "finetune": "steps",
    "speaking": "sentences",
    "listening to speech": "sentences",
    "speed": "timings",
    "intervals": "metrics",
}


def forecast_json(estimate: Forecast) -> str:
    """All of it."""
    return to_json(asdict(estimate))


def forecast_tables(estimate: Forecast) -> list[RenderableType]:
    """Renders an estimate: time by stage, memory, disk, and what it does not tell."""
    title = f"an estimate for {estimate.suite}, from an empty cache, on this machine ({estimate.machine})"
    lines = [
        *(_memory(memory) for memory in estimate.memory),
        f"disk: {_disk(estimate)}; {_bytes(estimate.disk_free_bytes)} are free",
        f"from a rehearsal with {estimate.candidate}, which took {_time(estimate.rehearsal_s)}",
        *estimate.notes,
    ]
    return [
        Text(fmt.one_line(title), style="bold"),
        _stages(estimate),
        *(Text(fmt.one_line(line), style="dim", overflow="fold") for line in lines),
    ]


def _stages(estimate: Forecast) -> RenderableType:
    right = {"justify": "right", "no_wrap": True}
    table = Table(
        "stage",
        Column("how many", **right),  # type: ignore[arg-type]
        "of",
        Column("each", **right),  # type: ignore[arg-type]
        Column("times", **right),  # type: ignore[arg-type]
        Column("to begin", **right),  # type: ignore[arg-type]
        Column("in all", **right),  # type: ignore[arg-type]
        box=box.HORIZONTALS,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    table.add_row("opening", "", "", "", "", "", _time(estimate.opening_s))
    for stage in estimate.stages:
        table.add_row(*_cells(stage))
    table.add_section()
    table.add_row(Text("all", style="bold"), "", "", "", "", "", Text(_time(estimate.seconds), style="bold"))
    return table


def _cells(stage: StageForecast) -> tuple[str, ...]:
    unit = _UNITS.get(stage.name, "units")
    times = (stage.unit_s, stage.begin_s, stage.seconds)
    each, begin, whole = (fmt.MISSING if seconds is None else _time(seconds) for seconds in times)
    return stage.name, f"{stage.units:,}", unit, each, f"{stage.tasks:,}", begin, whole


def _memory(memory: Memory) -> str:
    more = f" and {_bytes(memory.more_bytes)} more for recordings" if memory.more_bytes >= 1e7 else ""
    there = f", where there are {_bytes(memory.size_bytes)}" if memory.size_bytes else ""
    return f"memory, {memory.where}: {_bytes(memory.peak_bytes)} at the rehearsal's peak{more}{there}"


def _disk(estimate: Forecast) -> str:
    kinds = ", ".join(f"{kind} {_bytes(size)}" for kind, size in estimate.disk.items())
    return f"{_bytes(sum(estimate.disk.values()))} in the cache ({kinds})" if kinds else "next to nothing in the cache"


def _bytes(size: float) -> str:
    """Writes a size in powers of 1000.

    >>> _bytes(1_234_000_000), _bytes(999_000), _bytes(2.5e7)
    ('1.2 GB', '1.0 MB', '25 MB')
    """
    number, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{number:,.{1 if number < 10 else 0}f} {unit}"


def _time(seconds: float) -> str:
    """Writes a duration with two or three digits that matter.

    >>> [_time(s) for s in (0.0004, 0.25, 7.31, 84, 750, 4000, 200000)]
    ['0.4 ms', '250 ms', '7.3 s', '1 min 24 s', '12 min 30 s', '1 h 07 min', '55 h 33 min']
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
