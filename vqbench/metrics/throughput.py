"""Speed and memory of a tokenizer, as two scenarios: a single stream (latency) and batches offline (throughput).

A machine has moods: it is slower for seconds or minutes, whoever is timed. So candidates take turns. A block is one
repetition of everything: the stages and batch sizes in a drawn order, and at each of them all candidates in a drawn
order. Whatever the mood, each candidate had the same chance of it, and within a block they can be paired.

More candidates than memory should hold are timed in heats: for each block they are dealt anew into a few heats, one of
which is in memory at a time. That is still the same chance for each; two who are not in one heat are further apart.

Nothing here is cached: a timing belongs to the machine and the minute it was taken.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import torch

from vqbench.errors import DataError
from vqbench.metrics.stages import STAGES, timed_group
from vqbench.metrics.workloads import Entrant, Load, Workload, end_to_end, finish, wait, workloads
from vqbench.progress import Progress
from vqbench.records.run import BLOCK, MetricSpec, Table
from vqbench.stats.columns import columns_of

HELD = 8
"""So many candidates are in memory at once at most while they are timed."""

_VERSION = 1
_LATENCY = "throughput.latency"
_MEMORY = "throughput.memory"

T = TypeVar("T")


@dataclass(frozen=True)
class Timings:
    """What was measured, and in what state the machine was meanwhile.

    Attributes:
        tables: of every candidate.
        conditions: plain JSON values for the provenance: the number of blocks, the seed of their order, and at the
            beginning of each block the load average and the mean clock frequency, None where the system does not tell;
            in how many heats a block was timed, where not all candidates were in memory together.
    """

    tables: tuple[Table, ...]
    conditions: Mapping[str, object]


def throughput_specs(load: Load) -> tuple[MetricSpec, ...]:
    """The figures for these batch sizes; `throughput.rtfx` and `tokens_per_s` are end to end at the largest."""
    largest = max(load.batch_sizes)
    whole = timed_group("end_to_end", largest)
    specs = [
        _rate("rtfx", whole, "audio_s", headline=True),
        _rate("tokens_per_s", whole, "tokens"),
        _quantile("latency_p50_ms", "p50"),
        _quantile("latency_p90_ms", "p90"),
        MetricSpec(
            name="throughput.peak_memory_mb",
            group=_MEMORY,
            columns=("peak_mb",),
            reduction="mean",
            unit="MB",
            higher_is_better=False,
            version=_VERSION,
            description=f"most memory held above the resting state, end to end, batches of {largest}",
            resampled="repetition",
            decimals=0,
        ),
    ]
    for stage in STAGES:
        for size in load.batch_sizes:
            group = timed_group(stage, size)
            if group != whole:
                specs.append(_rate(f"{stage}_rtfx.b{size}", group, "audio_s"))
                specs.append(_rate(f"{stage}_tokens_per_s.b{size}", group, "tokens"))
    return tuple(specs)


def _rate(name: str, group: str, column: Literal["audio_s", "tokens"], headline: bool = False) -> MetricSpec:
    _, stage, batch = group.split(".")
    what, unit, decimals = ("audio seconds", "x", 1) if column == "audio_s" else ("tokens", "1/s", 0)
    return MetricSpec(
        name=f"throughput.{name}",
        group=group,
        columns=(column, "seconds"),
        reduction="ratio",
        unit=unit,
        higher_is_better=True,
        version=_VERSION,
        description=f"{what} per second, {stage.replace('_', ' ')}, batches of {batch[1:]}",
        resampled="repetition",
        decimals=decimals,
        headline=headline,
    )


def _quantile(name: str, reduction: str) -> MetricSpec:
    return MetricSpec(
        name=f"throughput.{name}",
        group=_LATENCY,
        columns=("milliseconds",),
        reduction=reduction,
        unit="ms",
        higher_is_better=False,
        version=_VERSION,
        description="one segment at a time, waveform to decoded mel",
        resampled="repetition",
        decimals=1,
    )


@torch.inference_mode()
def measure_throughput(
    entrants: Sequence[Entrant], load: Load, device: torch.device, seed: int, progress: Progress
) -> Timings:
    """Times every candidate at every stage and batch size, in blocks.

    Args:
        entrants: who is timed; nobody may be.
        load: how much of it.
        device: where the tokenizers run.
        seed: of the order within the blocks.
        progress: advances `n_timings` times a candidate.
    """
    watch = _Stopwatch(load, device, random.Random(f"throughput {seed}"))
    n_heats = n_heats_of(len(entrants))
    loads, clocks = [], []

    def begin_block() -> None:
        loads.append(load_average())
        clocks.append(clock_mhz())

    with progress.task("speed", sum(n_timings(load, one.stages, n_heats) for one in entrants)) as advance:
        if n_heats == 1:
            heat = watch.open(entrants)
            for block in range(-load.warmup, load.repetitions):
                if block >= 0:
                    begin_block()
                watch.time(heat, advance, counted=block >= 0)
            for _ in range(load.repetitions):
                watch.weigh(heat, advance)
        else:
            for _ in range(load.repetitions):
                begin_block()
                for together in watch.deal(entrants, n_heats):
                    heat = watch.open(together)
                    # What was just loaded is slow at first.
                    watch.time(heat, advance, counted=False)
                    watch.time(heat, advance, counted=True)
                    watch.weigh(heat, advance)
                    del heat  # or it would be in memory together with the next
    tables = [table for one in entrants for table in watch.tables(one)]
    conditions = {"blocks": load.repetitions, "seed": seed, "load_average": loads, "clock_mhz": clocks}
    return Timings(tuple(tables), {**conditions, **({"heats": n_heats} if n_heats > 1 else {})})


@dataclass(frozen=True)
class _Heat:
    """Candidates that are in memory together: group → candidate → what is done, a few batches each, and all at once."""

    work: Mapping[str, Mapping[str, Workload]]
    largest: Mapping[str, Callable[[], object]]


class _Stopwatch:
    """Times heats, and keeps what it took.

    Args:
        load: how much is timed.
        device: where the tokenizers run.
        draw: of the order.
    """

    def __init__(self, load: Load, device: torch.device, draw: random.Random) -> None:
        self._load, self._device, self._draw = load, device, draw
        # Only a tokenizer of waveforms may fail: its program ends, say.
        self._failed: dict[str, str] = {}
        self._timed: dict[tuple[str, str], _Times] = {}
        self._peaks: dict[str, list[float | None]] = {}

    def deal(self, entrants: Sequence[Entrant], n_heats: int) -> list[list[Entrant]]:
        """All of them in heats, dealt anew each time; none of two sizes further apart than one."""
        dealt = self._draw.sample(entrants, len(entrants))
        return [dealt[place::n_heats] for place in range(n_heats)]

    def open(self, entrants: Sequence[Entrant]) -> _Heat:
        """Loads candidates, and makes ready what is timed of them."""
        work: dict[str, dict[str, Workload]] = {}
        largest: dict[str, Callable[[], object]] = {}
        load, device = self._load, self._device
        for one in entrants:
            if one.name in self._failed:
                continue
            tokenizer = one.open()
            try:
                own = list(workloads(tokenizer, one.waveforms, load, device))
            except DataError as error:
                self._failed[one.name] = error.problem
                continue
            whole = partial(end_to_end, tokenizer, one.waveforms, load, device)
            if STAGES[-1] in one.stages:
                own.append(Workload(_LATENCY, load.segment_s, 0, partial(finish, whole(1), device)))
                largest[one.name] = whole(max(load.batch_sizes))
            for workload in own:
                work.setdefault(workload.group, {})[one.name] = workload
        return _Heat(work, largest)

    def time(self, heat: _Heat, advance: Callable[[], object], counted: bool) -> None:
        """Runs all once, everybody at one thing before anybody is at the next."""
        draw = self._draw
        for group in draw.sample(list(heat.work), len(heat.work)):
            for name in draw.sample(list(heat.work[group]), len(heat.work[group])):
                workload = heat.work[group][name]
                start = time.perf_counter()
                self._do(name, workload.run)
                took = time.perf_counter() - start
                if counted:
                    known = self._timed.setdefault((name, group), _Times(workload.audio_s, workload.n_tokens, []))
                    known.seconds.append(took)
                advance()

    def weigh(self, heat: _Heat, advance: Callable[[], object]) -> None:
        """Measures everybody's peak of memory once."""
        for name in self._draw.sample(list(heat.largest), len(heat.largest)):
            peak = self._do(name, partial(peak_memory_mb, heat.largest[name], self._device))
            self._peaks.setdefault(name, []).append(peak)
            advance()

    def tables(self, one: Entrant) -> list[Table]:
        """What was measured of a candidate, in the order of the groups."""
        if one.name in self._failed:
            tables = _failed(one.name, self._load, one.stages, self._failed[one.name])
        else:
            tables = [_timed(name, group, times) for (name, group), times in self._timed.items() if name == one.name]
            tables += [_memory_table(one.name, self._peaks[one.name])] if one.name in self._peaks else []
        return sorted(tables, key=lambda table: table.group)

    def _do(self, name: str, run: Callable[[], T]) -> T | None:
        try:
            return None if name in self._failed else run()
        except DataError as error:
            self._failed[name] = error.problem
            return None


def n_heats_of(n_candidates: int) -> int:
    """In how many heats a block is timed.

    >>> n_heats_of(8), n_heats_of(9)
    (1, 2)
    """
    return max(1, math.ceil(n_candidates / HELD))


def n_timings(load: Load, stages: Sequence[str] = STAGES, n_heats: int = 1) -> int:
    """How often something is done for a candidate: every stage at every batch size, a single stream, memory.

    Args:
        load: how much of it.
        stages: what of it is timed. Single stream and memory are of all of them, so of none that only encodes.
        n_heats: in so many a block is timed. Of several each is loaded anew and run once uncounted in every block, in
            place of the warming up before the first.
    """
    whole = STAGES[-1] in stages
    rounds = load.warmup + load.repetitions if n_heats == 1 else 2 * load.repetitions
    return rounds * (len(stages) * len(load.batch_sizes) + whole) + whole * load.repetitions


def load_average() -> float | None:
    """How many processes wanted to run, on average over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def clock_mhz() -> float | None:
    """The mean frequency of the cores that Linux tells of; None where it tells of none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        told = [float(line.partition(":")[2]) for line in text.splitlines() if line.startswith("cpu MHz")]
    except (OSError, ValueError):
        return None
    return round(sum(told) / len(told)) if told else None


@dataclass(frozen=True)
class _Times:
    """Seconds that one thing took in each block, and how much speech, and how many tokens, it was."""

    audio_s: float
    n_tokens: int | None
    seconds: list[float]


def _timed(candidate: str, group: str, times: _Times) -> Table:
    seconds = tuple(times.seconds)
    if group == _LATENCY:
        return _table(candidate, group, {"milliseconds": tuple(1000 * took for took in seconds)})
    columns = {"seconds": seconds, "audio_s": (times.audio_s,) * len(seconds)}
    if times.n_tokens is not None:
        columns["tokens"] = (float(times.n_tokens),) * len(seconds)
    return _table(candidate, group, columns)


def _table(candidate: str, group: str, columns: dict[str, tuple[float, ...]]) -> Table:
    n = len(next(iter(columns.values())))
    return Table(candidate, group, tuple(f"{BLOCK}{i}" for i in range(n)), columns_of(columns))


def _memory_table(candidate: str, peaks_mb: Sequence[float | None]) -> Table:
    told = tuple(peak for peak in peaks_mb if peak is not None)
    if len(told) < len(peaks_mb):
        reason = "this system does not tell a process's peak memory"
        return Table(candidate, _MEMORY, (), columns_of({"peak_mb": ()}), unscored={f"{BLOCK}0": reason})
    return _table(candidate, _MEMORY, {"peak_mb": told})


def _failed(candidate: str, load: Load, stages: Sequence[str], reason: str) -> list[Table]:
    """That nothing is known of a candidate, since something that was timed failed."""
    timed = ("seconds", "audio_s", "tokens")
    columns = {timed_group(stage, size): timed for stage in stages for size in load.batch_sizes}
    whole: dict[str, tuple[str, ...]] = {_LATENCY: ("milliseconds",), _MEMORY: ("peak_mb",)}
    unscored = {f"{BLOCK}0": reason}
    return [
        Table(candidate, group, (), columns_of(dict.fromkeys(names, ())), unscored=unscored)
        for group, names in {**columns, **(whole if STAGES[-1] in stages else {})}.items()
    ]


def peak_memory_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """Most memory that `work` held above what was held before, in MB (1e6 bytes); None where the system cannot tell.

    On CUDA the allocator's own count. On Linux the process's resident high-water mark, which the kernel lets a process
    reset, after free memory has been handed back to the system (or it would be taken again unseen). Elsewhere it cannot
    be told.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        wait(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status_bytes("VmRSS")
        work()
        return (_status_bytes("VmHWM") - before) / 1e6
    except (OSError, AttributeError):
        return None


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")
