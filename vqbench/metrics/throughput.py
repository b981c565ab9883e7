"""Speed and memory of a tokenizer, as two scenarios: a single stream (latency) and batches offline (throughput).

Nothing here is cached: a timing belongs to the machine and the minute it was taken.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd
from vqbench.metrics.stages import STAGES, timed_group
from vqbench.progress import Progress
from vqbench.results.record import MetricSpec, Table
from vqbench.stats.columns import columns_of
from vqbench.tokenizer.protocol import SpeechTokenizer

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


@dataclass(frozen=True)
class Workload:
    """One stage at one batch size, ready to be timed.

    Attributes:
        group: of its rows.
        audio_s: seconds of speech that one run works through.
        n_tokens: tokens that this speech is.
        run: does the work, and comes back when the device has done it; to be called in inference mode.
    """

    group: str
    audio_s: float
    n_tokens: int
    run: Callable[[], object]


@torch.inference_mode()
def workloads(
    tokenizer: SpeechTokenizer, waveforms: Sequence[Tensor], load: Load, device: torch.device
) -> Iterator[Workload]:
    """Gives what is timed, batch size by batch size, each with its stages. Arguments as for `measure_throughput`."""
    speech = _Speech(tokenizer, waveforms, load, device)
    front_end = speech.front_end
    for size in load.batch_sizes:
        batch = speech.segments(size)
        mels = list(front_end(batch))
        latents = tokenizer.latents(mels)
        codes = tokenizer.quantize(latents)
        work: dict[str, Callable[[], object]] = {
            "mel": partial(front_end, batch),
            "encode": partial(tokenizer.latents, mels),
            "quantize": partial(tokenizer.quantize, latents),
            "decode": partial(tokenizer.decode, codes),
            "end_to_end": partial(speech.end_to_end, batch),
        }
        audio_s, n_tokens = size * load.segment_s, sum(len(c) for c in codes)
        _wait(device)
        for stage in STAGES:
            yield Workload(timed_group(stage, size), audio_s, n_tokens, partial(_finish, work[stage], device))


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
    tables: list[Table] = []
    with progress.task(f"{candidate}: speed", len(STAGES) * len(load.batch_sizes) + 2) as advance:
        for workload in workloads(tokenizer, waveforms, load, device):
            seconds = _time(workload.run, load)
            columns = {
                "seconds": tuple(seconds),
                "audio_s": (workload.audio_s,) * len(seconds),
                "tokens": (float(workload.n_tokens),) * len(seconds),
            }
            tables.append(_table(candidate, workload.group, columns))
            advance()
        speech = _Speech(tokenizer, waveforms, load, device)
        single = partial(speech.end_to_end, speech.segments(1))
        _wait(device)
        latencies = [1000 * s for s in _time(partial(_finish, single, device), load)]
        tables.append(_table(candidate, _LATENCY, {"milliseconds": tuple(latencies)}))
        advance()
        largest = partial(speech.end_to_end, speech.segments(max(load.batch_sizes)))
        tables.append(_memory_table(candidate, largest, load.repetitions, device))
        advance()
    return tables


class _Speech:
    """Real speech on the device, end to end, from which batches are cut."""

    def __init__(
        self, tokenizer: SpeechTokenizer, waveforms: Sequence[Tensor], load: Load, device: torch.device
    ) -> None:
        self.front_end = MelFrontEnd(tokenizer.mel_spec).to(device)
        self._tokenizer = tokenizer
        self._n_samples = round(load.segment_s * tokenizer.mel_spec.sample_rate_hz)
        self._samples = torch.cat(list(waveforms)).to(device)

    def segments(self, size: int) -> Tensor:
        """(size, n_samples) of speech, from its beginning again where it ends."""
        index = torch.arange(size * self._n_samples, device=self._samples.device) % len(self._samples)
        return self._samples[index].view(size, self._n_samples)

    def end_to_end(self, batch: Tensor) -> None:
        """Waveforms to decoded mels."""
        tokenizer = self._tokenizer
        tokenizer.decode(tokenizer.quantize(tokenizer.latents(list(self.front_end(batch)))))


def _time(run: Callable[[], object], load: Load) -> list[float]:
    for _ in range(load.warmup):
        run()
    seconds = []
    for _ in range(load.repetitions):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _finish(work: Callable[[], object], device: torch.device) -> None:
    work()
    _wait(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _table(candidate: str, group: str, columns: dict[str, tuple[float, ...]]) -> Table:
    n = len(next(iter(columns.values())))
    return Table(candidate, group, tuple(f"repetition-{i}" for i in range(n)), columns_of(columns))


def _memory_table(candidate: str, work: Callable[[], object], repetitions: int, device: torch.device) -> Table:
    peaks_mb = [peak_memory_mb(work, device) for _ in range(repetitions)]
    told = tuple(peak for peak in peaks_mb if peak is not None)
    if len(told) < repetitions:
        reason = "this system does not tell a process's peak memory"
        return Table(candidate, _MEMORY, (), columns_of({"peak_mb": ()}), unscored={"repetition-0": reason})
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
