"""Our JSONL manifests, which list clips, one JSON object a line.

    {"id": "a/1", "path": "wavs/a1.flac", "text": "Hello there.", "speaker": "a", "split": "test", "language": "en"}

`id` and `path` are needed. `path` is relative to the manifest and stays inside its folder, unless written absolute;
links inside the folder are followed. With `start_s`, the clip is the segment of `duration_s` from there. `sha256` is
compared with the file, so that a changed recording cannot pass for the old one. Other keys are kept as columns.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from vqbench.data.clip import CHECKS, MAX_FAULTS, Clip, Line, to_clips
from vqbench.data.formats.base import json_object
from vqbench.data.reading import read_clips
from vqbench.data.recordings import select, verify
from vqbench.files import require_file, write_whole

__all__ = ["MAX_FAULTS", "Clip", "read_manifest", "select", "verify", "write_manifest"]


def read_manifest(
    path: Path, *, folder: Path | None = None, split: str | None = None, limit: int | None = None
) -> list[Clip]:
    """Reads clips of our own manifest: every line is checked, and the recordings of the clips that are asked for.

    Args:
        path: a JSONL file in UTF-8; empty lines are skipped.
        folder: what its paths are relative to and may not leave; where left out, the manifest's own folder.
        split: only the clips of this split.
        limit: at most so many of them, the first ones.

    Returns:
        at least one clip, in the manifest's order; every `sha256` was compared with the recording, or was taken from it
        where the manifest has none.

    Raises:
        DataError: for one fault, `where` being `file:line`; also where no clip is left.
        ManyErrors: for several.
    """
    require_file(path)
    return read_clips(path, format_name="vqbench", folder=folder, split=split, limit=limit)


def write_manifest(path: Path, clips: Sequence[Clip]) -> None:
    """Writes a manifest atomically, packed where it is a `.gz`; recordings inside its folder are named relative to it.

    Raises:
        DataError: for clips that could not be read back (several: ManyErrors), or a disk that refuses.
    """
    folder = path.parent.resolve()
    written = [_line(clip, folder) for clip in clips]
    to_clips(_read_back(written, path), str(path), folder)
    content = "".join(f"{line}\n" for line in written).encode()
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _line(clip: Clip, folder: Path) -> str:
    values = {field.name: getattr(clip, field.name) for field in fields(Clip) if field.name in CHECKS}
    # As it is named where that is inside, since its folder may be a link to another disk.
    place = clip.path if clip.path.is_relative_to(folder) else clip.path.resolve()
    values["path"] = place.relative_to(folder).as_posix() if place.is_relative_to(folder) else str(place)
    known = {key: value for key, value in values.items() if value is not None}
    return json.dumps({**known, **dict(clip.columns)}, ensure_ascii=False)


def _read_back(written: Sequence[str], path: Path) -> Iterable[Line]:
    for number, text in enumerate(written, start=1):
        found = json_object(text)
        columns = {key: value for key, value in found.items() if key not in CHECKS}
        yield Line(f"{path}:{number}", {key: value for key, value in found.items() if key in CHECKS}, columns)
