"""NeMo's manifest: JSON lines with `audio_filepath`."""

from __future__ import annotations

from collections.abc import Iterator

from vqbench.data.clip import Line
from vqbench.data.formats.base import LANGUAGE_NAMES, SPEAKER_NAMES, Source, first_of, line_of
from vqbench.errors import DataError


class Nemo:
    """`{"audio_filepath": "a.wav", "offset": 1.5, "duration": 3.2, "text": "…", "speaker": "a"}`."""

    title = 'NeMo\'s JSON lines, {"audio_filepath": …, "duration": …, "text": …}'

    def knows(self, source: Source) -> bool:
        """By the key that no other format has."""
        return "audio_filepath" in source.object()

    def lines(self, source: Source) -> Iterator[Line]:
        """As NeMo itself reads them: `duration` seconds from `offset`, or from the start."""
        for where, found in source.objects():
            if isinstance(found, DataError):
                yield Line(where, error=found)
                continue
            path = found.pop("audio_filepath", None)
            if not isinstance(path, str):
                yield Line(where, error=DataError("the key 'audio_filepath' is missing, or no text"))
                continue
            duration, offset = found.pop("duration", None), found.pop("offset", None)
            start = 0 if offset is None and duration is not None else offset
            _, speaker = first_of(found, SPEAKER_NAMES)
            _, language = first_of(found, LANGUAGE_NAMES)
            yield line_of(
                where,
                source,
                path,
                found,
                id=_name(found.pop("id", None)),
                start_s=start,
                duration_s=duration,
                text=found.pop("text", None),
                speaker=_name(speaker),
                language=language,
            )


def _name(value: object) -> object:
    """Numbers are names as well."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
