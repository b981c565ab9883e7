"""Common Voice: a table with `path` and `sentence`, and the recordings in `clips/` beside it."""

from __future__ import annotations

from collections.abc import Iterator

from vqbench.data.clip import Line
from vqbench.data.formats.base import Source, is_sound, line_of
from vqbench.errors import DataError

SPLITS = ("train", "dev", "test")


class CommonVoice:
    """`client_id<tab>path<tab>sentence…`; a file's name is the split."""

    title = "Common Voice's table with path and sentence, clips/ beside it"

    def knows(self, source: Source) -> bool:
        """By two of its columns, between tabs."""
        return {"path", "sentence"} <= set(source.header("\t"))

    def lines(self, source: Source) -> Iterator[Line]:
        """The speaker is `client_id`, the language `locale`; all other columns are kept."""
        clips = source.folder / "clips"
        place = "clips/" if clips.is_dir() else ""
        split = source.path.name.split(".")[0]
        for where, row in source.table("\t", quoted=False):
            if isinstance(row, DataError):
                yield Line(where, error=row)
                continue
            path, text = row.pop("path", ""), row.pop("sentence", None)
            if not path:
                yield Line(where, error=DataError("the line names no recording"))
                continue
            path = path if is_sound(path) else f"{path}.mp3"  # as old releases have it
            speaker, language = row.pop("client_id", None), row.pop("locale", None)
            yield line_of(
                where, source, f"{place}{path}", row, text=text, speaker=speaker, language=language, split=split
            )
