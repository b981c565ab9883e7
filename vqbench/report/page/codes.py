"""Tables of codes: what is written for the most frequent ones of the GPT, or of whoever stands in for it, and the
relabellings that were found."""

from __future__ import annotations

from dataclasses import dataclass

from vqbench.judging.codes import Confusion, confusion
from vqbench.records.exhibits import Relabelling, unpack_whole
from vqbench.records.reference import held_against
from vqbench.report import format as fmt
from vqbench.report.page.blocks import Cast

_CODES_SHOWN = 16
"""Rows and columns of a confusion."""

_PARTNERS_SHOWN = 24

SHADES = 10
"""Shades of a cell: from nothing to all of a row's tokens."""


@dataclass(frozen=True)
class Shaded:
    """A share of tokens: its text, its shade from 0 to `SHADES`, and whether the code is the GPT's own."""

    text: str
    shade: int
    own: bool


@dataclass(frozen=True)
class ConfusionTable:
    """What a candidate writes where the GPT wrote its most frequent codes.

    Attributes:
        label: the candidate.
        by: whose codes it is held against: the GPT's, or those of who stands in for it.
        written: codes in the columns; then all others together.
        rows: the GPT's code, how often it wrote it where both have a token, and the share of each column.
    """

    label: str
    by: str
    written: tuple[int, ...]
    rows: tuple[tuple[int, int, tuple[Shaded, ...]], ...]


@dataclass(frozen=True)
class RelabellingTable:
    """The best one-to-one relabelling of a candidate's codes.

    Attributes:
        label: the candidate.
        by: as in a `ConfusionTable`.
        partners: how many of its codes have one.
        kept: how many of these are their own.
        share: of all tokens, those that agree under it: on these very tokens, so that it flatters.
        rows: the candidate's code, the GPT's, tokens that agree, tokens of the candidate's code.
    """

    label: str
    by: str
    partners: int
    kept: int
    share: float
    rows: tuple[tuple[int, int, int, int], ...]


def confusion_tables(cast: Cast) -> list[ConfusionTable]:
    """One table a contender that was held against what a GPT wrote, or else against a reference's tokens."""
    return [
        _confusion_table(contender.label, against[1], confusion(table, _CODES_SHOWN))
        for contender in cast.contenders
        if (against := held_against(contender.run)) is not None
        and (table := contender.table(against[0])) is not None
        and len(table.row_ids)
    ]


def relabelling_tables(cast: Cast) -> list[RelabellingTable]:
    """One table a relabelling that the runs keep."""
    return [
        _relabelling_table(cast.contenders[cast.contender(one.run, found.candidate)].label, against[1], found)
        for one in cast.evidence
        for found in one.exhibits.relabellings
        if (against := held_against(one.run)) is not None
    ]


def _confusion_table(label: str, by: str, found: Confusion) -> ConfusionTable:
    written = tuple(int(code) for code in found.written_codes)
    rows = []
    for code, count, shares, other in zip(found.gpt_codes, found.counts, found.shares, found.other, strict=True):
        cells = [_shaded(float(share), column == code) for share, column in zip(shares, written, strict=True)]
        rows.append((int(code), int(count), (*cells, _shaded(float(other), False))))
    return ConfusionTable(label, by, written, tuple(rows))


def _shaded(share: float, own: bool) -> Shaded:
    return Shaded(fmt.number(share, 2) if share else "", round(share * SHADES), own)


def _relabelling_table(label: str, by: str, found: Relabelling) -> RelabellingTable:
    columns = [unpack_whole(column, label) for column in (found.codes, found.labels, found.matches, found.counts)]
    codes, labels, matches, _ = columns
    return RelabellingTable(
        label,
        by,
        len(codes),
        int((codes == labels).sum()),
        float(matches.sum()) / found.tokens if found.tokens else float("nan"),
        tuple(zip(*(column[:_PARTNERS_SHOWN].tolist() for column in columns), strict=True)),
    )
