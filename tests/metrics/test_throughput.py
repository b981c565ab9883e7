"""Speed is measured where it should be: right work, right counts, nothing kept."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.errors import DataError
from vqbench.metrics import throughput
from vqbench.metrics.stages import STAGES, WAVEFORM_STAGES
from vqbench.metrics.throughput import Timings, measure_throughput, n_timings, throughput_specs
from vqbench.metrics.workloads import Entrant, Load, stages_of
from vqbench.progress import Progress, Silent
from vqbench.records.check import check_table
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.opus import Opus
from vqbench.tokenizers.protocol import Codes, MelTokenizer, Tokenizer

LOAD = Load(batch_sizes=(1, 3), segment_s=0.5, repetitions=4, warmup=1)


def tokenizer(hidden_dim: int = 8) -> DVAETokenizer:
    torch.manual_seed(0)
    dimensions = Dimensions(codebook_size=30, codebook_dim=8, hidden_dim=hidden_dim, num_resnet_blocks=1)
    return DVAETokenizer(DVAE(dimensions), MelSpec())


def entrant(name: str, made: MelTokenizer | Tokenizer, waveforms: Sequence[Tensor]) -> Entrant:
    return Entrant(name, lambda: made, stages_of(made), waveforms)


def timed(*entrants: Entrant, seed: int = 0, progress: Progress | None = None) -> Timings:
    return measure_throughput(entrants, LOAD, torch.device("cpu"), seed, progress or Silent())


@pytest.fixture(scope="module")
def tables() -> dict:  # type: ignore[type-arg]
    made = timed(entrant("a", tokenizer(), [torch.randn(9000), torch.randn(700)]))
    return {table.group: table for table in made.tables}


def test_every_figure_has_its_table(tables: dict) -> None:  # type: ignore[type-arg]
    specs = throughput_specs(LOAD)
    assert {spec.group for spec in specs} == set(tables)
    for spec in specs:
        check_table(spec, tables[spec.group])
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    stages = {f"throughput.{stage}_rtfx.b{size}" for stage in STAGES for size in (1, 3)}
    assert stages - set(names) == {"throughput.end_to_end_rtfx.b3"}
    assert {"throughput.rtfx", "throughput.latency_p90_ms", "throughput.peak_memory_mb"} <= set(names)


def test_audio_and_tokens_are_counted(tables: dict) -> None:  # type: ignore[type-arg]
    for stage in STAGES:
        for size in LOAD.batch_sizes:
            table = tables[f"throughput.{stage}.b{size}"]
            assert len(table.row_ids) == LOAD.repetitions
            assert set(table.columns["audio_s"]) == {0.5 * size}
            # 0.5 s are 11,025 samples: 10 whole tokens and the one they are in.
            assert set(table.columns["tokens"]) == {11.0 * size}
            assert min(table.columns["seconds"]) > 0


def test_a_slower_tokenizer_measures_slower() -> None:
    waveforms = [torch.randn(22_050)]
    made = timed(entrant("small", tokenizer(8), waveforms), entrant("large", tokenizer(256), waveforms)).tables
    small, large = (
        sum(table.columns["seconds"])
        for name in ("small", "large")
        for table in made
        if (table.candidate, table.group) == (name, "throughput.encode.b3")
    )
    # A hundred and more times the work; the bound leaves a factor of fifty to noise.
    assert large > 2 * small


class Order:
    """Who was timed at what, one after the other: a tokenizer that tells when it decodes."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._own, self.name, self._told = tokenizer(), name, told
        self.mel_spec = self._own.mel_spec

    def latents(self, mels: list[torch.Tensor]) -> list[torch.Tensor]:
        return self._own.latents(mels)

    def quantize(self, latents: list[torch.Tensor]) -> list[torch.Tensor]:
        return self._own.quantize(latents)

    def decode(self, codes: list[torch.Tensor]) -> list[torch.Tensor]:
        self._told.append(self.name)
        return self._own.decode(codes)


def order(seed: int) -> list[str]:
    told: list[str] = []
    timed(*(entrant(name, Order(name, told), [torch.randn(9000)]) for name in "abc"), seed=seed)  # type: ignore[arg-type]
    return told


def test_candidates_take_turns_in_a_drawn_order() -> None:
    """Each thing that is timed is timed of everybody before the next is; the order among them is drawn anew."""
    told = order(0)
    threes = [told[i : i + 3] for i in range(0, len(told), 3)]
    assert all(set(three) == set("abc") for three in threes)
    assert len({tuple(three) for three in threes}) > 3
    assert told == order(0) != order(1)


def test_timings_of_all_are_of_the_same_blocks_and_the_state_of_the_machine_is_told() -> None:
    made = timed(*(entrant(name, tokenizer(), [torch.randn(9000)]) for name in "ab"), seed=3)
    assert {table.row_ids for table in made.tables if table.row_ids} == {("block-0", "block-1", "block-2", "block-3")}
    assert (made.conditions["blocks"], made.conditions["seed"]) == (LOAD.repetitions, 3)
    assert len(made.conditions["load_average"]) == len(made.conditions["clock_mhz"]) == LOAD.repetitions  # type: ignore[arg-type]


class Failing(Opus):
    """Opus, until it has encoded so often."""

    def __init__(self, often: int) -> None:
        super().__init__(1.0, 16_000)
        self.left = often

    def encode(self, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
        self.left -= 1
        return super().encode(waveforms) if self.left >= 0 else [DataError("gone")] * len(waveforms)


@pytest.mark.parametrize("often", [0, 20])
def test_what_fails_is_not_fast_but_unscored_and_costs_no_other(often: int) -> None:
    speech = [torch.rand(9000) - 0.5]
    made = timed(entrant("failing", Failing(often), speech), entrant("whole", Opus(1.0, 16_000), speech))
    failing, whole = ({t.group: t for t in made.tables if t.candidate == name} for name in ("failing", "whole"))
    assert (
        failing.keys()
        == whole.keys()
        == {f"throughput.{s}.b{n}" for s in WAVEFORM_STAGES for n in (1, 3)}
        | {
            "throughput.latency",
            "throughput.memory",
        }
    )
    for group, table in failing.items():
        assert not table.row_ids and set(table.unscored.values()) == {"the speech that is timed cannot be coded: gone"}
        assert len(whole[group].row_ids) == LOAD.repetitions
    # What writes no codes writes none a second.
    assert "tokens" not in whole["throughput.encode.b1"].columns


def test_as_many_timings_are_taken_as_are_told_beforehand() -> None:
    counted = Counting()
    timed(*(entrant(name, tokenizer(), [torch.randn(9000)]) for name in "ab"), progress=counted)
    assert counted.units == counted.total == 2 * n_timings(LOAD)


def test_of_many_a_few_are_in_memory_and_all_are_timed_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "HELD", 2)
    alive: weakref.WeakSet[Order] = weakref.WeakSet()
    together: list[tuple[str, ...]] = []
    told: list[str] = []

    def opened(name: str) -> Order:
        gc.collect()
        made = Order(name, told)
        alive.add(made)
        together.append(tuple(sorted(one.name for one in alive)))
        return made

    speech, counted = [torch.randn(9000)], Counting()
    made = timed(*(Entrant(name, partial(opened, name), STAGES, speech) for name in "abcde"), progress=counted)  # type: ignore[arg-type]
    assert counted.units == counted.total == 5 * n_timings(LOAD, n_heats=3)
    assert max(map(len, together)) == 2
    assert len({heat for heat in together if len(heat) == 2}) > 3, "dealt anew for each block"
    whole = timed(*(entrant(name, tokenizer(), speech) for name in "ab"))
    groups = [(table.group, table.row_ids, table.columns.keys()) for table in whole.tables if table.candidate == "a"]
    for name in "abcde":
        own = [table for table in made.tables if table.candidate == name]
        assert [(table.group, table.row_ids, table.columns.keys()) for table in own] == groups
    assert made.conditions["heats"] == 3 and "heats" not in whole.conditions
    # In each block every candidate decodes as often: once uncounted and once counted, and where memory is measured.
    assert {told.count(name) for name in "abcde"} == {len(told) // 5}


class Counting:
    """Counts what it is told."""

    units = total = 0

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[..., None]]:
        self.total += total
        yield self._advance

    def _advance(self, n: int = 1) -> None:
        self.units += n


PEAK = """
import torch
from vqbench.metrics.throughput import peak_memory_mb

def work():
    # Blocks of more than 32 MB go back to the system when they are freed.
    a = torch.ones(50_000_000 // 4)
    del a
    b, c = torch.ones(60_000_000 // 4), torch.ones(80_000_000 // 4)
    del b, c

print(peak_memory_mb(work, torch.device("cpu")))
"""


def test_peak_memory_is_what_was_held_at_once() -> None:
    """In a process of its own, since what an allocator keeps for later depends on what was done before."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    if done.stdout.strip() == "None":
        pytest.skip("this system does not tell a process's peak memory")
    assert float(done.stdout) == pytest.approx(140, abs=8)
