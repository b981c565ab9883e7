"""From any known format to our own manifest."""

from __future__ import annotations

from pathlib import Path

from vqbench.data.manifest import write_manifest
from vqbench.data.reading import read_clips
from vqbench.errors import DataError
from vqbench.files import require_writable


def convert(source: Path, target: Path, format_name: str | None) -> int:
    """Writes a manifest of all clips, with the digests and lengths of their recordings.

    Args:
        source: a file or folder of any known format.
        target: the manifest; a `.gz` is packed.
        format_name: by which the source is read; None tells it by the content.

    Returns:
        how many clips there are.

    Raises:
        DataError: for the source's faults (several: ManyErrors), or where the target cannot be written.
    """
    require_writable(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError("this is the list itself", where=str(target), expected="another file to write")
    clips = read_clips(source, format_name=format_name)
    write_manifest(target, clips)
    return len(clips)
