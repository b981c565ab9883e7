"""One process, or the several that `torchrun` started."""

from __future__ import annotations

import inspect
import logging
import os
from datetime import timedelta
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vqbench.errors import ConfigError

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every setting that was asked for

_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
    else "broadcast_buffers"
)
"""What torch calls DDP's copying of rank 0's buffers before each step; it was renamed in torch 2.13."""

_PATIENCE = timedelta(days=7)
"""How long processes wait for the first one, which makes pairs alone."""

_PRECISION: dict[str, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def world_size() -> int:
    """Processes that train together: 1, or as many as torchrun started."""
    return int(os.environ["WORLD_SIZE"]) if torch.distributed.is_torchelastic_launched() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ["RANK"]) if torch.distributed.is_torchelastic_launched() else 0


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several on one host, each has the GPU of its number.

    Raises:
        ConfigError: there are more processes on this host than GPUs.
    """
    if world_size() == 1 or device.type == "cpu":
        return device
    local, n_devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= n_devices:
        raise ConfigError(
            f"torchrun started process {local + 1} of this host, which has {n_devices} GPUs",
            fix=f"--nproc-per-node {n_devices}, or --device cpu",
        )
    return torch.device("cuda", local)


def open_fabric(device: torch.device, precision: str) -> Fabric:
    """Fabric for this process and its fellows, all of them joined when it returns."""
    accelerator = "cuda" if device.type == "cuda" else "cpu"
    if world_size() == 1:
        return Fabric(
            strategy=SingleDeviceStrategy(device=device), accelerator=accelerator, precision=_PRECISION[precision]
        )
    local_world = int(os.environ["LOCAL_WORLD_SIZE"])
    # Codebooks are buffers, and move by what all processes heard: nobody needs rank 0's copy of them.
    options: dict[str, Any] = {_SYNC_BUFFERS: False}
    fabric = Fabric(
        accelerator=accelerator,
        strategy=DDPStrategy(timeout=_PATIENCE, **options),
        devices=local_world,
        num_nodes=world_size() // local_world,
        precision=_PRECISION[precision],
    )
    fabric.launch()
    return fabric


def summed(fabric: Fabric, tensor: Tensor) -> Tensor:
    """The sum over all processes."""
    if fabric.world_size == 1:
        return tensor
    total = fabric.all_reduce(tensor, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def gathered(fabric: Fabric, rows: Tensor) -> Tensor:
    """The rows of all processes, one process after the other; as many of each: (N, D) → (N * world, D)."""
    if fabric.world_size == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def all_processes_together(device: torch.device) -> None:
    """Waits until all processes have come here."""
    if world_size() > 1:
        open_fabric(device, "fp32").barrier()
