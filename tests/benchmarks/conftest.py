"""Sizes, devices and comparisons that all benchmarks share.

In the normal test run (`--benchmark-disable`) every contender runs once, on something small, and its answer is checked.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> bool:
    """Whether times are taken; only then are the sizes those of real work."""
    options = pytestconfig.option
    return bool(options.benchmark_enable or not options.benchmark_disable)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    # TensorFloat-32 would round the convolutions, and codes near a tie would differ from one contender to the next.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device(request.param)


@pytest.fixture
def finished(device: torch.device) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Wraps work so that it returns only when the device is done."""

    def wrap(work: Callable[[], object]) -> Callable[[], object]:
        def whole() -> object:
            answer = work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return answer

        return whole

    return wrap
