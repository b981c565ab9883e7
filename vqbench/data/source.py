"""Where clips come from, and who teaches, as suites and recipes write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

from vqbench.config import (
    ConfigModel,
    ExistingFile,
    Fault,
    Several,
    exactly_one,
    existing_file,
    must_exist,
    path_as_written,
    path_in_file,
    reject,
)
from vqbench.errors import DataError
from vqbench.languages import language_of

POCKET = "pocket"
"""How the small TorToiSe that vqbench brings along is called, and its VQVAE."""


def _teacher(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or value == POCKET:
        return value
    path = path_in_file(value, info)
    if info.context is not None:
        must_exist(path, value, folders=True)
    return str(path)


def _vqvae(value: Any, info: ValidationInfo) -> Path:
    return Path(POCKET) if value == POCKET else existing_file(value, info)


def _sentences(value: Any, info: ValidationInfo) -> Any:
    return value if not isinstance(value, str) or value == POCKET else str(existing_file(value, info))


def _language(value: Any) -> Any:
    try:
        return language_of(value).code if isinstance(value, str) else value
    except DataError as error:
        raise reject(Fault((), error.problem, error.expected)) from None


def _known_or_path(value: str | Path, info: SerializationInfo) -> str:
    return POCKET if str(value) == POCKET else path_as_written(Path(value), info)


TeacherName = Annotated[
    str, Field(min_length=1, max_length=4096), BeforeValidator(_teacher), PlainSerializer(_known_or_path)
]
"""`pocket`, or a folder with TorToiSe's official checkpoints."""

Checkpoint = Annotated[Path, BeforeValidator(_vqvae), PlainSerializer(_known_or_path)]
"""A file with a VQVAE's weights, or `pocket`, for that TorToiSe's own."""

Sentences = Annotated[
    str, Field(min_length=1, max_length=4096), BeforeValidator(_sentences), PlainSerializer(_known_or_path)
]
"""`pocket`, the pocket TorToiSe's grammar, or a text file with one sentence a line."""

CorpusName = Literal["tortoise-voices", "pocket"]
"""The corpora that vqbench can find by name."""


class DataSource(ConfigModel):
    """Clips of a corpus known by name, or of a manifest: exactly one of the two."""

    corpus: CorpusName | None = Field(default=None, title="known corpus")
    """A corpus that vqbench finds by name."""

    manifest: ExistingFile | None = None
    """A JSONL file with one clip a line, relative to the file that names it."""

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
        """Exactly one of corpus and manifest."""
        yield from exactly_one(data, "corpus", "manifest")
