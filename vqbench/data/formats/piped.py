"""Lists without a header, their fields between bars or tabs: LJSpeech's, and those that begin with a path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vqbench.data.clip import Line
from vqbench.data.formats.base import SOUNDS, Source, is_sound, line_of
from vqbench.errors import DataError


class LJSpeech:
    """`id|text|normalised text`, or `id|text`; the recording is `wavs/id.wav`."""

    title = "LJSpeech's id|text|normalised text, wavs/id.wav beside it"

    def knows(self, source: Source) -> bool:
        """Two or three fields in every line, the first a name, each another."""
        for mark in "|\t":
            rows = [line.split(mark) for line in source.head]
            names = [row[0].strip() for row in rows]
            if (
                rows
                and all(2 <= len(row) <= 3 for row in rows)
                and all(name and len(name.split()) == 1 and not name.startswith(("{", "[", "#")) for name in names)
                and len(set(names)) == len(names)
                and not any(is_sound(name) for name in names)
                and not {"id", "text", "path", "file"} & {name.lower() for name in rows[0]}
            ):
                return True
        return False

    def lines(self, source: Source) -> Iterator[Line]:
        """The normalised text is taken where there is one, as those who train on LJSpeech do."""
        mark = _mark(source)
        told = False
        for where, line in source.text_lines():
            name, *texts = (field.strip() for field in line.split(mark))
            if not 1 <= len(texts) <= 2:
                yield Line(where, error=_number_of_fields(len(texts) + 1))
                continue
            if not told:
                told = True
                source.notes.append(
                    "the text is the third field, normalised" if texts[1:] else "the text is the second"
                )
            columns = {"text as written": texts[0]} if texts[1:] and texts[0] != texts[-1] else {}
            yield line_of(where, source, _recording(source.folder, name), columns, id=name, text=texts[-1] or texts[0])


class Paths:
    """`wavs/x.wav|text`, or `wavs/x.wav|text|speaker`, as DL-Art-School and the web interfaces of TorToiSe have it."""

    title = "wavs/x.wav|text, or wavs/x.wav|text|speaker"

    def knows(self, source: Source) -> bool:
        """Two or three fields, the first a recording's path."""
        return any(2 <= len(source.first.split(mark)) <= 3 and is_sound(source.first.split(mark)[0]) for mark in "|\t")

    def lines(self, source: Source) -> Iterator[Line]:
        """What a third field is, is told by how it looks, and said."""
        mark = _mark(source)
        rows = [[field.strip() for field in line.split(mark)] for line in source.head]
        third = [row for row in rows if len(row) == 3]
        normalised = bool(third) and _are_texts(third)
        if third:
            source.notes.append(f"the third field is {'the text, normalised' if normalised else 'the speaker'}")
        for where, line in source.text_lines():
            path, *rest = (field.strip() for field in line.split(mark))
            if not 1 <= len(rest) <= 2:
                yield Line(where, error=_number_of_fields(len(rest) + 1))
                continue
            text = rest[1] or rest[0] if normalised and rest[1:] else rest[0]
            columns = {"text as written": rest[0]} if text != rest[0] else {}
            speaker = None if normalised or not rest[1:] else rest[1]
            yield line_of(where, source, path, columns, text=text, speaker=speaker)


def _are_texts(rows: Sequence[Sequence[str]]) -> bool:
    """Whether third fields say the same as second ones, rather than name who says it: most are like long and differ."""
    alike = sum(2 * len(third.split()) >= len(second.split()) for _, second, third in rows)
    return 2 * alike > len(rows) and 2 * len({third for _, _, third in rows}) > len(rows)


def _mark(source: Source) -> str:
    return "|" if "|" in source.first else "\t"


def _number_of_fields(n: int) -> DataError:
    return DataError(f"the line has {n} field{'s' if n > 1 else ''}", expected="2 or 3")


def _recording(folder: Path, name: str) -> str:
    """`wavs/name.wav`, or what else of that name is there."""
    for suffix in (".wav", *sorted(SOUNDS - {".wav"})):
        if (folder / "wavs" / f"{name}{suffix}").is_file():
            return f"wavs/{name}{suffix}"
    return f"wavs/{name}.wav"
