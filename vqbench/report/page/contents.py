"""What goes into a page: as much as it may weigh, what is asked for first coming first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from vqbench.judging.evidence import Evidence
from vqbench.records.run import MetricSpec
from vqbench.report import format as fmt
from vqbench.report.page.blocks import (
    Cast,
    clips_block,
    codebook_block,
    column_blocks,
    heard_blocks,
    index_block,
    unscored_block,
)
from vqbench.report.page.exhibits import Showing, embedded
from vqbench.report.page.packed import json_text

BUDGET_BYTES = 24_000_000
"""What a page may weigh: it is opened at once, and mailed."""

_NOTES_BYTES = 10_000
"""Kept free for what is said of what was left out."""


@dataclass(frozen=True)
class DataBlock:
    """Data for the script: one element of the page."""

    id: str
    json: str


@dataclass(frozen=True)
class Contents:
    """The data of a page.

    Attributes:
        blocks: as the script reads them.
        shown: what is heard and seen of it.
        left_out: what found no room, in words.
    """

    blocks: tuple[DataBlock, ...] = ()
    shown: tuple[Showing, ...] = ()
    left_out: tuple[str, ...] = ()


def fill(room: int, cast: Cast, shown: Sequence[Showing], assets: str | None) -> Contents:
    """The data of a page, as much of it as there is room for.

    Clips, why some were not scored, their headline figures, exhibits, what was heard, and the other figures are put in,
    in this order; the clips in any case, so that only a page of several hundred thousand of them can weigh more.

    Args:
        room: bytes that the data may take.
        cast: whom and what it is about.
        shown: what is heard and seen.
        assets: the folder that holds the sounds, as the page names it; None where they are in the page.

    """
    entries = [showing.entry(cast) for showing in shown]
    always = [DataBlock("clips", json_text(clips_block(cast))), DataBlock("codebook", json_text(codebook_block(cast)))]
    index = json_text(index_block(cast, cast.metrics, entries, []))
    left = _Room(room - _NOTES_BYTES - len(index.encode()) - sum(len(block.json.encode()) for block in always))

    def sound(evidence: Evidence, name: str) -> Mapping[str, str]:
        return embedded(evidence, name) if assets is None else {"url": f"{quote(os.fsencode(assets))}/{name}"}

    unscored = left.take(unscored_block(cast))
    figures = _Figures(left)
    columns = [(metric, found) for metric, found in column_blocks(cast) if found]
    for metric, found in columns:
        if metric.headline:
            figures.add(metric, found)
    exhibits = [(entry, left.take(showing.block(cast, sound))) for entry, showing in zip(entries, shown, strict=True)]
    heard = [left.take(block) for block in heard_blocks(cast)]
    for metric, found in columns:
        if not metric.headline:
            figures.add(metric, found)
    notes = [
        *_left_out(sum(text is None for _, text in exhibits), len(exhibits), assets),
        *(["why clips were not scored"] if unscored is None else []),
        *(["what the ASR heard of some candidates"] if None in heard else []),
        *([f"the figures of each clip for {figures.refused} of {len(columns)} metrics"] if figures.refused else []),
    ]
    kept = [entry for entry, text in exhibits if text is not None]
    blocks = [
        DataBlock("index", json_text(index_block(cast, figures.metrics, kept, notes))),
        *always,
        *([DataBlock("unscored", unscored)] if unscored is not None else []),
        DataBlock("columns", _list(figures.texts)),
        DataBlock("heard", _list([text for text in heard if text is not None])),
        *(
            DataBlock(f"exhibit-{number}", text)
            for number, text in enumerate(text for _, text in exhibits if text is not None)
        ),
    ]
    heard_of = (showing for showing, (_, text) in zip(shown, exhibits, strict=True) if text is not None)
    return Contents(tuple(blocks), tuple(heard_of), tuple(notes))


class _Room:
    """How many bytes are left."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes

    def take(self, value: Any) -> str | None:
        """The value as JSON; None, and nothing is taken, where there is no room for it."""
        text = json_text(value)
        size = len(text.encode()) + 100
        if size > self.n_bytes:
            return None
        self.n_bytes -= size
        return text


class _Figures:
    """The figures of clips that found room, numbered as they came."""

    def __init__(self, room: _Room) -> None:
        self._room = room
        self.metrics: list[MetricSpec] = []
        self.texts: list[str] = []
        self.refused = 0

    def add(self, metric: MetricSpec, columns: Sequence[Mapping[str, Any]]) -> None:
        """Takes all columns of a metric, or none."""
        text = self._room.take([{"figure": len(self.metrics), **column} for column in columns])
        if text is None:
            self.refused += 1
        else:
            self.metrics.append(metric)
            self.texts.append(text[1:-1])


def _left_out(n: int, total: int, assets: str | None) -> list[str]:
    if not n:
        return []
    way = "" if assets else " (with --assets DIR their sounds lie beside the page)"
    return [f"{n} of {fmt.counted(total, 'exhibit')}{way}"]


def _list(texts: Sequence[str]) -> str:
    return f"[{','.join(texts)}]"
