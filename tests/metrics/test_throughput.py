"""Speed is measured where it should be: right work, right counts, nothing kept."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vqbench.audio.mel import MelSpec
from vqbench.metrics.throughput import STAGES, Load, measure_throughput, throughput_specs
from vqbench.progress import Silent
from vqbench.results.check import check_table
from vqbench.tokenizer.dvae import DVAE, Dimensions
from vqbench.tokenizer.dvae_tokenizer import DVAETokenizer

LOAD = Load(batch_sizes=(1, 3), segment_s=0.5, repetitions=4, warmup=1)


@pytest.fixture(scope="module")
def tables() -> dict:  # type: ignore[type-arg]
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(codebook_size=30, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1))
    tokenizer = DVAETokenizer(dvae, MelSpec())
    made = measure_throughput(
        "a", tokenizer, [torch.randn(9000), torch.randn(700)], LOAD, torch.device("cpu"), Silent()
    )
    return {table.group: table for table in made}


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
    def rtfx(hidden_dim: int) -> float:
        dvae = DVAE(Dimensions(codebook_size=30, codebook_dim=8, hidden_dim=hidden_dim))
        made = measure_throughput(
            "a", DVAETokenizer(dvae, MelSpec()), [torch.randn(22_050)], LOAD, torch.device("cpu"), Silent()
        )
        (table,) = (t for t in made if t.group == "throughput.encode.b3")
        return sum(table.columns["audio_s"]) / sum(table.columns["seconds"])

    # A hundred and more times the work; the bound leaves a factor of fifty to noise.
    assert rtfx(8) > 2 * rtfx(256)


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
