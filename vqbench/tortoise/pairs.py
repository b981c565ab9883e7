"""Pairs: what a teacher's GPT wrote, and the waveform that was rendered from it, in a folder of parquet shards.

    pairs-00000.parquet, pairs-00001.parquet, …

One row a pair: `id, text, speaker, split, codes (uint16), waveform (16-bit FLAC), sample_rate_hz, clvp, seed, finished,
teacher`. Any parquet reader opens them. Each shard also says, in its metadata, by which settings the folder was made.
Shards are written whole or not at all, so a folder of an interrupted generation is a smaller folder.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vqbench.audio.io import decode_waveform
from vqbench.errors import DataError
from vqbench.files import write_whole

Split = Literal["train", "test"]

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
    return folder / f"pairs-{index:05d}.parquet"


def find_shards(folder: Path) -> dict[int, Path]:
    """The shards of a folder by number, in order; none where there is no such folder.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        found = [int(name[1]) for path in folder.iterdir() if (name := _SHARD_NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"the folder cannot be read: {error.strerror}", where=str(folder)) from error
    return {index: shard_path(folder, index) for index in sorted(found)}


def write_shard(path: Path, pairs: Sequence[Pair], header: Header) -> None:
    """Writes a shard atomically; the same pairs and header give the same bytes.

    Raises:
        DataError: the disk refuses.
    """
    columns = {name: [getattr(pair, _ATTRIBUTES.get(name, name)) for pair in pairs] for name in SCHEMA.names}
    columns["codes"] = [codes.cpu().numpy().astype(np.uint16) for codes in columns["codes"]]
    said = {"format": FORMAT, "rows": len(pairs), "settings": dict(header.settings), "shard": dict(header.shard)}
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


def read_pairs(folder: Path, split: Split | None = None, *, waveforms: bool = True) -> Iterator[Pair]:
    """Reads the pairs of a folder in order, never more than `ROW_GROUP` of them in memory.

    Args:
        folder: of shards.
        split: only the pairs of this split.
        waveforms: False leaves the waveforms out, which are all but a hundredth of the bytes.

    Yields:
        pairs; their waveforms are decoded when they are asked for.

    Raises:
        DataError: no pairs are there, shards of different settings lie together, or one is missing or damaged; it is
            named.
    """
    shards = find_shards(folder)
    if not shards:
        raise DataError("there are no pairs in this folder", where=str(folder), expected=shard_path(folder, 0).name)
    missing = set(range(max(shards))) - set(shards)
    if missing:
        raise DataError(
            "this shard is missing, though later ones are there",
            where=str(shard_path(folder, min(missing))),
            fix=_MAKE_AGAIN,
        )
    names = [name for name in SCHEMA.names if waveforms or name != "waveform"]
    first: Header | None = None
    for path in shards.values():
        with Shard(path) as shard:
            first = first or shard.header
            require_same_settings(shard.header, first.settings, path)
            for table in shard.tables(names):
                for row in table.to_pylist():
                    if split is None or row["split"] == split:
                        codes = torch.tensor(row.pop("codes"), dtype=torch.int64)
                        yield Pair(codes=codes, flac=row.pop("waveform", b""), **row)


def require_same_settings(header: Header, wanted: Mapping[str, Any], path: Path) -> None:
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
        header: what it says of itself.

    Raises:
        DataError: it is damaged, or no shard of pairs; from `tables` also.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Shard:
        with self._naming_damage():
            self._file = pq.ParquetFile(self._path, page_checksum_verification=True)
        try:
            self.header = self._read_header()
        except DataError:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        """One table a row group."""
        n_read = 0
        for group in range(self._file.num_row_groups):
            with self._naming_damage():
                table = self._file.read_row_group(group, columns=list(columns))
                table.validate(full=True)
            n_read += len(table)
            yield table
        with self._naming_damage():
            if n_read != self._n_rows:
                raise ValueError(f"{self._n_rows} pairs were written, {n_read} are there")

    def _read_header(self) -> Header:
        schema = self._file.schema_arrow
        metadata = (schema.metadata or {}).get(_METADATA_KEY)
        if metadata is None or not schema.remove_metadata().equals(SCHEMA):
            raise DataError(
                "this is a parquet file, but no shard of pairs",
                where=str(self._path),
                expected=f"columns {', '.join(SCHEMA.names)}, written by vqbench pairs",
            )
        with self._naming_damage():
            said = json.loads(metadata)
            if said["format"] == FORMAT:
                self._n_rows = int(said["rows"])
                return Header(dict(said["settings"]), dict(said["shard"]))
        raise DataError(
            f"the shard's format is {said['format']!r}",
            where=str(self._path),
            expected=f"format {FORMAT}",
            fix="use the vqbench version that wrote it",
        )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"the shard is damaged or cut off: {(str(error) or type(error).__name__).splitlines()[0]}",
                where=str(self._path),
                expected="a parquet file as vqbench pairs wrote it",
                fix=f"delete it; {_MAKE_AGAIN}",
            ) from error
