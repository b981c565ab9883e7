"""Where clips come from, and who teaches, as suites and recipes write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

from vqbench.config.models import (
    ConfigModel,
    ExistingPath,
    Fault,
    Several,
    exactly_one,
    existing_file,
    must_exist,
    path_as_written,
    path_in_file,
    reject,
    shown,
)
from vqbench.config.registered import CorpusName, FormatName
from vqbench.errors import DataError
from vqbench.languages import language_of
from vqbench.registries import TEACHERS

POCKET = "pocket"
"""How the small TorToiSe that vqbench brings along is called, and its VQVAE."""

TORTOISE_NORMS = "tortoise"
"""How TorToiSe's own mel norms are called."""

DVAE_FILE = "dvae.pth"
"""The VQVAE in a folder as TorToiSe and XTTS publish it."""

MEL_STATS_FILE = "mel_stats.pth"
"""XTTS's mel norms, which lie beside its `dvae.pth`."""


def _teacher(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or value in TEACHERS:
        return value
    path = path_in_file(value, info)
    if info.context is not None:
        must_exist(path, value, folders=True)
    return str(path)


def weights_file(value: Any, info: ValidationInfo) -> Path:
    """Finds a file of weights that must be there, or `dvae.pth` in a folder; a link keeps its name."""
    if not isinstance(value, str | Path):
        raise reject(Fault((), f"expected a path, got {shown(value)}"))
    path = path_in_file(str(value), info, follow_links=True)
    if info.context is None:
        return path
    must_exist(path, str(value), folders=True)
    if not path.is_dir():
        return path
    if not (path / DVAE_FILE).is_file():
        raise reject(Fault((), f"{shown(value)} is a folder without a {DVAE_FILE}", expected=f"a file at {path}"))
    return path / DVAE_FILE


def _vqvae(value: Any, info: ValidationInfo) -> Path:
    return Path(POCKET) if value == POCKET else weights_file(value, info)


def _norms(value: Any, info: ValidationInfo) -> Path:
    if value == TORTOISE_NORMS:
        return Path(TORTOISE_NORMS)
    if not isinstance(value, str | Path):
        raise reject(Fault((), f"expected a path, got {shown(value)}"))
    path = path_in_file(str(value), info, follow_links=True)
    if info.context is not None:
        must_exist(path, str(value))
    return path


def _sentences(value: Any, info: ValidationInfo) -> Any:
    return value if not isinstance(value, str) or value == POCKET else str(existing_file(value, info))


def _language(value: Any) -> Any:
    try:
        return language_of(value).code if isinstance(value, str) else value
    except DataError as error:
        raise reject(Fault((), error.problem, error.expected)) from None


def _known_or_path(value: str | Path, info: SerializationInfo) -> str:
    return POCKET if str(value) == POCKET else path_as_written(Path(value), info)


def _teacher_as_written(value: str, info: SerializationInfo) -> str:
    return value if value in TEACHERS else path_as_written(Path(value), info)


TeacherName = Annotated[
    str, Field(min_length=1, max_length=4096), BeforeValidator(_teacher), PlainSerializer(_teacher_as_written)
]
"""A teacher by its name, `pocket` say, or a folder with TorToiSe's official checkpoints."""

Checkpoint = Annotated[Path, BeforeValidator(_vqvae), PlainSerializer(_known_or_path)]
"""A file with a VQVAE's weights, a folder with `dvae.pth`, or `pocket`, for that TorToiSe's own."""

MelNorms = Annotated[Path, BeforeValidator(_norms), PlainSerializer(path_as_written, return_type=str)]
"""A file with the divisors of a mel, or `tortoise`, for TorToiSe's own."""

Sentences = Annotated[
    str, Field(min_length=1, max_length=4096), BeforeValidator(_sentences), PlainSerializer(_known_or_path)
]
"""`pocket`, the pocket TorToiSe's grammar, or a text file with one sentence a line."""


class DataSource(ConfigModel):
    """Clips of a corpus known by name, or of a manifest: exactly one of the two."""

    corpus: CorpusName | None = Field(default=None, title="known corpus")
    """A corpus that vqbench finds by name."""

    manifest: ExistingPath | None = None
    """A list of clips or a folder of them, relative to the file that names it: vqbench's own JSONL, or what other tools
    write (docs/formats.md)."""

    format: FormatName | None = None
    """How the manifest is read; where it is left out, its content tells."""

    max_clip_s: float | None = Field(default=None, gt=0, le=86_400)
    """Longer recordings of the manifest, or segments of them, are not decoded, and count as unscored; 600 s where it is
    left out."""

    split: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Only the clips of this split; all of them where it is left out."""

    limit: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """At most this many clips, the first ones."""

    speakers: Several[str] | None = Field(default=None, min_length=1)
    """Of these, only the clips of these speakers; all of them where it is left out."""

    language: Annotated[str, Field(pattern="^[a-z]{2,3}$"), BeforeValidator(_language)] | None = Field(
        default=None, title="language"
    )
    """Language of the clips that name none: an ISO 639-1 code, e.g. `en`, `vi` or `zh`, or `yue`."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Exactly one of corpus and manifest; what is said of a manifest needs one."""
        yield from exactly_one(data, "corpus", "manifest")
        for key in ("format", "max_clip_s"):
            if data.get(key) is not None and data.get("manifest") is None:
                yield Fault((key,), "this is for a manifest, and there is none")
