"""Speed and memory of a tokenizer, as two scenarios: a single stream (latency) and batches offline (throughput).

A machine has moods: it is slower for seconds or minutes, whoever is timed. So candidates take turns. A block is one
repetition of everything: the stages and batch sizes in a drawn order, and at each of them all candidates in a drawn
order. Whatever the mood, each candidate had the same chance of it, and within a block they can be paired.

Nothing here is cached: a timing belongs to the machine and the minute it was taken.
"""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

_VERSION = 1
_LATENCY = "throughput.latency"
_MEMORY = "throughput.memory"

HEAT = 4
"""So many candidates run side by side, and are in memory, at most."""

T = TypeVar("T")


@dataclass(frozen=True)
class Timings:
    """What was measured, and in what state the machine was meanwhile.

    Attributes:
        tables: of every candidate.
        conditions: plain JSON values for the provenance: the number of blocks, the seed of their order, and at the
            beginning of each block the load average and the mean clock frequency, None where the system does not tell.
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

    Few candidates are in memory at once: where there are more, each block draws who runs beside whom.

    Args:
        entrants: who is timed; nobody may be.
        load: how much of it.
        device: where the tokenizers run.
        seed: of the order within the blocks.
        progress: advances `n_timings` times a candidate.
    """
    draw = random.Random(f"throughput {seed}")
    starters, called = Starters(load, device), {one.name: one for one in entrants}
    # Only a tokenizer of waveforms may fail: its program ends, say.
    failed: dict[str, str] = {}

    def done(name: str, run: Callable[[], T]) -> T | None:
        try:
            return None if name in failed else run()
        except DataError as error:
            failed[name] = error.problem
            return None

    def heats() -> Iterator[dict[str, Mapping[str, Workload]]]:
        drawn = draw.sample(list(called), len(called)) if len(called) > HEAT else list(called)
        for start in range(0, len(drawn), HEAT):
            heat = drawn[start : start + HEAT]
            starters.leave_all_but(heat)
            ready = {name: done(name, partial(starters.ready, called[name])) for name in heat}
            running = {name: work for name, work in ready.items() if work is not None}
            del ready
            yield running
            running.clear()  # before the next ones are loaded, whoever still holds it

    seconds: dict[tuple[str, str], list[float]] = {}
    timed: dict[tuple[str, str], Workload] = {}
    loads, clocks = [], []
    peaks: dict[str, list[float | None]] = {}
    with progress.task("speed", sum(n_timings(load, one.stages) for one in entrants)) as advance:
        for block in range(-load.warmup, load.repetitions):
            if block >= 0:
                loads.append(load_average())
                clocks.append(clock_mhz())
            for heat in heats():
                groups = list(dict.fromkeys(group for work in heat.values() for group in work))
                for group in draw.sample(groups, len(groups)):
                    names = [name for name, work in heat.items() if group in work]
                    for name in draw.sample(names, len(names)):
                        start = time.perf_counter()
                        done(name, heat[name][group].run)
                        took = time.perf_counter() - start
                        if block >= 0:
                            seconds.setdefault((name, group), []).append(took)
                            timed[name, group] = heat[name][group].told
                        advance()
        for _ in range(load.repetitions):
            for heat in heats():
                names = [name for name, work in heat.items() if _LATENCY in work]
                for name in draw.sample(names, len(names)):
                    peak = done(name, partial(peak_memory_mb, starters.largest(called[name]), device))
                    peaks.setdefault(name, []).append(peak)
                    advance()
    tables = [_timed(name, timed[name, group], took) for (name, group), took in seconds.items() if name not in failed]
    tables += [_memory_table(name, of_one) for name, of_one in peaks.items() if name not in failed]
    for one in entrants:
        if one.name in failed:
            tables += _failed(one.name, load, one.stages, failed[one.name])
    order = {one.name: place for place, one in enumerate(entrants)}
    tables.sort(key=lambda table: (order[table.candidate], table.group))
    conditions = {"blocks": load.repetitions, "seed": seed, "load_average": loads, "clock_mhz": clocks}
    return Timings(tuple(tables), conditions)


class Starters:
    """Candidates that are in memory, with what is timed of them.

    Args:
        load: how much of it.
        device: where the tokenizers run.
    """

    def __init__(self, load: Load, device: torch.device) -> None:
        self._load, self._device = load, device
        self._work: dict[str, dict[str, Workload]] = {}
        self._largest: dict[str, Callable[[], object]] = {}

    def leave_all_but(self, names: Collection[str]) -> None:
        """Lets go of the others."""
        for kept in (self._work, self._largest):
            for name in [name for name in kept if name not in names]:
                del kept[name]

    def ready(self, entrant: Entrant) -> Mapping[str, Workload]:
        """What is timed of one, by group; it is loaded, and its batches are made, where that is not done yet.

        Raises:
            DataError: it fails, as a tokenizer of waveforms may.
        """
        if entrant.name not in self._work:
            tokenizer, load, device = entrant.load(), self._load, self._device
            work = {one.group: one for one in workloads(tokenizer, entrant.waveforms, load, device)}
            if STAGES[-1] in entrant.stages:
                whole = partial(end_to_end, tokenizer, entrant.waveforms, load, device)
                work[_LATENCY] = Workload(_LATENCY, load.segment_s, 0, partial(finish, whole(1), device))
                self._largest[entrant.name] = whole(max(load.batch_sizes))
            self._work[entrant.name] = work
        return self._work[entrant.name]

    def largest(self, entrant: Entrant) -> Callable[[], object]:
        """All of what one does with its largest batch; it is ready."""
        return self._largest[entrant.name]


def n_timings(load: Load, stages: Sequence[str] = STAGES) -> int:
    """How often something is done for a candidate: every stage at every batch size, a single stream, memory.

    Args:
        load: how much of it.
        stages: what of it is timed. Single stream and memory are of all of them, so of none that only encodes.
    """
    whole = STAGES[-1] in stages
    blocks = load.warmup + load.repetitions
    return blocks * (len(stages) * len(load.batch_sizes) + whole) + whole * load.repetitions


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


def _timed(candidate: str, work: Workload, seconds: Sequence[float]) -> Table:
    if work.group == _LATENCY:
        return _table(candidate, work.group, {"milliseconds": tuple(1000 * took for took in seconds)})
    columns = {"seconds": tuple(seconds), "audio_s": (work.audio_s,) * len(seconds)}
    if work.n_tokens is not None:
        columns["tokens"] = (float(work.n_tokens),) * len(seconds)
    return _table(candidate, work.group, columns)


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
