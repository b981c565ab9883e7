"""Eight clips of different lengths to codes: how they are batched, at a small and at the official width."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tokenizer_reference import reference_codes
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.metrics.throughput import peak_memory_mb
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import encode

SIZES = {"small": Dimensions(codebook_size=512, codebook_dim=64, hidden_dim=64), "official": Dimensions()}
SECONDS = (2, 3, 4, 5, 6, 7, 8, 10)
REACH = 7
"""Tokens at a clip's end that padding can change: one by the strided convolutions, two by each residual block."""


@pytest.fixture(params=SIZES)
def dvae(request: pytest.FixtureRequest, measured: bool, device: torch.device) -> DVAE:
    if request.param == "official" and not measured:
        pytest.skip("the official width only when measured")
    torch.manual_seed(0)
    network = DVAE(SIZES[request.param]).eval().requires_grad_(False)
    # The latents of an untrained encoder are tiny; codes drawn from among them compete as a trained codebook's do.
    size = network.dimensions.codebook_size
    latents = network.latents(torch.randn(4, 80, size + 4)).transpose(1, 2).flatten(0, 1)
    network.codebook.set_codes(latents[torch.randperm(len(latents))[:size]], 1.0)
    return network.to(device)


@pytest.fixture
def mels(measured: bool, device: torch.device) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames_a_second = 86 if measured else 9
    shuffled = torch.randperm(len(SECONDS), generator=generator).tolist()
    return [torch.randn(80, SECONDS[i] * frames_a_second, generator=generator).to(device) for i in shuffled]


def padded_reference(dvae: DVAE, mels: Sequence[Tensor]) -> list[Tensor]:
    """One padded batch, nothing masked."""
    batch = torch.nn.utils.rnn.pad_sequence([mel.t() for mel in mels], batch_first=True).transpose(1, 2)
    codes = reference_codes(dvae.state_dict(), batch)
    return [row[: dvae.dimensions.n_tokens(mel.shape[1])] for row, mel in zip(codes, mels, strict=True)]


def single_reference(dvae: DVAE, mels: Sequence[Tensor]) -> list[Tensor]:
    state = dvae.state_dict()
    return [reference_codes(state, mel[None])[0] for mel in mels]


@pytest.mark.benchmark(min_rounds=15)
@pytest.mark.parametrize("contender", ["clip by clip", "padded and masked", "plain, clip by clip", "plain, padded"])
def test_encode(benchmark, contender, dvae, mels, device, finished, request, monkeypatch) -> None:
    benchmark.group = f"encode 8 clips, {request.node.callspec.params['dvae']} width, {device.type}"
    tokenizer = DVAETokenizer(dvae, MelSpec(), device)
    pads = contender == "padded and masked"
    monkeypatch.setattr("vqbench.tokenizers.dvae.tokenizer._pads_batches", lambda device: pads)
    contenders = {
        "clip by clip": lambda: encode(tokenizer, mels),
        "padded and masked": lambda: encode(tokenizer, mels),
        "plain, clip by clip": lambda: single_reference(dvae, mels),
        "plain, padded": lambda: padded_reference(dvae, mels),
    }
    with torch.inference_mode():
        work = finished(contenders[contender])
        codes = benchmark(work)
        benchmark.extra_info["peak_mb"] = peak_memory_mb(work, device)
        expected = single_reference(dvae, mels)
    longest = max(len(row) for row in expected)
    differ = n_tokens = 0
    for row, right in zip(codes, expected, strict=True):
        assert row.shape == right.shape
        blurred = REACH if contender == "plain, padded" and len(row) < longest else 0
        whole = len(row) - blurred
        differ += int((row[:whole] != right[:whole]).sum())
        n_tokens += whole
    # Rounding may decide a tie differently.
    assert differ <= 1e-3 * n_tokens
