"""Writes a VQVAE as TorToiSe and XTTS publish it: a torch file of the official keys, for their loaders."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.config.source import MEL_STATS_FILE
from vqbench.errors import CheckpointError, DataError
from vqbench.files import require_writable, write_whole
from vqbench.tokenizers.dvae.network import Dimensions
from vqbench.tokenizers.dvae.norms import need_a_file
from vqbench.tokenizers.dvae.state_dict import not_finite, read_torch
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

_FIX = "choose another place with -o; --replace replaces what is there"


def export_official(
    tokenizer: DVAETokenizer, source: Path, path: Path, dtype: torch.dtype, replace: bool
) -> list[Path]:
    """Writes a VQVAE's official file, and its mel norms beside it where they are not those that loaders would take.

    Args:
        tokenizer: the VQVAE.
        source: the file that it was read from: it is never written to.
        path: where to write, e.g. `dvae.pth`.
        dtype: float32 or float16, of weights, codebook and EMA sums.
        replace: whether files that are there may be replaced.

    Returns:
        what was written.

    Raises:
        CheckpointError: the official loaders cannot have it: another front end, or values too large for the dtype.
        DataError: something is there already, or it cannot be written.
    """
    spec = tokenizer.mel_spec
    if {**asdict(spec), "norms": None} != {**asdict(MelSpec()), "norms": None}:
        raise CheckpointError(
            "this VQVAE reads another mel than TorToiSe's, which a file of the official keys cannot say",
            where=str(source),
            expected="22,050 Hz, n_fft 1024, hop 256, 80 bands up to 8 kHz",
        )
    state = {key: tensor.detach().cpu().to(dtype).contiguous() for key, tensor in tokenizer.dvae.state_dict().items()}
    if broken := not_finite(state):
        raise CheckpointError(
            f"too large for {_name(dtype)}: {broken}", where=str(source), fix="--dtype float32 keeps them"
        )
    files = {path: _saved(state)}
    beside, norms = path.with_name(MEL_STATS_FILE), torch.tensor(spec.norms)
    if need_a_file(spec, tokenizer.codebook_size):
        if not _holds(beside, norms):
            files[beside] = _saved(norms)
    elif beside.exists() and not _holds(beside, norms):
        raise DataError(
            "these are not the exported VQVAE's mel norms, but whoever reads it here would take them",
            where=str(beside),
            fix="choose a folder of its own with -o",
        )
    for file in files:
        if file.resolve() == source.resolve():
            raise DataError("this is the checkpoint that is exported", where=str(file), fix="choose another place")
        if file.exists() and not replace:
            raise DataError("there is a file already", where=str(file), fix=_FIX)
        require_writable(file)
    for file, content in files.items():
        write_whole(file, content)
    return list(files)


def official_sizes(dimensions: Dimensions) -> str:
    """The sizes as arguments of the published class, by which it must be built for this file.

    >>> official_sizes(Dimensions())
    'channels=80, num_tokens=8192, codebook_dim=512, hidden_dim=512, num_layers=2, num_resnet_blocks=3, kernel_size=3'
    """
    return (
        f"channels={dimensions.n_mels}, num_tokens={dimensions.codebook_size}, codebook_dim={dimensions.codebook_dim}, "
        f"hidden_dim={dimensions.hidden_dim}, num_layers={dimensions.num_layers}, "
        f"num_resnet_blocks={dimensions.num_resnet_blocks}, kernel_size={dimensions.kernel_size}"
    )


def _saved(content: dict[str, Tensor] | Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _holds(path: Path, norms: Tensor) -> bool:
    """Whether a file holds just these norms."""
    if not path.is_file():
        return False
    try:
        content = read_torch(path)
    except CheckpointError:
        return False
    return isinstance(content, Tensor) and content.shape == norms.shape and bool((content == norms).all())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
