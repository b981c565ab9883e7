"""Pairs: what a teacher's GPT wrote, and the waveform that was rendered from it, in a folder of parquet shards.

    pairs-00000.parquet, pairs-00001.parquet, …

One row a pair: `id, text, speaker, split, codes (uint16), waveform (16-bit FLAC), sample_rate_hz, clvp, seed, finished,
teacher`. Any parquet reader opens them. Each shard also says, in its metadata, by which settings the folder was made,
and the sha256 of each waveform. Shards are written whole or not at all, so a folder of an interrupted generation is a
smaller folder. They are written on the local disk, and read from there or from any URL that fsspec knows.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vqbench.audio.io import decode_waveform
from vqbench.errors import DataError
from vqbench.files import write_whole

Split = Literal["train", "test"]

Location = str | Path
"""A local path, or the URL of something on another file system: `s3://bucket/pairs`."""

FORMAT = 1
"""Raised whenever older readers would misread a shard."""

ROW_GROUP = 64
"""Pairs that are read, and held in memory, at a time: some 10 MB."""

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("id", pa.string()),
            ("text", pa.string()),
            ("speaker", pa.string()),
            ("split", pa.string()),
            ("codes", pa.list_(pa.field("item", pa.uint16(), nullable=False))),
            ("waveform", pa.binary()),
            ("sample_rate_hz", pa.int32()),
            ("clvp", pa.float32()),
            ("seed", pa.int64()),
            ("finished", pa.bool_()),
            ("teacher", pa.string()),
        )
    ]
)

_ATTRIBUTES = {"waveform": "flac"}
"""Columns that a `Pair` calls otherwise."""

_LEAVES = ["codes.list.element" if name == "codes" else name for name in SCHEMA.names]
"""The columns as parquet counts them."""

_METADATA_KEY = b"vqbench"
_MAKE_AGAIN = "the same vqbench pairs generate that made the folder makes it again"
_SHARD_NAME = re.compile(r"pairs-(\d{5,})\.parquet")


@dataclass(frozen=True)
class Pair:
    """One utterance of a teacher.

    Attributes:
        id: unique in its folder.
        text: what was to be said.
        speaker: whose voice it is.
        split: `test` holds sentences, and held-out speakers, that `train` does not.
        codes: (L,) int64, what the GPT wrote; token i stands for the samples from 1024 i on, at 22,050 Hz.
        flac: the waveform as 16-bit FLAC; empty where it was not asked for.
        sample_rate_hz: of the waveform.
        clvp: how well the codes fit the text by the teacher's CLVP; higher is better.
        seed: of the utterance.
        finished: whether the GPT came to its end by itself.
        teacher: digest of the teacher.
    """

    id: str
    text: str
    speaker: str
    split: Split
    codes: Tensor
    flac: bytes = field(repr=False)
    sample_rate_hz: int
    clvp: float
    seed: int
    finished: bool
    teacher: str

    def waveform(self) -> Tensor:
        """Decodes the waveform, (N,) float32 in [-1, 1].

        Raises:
            DataError: it is damaged.
        """
        if not self.flac:
            raise ValueError(f"pair {self.id} was read without its waveform")
        return decode_waveform(self.flac, f"pair {self.id}")


@dataclass(frozen=True)
class Header:
    """What a shard says of itself.

    Attributes:
        settings: JSON values, the same in all shards of a folder: whatever decides its pairs.
        shard: JSON values of this shard alone.
    """

    settings: Mapping[str, Any]
    shard: Mapping[str, Any] = field(default_factory=dict)


def shard_path(folder: Path, index: int) -> Path:
    """Where a shard lies, counted from 0."""
    return folder / _shard_name(index)


def find_shards(folder: Location) -> dict[int, Location]:
    """The shards of a folder by number, in order; none where there is no such folder.

    Raises:
        DataError: the folder cannot be read, or fsspec cannot follow its URL.
    """
    files, root = _reach(folder)
    try:
        names = [path.name for path in Path(root).iterdir()] if files is None else files.ls(root, detail=False)
    except FileNotFoundError:
        return {}
    except _faults(folder) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise DataError(f"the folder cannot be read: {reason}", where=str(folder)) from error
    found = [_SHARD_NAME.fullmatch(name.rpartition("/")[2]) for name in names]
    return {index: _shard_in(folder, index) for index in sorted(int(name[1]) for name in found if name)}


def open_shards(folder: Location) -> Iterator[Shard]:
    """Opens the shards of a folder in order, one at a time.

    Raises:
        DataError: no pairs are there, shards of different settings lie together, or one is missing or damaged; it is
            named.
    """
    shards = find_shards(folder)
    if not shards:
        raise DataError(
            "there are no pairs in this folder",
            where=str(folder),
            expected=_shard_name(0),
            fix="check the address, and that you may list what is there" if _is_url(folder) else None,
        )
    missing = set(range(max(shards))) - set(shards)
    if missing:
        raise DataError(
            "this shard is missing, though later ones are there",
            where=str(_shard_in(folder, min(missing))),
            fix=_MAKE_AGAIN,
        )
    first: Header | None = None
    for path in shards.values():
        with Shard(path) as shard:
            first = first or shard.header
            require_same_settings(shard.header, first.settings, path)
            yield shard


def write_shard(path: Path, pairs: Sequence[Pair], header: Header) -> None:
    """Writes a shard atomically; the same pairs and header give the same bytes.

    Raises:
        DataError: the disk refuses.
    """
    columns = {name: [getattr(pair, _ATTRIBUTES.get(name, name)) for pair in pairs] for name in SCHEMA.names}
    columns["codes"] = [codes.cpu().numpy().astype(np.uint16) for codes in columns["codes"]]
    said = {
        "format": FORMAT,
        "rows": len(pairs),
        "settings": dict(header.settings),
        "shard": dict(header.shard),
        # So that what a folder holds can be told from its smallest columns.
        "waveforms": [_digest(pair.flac) for pair in pairs],
    }
    metadata = {_METADATA_KEY: json.dumps(said, sort_keys=True, ensure_ascii=False)}
    content = io.BytesIO()
    pq.write_table(
        pa.table(columns, schema=SCHEMA.with_metadata(metadata)),
        content,
        row_group_size=ROW_GROUP,
        compression={leaf: "none" if leaf == "waveform" else "zstd" for leaf in _LEAVES},  # FLAC shrinks no further
        write_page_checksum=True,
    )
    write_whole(path, content.getvalue())


def read_pairs(folder: Location, split: Split | None = None, *, waveforms: bool = True) -> Iterator[Pair]:
    """Reads the pairs of a folder in order, never more than `ROW_GROUP` of them in memory.

    Args:
        folder: of shards.
        split: only the pairs of this split.
        waveforms: False leaves the waveforms out, which are all but a hundredth of the bytes.

    Yields:
        pairs; their waveforms are decoded when they are asked for.

    Raises:
        DataError: as `open_shards`.
    """
    for shard in open_shards(folder):
        for pairs in shard.row_groups(waveforms=waveforms):
            yield from (pair for pair in pairs if split is None or pair.split == split)


def require_same_settings(header: Header, wanted: Mapping[str, Any], path: Location) -> None:
    """Checks that a shard was made as the others are.

    Raises:
        DataError: naming every setting that differs.
    """
    there = header.settings
    differing = [
        f"{key}: {there.get(key, 'none')} there, {wanted.get(key, 'none')} wanted"
        for key in sorted({*there, *wanted})
        if there.get(key) != wanted.get(key)
    ]
    if differing:
        raise DataError(
            f"this shard was made by other settings ({'; '.join(differing)})",
            where=str(path),
            expected="one folder for pairs of one teacher and one set of settings",
            fix="choose another folder, or the settings that it was made by",
        )


class Shard:
    """An open shard, all of whose faults name it: `with Shard(path) as shard:`.

    Attributes:
        path: where it lies.
        header: what it says of itself.

    Raises:
        DataError: it is damaged, out of reach, or no shard of pairs; from all that reads also.
    """

    def __init__(self, path: Location) -> None:
        self.path = path

    def __enter__(self) -> Shard:
        files, path = _reach(self.path)
        with self._naming_damage():
            self._file = pq.ParquetFile(path, filesystem=files, page_checksum_verification=True)
        try:
            self.header = self._read_header()
        except DataError:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def row_groups(self, *, waveforms: bool = True) -> Iterator[list[Pair]]:
        """The pairs of each row group, in order."""
        for table in self.tables(_columns(waveforms)):
            yield _pairs(table)

    def row_group(self, group: int) -> list[Pair]:
        """The pairs of one row group."""
        return _pairs(self._table(group, _columns(waveforms=True)))

    def waveform_digests(self) -> list[str]:
        """The sha256 of each pair's waveform, in order: as the shard says, or read from an older one that does not."""
        if self._waveforms is not None:
            return self._waveforms
        return [_digest(flac.as_buffer()) for table in self.tables(["waveform"]) for flac in table["waveform"]]

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        """One table a row group."""
        n_read = 0
        for group in range(self._file.num_row_groups):
            table = self._table(group, columns)
            n_read += len(table)
            yield table
        with self._naming_damage():
            if n_read != self._n_rows:
                raise ValueError(f"{self._n_rows} pairs were written, {n_read} are there")

    def _table(self, group: int, columns: Sequence[str]) -> Any:
        with self._naming_damage():
            table = self._file.read_row_group(group, columns=list(columns))
            table.validate(full=True)
            return table

    def _read_header(self) -> Header:
        schema = self._file.schema_arrow
        metadata = (schema.metadata or {}).get(_METADATA_KEY)
        if metadata is None or not schema.remove_metadata().equals(SCHEMA):
            raise DataError(
                "this is a parquet file, but no shard of pairs",
                where=str(self.path),
                expected=f"columns {', '.join(SCHEMA.names)}, written by vqbench pairs",
            )
        with self._naming_damage():
            said = json.loads(metadata)
            if said["format"] == FORMAT:
                self._n_rows = int(said["rows"])
                self._waveforms: list[str] | None = said.get("waveforms")
                if self._waveforms is not None and len(self._waveforms) != self._n_rows:
                    raise ValueError(f"{self._n_rows} pairs, but {len(self._waveforms)} sums of waveforms")
                return Header(dict(said["settings"]), dict(said["shard"]))
        raise DataError(
            f"the shard's format is {said['format']!r}",
            where=str(self.path),
            expected=f"format {FORMAT}",
            fix="use the vqbench version that wrote it",
        )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except _faults(self.path) as error:
            remote = _is_url(self.path)
            raise DataError(
                f"the shard is damaged{', out of reach' if remote else ''} or cut off: {_first_line(error)}",
                where=str(self.path),
                expected="a parquet file as vqbench pairs wrote it",
                fix=f"{'see that it can be reached; if it can, ' if remote else ''}delete it; {_MAKE_AGAIN}",
            ) from error


def _is_url(location: Location) -> bool:
    return isinstance(location, str) and "://" in location


def _faults(location: Location) -> tuple[type[Exception], ...]:
    """What reading can raise; the file systems that fsspec knows have errors of their own."""
    return (Exception,) if _is_url(location) else (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


def _reach(location: Location) -> tuple[Any, str]:
    """The fsspec file system that a URL leads to, or None for a local path; and the path there."""
    if not _is_url(location):
        return None, str(location)
    try:
        files, path = fsspec.core.url_to_fs(location)
        return files, path
    except ImportError as error:
        raise DataError(
            "a package that this address needs is not installed", where=str(location), fix=_first_line(error)
        ) from error
    except Exception as error:
        raise DataError(
            f"this address leads nowhere: {_first_line(error)}",
            where=str(location),
            expected="a local path, or a URL that fsspec knows: s3://…, gs://…, https://…",
        ) from error


def _shard_name(index: int) -> str:
    return f"pairs-{index:05d}.parquet"


def _shard_in(folder: Location, index: int) -> Location:
    if _is_url(folder):
        return f"{str(folder).removesuffix('/')}/{_shard_name(index)}"
    return shard_path(Path(folder), index)


def _columns(waveforms: bool) -> list[str]:
    return [name for name in SCHEMA.names if waveforms or name != "waveform"]


def _pairs(table: Any) -> list[Pair]:
    return [
        Pair(codes=torch.tensor(row.pop("codes"), dtype=torch.int64), flac=row.pop("waveform", b""), **row)
        for row in table.to_pylist()
    ]


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
