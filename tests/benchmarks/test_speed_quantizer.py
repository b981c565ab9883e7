"""The codebook at its official size, 8192 codes of 512 numbers, against distances and one-hot products."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizer_reference import reference_ema_update, reference_lookup, reference_nearest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from vqbench.metrics.throughput import peak_memory_mb
from vqbench.tokenizers.dvae.quantizer import Quantizer

CONTENDERS = ("ours", "plain")


@pytest.fixture(scope="module")
def official() -> Quantizer:
    torch.manual_seed(0)
    quantizer = Quantizer(512, 8192)
    quantizer.set_codes(torch.randn(8192, 512), 1.0)
    return quantizer


@pytest.fixture
def quantizer(official: Quantizer, device: torch.device) -> Quantizer:
    return copy.deepcopy(official).to(device)


@pytest.fixture
def latents(measured: bool, device: torch.device) -> Tensor:
    """(N, 512): eight clips of 10 s when measured."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8 * 216 if measured else 64, 512, generator=generator).to(device)


def searches(quantizer: Quantizer, latents: Tensor) -> dict[str, Callable[[], Tensor]]:
    return {
        "ours": lambda: quantizer.nearest(latents),
        "plain": lambda: reference_nearest(quantizer.embed, latents),
    }


@pytest.mark.parametrize("contender", CONTENDERS)
def test_nearest(benchmark, contender, quantizer, latents, device, finished) -> None:
    benchmark.group = f"nearest code, {device.type}"
    work = {name: finished(search) for name, search in searches(quantizer, latents).items()}
    codes = benchmark(work[contender])
    benchmark.extra_info["peak_mb"] = peak_memory_mb(work[contender], device)
    # Rounding may decide a tie differently.
    assert (codes != work["plain"]()).float().mean() <= 1e-3


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that anything makes. A process's memory would tell what others left in it, too."""

    n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(made)[0]:
            if isinstance(tensor, Tensor):
                self.n_bytes = max(self.n_bytes, tensor.nbytes)
        return made


def test_the_search_holds_far_less_than_all_distances(quantizer, device) -> None:
    latents = torch.randn(2048, 512, device=device)
    largest = {}
    for name, search in searches(quantizer, latents).items():
        with LargestTensor() as seen:
            search()
        largest[name] = seen.n_bytes
    assert largest["plain"] >= 2048 * 8192 * 4
    assert largest["ours"] < largest["plain"] / 3


@pytest.mark.parametrize("contender", CONTENDERS)
def test_lookup(benchmark, contender, quantizer, measured, device, finished) -> None:
    benchmark.group = f"codes to vectors, {device.type}"
    codes = torch.randint(0, 8192, (8, 216 if measured else 8), device=device)
    lookups = {"ours": quantizer.lookup, "plain": lambda codes: reference_lookup(quantizer.embed, codes)}
    work = finished(lambda: lookups[contender](codes))
    vectors = benchmark(work)
    benchmark.extra_info["peak_mb"] = peak_memory_mb(work, device)
    torch.testing.assert_close(vectors, quantizer.embed[:, codes].transpose(0, 1))


@pytest.mark.parametrize("contender", CONTENDERS)
def test_ema_update(benchmark, contender, quantizer, latents, device, finished) -> None:
    benchmark.group = f"codebook update, {device.type}"
    updates = {
        "ours": Quantizer.ema_update,
        "plain": lambda quantizer, rows, codes: reference_ema_update(quantizer.state_dict(), rows, codes),
    }
    codes = quantizer.nearest(latents)
    ours, plain = copy.deepcopy(quantizer), copy.deepcopy(quantizer)
    updates["ours"](ours, latents, codes)
    updates["plain"](plain, latents, codes)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name))
    work = finished(lambda: updates[contender](quantizer, latents, codes))
    benchmark(work)
    benchmark.extra_info["peak_mb"] = peak_memory_mb(work, device)
