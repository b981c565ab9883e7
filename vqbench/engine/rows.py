"""Rows of statistics: as they are kept, and gathered into tables, with the texts that people read beside."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vqbench.data.manifest import Clip
from vqbench.errors import DataError
from vqbench.metrics.base import OfStream
from vqbench.records.rows import Measured, Measures
from vqbench.records.run import CandidateRecord, ClipRecord, Table
from vqbench.records.transcripts import Transcript
from vqbench.stats.agreement import FLOORS, TARGET, count_floors
from vqbench.stats.columns import Cell, column_of, whole_rows

Row = Measured | DataError
"""What was measured of a clip, or why nothing was."""


def clip_record(
    clip: Clip, record_id: str, sha256: str, duration_s: float, text: str, clip_set: str = "speech"
) -> ClipRecord:
    """What a run keeps of a clip, or of what is said after one: who speaks, in which language, and further columns."""
    columns = dict(clip.columns)
    return ClipRecord(record_id, sha256, duration_s, text, clip.speaker, clip_set, clip.language, columns)


def finite(row: Row) -> Row:
    """A row with a figure that is not finite is no row; it gives the reason instead."""
    if isinstance(row, Measured):
        for name, cell in row.cells.items():
            if not all(map(math.isfinite, cell if isinstance(cell, tuple) else (cell,))):
                return DataError(f"{name} came out as {cell}")
    return row


def make_table(record: CandidateRecord, group: Measures, rows: Mapping[str, Row]) -> tuple[Table, list[Transcript]]:
    """The rows of one system in one group, by clip id and in the order of the clips, and what was heard in them."""
    scored = {clip: row for clip, row in rows.items() if isinstance(row, Measured)}
    first = next(iter(scored.values()), None)
    names = list(first.cells) if first else sorted({column for spec in group.specs for column in spec.columns})
    constants: Mapping[str, float] = {}
    if isinstance(group, OfStream):
        constants = group.constants_of(record)
    elif record.codebook_size is not None and record.token_rate_hz is not None:
        constants = {"codebook_size": float(record.codebook_size), "token_rate_hz": record.token_rate_hz}
    columns = {name: column_of([row.cells[name] for row in scored.values()]) for name in names}
    if any(name in FLOORS for spec in group.specs for name in spec.columns):
        # No row knows what the most frequent token of all of them is.
        columns |= count_floors(whole_rows(columns[TARGET]), int(constants["codebook_size"]))
    table = Table(
        candidate=record.name,
        group=group.name,
        row_ids=tuple(scored),
        columns=columns,
        constants=constants,
        unscored={clip: row.problem for clip, row in rows.items() if isinstance(row, DataError)},
    )
    transcripts = [
        Transcript(record.name, clip, row.texts["reference"], row.texts["hypothesis"], row.texts.get("counted"))
        for clip, row in scored.items()
        if "hypothesis" in row.texts
    ]
    return table, transcripts


def pack_row(row: Row) -> dict[str, object]:
    """A row, or the reason why there is none, as it is kept."""
    if isinstance(row, DataError):
        return {"unscored": row.problem}
    return {"cells": dict(row.cells), "texts": dict(row.texts)}


def unpack_row(known: Mapping[str, object]) -> Row:
    """What was kept."""
    if "unscored" in known:
        return DataError(str(known["unscored"]))
    cells, texts = known["cells"], known["texts"]
    assert isinstance(cells, dict) and isinstance(texts, dict)
    read: dict[str, Cell] = {
        name: tuple(cell) if isinstance(cell, list) else float(cell) for name, cell in cells.items()
    }
    return Measured(read, texts)
