"""How well the untouched GPT of a teacher foretells the tokens that a candidate writes of recordings.

A GPT that knows a candidate's tokens is little surprised by them, given what is said and who says it; one that never
met them finds them no likelier than any others. Nothing is tuned or spoken, and no true tokenizer is needed:
transcribed recordings are enough. The stop after the tokens is not among them: no candidate writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqbench.metrics.learning import unigram
from vqbench.records.likelihood import CEILING, GROUP, NATS, UNIFORM, UNIGRAM
from vqbench.records.run import MetricSpec
from vqbench.stats.columns import Cell
from vqbench.teachers.protocol import Foretold

_VERSION = 1
"""Raised whenever the same tokens would give other figures."""

NATS_UNIGRAM = "nats_unigram"
"""The column that rests on what the GPT itself wrote, so that no recording alone gives it."""

CEILING_COLUMNS = ("ceiling_nats", "ceiling_gain", "ceiling_tokens")
"""Columns that the true tokenizer's tokens give."""


def _spec(
    name: str,
    columns: tuple[str, ...],
    better: bool | None,
    description: str,
    *,
    reduction: str = "ratio",
    unit: str = "nats",
    decimals: int = 2,
    headline: bool = False,
    floor: str | None = None,
    ceiling: str | None = None,
) -> MetricSpec:
    return MetricSpec(
        name=name,
        group=GROUP,
        columns=columns,
        reduction=reduction,
        unit=unit,
        higher_is_better=better,
        version=_VERSION,
        description=description,
        decimals=decimals,
        headline=headline,
        floor=floor,
        ceiling=ceiling,
    )


@dataclass(frozen=True)
class TokenLikelihood:
    """The group, for a teacher.

    Attributes:
        teacher: digest of all that decides what it says.
        knows_truth: whether the teacher's own tokenizer is known: the ceiling.
        writes: whether the run has tokens that the GPT wrote itself: the floor that their frequencies give.
    """

    teacher: str
    knows_truth: bool
    writes: bool

    name = GROUP

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures that there are."""
        return _specs(self.knows_truth, self.writes)

    @property
    def identity(self) -> Mapping[str, object]:
        """What changes a row besides candidate, recording and what the GPT is told of it."""
        return {"version": _VERSION, "teacher": self.teacher}


def _specs(knows_truth: bool, writes: bool) -> tuple[MetricSpec, ...]:
    ceiling = CEILING if knows_truth else None
    found = [
        _spec(
            NATS,
            ("nats", "tokens"),
            False,
            "cross-entropy of the candidate's tokens by the untouched GPT, given text, voice and the tokens before",
            headline=True,
            floor=UNIFORM,
            ceiling=ceiling,
        ),
        _spec(UNIFORM, ("nats_uniform", "tokens"), None, "the same if all tokens were equally likely: ln of how many"),
    ]
    if writes:
        about = "the same by how often the GPT wrote each token in this run, plus 1/2"
        found.append(_spec(UNIGRAM, (NATS_UNIGRAM, "tokens"), None, about))
    if knows_truth:
        about = "the same of the true tokenizer's tokens of these recordings"
        found += [
            _spec(CEILING, ("ceiling_nats", "ceiling_tokens"), None, about),
            _spec(
                f"{GROUP}.normalised",
                ("gain", "nothing", "tokens", "ceiling_gain", "ceiling_tokens"),
                True,
                "(uniform - nats) / (uniform - ceiling)",
                reduction="normalised_ratio",
                unit="",
                decimals=3,
                headline=True,
            ),
        ]
    return (
        *found,
        _spec(
            f"{GROUP}.foretold",
            ("foretold", "tokens"),
            True,
            "share of tokens that the GPT finds likeliest",
            unit="",
            decimals=3,
        ),
        _spec(
            f"{GROUP}.text_gain",
            ("text_gain", "text_tokens"),
            True,
            "nats a token that the right text saves, beside the text of another recording of like length",
        ),
        _spec(
            f"{GROUP}.voice_gain",
            ("voice_gain", "voice_tokens"),
            True,
            "nats a token that the right voice saves, beside another speaker's",
        ),
        *(
            _spec(f"{GROUP}.nats_{part}", (f"{part}_nats", f"{part}_tokens"), False, f"nats in the {part} third")
            for part in _THIRDS
        ),
    )


_THIRDS = ("first", "middle", "last")


def likelihood_cells(
    codes: Tensor, told: Foretold, wrong_text: Foretold | None, wrong_voice: Foretold | None, n_codes: int
) -> dict[str, Cell]:
    """The statistics of a recording.

    Args:
        codes: (L,) int64, the candidate's tokens.
        told: how well the GPT foretells them.
        wrong_text: the same where it is given another text; None where there is none.
        wrong_voice: likewise another voice.
        n_codes: codes that the GPT may write.
    """
    n = len(codes)
    nats = told.nats[:n]
    uniform = n * math.log(n_codes)
    cells: dict[str, Cell] = {
        "codes": tuple(codes.tolist()),
        "tokens": float(n),
        "nats": float(nats.sum()),
        "nats_uniform": uniform,
        "gain": uniform - float(nats.sum()),
        "nothing": 0.0,
        "foretold": float(told.first[:n].sum()),
    }
    for name, wrong in (("text", wrong_text), ("voice", wrong_voice)):
        cells[f"{name}_gain"] = 0.0 if wrong is None else float((wrong.nats[:n] - nats).sum())
        cells[f"{name}_tokens"] = 0.0 if wrong is None else float(n)
    for name, part in zip(_THIRDS, nats.tensor_split(3), strict=True):
        cells[f"{name}_nats"], cells[f"{name}_tokens"] = float(part.sum()), float(len(part))
    return cells


def unigram_sums(rows: Sequence[Sequence[int]], written: Sequence[Tensor], n_codes: int) -> list[float]:
    """What tokens cost by how often a GPT wrote each.

    Args:
        rows: of each recording, the candidate's tokens, below `n_codes`.
        written: what the GPT wrote, (L,) int64 each.
        n_codes: codes that it may write.

    Returns:
        the cross-entropy of each row, in nats, summed.
    """
    counts = torch.bincount(torch.cat([torch.empty(0, dtype=torch.int64), *written]), minlength=n_codes)
    log_probabilities = unigram(counts.tolist())
    return [-float(log_probabilities[torch.tensor(row, dtype=torch.int64)].sum()) for row in rows]


def ceiling_cells(true: Mapping[str, Cell] | None) -> dict[str, float]:
    """`CEILING_COLUMNS` of a recording, by the statistics of the true tokenizer's tokens; nothing without these."""
    columns = ("nats", "gain", "tokens")
    return {f"ceiling_{name}": 0.0 if true is None else float(true[name]) for name in columns}  # type: ignore[arg-type]
