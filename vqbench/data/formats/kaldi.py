"""Kaldi's data folder: `wav.scp`, `text`, `utt2spk` and `segments`. Nothing in it is ever executed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqbench.data.clip import Line
from vqbench.data.formats.base import Source, line_of
from vqbench.errors import DataError


class Kaldi:
    """A folder with `wav.scp`, each line a name and a path."""

    title = "a Kaldi folder with wav.scp, text, utt2spk, segments"

    def knows(self, source: Source) -> bool:
        """By `wav.scp`, which may be named itself."""
        return (source.is_folder and (source.folder / "wav.scp").is_file()) or source.path.name == "wav.scp"

    def lines(self, source: Source) -> Iterator[Line]:
        """One clip a segment, or a recording where there are no segments."""
        folder = source.folder
        texts, speakers, languages = (dict(_pairs(folder / name)) for name in ("text", "utt2spk", "utt2lang"))
        recordings = _wav_scp(folder / "wav.scp")
        if (folder / "reco2file_and_channel").is_file():
            source.notes.append("reco2file_and_channel is not read: all channels of a recording are averaged")
        if (folder / "segments").is_file():
            entries = _segments(folder / "segments", recordings)
        else:
            entries = ((where, name, path, None, None) for name, (where, path) in recordings.items())
        for where, name, path, start, duration in entries:
            if isinstance(path, DataError):
                yield Line(where, error=path)
                continue
            if texts and name not in texts:
                source.counts["utterances without a text"] += 1
            yield line_of(
                where,
                source,
                path,
                {},
                id=name,
                start_s=start,
                duration_s=duration,
                text=texts.get(name),
                speaker=speakers.get(name),
                language=languages.get(name),
            )


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The first word of each line, and the rest of it."""
    if path.is_file():
        for _, line in Source(path).text_lines():
            name, _, rest = line.strip().partition(" ") if " " in line.strip() else line.strip().partition("\t")
            yield name, rest.strip()


def _wav_scp(path: Path) -> dict[str, tuple[str, str | DataError]]:
    """Recording → its place in the file, and its path or why there is none."""
    found: dict[str, tuple[str, str | DataError]] = {}
    for where, line in Source(path).text_lines():
        name, _, written = line.strip().replace("\t", " ").partition(" ")
        found[name] = (where, _path(written.strip()))
    return found


def _path(written: str) -> str | DataError:
    if written.startswith("|") or written.endswith("|"):
        return DataError(
            "the recording is what a command gives, and commands are not run",
            expected="the path of a file",
            fix="run the commands yourself, e.g. with Kaldi's wav-copy, and name the files",
        )
    head, _, offset = written.rpartition(":")
    if head and offset.isdigit():
        return DataError(f"the recording stands inside an archive, {written!r}", expected="the path of a file")
    return written or DataError("there is no path behind the name")


def _segments(
    path: Path, recordings: dict[str, tuple[str, str | DataError]]
) -> Iterator[tuple[str, str, Any, Any, Any]]:
    for where, line in Source(path).text_lines():
        try:
            name, recording, begins, ends = line.split()[:4]
            start, end = float(begins), float(ends)
        except ValueError:
            yield where, "", DataError("this is no segment", expected="utterance recording start end"), None, None
            continue
        if recording not in recordings:
            yield where, name, DataError(f"wav.scp has no recording {recording!r}"), None, None
            continue
        # -1 is the recording's end.
        yield where, name, recordings[recording][1], start, None if end == -1 else round(end - start, 6)
