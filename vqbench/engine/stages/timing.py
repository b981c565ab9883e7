"""All candidates are timed, in turns and one after another: nothing else runs meanwhile, and nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch

from vqbench.audio.mel import MelSpec
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.engine.bench import Bench
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Done, Item, Plan, Stage, Values
from vqbench.engine.systems import Recording
from vqbench.errors import DataError
from vqbench.metrics.throughput import measure_throughput, n_heats_of, n_timings
from vqbench.metrics.workloads import Entrant
from vqbench.progress import Progress
from vqbench.records.forecast import Work
from vqbench.tokenizers.protocol import MelTokenizer, Tokenizer


class Timing(Stage):
    """No items: a timing belongs to the machine and the minute that it was taken."""

    name = "speed"

    def applies(self, bench: Bench) -> bool:
        """Whether speed is measured."""
        return "throughput" in bench.suite.metrics

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Nothing that could be kept, or done elsewhere."""
        return []

    def count(self, bench: Bench, items: Sequence[Item]) -> Iterator[Work]:
        """All timings."""
        n_heats = n_heats_of(len(bench.candidates))
        total = sum(n_timings(bench.load, sketch.stages, n_heats) for sketch in bench.candidates)
        yield Work(self.name, total, alike=False)

    def run(self, bench: Bench, found: Findings, plan: Plan) -> None:
        """Times them."""
        speech: dict[int, list[torch.Tensor]] = {}
        entrants = []
        for sketch in bench.candidates:
            name, rate_hz = sketch.record.name, sketch.mel_spec.sample_rate_hz
            bring: Callable[[], MelTokenizer | Tokenizer] = partial(bench.tokenizer, name)
            if sketch.is_coded:
                bring, rate_hz = partial(bench.waveform_tokenizer, name), bench.waveform_tokenizer(name).sample_rate_hz
            if rate_hz not in speech:
                read = partial(_waveform, bench, sketch.mel_spec)
                speech[rate_hz] = readable_waveforms(bench.clips, rate_hz, bench.load.audio_s, read)
            if speech[rate_hz]:
                entrants.append(Entrant(name, bring, sketch.stages, speech[rate_hz]))
        timings = measure_throughput(entrants, bench.load, bench.device, bench.suite.seed, plan.progress)
        for table in timings.tables:
            found.add("throughput", table.candidate, table)
        found.conditions = timings.conditions

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """All is done by `run`."""
        yield from ()

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """Likewise."""


def _waveform(bench: Bench, mel_spec: MelSpec, clip: Clip, sample_rate_hz: int) -> torch.Tensor:
    """As `load_clip`; what that front end read just before is not read again."""
    found = bench.recordings.peek((clip, mel_spec.fingerprint))
    if isinstance(found, Recording) and sample_rate_hz == mel_spec.sample_rate_hz:
        return found.waveform
    return load_clip(clip, sample_rate_hz)


def readable_waveforms(
    clips: Sequence[Clip],
    sample_rate_hz: int,
    enough_s: float,
    read: Callable[[Clip, int], torch.Tensor] | None = None,
) -> list[torch.Tensor]:
    """Clips as (N,) float32 each, in their order, without those that cannot be read, until there are `enough_s`.

    Args:
        clips: of which they are.
        sample_rate_hz: the rate asked for.
        enough_s: seconds.
        read: reads one; `load_clip` where left out.
    """
    read = read or load_clip
    waveforms: list[torch.Tensor] = []
    missing = enough_s * sample_rate_hz
    for clip in clips:
        if missing <= 0:
            break
        try:
            waveform = read(clip, sample_rate_hz)
        except DataError:
            continue  # it is named as unscored by every other metric
        waveforms.append(waveform)
        missing -= len(waveform)
    return waveforms
