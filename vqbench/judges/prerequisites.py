"""What a judge needs before it can listen: its package, a device, and a waveform that can be heard."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import torch

from vqbench.errors import DataError, MissingExtraError


def checked_waveform(waveform: np.ndarray | torch.Tensor, where: str) -> np.ndarray:
    """Returns the waveform as a mono float32 array on the CPU.

    Args:
        waveform: (N,) floats, nominally in [-1, 1]; N may be as small as 1.
        where: what an error calls it.

    Raises:
        DataError: for an empty waveform, NaN or infinite samples, or more than one dimension.
    """
    samples = waveform.detach().cpu().numpy() if isinstance(waveform, torch.Tensor) else np.asarray(waveform)
    if samples.ndim != 1:
        raise DataError(f"a waveform of shape {samples.shape} cannot be heard", where=where, expected="mono, (N,)")
    if samples.size == 0:
        raise DataError("the waveform is empty", where=where, expected="at least one sample")
    n_bad = samples.size - int(np.isfinite(samples).sum())
    if n_bad:
        raise DataError(f"{n_bad} of {samples.size} samples are NaN or infinite", where=where)
    return samples.astype(np.float32)


def import_judge(module: str, purpose: str, extra: str = "bench") -> ModuleType:
    """Imports a package that a judge stands on and an extra brings, late, because it is heavy.

    Raises:
        MissingExtraError: where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, extra, purpose) from error


def judge_device(device: torch.device | str) -> torch.device:
    """The device itself where it is CUDA, else the CPU, which is all that every judge knows besides."""
    device = torch.device(device)
    return device if device.type == "cuda" else torch.device("cpu")
