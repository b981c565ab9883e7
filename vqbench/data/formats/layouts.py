"""Corpora and folders that have no list: the layout of their files says what is what."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vqbench.data.clip import Line
from vqbench.data.formats.base import Source, files_below, is_sound, line_of, text_beside
from vqbench.errors import DataError

_LOOKED_AT = 100_000
"""Files of a folder that are looked at to tell what it is."""


class VCTK:
    """`wav48_silence_trimmed/p225/p225_001_mic1.flac` and `txt/p225/p225_001.txt`."""

    title = "VCTK's layout, wav48*/p225/p225_001*.flac and txt/p225/p225_001.txt"

    def knows(self, source: Source) -> bool:
        """By its folders."""
        return source.is_folder and (source.folder / "txt").is_dir() and self._sounds(source.folder) is not None

    def lines(self, source: Source) -> Iterator[Line]:
        """Of two microphones the first is taken; p315 has no texts."""
        sounds = self._sounds(source.folder)
        assert sounds is not None
        for path in files_below(sounds):
            if not is_sound(path.name) or path.parent == sounds:
                continue
            if path.stem.endswith("_mic2"):
                source.counts["recordings of the second microphone are left out"] += 1
                continue
            name = path.stem.removesuffix("_mic1")
            text = source.folder / "txt" / path.parent.name / f"{name}.txt"
            yield _beside(source, path, text, id=name, speaker=path.parent.name)

    @staticmethod
    def _sounds(folder: Path) -> Path | None:
        names = ("wav48_silence_trimmed", "wav48", "wav22", "wav16", "wav")
        return next((folder / name for name in names if (folder / name).is_dir()), None)


class LibriTTS:
    """`train-clean-100/84/121123/84_121123_000007_000000.wav` and `….normalized.txt` beside it."""

    title = "LibriTTS's layout, 84/121123/84_121123_….wav with .normalized.txt"

    def knows(self, source: Source) -> bool:
        """By the name of its texts."""
        some = islice(files_below(source.folder), 1000) if source.is_folder else ()
        return any(path.name.endswith(".normalized.txt") for path in some)

    def lines(self, source: Source) -> Iterator[Line]:
        """The normalised texts are taken; the folder above the speaker's is the split."""
        source.notes.append("the texts are the normalised ones")
        for path in files_below(source.folder):
            if is_sound(path.name):
                above = path.relative_to(source.folder).parts[:-1]
                split, speaker = (above[-3] if len(above) > 2 else None), (above[-2] if len(above) > 1 else None)
                text = path.with_suffix(".normalized.txt")
                yield _beside(source, path, text, id=path.stem, speaker=speaker, split=split)


class PlainFolder:
    """Recordings, each with a `.txt` or `.lab` of its name beside it, or without."""

    title = "a folder of recordings, with .txt beside them"

    def knows(self, source: Source) -> bool:
        """By any recording at all."""
        some = islice(files_below(source.folder), _LOOKED_AT) if source.is_folder else ()
        return any(is_sound(path.name) for path in some)

    def lines(self, source: Source) -> Iterator[Line]:
        """Where the recordings lie in several folders, the first folder's name is the speaker's."""
        sounds = [path for path in files_below(source.folder) if is_sound(path.name)]
        folders = {self._first(source, path) for path in sounds}
        several = len(folders) > 1 and None not in folders
        if several:
            source.notes.append("the speaker is the name of the folder")
        for path in sounds:
            text = next((t for s in (".txt", ".lab") if (t := path.with_suffix(s)).is_file()), path.with_suffix(".txt"))
            yield _beside(source, path, text, speaker=self._first(source, path) if several else None)

    @staticmethod
    def _first(source: Source, path: Path) -> str | None:
        above = path.relative_to(source.folder).parts[:-1]
        return above[0] if above else None


def _beside(source: Source, path: Path, text: Path, **values: str | None) -> Line:
    where, written = str(path), path.relative_to(source.folder).as_posix()
    try:
        said = text_beside(text)
    except DataError as error:
        return Line(where, error=error)
    return line_of(where, source, written, {}, text=said, **values)
