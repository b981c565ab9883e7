"""The teacher's GPT, as it is, is asked how likely it finds what each candidate writes of the recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from vqbench.data.recordings import load_clip
from vqbench.engine.agreement import TOKEN_RATE_HZ, unlike
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Place, content_key
from vqbench.engine.findings import Findings
from vqbench.engine.likelihood import Asking, Inquiry
from vqbench.engine.plan import Done, Item, Passing, Stage, Values
from vqbench.engine.question import TRUE
from vqbench.engine.rows import Row, make_table, pack_row, unpack_row
from vqbench.engine.stages.turns import in_turns, parts_of
from vqbench.errors import DataError
from vqbench.metrics.likelihood import CEILING_COLUMNS, NATS_UNIGRAM, ceiling_cells, unigram_sums
from vqbench.progress import Progress
from vqbench.records.rows import Measured
from vqbench.records.run import Table
from vqbench.stats.columns import column_of, whole_rows
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.threads import one_thread
from vqbench.tokenizers.protocol import codes_of

_AT_ONCE = 32


class Foretelling(Stage):
    """One item a candidate and recording, and those of the true tokenizer, where it is known."""

    name = "likelihood of tokens"

    def applies(self, bench: Bench) -> bool:
        """Whether it is asked for."""
        return bench.inquiry is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Candidates take turns at some recordings."""
        inquiry = _inquiry(bench)
        asked = [one for one in inquiry.askings.values() if isinstance(one, Asking)]
        true = inquiry.teacher.tokenizer
        owners = [(TRUE, true.digest)] if true is not None else []
        owners += [
            (one.record.name, one.record.digest)
            for one in bench.candidates
            if unlike(one.record, "the GPT", TOKEN_RATE_HZ) is None
        ]
        of_owners = [[_item(name, digest, one, inquiry) for one in asked] for name, digest in owners]
        return in_turns(of_owners, parts_of(len(asked), _AT_ONCE))

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """Recording by recording: no row depends on its neighbours."""
        for owner, of_owner in groupby(items, key=lambda item: item.owner):
            for item in of_owner:
                with one_thread():
                    row = _row(owner, item.content, bench)
                yield [(item, {"row": row if isinstance(row, Measured) else Passing(row)})]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """A row."""
        return pack_row(value)

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """A row."""
        return unpack_row(entry)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """One table a candidate, the true tokenizer's figures beside its own."""
        inquiry = _inquiry(bench)
        for sketch in bench.candidates:
            name = sketch.record.name
            reason = unlike(sketch.record, "the GPT", TOKEN_RATE_HZ)
            rows: dict[str, Row] = {}
            for clip, asking in inquiry.askings.items():
                if isinstance(asking, DataError):
                    rows[clip] = asking
                else:
                    rows[clip] = DataError(reason) if reason else values[name, clip]["row"]
            table, _ = make_table(sketch.record, inquiry.group, rows)
            found.add("likelihood", name, _completed(table, inquiry.teacher, found, values))


def _completed(
    table: Table, teacher: TortoiseTeacher, found: Findings, values: Mapping[tuple[str, str], Values]
) -> Table:
    """With what rests on more than the candidate's own tokens of a recording."""
    if not table.row_ids:
        return table
    columns = dict(table.columns)
    if teacher.tokenizer is not None:
        true = [values[TRUE, clip]["row"] for clip in table.row_ids]
        cells = [ceiling_cells(row.cells if isinstance(row, Measured) else None) for row in true]
        columns |= {name: column_of([row[name] for row in cells]) for name in CEILING_COLUMNS}
    if found.answer is not None and found.answer.teacher is not None:
        written = [torch.from_numpy(target.sequence.codes) for target in found.answer.written]
        own = [row.tolist() for row in whole_rows(columns["codes"])]
        columns[NATS_UNIGRAM] = column_of(unigram_sums(own, written, teacher.vocabulary.n_codes))
    return replace(table, columns=columns)


def _inquiry(bench: Bench) -> Inquiry:
    assert bench.inquiry is not None
    return bench.inquiry


def _item(owner: str, digest: str, asking: Asking, inquiry: Inquiry) -> Item:
    key = content_key(
        {
            "identity": dict(inquiry.group.identity),
            "tokenizer": digest,
            "device": inquiry.teacher.device.type,
            "packages": {package: metadata.version(package) for package in ("torch", "soundfile", "soxr")},
            **asking.content,
        }
    )
    return Item(owner, asking.clip.id, {"row": Place(f"rows-{inquiry.group.name}", key)}, asking)


def _row(owner: str, asking: Asking, bench: Bench) -> Row:
    try:
        codes = _codes(owner, asking, bench)
    except DataError as error:
        return error
    return _inquiry(bench).ask(asking, codes)


def _codes(owner: str, asking: Asking, bench: Bench) -> Tensor:
    """What somebody writes of a recording, (L,) int64."""
    if bench.is_coded(owner):
        coded = bench.waveform_tokenizer(owner)
        (written,) = codes_of(coded, [load_clip(asking.clip, coded.sample_rate_hz)])
        if isinstance(written, DataError):
            raise written
        return written[0]
    tokenizer = bench.tokenizer_called(owner)
    with torch.inference_mode():
        latents = tokenizer.latents([bench.recording(asking.clip, tokenizer.mel_spec).mel])
        if not latents[0].isfinite().all():
            raise DataError("the encoder's latents are not finite")
        return tokenizer.quantize(latents)[0].clone()
