"""Token agreement: whether a candidate hears in rendered speech the very tokens that the GPT wrote for it.

Each sequence leaves sums of matches over the tokens that both have, and every figure is a ratio of such sums. Raw
agreement cannot be read alone, so floor and ceiling are counted over the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqbench.records.run import MetricSpec
from vqbench.stats.agreement import count_floors, count_relabelled
from vqbench.stats.columns import Cell
from vqbench.stats.reductions import OFFSETS

Codes = NDArray[np.int64]

EDGE_TOKENS = 7
"""Tokens at either end whose context is cut: half the encoder's receptive field of 55 mel frames, 4 frames a token."""

_VERSION = 1


@dataclass(frozen=True)
class GptSequence:
    """What the GPT wrote, and so what a candidate should hear in its rendering.

    Attributes:
        id: names the row.
        codes: (n,) int64, the spoken tokens without start, stop and padding.
        audible: (n,) bool, whether the audio under a token is louder than silence.
        sentence: what it says; the relabelling of a sentence is fitted on the others.
    """

    id: str
    codes: Codes
    audible: NDArray[np.bool_]
    sentence: str


@dataclass(frozen=True)
class Encoded:
    """What a candidate makes of the rendering of one sequence. Only the first min(n, m) tokens are compared.

    Attributes:
        codes: (m,) int64.
        ranks: (min(n, m),) int64, how many codes of the candidate's codebook lie nearer to its latent than the GPT's
            token does; 0 agrees. None of a tokenizer of waveforms, whose codebook nobody sees.
        distances: (min(n, m),) float, Euclidean distance in the candidate's codebook between its code and the GPT's,
            over the mean distance of two codes drawn from what the GPT writes: 0 agrees, 1 is chance. None likewise.
    """

    codes: Codes
    ranks: Codes | None
    distances: NDArray[np.floating] | None


def agreement_columns(
    sequences: Sequence[GptSequence],
    encoded: Sequence[Encoded],
    oracle_codes: Sequence[Codes] | None,
    codebook_size: int,
) -> dict[str, tuple[Cell, ...]]:
    """Counts, sequence by sequence, what the figures of `AGREEMENT_SPECS` are reduced from.

    Args:
        sequences: what the GPT wrote.
        encoded: what the candidate makes of each.
        oracle_codes: what the true tokenizer makes of each, where it is known. Without it there are no tokens under the
            ceiling, and `ceiling` and `normalised` are undefined.
        codebook_size: codes of the larger of the two codebooks; the table needs it as a constant of that name.

    Returns:
        Column name → one cell a sequence, in order; without those of ranks and distances where these are not known.

    Raises:
        ValueError: parts that do not belong together: another number of sequences, masks, ranks or distances of another
            length than the tokens, codes outside the codebook.
    """
    pairs = [_Pair.of(*both) for both in zip(sequences, encoded, strict=True)]
    _check_range([codes for pair in pairs for codes in (pair.target, pair.own)], codebook_size)
    rows = [{**_matches(pair), **_edits(pair), **_neighbours(pair)} for pair in pairs]
    ceilings = [None] * len(pairs) if oracle_codes is None else oracle_codes
    for row, pair, oracle in zip(rows, pairs, ceilings, strict=True):
        row.update(_ceiling(pair, oracle))
    own, target = [pair.own for pair in pairs], [pair.target for pair in pairs]
    sentences = [sequence.sentence for sequence in sequences]
    together = {**count_floors(target, codebook_size), **count_relabelled(own, target, sentences, codebook_size)}
    for place, row in enumerate(rows):
        row.update({name: float(column[place]) for name, column in together.items()})
    unseen = _OF_CODEBOOK if any(pair.ranks is None for pair in pairs) else ()
    return {name: tuple(row[name] for row in rows) for name in _COLUMNS if name not in unseen}


@dataclass(frozen=True)
class _Pair:
    """A sequence beside its rendering's, both cut at the end to what they have in common."""

    target: Codes
    own: Codes
    audible: NDArray[np.bool_]
    ranks: Codes | None
    distances: NDArray[np.floating] | None

    @classmethod
    def of(cls, sequence: GptSequence, encoded: Encoded) -> _Pair:
        n = min(len(sequence.codes), len(encoded.codes))
        known = [None if one is None else len(one) for one in (encoded.ranks, encoded.distances)]
        if len(sequence.audible) != len(sequence.codes) or known not in ([n, n], [None, None]):
            raise ValueError(
                f"{sequence.id}: {len(sequence.audible)} marks of audibility for {len(sequence.codes)} tokens, and "
                f"{known[0]} ranks and {known[1]} distances for {n} compared"
            )
        return cls(sequence.codes[:n], encoded.codes[:n], sequence.audible[:n], encoded.ranks, encoded.distances)


def _check_range(rows: Sequence[Codes], codebook_size: int) -> None:
    for codes in rows:
        if len(codes) and not 0 <= codes.min() <= codes.max() < codebook_size:
            raise ValueError(f"codes from {codes.min()} to {codes.max()} in a codebook of {codebook_size}")


def _matches(pair: _Pair) -> dict[str, Cell]:
    n = len(pair.target)
    agrees = pair.target == pair.own
    inner = np.zeros(n, dtype=bool)
    inner[EDGE_TOKENS : n - EDGE_TOKENS] = True
    counts = {
        "tokens": n,
        "matches": agrees.sum(),
        "audible_tokens": pair.audible.sum(),
        "audible_matches": agrees[pair.audible].sum(),
        "inner_tokens": inner.sum(),
        "inner_matches": agrees[inner].sum(),
        "edge_tokens": (~inner).sum(),
        "edge_matches": agrees[~inner].sum(),
    }
    for offset in OFFSETS:
        target, own = pair.target[max(-offset, 0) :], pair.own[max(offset, 0) :]
        shared = min(len(target), len(own))
        counts[f"matches_at_{offset:+d}"] = (target[:shared] == own[:shared]).sum()
    return {name: float(count) for name, count in counts.items()}


def _ceiling(pair: _Pair, oracle: Codes | None) -> dict[str, Cell]:
    n = 0 if oracle is None else min(len(pair.target), len(oracle))
    matches = 0.0 if oracle is None else float((pair.target[:n] == oracle[:n]).sum())
    return {"ceiling_matches": matches, "ceiling_tokens": float(n)}


def _edits(pair: _Pair) -> dict[str, Cell]:
    from rapidfuzz.distance import Levenshtein

    target, own = pair.target.tolist(), pair.own.tolist()
    return {"gpt_codes": tuple(target), "codes": tuple(own), "edits": float(Levenshtein.distance(target, own))}


def _neighbours(pair: _Pair) -> dict[str, Cell]:
    if pair.ranks is None or pair.distances is None:
        return {}
    return {
        "top5_matches": float((pair.ranks < 5).sum()),
        "top10_matches": float((pair.ranks < 10).sum()),
        "distance_sum": float(pair.distances.sum()),
    }


def _spec(
    name: str,
    columns: tuple[str, ...],
    better: bool | None,
    description: str,
    *,
    reduction: str = "ratio",
    unit: str = "",
    decimals: int = 3,
    headline: bool = False,
    bounded: bool = False,
    version: int = _VERSION,
) -> MetricSpec:
    return MetricSpec(
        name=f"token_agreement.{name}",
        group="token_agreement",
        columns=columns,
        reduction=reduction,
        unit=unit,
        higher_is_better=better,
        version=version,
        description=description,
        decimals=decimals,
        headline=headline,
        clip_set="pairs",
        floor="token_agreement.floor" if bounded else None,
        ceiling="token_agreement.ceiling" if bounded else None,
    )


_OFFSET_COLUMNS = (*(f"matches_at_{offset:+d}" for offset in OFFSETS), "tokens")

AGREEMENT_SPECS = (
    _spec("raw", ("matches", "tokens"), True, "share of tokens that are the GPT's own", headline=True, bounded=True),
    _spec("floor", ("floor_matches", "tokens"), None, "what always writing the GPT's most frequent token would agree"),
    _spec("floor_unigram", ("floor_unigram_matches", "tokens"), None, "what drawing from the GPT's tokens would agree"),
    _spec("ceiling", ("ceiling_matches", "ceiling_tokens"), None, "what the true tokenizer agrees on the same audio"),
    _spec(
        "normalised",
        ("matches", "floor_matches", "tokens", "ceiling_matches", "ceiling_tokens"),
        True,
        "(raw - floor) / (ceiling - floor); undefined without the true tokenizer",
        reduction="normalised_ratio",
        headline=True,
    ),
    _spec(
        "relabelled",
        ("relabelled_matches", "relabelled_tokens"),
        True,
        "raw under the best one-to-one relabelling, fitted on other sentences, several times over",
        headline=True,
        bounded=True,
        version=2,
    ),
    _spec("without_silence", ("audible_matches", "audible_tokens"), True, "raw over the audible tokens"),
    _spec("inner", ("inner_matches", "inner_tokens"), True, f"raw more than {EDGE_TOKENS} tokens from both ends"),
    _spec("edge", ("edge_matches", "edge_tokens"), True, f"raw over the first and the last {EDGE_TOKENS} tokens"),
    _spec(
        "best_offset",
        _OFFSET_COLUMNS,
        True,
        "raw at the best constant offset of up to 4 tokens; those pushed over an end do not agree",
        reduction="best_offset_ratio",
        bounded=True,
    ),
    _spec(
        "best_offset_tokens",
        _OFFSET_COLUMNS,
        None,
        "the best constant offset: above 0 the candidate's tokens come late",
        reduction="best_offset",
        unit="tokens",
        decimals=0,
    ),
    _spec("edit_rate", ("edits", "tokens"), False, "Levenshtein distance to the GPT's sequence / its tokens"),
    _spec("top5", ("top5_matches", "tokens"), True, "the GPT's token is among the 5 codes nearest to the latent"),
    _spec("top10", ("top10_matches", "tokens"), True, "the GPT's token is among the 10 codes nearest to the latent"),
    _spec(
        "codebook_distance",
        ("distance_sum", "tokens"),
        False,
        "mean distance of code and GPT's token in the codebook / that of two tokens of the GPT",
    ),
    _spec(
        "mutual_information_bits",
        ("gpt_codes", "codes"),
        True,
        "mutual information with the GPT's tokens, corrected for chance",
        reduction="mutual_information",
        unit="bits",
        decimals=2,
    ),
    _spec(
        "mutual_information_share",
        ("gpt_codes", "codes"),
        True,
        "mutual information / entropy of the GPT's tokens, corrected for chance",
        reduction="information_share",
    ),
)
"""Exact agreement between floor and ceiling, and figures that say what kind of disagreement there is."""

_COLUMNS = tuple(dict.fromkeys(column for spec in AGREEMENT_SPECS for column in spec.columns))

_OF_CODEBOOK = ("top5_matches", "top10_matches", "distance_sum")
