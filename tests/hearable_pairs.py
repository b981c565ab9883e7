"""Pairs whose tokens can be heard: tones, and what a small VQVAE with random weights makes of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqbench.audio.io import encode_waveform, resample
from vqbench.audio.mel import MelFrontEnd
from vqbench.teachers.tortoise.pairs import shard_path
from vqbench.teachers.tortoise.shards import Pair, ShardHeader, write_shard
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.quantizer import kmeans

N_TRUE_CODES = 10


def tones(number: int, n_tokens: int, rate_hz: int = 22_050) -> Tensor:
    """Tones that jump with every other token."""
    draw = torch.Generator().manual_seed(number)
    hz = (150 * 2 ** (5 * torch.rand(-(-n_tokens // 2), generator=draw))).repeat_interleave(2048)[: 1024 * n_tokens]
    waveform = 0.3 * torch.sin(2 * torch.pi * hz.cumsum(0) / 22_050)
    return resample(waveform + 0.01 * torch.randn(len(waveform), generator=draw), 22_050, rate_hz)


@functools.cache
def true_vqvae() -> DVAE:
    """Random weights, latents about as large as trained ones, and a codebook where they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        dvae = DVAE(Dimensions(codebook_size=N_TRUE_CODES, codebook_dim=4, hidden_dim=8, num_resnet_blocks=1))
    with torch.no_grad():
        mels = [MelFrontEnd()(tones(1000 + i, 12))[None] for i in range(20)]
        size = torch.cat([dvae.latents(mel)[0].t() for mel in mels]).std()
        for parameter in dvae.encoder[-1].parameters():
            parameter.div_(size)
        rows = torch.cat([dvae.latents(mel)[0].t() for mel in mels])
        dvae.codebook.set_codes(kmeans(rows, N_TRUE_CODES, 10, torch.Generator().manual_seed(0)), 1.0)
    return dvae.eval()


def pair(number: int, **changes: Any) -> Pair:
    """What the VQVAE hears in a waveform, as if a GPT had written it before."""
    waveform = tones(number, 10 + number % 5)
    made = Pair(
        id=f"{number:06d}",
        text=f"Sentence {number}.",
        speaker="ann",
        split="train",
        codes=true_vqvae().encode(MelFrontEnd()(waveform)[None])[0, :-1].clone(),
        flac=encode_waveform(waveform, 22_050, "a pair"),
        sample_rate_hz=22_050,
        clvp=0.0,
        seed=number,
        finished=True,
        teacher="0123456789abcdef",
    )
    return replace(made, **changes)


@functools.cache
def pairs() -> tuple[Pair, ...]:
    """Sixty of them."""
    return tuple(pair(number) for number in range(60))


def write_pairs(folder: Path, content: Sequence[Pair], per_shard: int = 32) -> Path:
    """A folder of shards that holds them."""
    for index, start in enumerate(range(0, len(content), per_shard)):
        write_shard(shard_path(folder, index), content[start : start + per_shard], ShardHeader({}))
    return folder
