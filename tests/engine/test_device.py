"""Which device a suite or an option asks for, and whether this machine has it."""

from __future__ import annotations

import pytest
import torch

from vqbench.engine.provenance import choose_device
from vqbench.errors import ConfigError


@pytest.fixture
def cuda_devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.parametrize(
    ("cuda_devices", "written", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (1, "auto", "cuda"),
        (1, "cpu", "cpu"),
        (1, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
    ],
    indirect=["cuda_devices"],
)
def test_devices_that_are_there(cuda_devices: None, written: str, device: str) -> None:
    assert choose_device(written, "quick.yaml") == torch.device(device)


@pytest.mark.parametrize(
    ("cuda_devices", "written", "message"),
    [
        (0, "cuda", "no device cuda on this machine, but 0 CUDA"),
        (0, "cuda:0", "no device cuda:0"),
        (2, "cuda:2", "no device cuda:2 on this machine, but 2 CUDA"),
        (2, "cuda:256", "no device cuda:256"),
        (2, "cuad", "'cuad' is no device .did you mean 'cuda'"),
        (2, "cuda:", "'cuda:' is no device"),
        (2, "meta", "'meta' is no device"),
        (2, "", "'' is no device"),
    ],
    indirect=["cuda_devices"],
)
def test_devices_that_are_not(cuda_devices: None, written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        choose_device(written, "quick.yaml")
    assert caught.value.where == "quick.yaml"
