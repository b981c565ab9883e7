"""From a file or folder of any format that is known to clips; what was recognised and assumed is told in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vqbench.data.clip import MAX_FAULTS, Clip, Line, check_lines
from vqbench.data.formats.base import Format, Source, files_below
from vqbench.data.formats.commonvoice import SPLITS
from vqbench.data.recordings import MAX_CLIP_S, Recordings, notes_of, select
from vqbench.errors import DataError, did_you_mean, raise_all
from vqbench.notes import tell
from vqbench.registries import FORMATS

_LISTS = (
    {"manifest.jsonl": None},
    {"metadata.jsonl": None},
    {"metadata.csv": None},
    {"metadata_train.csv": "train", "metadata_eval.csv": "eval"},
    {"train.txt": "train", "validation.txt": "validation"},
    {f"{split}.tsv": split for split in SPLITS},
    {"validated.tsv": None},
)
"""Files by which a folder is read, with their splits; of two of these one has to be named, but for Common Voice's."""


@dataclass(frozen=True)
class FormattedSource:
    """A file or folder, the format that it is read by, and the split of its clips."""

    source: Source
    name: str
    format: Format
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a manifest says, before any recording is opened.

    Attributes:
        path: as it was named.
        format: its name in `FORMATS`.
        title: what that is.
        places: clip → where it is listed.
        faults: what is wrong, in the order of the lines.
        notes: what was assumed or skipped.
    """

    path: Path
    format: str
    title: str
    places: dict[Clip, str]
    faults: list[DataError]
    notes: list[str]


def read_clips(
    path: Path,
    *,
    format_name: str | None = None,
    folder: Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    max_clip_s: float = MAX_CLIP_S,
) -> list[Clip]:
    """Reads the clips of a file or folder, and looks at their recordings.

    Args:
        path: of any format in `FORMATS`.
        format_name: one of them; where left out, it is told by the content.
        folder: what paths are relative to; where left out, the file's own folder, or the folder.
        split: only the clips of this split.
        limit: at most so many of them, the first ones.
        max_clip_s: longer clips have a fault and are not decoded.

    Returns:
        at least one clip, in order, each compared with its recording.

    Raises:
        DataError: for one fault, `where` being `file:line`; also where no clip is left.
        ManyErrors: for several.
    """
    listing = list_clips(path, format_name, folder, None if split else limit)
    if listing.faults and not format_name:
        tell(f"{path}: read as {listing.title}")
    raise_all(listing.faults)
    clips: list[Clip] = []
    errors: list[DataError] = []
    recordings = Recordings(max_clip_s)
    for clip in select(list(listing.places), split, limit, where=str(path)):
        try:
            clips.append(recordings.verify(clip))
        except DataError as error:
            place = listing.places[clip]
            errors.append(DataError(error.problem, where=place, expected=error.expected, fix=error.fix))
        if len(errors) > MAX_FAULTS:
            errors.append(DataError("too many faults: the recordings from here on are not looked at", where=str(path)))
            break
    raise_all(errors)
    without = sum(not clip.text for clip in clips)
    lacking = [f"{without} without a text"] if 0 < without < len(clips) else []
    notes = [*listing.notes, *lacking, *notes_of(clips)]
    if notes or listing.format != "vqbench":
        tell(f"{path}: {listing.title}: {len(clips)} clips{''.join(f'; {note}' for note in notes)}")
    return clips


def list_clips(
    path: Path,
    format_name: str | None = None,
    folder: Path | None = None,
    limit: int | None = None,
    max_faults: int = MAX_FAULTS,
) -> Listing:
    """Reads what a file or folder says of its clips; that their recordings are there is all that is asked of them.

    Args:
        path: of any format.
        format_name: one of `FORMATS`, or None, to tell it by the content.
        folder: what paths are relative to.
        limit: after so many clips nothing is read on, but for our own manifests, which are checked whole.
        max_faults: after so many neither.

    Raises:
        DataError: no format knows it, or several files of a folder may be meant.
    """
    source = Source(path, folder)
    parts = [FormattedSource(source, format_name, open_format(format_name))] if format_name else recognise(source)
    whole = any(part.name == "vqbench" for part in parts)
    places, faults = check_lines(_lines(parts), str(path), source.folder, None if whole else limit, max_faults)
    notes = [note for part in parts for note in part.source.notes]
    for part in parts:
        notes += [f"{n} {what}" for what, n in part.source.counts.items()]
    if len(parts) > 1:
        notes.insert(0, f"files: {', '.join(part.source.path.name for part in parts[:5])}{', …' * (len(parts) > 5)}")
    return Listing(path, parts[0].name, parts[0].format.title, places, faults, list(dict.fromkeys(notes)))


def _lines(parts: list[FormattedSource]) -> Iterator[Line]:
    for part in parts:
        for line in part.format.lines(part.source):
            if part.split and not line.error and line.values.get("split") is None:
                line = replace(line, values={**line.values, "split": part.split})
            yield line


def open_format(name: str) -> Format:
    """A format by its name.

    Raises:
        DataError: there is none of that name.
    """
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise DataError(f"{name!r} is not a format{did_you_mean(name, FORMATS)}", expected=f"one of {known}")
    made: Format = FORMATS.load(name)()
    return made


def recognise(source: Source) -> list[FormattedSource]:
    """Tells the format of a file or folder by its content; a folder may be read by several files in it.

    Raises:
        DataError: none knows it, with what it looks like; or several files may be meant.
    """
    if source.is_folder and (listed := _listed(source)):
        return listed
    for name in FORMATS:
        format_ = open_format(name)
        if format_.knows(source):
            return [FormattedSource(source, name, format_)]
    where = str(source.path)
    if not source.is_folder and not source.magic.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError("the manifest has no clips", where=where, expected="one clip a line")
    if source.magic.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the manifest is UTF-16 text", where=where, fix="save it as UTF-8")
    raise DataError(
        f"this lists no clips in a way that is known; it looks like {looks_like(source)}",
        where=where,
        expected=f"clips listed as {', '.join(FORMATS)} have them (docs/formats.md shows each)",
        fix="where it is one of these, name it with `format:` (--format)",
    )


def _listed(source: Source) -> list[FormattedSource]:
    """The files by which a folder is read; none where there are none."""
    found: list[list[FormattedSource]] = []
    for group in _LISTS:
        parts = [
            FormattedSource(inner, name, format_, split)
            for file, split in group.items()
            if (source.folder / file).is_file()
            for inner in (Source(source.folder / file, source.folder),)
            for name in FORMATS
            if (format_ := open_format(name)).knows(inner)
        ]
        # A file is read as the first format that knows it.
        first = {part.source.path: part for part in reversed(parts)}
        if first and not (found and found[-1][0].name == "commonvoice"):
            found.append(list(reversed(first.values())))
    tables = sorted([*source.folder.glob("*.parquet"), *source.folder.glob("data/*.parquet")])
    if tables:
        parquet = open_format("parquet")
        found.append([FormattedSource(Source(p, source.folder), "parquet", parquet, _split(p)) for p in tables])
    if len(found) > 1:
        names = ", ".join(part.source.path.name for parts in found for part in parts)
        raise DataError(f"the folder has several lists of clips: {names}", where=str(source.path), fix="name one")
    return found[0] if found else []


def _split(table: Path) -> str | None:
    """`train-00000-of-00002.parquet` is of the split train."""
    return table.stem.split("-")[0] if "-of-" in table.stem else None


def looks_like(source: Source) -> str:
    """A file or folder that no format knows, in a few words."""
    if source.is_folder:
        names = [path.name for _, path in zip(range(3), files_below(source.folder), strict=False)]
        return f"a folder without recordings, with {', '.join(names)}" if names else "an empty folder"
    for magic, what in (
        (b"PK\x03\x04", "a zip archive, which has to be unpacked"),
        (b"RIFF", "a recording, a WAV"),
        (b"fLaC", "a recording, a FLAC"),
        (b"OggS", "a recording, an Ogg"),
        (b"ID3", "a recording, an MP3"),
    ):
        if source.magic.startswith(magic):
            return what
    if not source.head:
        return "no text"
    first = source.first.strip()
    if first.startswith("{"):
        keys = source.object()
        return f"JSON lines with the keys {_few(keys)}" if keys else f"JSON that is no object a line, {_cut(first)}"
    if first.startswith(("[{", "[[", '["')) or first == "[":
        return "a JSON list, not one object a line"
    for mark, name in (("|", "|"), ("\t", "tabs"), (",", "commas"), (";", "semicolons")):
        fields = source.header(mark)
        if len(fields) > 1:
            if mark in ",;\t" and all(field.strip() and len(field) < 40 for field in fields):
                return f"a table, its columns, between {name}: {_few(fields)}"
            return f"lines of {len(fields)} fields between {name}, {_cut(first)}"
    return f"plain text, {_cut(first)}"


def _few(names: object) -> str:
    shown = [_plain(str(name))[:40] for name in list(names)[:12]]  # type: ignore[call-overload]
    return ", ".join(shown)


def _cut(text: str) -> str:
    text = _plain(text)
    return json.dumps(text if len(text) <= 60 else f"{text[:57]}...", ensure_ascii=False)


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
