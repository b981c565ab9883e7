"""How much the codes of one tokenizer say about those of another: mutual information, corrected for chance.

Few tokens of many codes make even unrelated codes look informative: 4,000 tokens of 1,024 codes some 4 bits of 8, from
which Miller's correction takes little. What chance comes to is therefore measured, by shuffling the pairing,
and the figure is counted from there: 0 for unrelated codes and the whole entropy for a one-to-one relabelling, however
few the tokens. In between it is an interpolation, and approaches the information itself as tokens become many.

Source: N. Vinh, J. Epps, J. Bailey, "Information theoretic measures for clusterings comparison", JMLR 11 (2010), the
mutual information adjusted for chance, here out of the first tokenizer's entropy, and with entropies by Miller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vqbench.stats.estimate import Array, Indices, Resampling
from vqbench.stats.usage import UsageStatistic, count_miller_madow, miller_madow_entropy

_SHUFFLES = 4
"""Over this many the level at chance is averaged; one alone is already within some 0.01 bits at 4,000 tokens."""

_SEED = 0

_ROUNDING = 1e-9
"""Bits below this are none."""


@dataclass(frozen=True)
class JointUsage:
    """Tokens of two tokenizers over the same stretches of speech, and the entropies of their histograms.

    Attributes:
        first: usage of the first tokenizer's codes.
        second: of the second's, token by token beside the first's.
    """

    first: UsageStatistic
    second: UsageStatistic

    @classmethod
    def of_rows(cls, first: Sequence[Sequence[int]], second: Sequence[Sequence[int]]) -> JointUsage:
        """One row of codes a clip and tokenizer, of the same length for both.

        Raises:
            ValueError: rows of different lengths.
        """
        if [len(row) for row in first] != [len(row) for row in second]:
            raise ValueError("each row must hold as many codes of the first tokenizer as of the second")
        return cls(
            *(UsageStatistic.of_rows(rows, count_miller_madow, miller_madow_entropy) for rows in (first, second))
        )

    @cached_property
    def joint(self) -> UsageStatistic:
        """Usage of pairs of codes."""
        return self._paired(self.second.codes)

    @cached_property
    def shuffled(self) -> tuple[UsageStatistic, ...]:
        """Usage of pairs when the second tokenizer's codes are dealt out to other places."""
        return tuple(self._shuffles())

    def _shuffles(self) -> Iterator[UsageStatistic]:
        generator = np.random.default_rng(_SEED)
        for _ in range(_SHUFFLES):
            yield self._paired(generator.permutation(self.second.codes))

    def _paired(self, partners: Indices) -> UsageStatistic:
        size = int(partners.max(initial=0)) + 1
        return replace(self.first, codes=self.first.codes * size + partners)


Entropy = Callable[[UsageStatistic], Array]
"""Entropies in bits: the one of all rows, or one for each unit left out."""

InformationFigure = Callable[[JointUsage, Entropy], Array]


def paired_information(usage: JointUsage, entropy: Entropy) -> Array:
    """I = H(X) + H(Y) - H(X, Y), in bits, by Miller-Madow; chance is still in it."""
    return entropy(usage.first) + entropy(usage.second) - entropy(usage.joint)


def chance_information(usage: JointUsage, entropy: Entropy) -> Array:
    """I₀: what `paired_information` comes to when the pairing is shuffled, in bits."""
    shuffled = sum((entropy(pairs) for pairs in usage.shuffled), np.zeros(1)) / len(usage.shuffled)
    return entropy(usage.first) + entropy(usage.second) - shuffled


def information_share(usage: JointUsage, entropy: Entropy) -> Array:
    """(I - I₀) / (H(X) - I₀): 0 for unrelated codes, 1 where the second's codes settle the first's."""
    chance = chance_information(usage, entropy)
    above, reach = paired_information(usage, entropy) - chance, entropy(usage.first) - chance
    # Where the first tokenizer writes one code alone, there is nothing to know, and both are 0 but for rounding.
    return np.divide(above, reach, out=np.full_like(above, np.nan), where=reach > _ROUNDING)


def mutual_information(usage: JointUsage, entropy: Entropy) -> Array:
    """H(X) · (I - I₀) / (H(X) - I₀), in bits."""
    return entropy(usage.first) * information_share(usage, entropy)


@dataclass(frozen=True)
class InformationStatistic:
    """A figure of two tokenizers' codes, with the delete-one jackknife (see `vqbench.stats.usage` for why).

    Attributes:
        usage: the codes.
        figure: what is made of their entropies.
    """

    usage: JointUsage
    figure: InformationFigure
    resampling: Resampling = "jackknife"

    @property
    def n_rows(self) -> int:
        """Rows of data."""
        return self.usage.first.n_rows

    @property
    def value(self) -> float:
        """The figure over all rows; NaN without tokens."""
        return float(self.figure(self.usage, lambda usage: np.array([usage.value]))[0])

    def replicates(self, units: Indices, resamples: int, seed: int) -> Array:
        """The figure with each unit of rows left out in turn, (n_units,); the shuffled pairs lose its places too."""

        def entropy(usage: UsageStatistic) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):
                return usage.replicates(units, resamples, seed)

        return self.figure(self.usage, entropy)
