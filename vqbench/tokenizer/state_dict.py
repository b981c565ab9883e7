"""Reading state_dicts safely, and saying in which ways one does not fit its network."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqbench.errors import CheckpointError

_SHOWN = 5
"""Faults of one file that are named; the rest is counted."""


def read_torch(path: Path, *, mapped: bool = False) -> object:
    """Reads a torch file of tensors and plain containers; what wants to run code is refused.

    Args:
        path: an existing file.
        mapped: leave tensors in the memory map of their file. Files from before torch 1.6 are read whole anyway.

    Raises:
        CheckpointError: for anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"the file of {path.stat().st_size:,} bytes is a pickle that wants more than tensors, or no torch file",
            where=str(path),
            expected="tensors only: such files are never run",
            fix="convert it to safetensors on a machine where you trust it",
        ) from error
    except Exception as error:  # arbitrary bytes make torch's reader fail in any way it can
        raise CheckpointError(
            f"the file of {path.stat().st_size:,} bytes is truncated or no torch file ({_first_line(error)})",
            where=str(path),
        ) from error


def misfits(state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """What keeps tensors from being the state of a network with these names and shapes; empty where nothing does."""
    return listed(
        [
            *(f"missing {key}" for key in wanted if key not in state),
            *(f"unexpected {key}" for key in state if key not in wanted),
            *(
                f"{key} has shape {tuple(tensor.shape)}, wanted {wanted[key]}"
                for key, tensor in state.items()
                if key in wanted and tuple(tensor.shape) != wanted[key]
            ),
            *(
                f"{key} is {tensor.dtype}, wanted floats"
                for key, tensor in state.items()
                if not tensor.is_floating_point()
            ),
        ]
    )


def not_finite(state: Mapping[str, Tensor]) -> str:
    """Which tensors hold NaN or infinity; empty where none does."""
    return listed([key for key, tensor in state.items() if not tensor.isfinite().all()])


def listed(faults: Sequence[str]) -> str:
    """The first faults, and how many more there are."""
    return "; ".join(faults[:_SHOWN]) + (f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
