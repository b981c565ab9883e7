"""Reading files of weights safely, and saying in which ways a state_dict does not fit its network.

What a file is, is told by its first bytes, never by its name: a file in a Hugging Face cache is called by its hash.
Pickles are read with `weights_only=True`; their size is looked at before, since a small file may ask for much memory.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqbench.errors import CheckpointError

_SHOWN = 5
"""Faults of one file that are named; the rest is counted."""

_MAX_HEADER_BYTES = 16 << 20
"""Of a pickle without its tensors, or of a safetensors header; the published GPT's take a quarter of a megabyte."""

_MAX_PICKLE_STEPS = 1_000_000
"""Of a pickle; each may make an object of a hundred bytes. The published GPT's has 20,000."""

_LEGACY_PICKLES = 4
"""Pickles at the beginning of a file from before torch 1.6; the last of them is the content."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _NumpyScalar:
    """Stands for a numpy scalar that a trainer saved beside its weights (a loss, say): it is read over, not made."""

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_READ_OVER = [
    (_NumpyScalar, name) for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors of a safetensors file, and the texts in its header.

    Raises:
        CheckpointError: for anything else.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > _MAX_HEADER_BYTES:
        raise CheckpointError(
            f"the file is truncated or no safetensors file (a header of {header_bytes:,} bytes)", where=str(path)
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the file is truncated or no safetensors file ({error})", where=str(path)) from error


def read_torch(path: Path, *, mapped: bool = False) -> object:
    """Reads a torch file of tensors and plain containers; what wants to run code is refused.

    Args:
        path: an existing file.
        mapped: leave tensors in the memory map of their file. Files from before torch 1.6 are read whole anyway.

    Raises:
        CheckpointError: for anything else.
    """
    size = f"the file of {path.stat().st_size:,} bytes"
    try:
        archive = _is_archive(path)
        _check_archive(path) if archive else _check_legacy(path)
        with torch.serialization.safe_globals(_READ_OVER):  # type: ignore[arg-type] # it takes pairs
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and archive)
    except CheckpointError as error:
        error.problem, error.where = f"{size} {error.problem}", str(path)
        raise
    except pickle.UnpicklingError as error:
        # torch's own message advises to run it.
        wanted = re.search(r"GLOBAL ([\w.]{1,100})", str(error))
        raise CheckpointError(
            f"{size} is a pickle that wants more than tensors{f' ({wanted[1]})' if wanted else ''}, or no torch file",
            where=str(path),
            expected="tensors only: such files are never run",
            fix="convert it to safetensors on a machine where you trust it",
        ) from error
    except Exception as error:  # arbitrary bytes make torch's reader fail in any way it can
        raise CheckpointError(
            f"{size} is truncated or no torch file and no safetensors file ({_first_line(error)})", where=str(path)
        ) from error


def _is_archive(path: Path) -> bool:
    """As torch tells it: by the beginning. By its end, as zipfile tells it, a pickle may be an archive, too."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_archive(path: Path) -> None:
    """Refuses what torch.save never writes, by the archive's table of contents."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(Path(member.filename).name == "constants.pkl" for member in members):
            raise CheckpointError(
                "is a TorchScript archive, which holds code", expected="a state_dict, as torch.save writes it"
            )
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError(
                "is a compressed archive, which torch.save does not write: unpacked it may be of any size",
                fix="unpack it, or save it again with torch.save",
            )
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError("claims more content than it has bytes")
        for member in members:
            if Path(member.filename).name == "data.pkl":
                with archive.open(member) as file:
                    _check_pickles(file.read(_MAX_HEADER_BYTES + 1), 1)


def _check_legacy(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES + 1)
    if not head:
        raise CheckpointError("is empty: truncated, or no torch file")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError("is a Git LFS pointer, not the file itself", fix="git lfs pull")
    _check_pickles(head, _LEGACY_PICKLES)


def _check_pickles(head: bytes, n: int) -> None:
    """Refuses pickles of a size that no checkpoint has, without making anything of them."""
    file, steps, too_long = io.BytesIO(head), 0, False
    try:
        for _ in range(n):
            for _ in pickletools.genops(file):
                steps += 1
                if steps > _MAX_PICKLE_STEPS:
                    too_long = True
                    break
    except ValueError:
        # Cut short by the limit; or the file is truncated or no pickle, which torch says.
        too_long = len(head) > _MAX_HEADER_BYTES and file.tell() >= _MAX_HEADER_BYTES
    if too_long:
        raise CheckpointError("asks for more objects than a checkpoint has, beside its tensors")


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
            *(f"{key} {fault}" for key, tensor in state.items() if (fault := _oddity(tensor))),
        ]
    )


def not_plain(state: Mapping[str, Tensor]) -> str:
    """Which tensors are no plain floats in memory: float8, integers, sparse, without content, or repeated values.

    Empty where none is. Whoever tells a network's sizes from shapes asks this first: a single value may be shown in any
    shape.
    """
    return listed([f"{key} {fault}" for key, tensor in state.items() if (fault := _oddity(tensor) or _excess(tensor))])


def _oddity(tensor: Tensor) -> str:
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        return f"is a {kind} tensor, wanted a dense one"
    if tensor.dtype not in _FLOATS:
        return f"is {tensor.dtype}, wanted floats of 16, 32 or 64 bits"
    if tensor.device.type == "meta":
        return "has no content (device meta)"
    return ""


def _excess(tensor: Tensor) -> str:
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has shape {tuple(tensor.shape)}, but not so many values"
    return ""


def not_finite(state: Mapping[str, Tensor]) -> str:
    """Which tensors hold NaN or infinity; empty where none does."""
    return listed([key for key, tensor in state.items() if not tensor.isfinite().all()])


def listed(faults: Sequence[str]) -> str:
    """The first faults, and how many more there are."""
    return "; ".join(faults[:_SHOWN]) + (f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "")


def _first_line(error: Exception) -> str:
    line = (str(error) or type(error).__name__).splitlines()[0]
    # torch advises to read a file without its guard.
    return type(error).__name__ if "weights_only" in line else line
