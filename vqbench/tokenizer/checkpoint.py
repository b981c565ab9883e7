"""VQVAE checkpoints: ours (safetensors with sizes and front end inside), TorToiSe's `dvae.pth` and XTTS's.

Every checkpoint is loaded strictly: the sizes are told from the shapes, and then each key must be there with its shape.
Pickles are read with `weights_only=True`, so a file that wants to run code is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.errors import CheckpointError
from vqbench.files import write_whole
from vqbench.tokenizer.dvae import DVAE, Dimensions
from vqbench.tokenizer.dvae_tokenizer import DVAETokenizer
from vqbench.tokenizer.state_dict import misfits, not_finite, read_torch

FORMAT = 1
_METADATA_KEY = "vqbench"
_XTTS_EXTRAS = {
    "discrete_loss.accumulator",
    "discrete_loss.accumulator_filled",
    "discrete_loss.accumulator_index",
}
"""Buffers of XTTS's training loss that its checkpoints carry; no part of the network."""


def save_checkpoint(
    path: Path,
    dvae: DVAE,
    mel_spec: MelSpec,
    provenance: Mapping[str, str | int | float],
    dtype: torch.dtype | None = None,
) -> None:
    """Writes a VQVAE with its sizes and front end, atomically.

    Args:
        path: a `.safetensors` file; an older one is replaced.
        dvae: the network.
        mel_spec: the front end that it was trained on.
        provenance: where it came from: recipe, its digest, steps, …
        dtype: stores floats so (float16 halves the file; what is stored then is what the candidate is).
    """
    header = {
        "format": FORMAT,
        "dimensions": asdict(dvae.dimensions),
        "front_end": asdict(mel_spec),
        "provenance": dict(provenance),
    }
    state = {
        key: tensor.detach().cpu().to(dtype or tensor.dtype).contiguous() for key, tensor in dvae.state_dict().items()
    }
    write_whole(path, save(state, metadata={_METADATA_KEY: json.dumps(header)}))


def load_tokenizer(path: Path, mel_norms: Path | None = None, device: torch.device | str = "cpu") -> DVAETokenizer:
    """Loads a VQVAE checkpoint as a candidate.

    Args:
        path: `.safetensors` (ours, or the bare official keys), or a torch file of the official keys.
        mel_norms: torch file with 80 divisors, where they are not TorToiSe's (XTTS: `mel_stats.pth`).
        device: where it shall run.

    Raises:
        CheckpointError: for anything but a whole, finite checkpoint of this network.
    """
    if not path.is_file():
        raise CheckpointError("there is no such checkpoint file", where=str(path))
    try:
        state, header = _read(path)
        dimensions = Dimensions.of_state_dict(state)
        if header and Dimensions(**header["dimensions"]) != dimensions:
            raise CheckpointError("the sizes in the header disagree with the tensors", expected=str(dimensions))
        spec = MelSpec(**{**header["front_end"], "norms": tuple(header["front_end"]["norms"])}) if header else MelSpec()
        if mel_norms is not None:
            spec = spec.with_norms(_read_norms(mel_norms))
        if spec.n_mels != dimensions.n_mels:
            raise CheckpointError(
                f"the network reads {dimensions.n_mels} bands, its front end gives {spec.n_mels}",
                expected="the same number of mel bands",
            )
        dvae = _build(state, dimensions)
    except CheckpointError as error:
        if error.where is None:
            error.where = str(path)
        raise
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint's header is not what vqbench writes ({error})", where=str(path)
        ) from error
    return DVAETokenizer(dvae, spec, device)


def _build(state: Mapping[str, Tensor], dimensions: Dimensions) -> DVAE:
    with torch.device("meta"):
        dvae = DVAE(dimensions)
    wanted = {key: tuple(tensor.shape) for key, tensor in dvae.state_dict().items()}
    faults = misfits(state, wanted)
    if not faults and (broken := not_finite(state)):
        faults = f"{broken} holds NaN or infinity"
    if faults:
        raise CheckpointError(
            f"the checkpoint does not fit the VQVAE: {faults}",
            expected=f"the {len(wanted)} tensors of a VQVAE with {dimensions}",
        )
    dvae.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True, assign=True)
    return dvae


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and vqbench's header where it has one."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"the file is truncated or no safetensors file ({error})") from error
        if _METADATA_KEY not in metadata:
            return state, {}
        header = json.loads(metadata[_METADATA_KEY])
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise CheckpointError(
                f"the checkpoint's format is {header.get('format') if isinstance(header, dict) else header!r}",
                expected=f"format {FORMAT}",
                fix="use the vqbench version that wrote it, or train again",
            )
        return state, header
    loaded = read_torch(path)
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()) or not loaded:
        raise CheckpointError(
            f"the file holds a {type(loaded).__name__}, not a state_dict", expected="a mapping of names to tensors"
        )
    return {str(key): tensor for key, tensor in loaded.items() if key not in _XTTS_EXTRAS}, {}


def _read_norms(path: Path) -> list[float]:
    if not path.is_file():
        raise CheckpointError("there is no such mel norms file", where=str(path))
    loaded = read_torch(path)
    if not isinstance(loaded, Tensor) or loaded.ndim != 1 or not loaded.is_floating_point():
        raise CheckpointError(
            "the mel norms are not a row of numbers", where=str(path), expected="a tensor of 80 floats"
        )
    return [float(value) for value in loaded]
