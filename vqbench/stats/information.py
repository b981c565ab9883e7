"""How much the codes of one tokenizer say about those of another: mutual information, corrected for chance.

Few tokens of many codes make even unrelated codes look informative: 4,000 tokens of 1,024 codes some 4 bits of 8, from
which Miller's correction takes little. What chance comes to is therefore measured, by shuffling the pairing,
and the figure is counted from there: 0 for unrelated codes and the whole entropy for a one-to-one relabelling, however
few the tokens. In between it is an interpolation, and approaches the information itself as tokens become many.

Source: N. Vinh, J. Epps, J. Bailey, "Information theoretic measures for clusterings comparison", JMLR 11 (2010), the
mutual information adjusted for chance, here out of the first tokenizer's entropy, and with entropies by Miller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from vqbench.stats.columns import Array, Ragged
from vqbench.stats.usage import Codes, UsageStatistic, count_miller_madow, miller_madow_entropy

_SHUFFLES = 4
"""Over this many the level at chance is averaged; one alone is already within some 0.01 bits at 4,000 tokens."""

_SEED = 0

_ROUNDING = 1e-9
"""Bits below this are none."""

InformationFigure = Callable[[Array, Array, Array, Array], Array]
"""H(X), H(Y), H(X, Y) and what that comes to where the pairing is shuffled, in bits by Miller-Madow → the figure."""


def information(figure: InformationFigure, first: Ragged, second: Ragged) -> UsageStatistic:
    """A figure of two tokenizers' codes over the same stretches of speech.

    Args:
        figure: what is made of their entropies.
        first: the codes of the first tokenizer, a row a clip.
        second: those of the second, token by token beside the first's.

    Raises:
        ValueError: rows of different lengths.
    """
    if not np.array_equal(first.lengths, second.lengths):
        raise ValueError("each row must hold as many codes of the first tokenizer as of the second")

    def finish(n_tokens: Array, *totals: Array) -> Array:
        one, other, joint, *shuffled = (miller_madow_entropy(n_tokens, total) for total in totals)
        return figure(one, other, joint, np.mean(shuffled, axis=0))

    return UsageStatistic((first, second), count_miller_madow, finish, _histograms)


def _histograms(first: Ragged, second: Ragged) -> Iterator[Codes]:
    """Each tokenizer's codes, pairs of them, and pairs when the second's are dealt out to other places."""
    yield first.values
    yield second.values
    size = int(second.values.max(initial=0)) + 1
    row = first.values.astype(np.int64) * size
    yield row + second.values
    generator = np.random.default_rng(_SEED)
    for _ in range(_SHUFFLES):
        yield row + generator.permutation(second.values)


def paired_information(first: Array, second: Array, joint: Array, shuffled: Array) -> Array:
    """I = H(X) + H(Y) - H(X, Y), in bits; chance is still in it."""
    return first + second - joint


def chance_information(first: Array, second: Array, joint: Array, shuffled: Array) -> Array:
    """I₀: what `paired_information` comes to when the pairing is shuffled, in bits."""
    return first + second - shuffled


def information_share(first: Array, second: Array, joint: Array, shuffled: Array) -> Array:
    """(I - I₀) / (H(X) - I₀): 0 for unrelated codes, 1 where the second's codes settle the first's."""
    chance = chance_information(first, second, joint, shuffled)
    above, reach = paired_information(first, second, joint, shuffled) - chance, first - chance
    # Where the first tokenizer writes one code alone, there is nothing to know, and both are 0 but for rounding.
    return np.divide(above, reach, out=np.full_like(above, np.nan), where=reach > _ROUNDING)


def mutual_information(first: Array, second: Array, joint: Array, shuffled: Array) -> Array:
    """H(X) · (I - I₀) / (H(X) - I₀), in bits."""
    return first * information_share(first, second, joint, shuffled)
