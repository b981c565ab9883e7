"""A candidate made ready to be timed by somebody else's clock: just what `throughput` times in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vqbench.config.suite import Suite, select
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache
from vqbench.engine.stages.timing import readable_waveforms
from vqbench.errors import DataError
from vqbench.metrics.workloads import Load, Workload, workloads
from vqbench.progress import Progress
from vqbench.tokenizers.protocol import MelTokenizer, Tokenizer


@dataclass(frozen=True)
class TimedCandidate:
    """What is timed of one candidate.

    Attributes:
        workloads: by their groups, e.g. `throughput.encode.b8`.
        load: how often each is run.
        device: where.
        digest: of the candidate.
    """

    workloads: Mapping[str, Workload]
    load: Load
    device: str
    digest: str


def load_timed(suite: Suite, candidate: str, cache: Cache, progress: Progress) -> TimedCandidate:
    """Loads a candidate and as much of the suite's speech as it is timed on.

    Args:
        suite: one that measures throughput.
        candidate: a name; one with a recipe is trained, where it is not in the cache.
        cache: where trainings are kept.
        progress: shows how far that is.

    Raises:
        VqbenchError: as `run_suite` does; also where no clip can be read.
    """
    bench = Bench(select(suite, [candidate], ["throughput"]), cache, progress)
    bench.check()
    (only,) = bench.suite.candidates
    tokenizer: MelTokenizer | Tokenizer
    if only.is_coded:
        tokenizer = bench.waveform_tokenizer(only.name)
        rate_hz = tokenizer.sample_rate_hz
    else:
        tokenizer = bench.tokenizer(only.name)
        rate_hz = tokenizer.mel_spec.sample_rate_hz
    load = bench.load
    waveforms = readable_waveforms(bench.clips, rate_hz, load.audio_s)
    if not waveforms:
        raise DataError("no clip can be read, so there is nothing to time", where=str(suite.path or suite.name))
    made = {work.group: work for work in workloads(tokenizer, waveforms, load, bench.device)}
    return TimedCandidate(made, load, str(bench.device), tokenizer.digest)
