"""One shard of pairs: a parquet file that carries its settings and the checksums of what it holds."""

from __future__ import annotations

import hashlib
import io
import json
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
from vqbench.teachers.tortoise.locations import Location, faults_of, first_line, is_url, reach

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
MAKE_AGAIN = "the same vqbench pairs generate that made the folder makes it again"
"""What is to be done about a shard that is damaged or missing."""


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
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        settings: JSON values, the same in all shards of a folder: whatever decides its pairs.
        shard: JSON values of this shard alone.
    """

    settings: Mapping[str, Any]
    shard: Mapping[str, Any] = field(default_factory=dict)


def write_shard(path: Path, pairs: Sequence[Pair], header: ShardHeader) -> None:
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
    said["sha256"] = _sum_of(said)
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
        files, path = reach(self.path)
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
            self._check_rows(group, table)
            return table

    def _check_rows(self, group: int, table: Any) -> None:
        """Sees to it that rows hold what they may, and the waveforms those whose sums the shard keeps."""
        if "clvp" in table.column_names and np.isnan(table["clvp"].to_numpy()).any():
            raise ValueError("a CLVP score is no number")
        if "waveform" in table.column_names and self._waveforms is not None:
            first = sum(self._file.metadata.row_group(earlier).num_rows for earlier in range(group))
            found = [_digest(flac.as_buffer()) for flac in table["waveform"]]
            if found != self._waveforms[first : first + len(found)]:
                raise ValueError("a waveform is not the one whose sha256 was written")

    def _read_header(self) -> ShardHeader:
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
                if "sha256" in said and said["sha256"] != _sum_of(said):
                    raise ValueError("its header does not agree with its checksum")
                self._n_rows = int(said["rows"])
                self._waveforms: list[str] | None = said.get("waveforms")
                if self._waveforms is not None and len(self._waveforms) != self._n_rows:
                    raise ValueError(f"{self._n_rows} pairs, but {len(self._waveforms)} sums of waveforms")
                return ShardHeader(dict(said["settings"]), dict(said["shard"]))
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
        except faults_of(self.path) as error:
            remote = is_url(self.path)
            raise DataError(
                f"the shard is damaged{', out of reach' if remote else ''} or cut off: {first_line(error)}",
                where=str(self.path),
                expected="a parquet file as vqbench pairs wrote it",
                fix=f"{'see that it can be reached; if it can, ' if remote else ''}delete it; {MAKE_AGAIN}",
            ) from error


def _columns(waveforms: bool) -> list[str]:
    return [name for name in SCHEMA.names if waveforms or name != "waveform"]


def _pairs(table: Any) -> list[Pair]:
    return [
        Pair(codes=torch.tensor(row.pop("codes"), dtype=torch.int64), flac=row.pop("waveform", b""), **row)
        for row in table.to_pylist()
    ]


def _sum_of(said: Mapping[str, Any]) -> str:
    """The checksum of what a header says, but for the checksum itself."""
    rest = {key: value for key, value in said.items() if key != "sha256"}
    return _digest(json.dumps(rest, sort_keys=True).encode())


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()
