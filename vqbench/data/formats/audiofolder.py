"""Hugging Face's AudioFolder: `metadata.csv` or `metadata.jsonl` with `file_name`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqbench.data.clip import Line
from vqbench.data.formats.base import LANGUAGE_NAMES, SPEAKER_NAMES, TEXT_NAMES, Source, first_of, line_of
from vqbench.errors import DataError


class AudioFolder:
    """`file_name,transcription` and a line a recording, or the same as JSON lines."""

    title = "Hugging Face's AudioFolder, metadata.csv or .jsonl with file_name"

    def knows(self, source: Source) -> bool:
        """By the column `file_name`."""
        return "file_name" in source.object() or _delimiter(source) is not None

    def lines(self, source: Source) -> Iterator[Line]:
        """All columns are kept; which one is taken for the text is said."""
        delimiter = _delimiter(source)
        rows = source.objects() if delimiter is None else source.table(delimiter)
        for number, (where, found) in enumerate(rows):
            if isinstance(found, DataError):
                yield Line(where, error=found)
                continue
            path = found.pop("file_name", None)
            if not isinstance(path, str) or not path:
                yield Line(where, error=DataError("there is no 'file_name'"))
                continue
            yield row_line(where, source, path, found, tell=not number)


def row_line(where: str, source: Source, path: str, row: dict[str, Any], tell: bool, **values: Any) -> Line:
    """A row of a table whose columns have the names that data sets give them."""
    names = ", ".join(row)
    column, text = first_of(row, TEXT_NAMES)
    spoken_by, speaker = first_of(row, SPEAKER_NAMES)
    _, language = first_of(row, LANGUAGE_NAMES)
    if tell and column != "text":
        source.notes.append(f"the text is the column {column!r}" if column else f"no column is a text: {names}")
    if tell and spoken_by not in (None, "speaker"):
        source.notes.append(f"the speaker is the column {spoken_by!r}")
    speaker = str(speaker) if isinstance(speaker, int) else speaker
    split = row.pop("split", None)
    return line_of(where, source, path, row, text=text, speaker=speaker, language=language, split=split, **values)


def _delimiter(source: Source) -> str | None:
    return next((mark for mark in ",\t;" if "file_name" in (name.strip() for name in source.header(mark))), None)
