"""Our own manifest: one JSON object a line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vqbench.data.clip import CHECKS, Line
from vqbench.data.formats.base import Source
from vqbench.errors import DataError, did_you_mean

_OTHERS = {"audio_filepath", "file_name", "recording", "supervisions"}


class Ours:
    """`{"id": "a/1", "path": "wavs/a1.flac", "text": "Hello there."}`; other keys are kept as columns."""

    title = 'vqbench\'s JSON lines, {"id": …, "path": …}'

    def knows(self, source: Source) -> bool:
        """Objects with an id or a path, also where the first line is broken."""
        found = source.object()
        if found:
            return bool({"id", "path"} & found.keys()) and not _OTHERS & found.keys()
        return source.first.lstrip().startswith("{") and re.search(r'"(id|path)"\s*:', source.first) is not None

    def lines(self, source: Source) -> Iterator[Line]:
        """A key that nearly is one of ours is kept, too, but said."""
        warned: set[str] = set()
        for where, found in source.objects():
            if isinstance(found, DataError):
                yield Line(where, error=found)
                continue
            columns = {key: value for key, value in found.items() if key not in CHECKS}
            for key in columns.keys() - warned:
                warned.add(key)
                # Letters out of order are the commonest slip, and unlike by difflib's measure.
                shuffled = next((known for known in CHECKS if sorted(known) == sorted(key.lower())), key)
                if near := did_you_mean(shuffled, CHECKS):
                    source.notes.append(f"the unknown key {key[:80]!r}{near} is kept as a column")
            yield Line(where, {key: found[key] for key in CHECKS if key in found}, columns)
