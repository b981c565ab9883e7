"""Where a recipe's pairs come from: a folder of them, or a teacher that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

from vqbench.config.models import (
    ConfigModel,
    Fault,
    Several,
    exactly_one,
    path_as_written,
    path_in_file,
    reject,
    shown,
)
from vqbench.config.source import POCKET, DataSource, Sentences
from vqbench.files import near_files


def _pairs_folder(value: Any, info: ValidationInfo) -> str:
    if not isinstance(value, str | Path):
        raise reject(Fault((), f"expected a folder, got {shown(value)}"))
    if "://" in str(value):
        return str(value)
    path = path_in_file(str(value), info)
    if info.context is not None:
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
        except OSError as error:
            raise reject(Fault((), f"{shown(value)} cannot be read: {error.strerror}")) from None
        if not is_folder:
            there = f"{shown(value)} is a file" if is_file else f"there is no folder {shown(value)}{near_files(path)}"
            made = "vqbench pairs generate -o that folder makes it"
            raise reject(Fault((), there, expected=f"a folder of pairs at {path}", fix=made))
    return str(path)


def _folder_as_written(value: str, info: SerializationInfo) -> str:
    return value if "://" in value else path_as_written(Path(value), info)


class PairSourceConfig(ConfigModel):
    """What a teacher's GPT wrote, and how it sounds: a folder of it, or how much of it to make."""

    folder: Annotated[str, BeforeValidator(_pairs_folder), PlainSerializer(_folder_as_written)] | None = None
    """A folder that `vqbench pairs generate` wrote, relative to the recipe, or an fsspec URL of one (`s3://…`)."""

    n: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Instead of a folder: so many utterances are made by the recipe's teacher, in the training's own folder."""

    sentences: Sentences = POCKET
    """What is said where pairs are made: `pocket`, that TorToiSe's grammar, or a text file with one sentence a line."""

    voices: DataSource | None = None
    """Recordings of the voices where pairs are made; the teacher's own where it is left out."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides all that is random where pairs are made."""

    hold_out_speakers: Several[str] = ()
    """Speakers of whom nothing is trained on where pairs are made."""

    limit: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Only the first so many training pairs; all of them where it is left out."""

    validation_share: float = Field(default=0.05, ge=0, le=0.5)
    """Share of the training sentences that is held out for validation."""

    validation_speakers: Several[str] = ()
    """Speakers that are held out for validation, whatever they say."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One source, and no settings of making where nothing is made."""
        yield from exactly_one(data, "folder", "n")
        if data.get("folder") is not None:
            for key in ("sentences", "voices", "seed", "hold_out_speakers"):
                if key in data and data[key] not in (None, cls.model_fields[key].get_default()):
                    yield Fault((key,), "it says how pairs are made, but these are made already", fix="leave it out")
