"""Turns a Whisper in CTranslate2's format into openai-whisper's, so that both backends run on the same weights offline.

A folder holds `model.bin`, little-endian and unaligned, in binary version 6:

    uint32  6
    string  "WhisperSpec"                    string: uint16 length with the closing NUL, then the bytes
    uint32  revision
    uint32  number of variables; each:
        string  name, e.g. "encoder/layer_0/ffn/linear_0/weight"
        uint8   rank, then as many uint32 sizes
        uint8   type: 0 float32, 1 int8, 2 int16, 3 int32, 4 float16, 5 bfloat16
        uint32  number of bytes, then the values, row by row
    uint32  number of aliases; each: two strings, the alias and the variable that it stands for

Scalars describe the network (number of heads, activation); tensors are its weights. CTranslate2 joins the query, key
and value projections of self-attention into one matrix, and key and value of cross-attention into another; the key has
no bias in Whisper, and zeros there.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import CheckpointError
from vqbench.judges.prerequisites import import_judge

_BINARY_VERSION = 6
_SPEC = "WhisperSpec"
_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}  # numpy has no bfloat16
_FLOATS = ("<f4", "<f2")
_EXPECTED = "a Whisper in CTranslate2's format with float16 or float32 weights"

# CTranslate2's layer → openai-whisper's; several names are one matrix there, joined row by row.
_OUTER_LAYERS = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.ln_post",
    "decoder/layer_norm": "decoder.ln",
    "decoder/embeddings": "decoder.token_embedding",
}
_BLOCK_LAYERS = {
    "self_attention/layer_norm": ("attn_ln",),
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "attention/layer_norm": ("cross_attn_ln",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "ffn/layer_norm": ("mlp_ln",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}
_LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_POSITIONS = {f"{side}/position_encodings/encodings": f"{side}.positional_embedding" for side in ("encoder", "decoder")}


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Reads all variables of a `model.bin`.

    Args:
        path: the file.

    Returns:
        name → array of the stored shape and type; scalars have shape ().

    Raises:
        CheckpointError: where the file is missing, truncated, of another kind or version.
    """
    try:
        reader = _Reader(path.read_bytes(), str(path))
    except OSError as error:
        raise CheckpointError(
            f"the file cannot be read: {error.strerror}", where=str(path), expected=_EXPECTED
        ) from error
    version = reader.number("I")
    if version != _BINARY_VERSION or (spec := reader.string()) != _SPEC:
        what = f"binary version {version}" if version != _BINARY_VERSION else f"the specification {spec!r}"
        raise reader.error(f"this is another kind of file: {what}")
    reader.number("I")
    variables = dict(reader.variable() for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        reader.string(), reader.string()
    if reader.position != len(reader.data):
        raise reader.error(f"{len(reader.data) - reader.position} bytes follow the end")
    return variables


def load_converted_whisper(folder: Path) -> Any:
    """Builds openai-whisper's model from a folder in CTranslate2's format, all keys matched strictly.

    Args:
        folder: holds `model.bin` with float16 or float32 weights.

    Returns:
        A `whisper.model.Whisper` in float32 on the CPU.

    Raises:
        CheckpointError: where `model.bin` is missing, truncated, foreign or quantised.
    """
    whisper_model = import_judge("whisper.model", "speech recognition")
    path = folder / "model.bin"
    variables = read_variables(path)
    state = _converted(variables, str(path))
    try:
        model = whisper_model.Whisper(whisper_model.ModelDimensions(**_dimensions(variables, state)))
        model.load_state_dict(state, strict=True)
    except KeyError as error:
        raise CheckpointError(f"the variable {error} is missing", where=str(path), expected=_EXPECTED) from error
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit together: {error}", where=str(path), expected=_EXPECTED
        ) from error
    return model


def _converted(variables: Mapping[str, np.ndarray], where: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, array in variables.items():
        if array.ndim == 0:
            continue
        if array.dtype.str not in _FLOATS:
            raise CheckpointError(
                f"the weights {name!r} are quantised or bfloat16 ({array.dtype.name} here)",
                where=where,
                expected=_EXPECTED,
            )
        keys = _keys(name)
        if keys is None:
            raise CheckpointError(f"{name!r} is no part of a Whisper", where=where, expected=_EXPECTED)
        values = torch.from_numpy(array.astype(np.float32)).chunk(len(keys))
        for key, value in zip(keys, values, strict=True):
            if not key.endswith(".key.bias"):
                state[key] = value
            elif value.any():
                raise CheckpointError(f"the keys in {name!r} have a bias", where=where, expected=_EXPECTED)
    return state


def _keys(name: str) -> list[str] | None:
    """The keys in openai-whisper's state_dict that one variable holds; None for an unknown one."""
    if name in _POSITIONS:
        return [_POSITIONS[name]]
    layer, _, leaf = name.rpartition("/")
    if leaf not in _LEAVES:
        return None
    if layer in _OUTER_LAYERS:
        return [f"{_OUTER_LAYERS[layer]}.{_LEAVES[leaf]}"]
    block = re.fullmatch(r"(encoder|decoder)/layer_(\d+)/(.+)", layer)
    if block is None or block[3] not in _BLOCK_LAYERS:
        return None
    return [f"{block[1]}.blocks.{block[2]}.{part}.{_LEAVES[leaf]}" for part in _BLOCK_LAYERS[block[3]]]


def _dimensions(variables: Mapping[str, np.ndarray], state: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes, from the shapes; KeyError where a variable is missing."""
    n_audio_ctx, n_audio_state = state["encoder.positional_embedding"].shape
    n_text_ctx, n_text_state = state["decoder.positional_embedding"].shape
    return {
        "n_mels": state["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": n_audio_ctx,
        "n_audio_state": n_audio_state,
        "n_audio_head": int(variables["encoder/num_heads"]),
        "n_audio_layer": _n_blocks(state, "encoder"),
        "n_vocab": state["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": n_text_ctx,
        "n_text_state": n_text_state,
        "n_text_head": int(variables["decoder/num_heads"]),
        "n_text_layer": _n_blocks(state, "decoder"),
    }


def _n_blocks(state: Mapping[str, Tensor], side: str) -> int:
    return len({key.split(".")[2] for key in state if key.startswith(f"{side}.blocks.")})


@dataclass
class _Reader:
    """Walks through the bytes; whatever does not fit is a CheckpointError that names the file."""

    data: bytes
    where: str
    position: int = 0

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(problem, where=self.where, expected=_EXPECTED)

    def take(self, n_bytes: int) -> memoryview:
        if n_bytes > len(self.data) - self.position:
            raise self.error(f"truncated or foreign: the {len(self.data)} bytes end in the middle of a value")
        self.position += n_bytes
        return memoryview(self.data)[self.position - n_bytes : self.position]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return int(value)

    def string(self) -> str:
        raw = bytes(self.take(self.number("H")))
        try:
            return raw.rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise self.error("truncated or foreign: a name is no text") from error

    def variable(self) -> tuple[str, np.ndarray]:
        name = self.string()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        kind, n_bytes = self.number("B"), self.number("I")
        if kind not in _TYPES or math.prod(shape) * np.dtype(_TYPES[kind]).itemsize != n_bytes:
            raise self.error(f"the variable {name!r} contradicts itself: shape {shape}, type {kind}, {n_bytes} bytes")
        return name, np.frombuffer(self.take(n_bytes), dtype=_TYPES[kind]).reshape(shape)
