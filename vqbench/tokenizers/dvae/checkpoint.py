"""VQVAE checkpoints: ours (safetensors with sizes and front end inside), TorToiSe's `dvae.pth`, XTTS's, and trainers'.

There is one reader for all (`docs/formats.md`). Every VQVAE is loaded strictly: the sizes are told from the shapes, and
then each key must be there with its shape. Pickles are read with `weights_only=True`: code in them is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.config.source import DVAE_FILE
from vqbench.errors import CheckpointError
from vqbench.files import write_whole
from vqbench.tokenizers.dvae.inside import find_vqvae
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.norms import find_norms, read_norms
from vqbench.tokenizers.dvae.state_dict import (
    is_safetensors,
    misfits,
    not_finite,
    not_plain,
    read_safetensors,
    read_torch,
)
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

FORMAT = 1
_METADATA_KEY = "vqbench"
_MAX_HEADER = 1 << 20
"""Characters of our header; it has some 3,000."""

_MAX_NOTE = 1000

START = "start"
"""In a checkpoint's provenance: the VQVAE that its training began with, where that was not vqbench's own."""


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
    """Loads a VQVAE checkpoint as a candidate; `loaded` of it says what was done and whose mel norms were taken.

    Args:
        path: a file, whatever its name: safetensors (ours, or others') or a torch file, of the official keys, below
            wrappers and a prefix perhaps; or a folder that holds `dvae.pth`.
        mel_norms: torch file with the divisors of the mel, or `tortoise`, where they are not those that are in the
            file or beside it (`mel_stats.pth`).
        device: where it shall run.

    Raises:
        CheckpointError: for anything but one whole, finite VQVAE, and where nobody knows its mel norms.
    """
    path = checkpoint_file(path)
    with _located(path):
        read = _read(path)
        size = read.dimensions.codebook_size
        if read.spec is None:
            norms, source = find_norms(path, mel_norms, size)
        elif mel_norms is not None:
            norms, source = read_norms(mel_norms)
        else:
            norms, source = read.spec.norms, ""
        spec = (read.spec or MelSpec()).with_norms(norms)
        if spec.n_mels != read.dimensions.n_mels:
            raise CheckpointError(
                f"the network reads {read.dimensions.n_mels} bands, its front end gives {spec.n_mels}",
                expected="the same number of mel bands",
            )
        dvae = _build(read.state, read.dimensions)
    notes = [*read.notes, *([f"mel norms: {source}"] if source else [])]
    # Names in it come from the file.
    loaded = "".join(c if c.isprintable() else "?" for c in f"{path.name} ({'; '.join(notes)})"[:_MAX_NOTE])
    return DVAETokenizer(dvae, spec, device, loaded if notes else None)


def load_codebook(path: Path) -> Tensor:
    """Reads the codebook of a VQVAE checkpoint, whatever mel it reads: (codebook_size, codebook_dim) float32.

    Raises:
        CheckpointError: for anything but one whole, finite VQVAE.
    """
    path = checkpoint_file(path)
    with _located(path):
        read = _read(path)
        return _build(read.state, read.dimensions).codebook.embed.t()


def checkpoint_file(path: Path) -> Path:
    """The file that is meant: of a folder its `dvae.pth`. Links are left as they are.

    Raises:
        CheckpointError: there is none.
    """
    if path.is_dir() and (path / DVAE_FILE).is_file():
        return path / DVAE_FILE
    if not path.is_file():
        problem = (
            f"there is no such checkpoint file{f': this is a folder without {DVAE_FILE}' if path.is_dir() else ''}"
        )
        raise CheckpointError(problem, where=str(path))
    return path


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Says of which file a fault is."""
    try:
        yield
    except CheckpointError as error:
        if error.where is None:
            error.where = str(path)
        raise
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"the checkpoint's header is not what vqbench writes ({error})", where=str(path)
        ) from error


@dataclass(frozen=True)
class _Read:
    """A VQVAE's tensors and sizes, the front end that its file carries, and what a reader should know."""

    state: dict[str, Tensor]
    dimensions: Dimensions
    spec: MelSpec | None
    notes: tuple[str, ...]


def _read(path: Path) -> _Read:
    content: object
    content, texts = read_safetensors(path) if is_safetensors(path) else (read_torch(path, mapped=True), {})
    found = find_vqvae(content)
    if faults := not_plain(found.state):
        raise CheckpointError(f"the checkpoint does not fit the VQVAE: {faults}")
    dimensions = Dimensions.of_state_dict(found.state)
    doubles = any(tensor.dtype == torch.float64 for tensor in found.state.values())
    notes = (*found.notes, *(["float64 rounded to float32"] if doubles else []))
    if _METADATA_KEY not in texts:
        return _Read(found.state, dimensions, None, notes)
    header = _parse(texts[_METADATA_KEY])
    if Dimensions(**header["dimensions"]) != dimensions:
        raise CheckpointError("the sizes in the header disagree with the tensors", expected=str(dimensions))
    spec = MelSpec(**{**header["front_end"], "norms": tuple(header["front_end"]["norms"])})
    start = header.get("provenance", {}).get(START)
    return _Read(found.state, dimensions, spec, (*notes, *([f"trained on from {start}"] if start else [])))


def _parse(text: str) -> dict[str, Any]:
    """Vqbench's own header."""
    if len(text) > _MAX_HEADER:
        raise CheckpointError(f"the checkpoint's header is not what vqbench writes ({len(text):,} characters)")
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"the checkpoint's format is {header.get('format') if isinstance(header, dict) else header!r}",
            expected=f"format {FORMAT}",
            fix="use the vqbench version that wrote it, or train again",
        )
    return header


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
    # Copied: a file may be written anew while its weights are at work.
    whole = {key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()}
    dvae.load_state_dict(whole, strict=True, assign=True)
    return dvae
