"""coqui's own format, which every fine-tuner of XTTS has: `metadata_train.csv`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from vqbench.data.clip import Line
from vqbench.data.formats.base import Source, line_of
from vqbench.errors import DataError

_QUOTED = re.compile('"(?:[^"]|"")*"')


class Coqui:
    """`audio_file|text|speaker_name`, with that header."""

    title = "coqui's audio_file|text|speaker_name"

    def knows(self, source: Source) -> bool:
        """By its header."""
        return {"audio_file", "text"} <= {name.strip() for name in source.header("|")}

    def lines(self, source: Source) -> Iterator[Line]:
        """Further columns, such as `emotion_name`, are kept."""
        header: list[str] = []
        for where, line in source.text_lines():
            if not header:
                header = [name.strip() for name in line.split("|")]
                continue
            fields = _fields(line, len(header))
            row = dict(zip(header, fields, strict=False))
            if len(fields) != len(header):
                # An unquoted bar in a text would cut it short, and nobody would know.
                problem = f"the line has {len(fields)} fields, the header {len(header)}"
                yield Line(where, error=DataError(problem, fix="put texts that hold '|' in quotes"))
                continue
            if not row["audio_file"]:
                yield Line(where, error=DataError("the line names no recording"))
                continue
            path, text, speaker = row.pop("audio_file"), row.pop("text"), row.pop("speaker_name", None)
            yield line_of(where, source, path, row, text=text, speaker=speaker)


def _fields(line: str, n: int) -> list[str]:
    """A line's fields: pandas puts in quotes what needs them, scripts write a text that begins with one as it is."""
    plain = line.split("|")
    if len(plain) == n:
        return [
            field[1:-1].replace('""', '"') if _QUOTED.fullmatch(field) else field for field in map(str.strip, plain)
        ]
    return next(csv.reader([line], delimiter="|"), [])
