"""Speed and memory of a tokenizer, as two scenarios: a single stream (latency) and batches offline (throughput).

Nothing here is cached: a timing belongs to the machine and the minute it was taken.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd
from vqbench.progress import Progress
from vqbench.results.record import MetricSpec, Table
from vqbench.tokenizer.protocol import SpeechTokenizer

STAGES = ("mel", "encode", "quantize", "decode", "end_to_end")
_VERSION = 1
_LATENCY = "throughput.latency"
_MEMORY = "throughput.memory"


@dataclass(frozen=True)
class Load:
    """What is timed: batches of `segment_s` of real speech, `repetitions` times after `warmup` uncounted runs."""

    batch_sizes: tuple[int, ...]
    segment_s: float
    repetitions: int
    warmup: int


def throughput_specs(load: Load) -> tuple[MetricSpec, ...]:
    """The figures for these batch sizes; `throughput.rtfx` and `tokens_per_s` are end to end at the largest."""
    largest = max(load.batch_sizes)
    whole = f"throughput.end_to_end.b{largest}"
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
            group = f"throughput.{stage}.b{size}"
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
    candidate: str,
    tokenizer: SpeechTokenizer,
    waveforms: Sequence[Tensor],
    load: Load,
    device: torch.device,
    progress: Progress,
) -> list[Table]:
    """Times every stage at every batch size.

    Args:
        candidate: its name in the tables.
        tokenizer: what is timed.
        waveforms: (N,) float32 each, real speech at the front end's rate; segments are cut from them end to end.
        load: how much of it.
        device: where the tokenizer runs.
        progress: advances once a stage and batch size.
    """
    front_end = MelFrontEnd(tokenizer.mel_spec).to(device)
    n_samples = round(load.segment_s * tokenizer.mel_spec.sample_rate_hz)
    speech = torch.cat(list(waveforms)).to(device)
    tables: list[Table] = []

    def segments(size: int) -> Tensor:
        index = torch.arange(size * n_samples, device=device) % len(speech)
        return speech[index].view(size, n_samples)

    def end_to_end(batch: Tensor) -> None:
        tokenizer.decode(tokenizer.quantize(tokenizer.latents(list(front_end(batch)))))

    with progress.task(f"{candidate}: speed", len(STAGES) * len(load.batch_sizes) + 2) as advance:
        for size in load.batch_sizes:
            batch = segments(size)
            mels = list(front_end(batch))
            latents = tokenizer.latents(mels)
            codes = tokenizer.quantize(latents)
            n_tokens = float(sum(len(c) for c in codes))
            work: dict[str, Callable[[], object]] = {
                "mel": lambda batch=batch: front_end(batch),  # type: ignore[misc]
                "encode": lambda mels=mels: tokenizer.latents(mels),  # type: ignore[misc]
                "quantize": lambda latents=latents: tokenizer.quantize(latents),  # type: ignore[misc]
                "decode": lambda codes=codes: tokenizer.decode(codes),  # type: ignore[misc]
                "end_to_end": lambda batch=batch: end_to_end(batch),  # type: ignore[misc]
            }
            for stage in STAGES:
                seconds = _time(work[stage], load, device)
                audio_s = size * load.segment_s
                columns = {
                    "seconds": tuple(seconds),
                    "audio_s": (audio_s,) * len(seconds),
                    "tokens": (n_tokens,) * len(seconds),
                }
                tables.append(_table(candidate, f"throughput.{stage}.b{size}", columns))
                advance()
        single = segments(1)
        latencies = [1000 * s for s in _time(lambda: end_to_end(single), load, device)]
        tables.append(_table(candidate, _LATENCY, {"milliseconds": tuple(latencies)}))
        advance()
        largest = segments(max(load.batch_sizes))
        tables.append(_memory_table(candidate, lambda: end_to_end(largest), load.repetitions, device))
        advance()
    return tables


def _time(work: Callable[[], object], load: Load, device: torch.device) -> list[float]:
    for _ in range(load.warmup):
        work()
    seconds = []
    for _ in range(load.repetitions):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _table(candidate: str, group: str, columns: dict[str, tuple[float, ...]]) -> Table:
    n = len(next(iter(columns.values())))
    return Table(candidate, group, tuple(f"repetition-{i}" for i in range(n)), columns)


def _memory_table(candidate: str, work: Callable[[], object], repetitions: int, device: torch.device) -> Table:
    peaks_mb = [peak_memory_mb(work, device) for _ in range(repetitions)]
    told = tuple(peak for peak in peaks_mb if peak is not None)
    if len(told) < repetitions:
        reason = "this system does not tell a process's peak memory"
        return Table(candidate, _MEMORY, (), {"peak_mb": ()}, unscored={"repetition-0": reason})
    return _table(candidate, _MEMORY, {"peak_mb": told})


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
        _wait(device)
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
