"""coqui's own format, which every fine-tuner of XTTS has: `metadata_train.csv`."""

from __future__ import annotations

from collections.abc import Iterator

from vqbench.data.clip import Line
from vqbench.data.formats.base import Source, line_of
from vqbench.errors import DataError


class Coqui:
    """`audio_file|text|speaker_name`, with that header; pandas writes it, and puts in quotes what needs them."""

    title = "coqui's audio_file|text|speaker_name"

    def knows(self, source: Source) -> bool:
        """By its header."""
        return {"audio_file", "text"} <= {name.strip() for name in source.header("|")}

    def lines(self, source: Source) -> Iterator[Line]:
        """Further columns, such as `emotion_name`, are kept."""
        for where, row in source.table("|"):
            path, text, speaker = row.pop("audio_file", ""), row.pop("text", None), row.pop("speaker_name", None)
            if text is None or not path:
                yield Line(where, error=DataError("the line has too few fields", expected=self.title))
                continue
            yield line_of(where, source, path, row, text=text, speaker=speaker)
