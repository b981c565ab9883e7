"""The kernels of token agreement at 8,192 codes, against jiwer, scikit-learn and SciPy's dense assignment."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import mutual_info_score

from vqbench.metrics.agreement import Encoded, GptSequence, agreement_columns
from vqbench.stats.columns import Ragged
from vqbench.stats.information import information, information_share
from vqbench.stats.relabelling import crossfitted_matches, fit_relabelling
from vqbench.stats.usage import UsageStatistic, count_miller_madow, miller_madow_entropy

LENGTH = 100
"""Tokens of a sequence."""


@pytest.fixture
def codebook_size(measured: bool) -> int:
    return 8192 if measured else 64


def rows(codebook_size: int, n: int, length: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, length) codes, and the same under other names with a share of them drawn anew."""
    generator = np.random.default_rng(0)
    codes = generator.integers(0, codebook_size, (n, length))
    anew = generator.integers(0, codebook_size, (n, length))
    return codes, np.where(generator.random((n, length)) < noise, anew, generator.permutation(codebook_size)[codes])


@pytest.mark.parametrize("contender", ["ours, all columns", "rapidfuzz alone", "jiwer alone"])
def test_edits(benchmark, contender, measured, codebook_size) -> None:
    n = 10_000 if measured else 50
    benchmark.group = "edit distance, 10,000 pairs of 200 tokens"
    gpt, _ = rows(codebook_size, n, 200, noise=0.0)
    own = np.where(np.random.default_rng(1).random(gpt.shape) < 0.3, 0, gpt)
    as_lists = list(zip(gpt.tolist(), own.tolist(), strict=True))
    sequences = [GptSequence(str(i), row, row > 0, str(i)) for i, row in enumerate(gpt)]
    encoded = [Encoded(row, (row != target).astype(int), np.zeros(200)) for row, target in zip(own, gpt, strict=True)]

    def by_jiwer() -> list[float]:
        found = [
            jiwer.process_words(" ".join(map(str, target)), " ".join(map(str, codes))) for target, codes in as_lists
        ]
        return [float(one.substitutions + one.deletions + one.insertions) for one in found]

    contenders = {
        "rapidfuzz alone": lambda: [float(Levenshtein.distance(target, codes)) for target, codes in as_lists],
        "ours, all columns": lambda: list(agreement_columns(sequences, encoded, None, codebook_size)["edits"]),
        "jiwer alone": by_jiwer,
    }
    if contender == "jiwer alone" and measured:
        answer = benchmark.pedantic(contenders[contender], rounds=1)
    else:
        answer = benchmark(contenders[contender])
    assert answer == contenders["rapidfuzz alone"]()


@pytest.mark.parametrize("contender", ["ours", "ours, corrected for chance", "scikit-learn"])
def test_mutual_information(benchmark, contender, measured, codebook_size) -> None:
    n = 20_000 if measured else 20
    benchmark.group = "mutual information, 2 M tokens of 8,192 codes"
    first, second = rows(codebook_size, n, LENGTH, noise=0.3)
    columns = [Ragged(codes.ravel(), np.full(n, LENGTH)) for codes in (first, second, first * codebook_size + second)]
    entropies = [UsageStatistic((codes,), count_miller_madow, miller_madow_entropy) for codes in columns]
    contenders = {
        "ours": lambda: entropies[0].value + entropies[1].value - entropies[2].value,
        "ours, corrected for chance": lambda: information(information_share, *columns[:2]).value,
        "scikit-learn": lambda: mutual_info_score(first.ravel(), second.ravel()) / np.log(2),
    }
    answer = benchmark(contenders[contender])
    if contender == "ours, corrected for chance":
        assert 0.5 < answer < 0.75
    else:
        # Miller's correction is the number of distinct codes and pairs of codes, over twice the tokens.
        first, second, both = first.ravel(), second.ravel(), (first * codebook_size + second).ravel()
        distinct = sum(len(np.unique(codes)) * sign for codes, sign in ((first, 1), (second, 1), (both, -1))) - 1
        correction = distinct / (2 * len(first) * np.log(2)) if contender == "ours" else 0.0
        assert answer - correction == pytest.approx(contenders["scikit-learn"](), abs=1e-6)


@pytest.mark.parametrize("noise", [0.3, 1.0], ids=["relabelled", "unrelated"])
@pytest.mark.parametrize("contender", ["ours", "ours, cross-fitted", "dense"])
def test_relabelling(benchmark, contender, noise, measured, codebook_size) -> None:
    n = 20_000 if measured else 20
    benchmark.group = f"best relabelling of 8,192 codes, 2 M tokens, {noise:.0%} noise"
    codes, targets = rows(codebook_size, n, LENGTH, noise)
    pairs, counts = np.unique(codes * codebook_size + targets, return_counts=True)

    def agreeing(labels: np.ndarray) -> int:
        return int((labels[codes] == targets).sum())

    def dense() -> int:
        table = np.zeros(codebook_size**2, dtype=np.float32)
        table[pairs] = counts
        table = table.reshape(codebook_size, codebook_size)
        row, column = linear_sum_assignment(table, maximize=True)
        return int(table[row, column].sum())

    contenders = {
        "ours": lambda: agreeing(fit_relabelling(counts, *np.divmod(pairs, codebook_size), codebook_size)),
        "ours, cross-fitted": lambda: crossfitted_matches(codes, targets, [str(i) for i in range(n)], codebook_size),
        "dense": dense,
    }
    answer = benchmark.pedantic(contenders[contender], rounds=1 if contender == "dense" or not measured else 3)
    if contender == "ours, cross-fitted":
        assert answer.sum() <= contenders["ours"]()
    elif contender == "dense":
        assert answer == contenders["ours"]()
