"""Content-addressed results of expensive work: the same question is answered once, whichever run asked it.

An entry's key is the digest of everything that decides its value. Entries are small JSON files, written under a
temporary name and renamed, so that runs, processes and machines can share one folder. An entry names its own kind and
key and carries a checksum of its value: one that is damaged, or lies in the place of another, counts as absent and is
written anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vqbench.errors import DataError
from vqbench.files import require_writable, write_whole
from vqbench.paths import CACHE_VARIABLE, default_cache_folder

__all__ = ["CACHE_VARIABLE", "Cache", "Place", "content_key", "default_cache_folder"]

MAX_ENTRY_BYTES = 256 << 20
"""No entry is larger: the vectors of an hour of speech take some 10 MB."""


class Place(NamedTuple):
    """Where a value is kept: a kind of entry, and the digest of all that decides the value."""

    kind: str
    key: str


def content_key(parts: Mapping[str, object]) -> str:
    """Digest of a question: 40 hex digits, independent of the order of the parts.

    Raises:
        TypeError: for parts that are not plain JSON values.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _entry(kind: str, key: str, value: Mapping[str, object]) -> dict[str, object]:
    """A value as it is kept: with the question that it answers, and a checksum over both."""
    return {
        "kind": kind,
        "key": key,
        "checksum": content_key({"kind": kind, "key": key, "value": value}),
        "value": value,
    }


class Cache:
    """Entries by kind and key.

    Args:
        folder: root; made when first written to.
        read: False answers every question with "not known", but still keeps the answers (`--no-cache`).

    Raises:
        DataError: nothing can be written there.
    """

    def __init__(self, folder: Path, read: bool = True) -> None:
        try:
            require_writable(folder / "entry")
        except DataError as error:
            fix = f"set ${CACHE_VARIABLE} to another folder"
            raise DataError(f"the cache: {error.problem}", where=error.where, fix=fix) from error
        self.folder = folder
        self.read = read

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Returns what was put, or None where nothing whole is there."""
        if not self.read:
            return None
        try:
            with self._path(kind, key).open("rb") as stream:
                content = stream.read(MAX_ENTRY_BYTES + 1)
            entry = json.loads(content) if len(content) <= MAX_ENTRY_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or not isinstance(value := entry.get("value"), dict):
            return None
        return value if entry == _entry(kind, key, value) else None

    def put(self, kind: str, key: str, value: Mapping[str, object]) -> None:
        """Keeps a JSON value; the last writer wins, and all writers write the same."""
        plain = json.loads(json.dumps(value, allow_nan=False))
        write_whole(self._path(kind, key), json.dumps(_entry(kind, key, plain)).encode())

    def pairs_folder(self, key: str) -> Path:
        """Where the answer to this question to a teacher lies, or grows."""
        return self.folder / "pairs" / key

    def spoken_folder(self, key: str) -> Path:
        """Where what somebody was asked to say lies, or grows."""
        return self.folder / "spoken" / key

    def training_folder(self, digest: str) -> Path:
        """Where the training of this digest lives and resumes."""
        return self.folder / "trainings" / digest

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / key[:2] / f"{key}.json"
