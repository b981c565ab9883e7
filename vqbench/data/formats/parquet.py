"""Parquet as Hugging Face's data sets have it: the recordings' bytes inside the table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqbench.data.clip import Line
from vqbench.data.formats.audiofolder import row_line
from vqbench.data.formats.base import Source, name_of
from vqbench.errors import DataError
from vqbench.files import write_whole
from vqbench.paths import default_cache_folder

_ROWS_AT_ONCE = 16


class Parquet:
    """A column `audio: {bytes, path}`, and columns of text."""

    title = "Hugging Face's Parquet with a column audio: {bytes, path}"

    def knows(self, source: Source) -> bool:
        """By the file's first bytes."""
        return source.magic.startswith(b"PAR1")

    def lines(self, source: Source) -> Iterator[Line]:
        """The recordings are written to the cache, by their content, and read from there."""
        import pyarrow
        from pyarrow import parquet

        folder = default_cache_folder() / "recordings"
        try:
            with parquet.ParquetFile(source.path) as file:
                audio = _audio_column(file.schema_arrow, str(source.path))
                source.notes.append(f"the recordings are read from {folder}")
                row = 0
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                    for found in batch.to_pylist():
                        yield _line(source, row, found, audio, folder)
                        row += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"the Parquet file cannot be read: {error}", where=str(source.path)) from error


def _audio_column(schema: Any, where: str) -> str:
    import pyarrow

    found = [
        field.name
        for field in schema
        if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    if not found:
        problem = f"no column holds recordings; there are {', '.join(schema.names[:20])}"
        raise DataError(problem, where=where, expected="a column audio: {bytes, path}")
    return "audio" if "audio" in found else str(found[0])


def _line(source: Source, row: int, found: dict[str, Any], audio: str, folder: Path) -> Line:
    where = f"{source.path}:{row + 1}"
    held = found.pop(audio) or {}
    content, written = held.get("bytes"), held.get("path")
    if not isinstance(content, bytes | None) or not isinstance(written, str | None):
        return Line(where, error=DataError("the recording is no bytes, or its path no text"))
    digest = None
    if content:
        digest = hashlib.sha256(content).hexdigest()
        suffix = Path(written or "").suffix.lower()
        path = folder / digest[:2] / (digest + (suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""))
        if not path.is_file() or path.stat().st_size != len(content):
            write_whole(path, content)
        place = str(path)
    elif written:
        place = written
    else:
        return Line(where, error=DataError("the row has no recording"))
    named = found.pop("id", None)
    name = named if isinstance(named, str) and named else name_of(written, source.folder) if written else None
    name = name or f"{source.path.stem}-{row:06d}"
    columns = {key: value for key, value in found.items() if isinstance(value, str | int | float)}
    return row_line(where, source, place, columns, tell=not row, id=name, sha256=digest)
