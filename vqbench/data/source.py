"""Where clips come from, as suites and recipes write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from vqbench.config import ConfigModel, ExistingFile, Fault, exactly_one

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
    """At most this many clips."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Exactly one of corpus and manifest."""
        yield from exactly_one(data, "corpus", "manifest")
