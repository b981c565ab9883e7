"""Mutual information against scikit-learn, against the truth of known sources, and leave-one-out by recomputing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from vqbench.stats.columns import column_of, several
from vqbench.stats.estimate import estimate
from vqbench.stats.information import (
    chance_information,
    information,
    information_share,
    mutual_information,
    paired_information,
)

LENGTH = 60


def rows(codes):
    return [tuple(row.tolist()) for row in np.array_split(codes, max(1, len(codes) // LENGTH))]


def of(figure, first, second):
    return of_rows(figure, rows(first), rows(second))


def of_rows(figure, *sides):
    return information(figure, *(several(column_of(side)) for side in sides))


def zipf(size):
    weights = 1 / np.arange(3, size + 3)
    return weights / weights.sum()


def half_heard(generator, size, n):
    """Codes, and the same relabelled with every other one drawn anew: the pair, and its true information in bits."""
    p, relabelled = zipf(size), (np.arange(size) * 7 + 3) % size
    first = generator.choice(size, n, p=p)
    second = np.where(generator.random(n) < 0.5, generator.choice(size, n, p=p), relabelled[first])
    joint = np.outer(p, p) / 2
    joint[np.arange(size), relabelled] += p / 2
    truth = sum(stats.entropy(joint.sum(axis), base=2) for axis in (0, 1)) - stats.entropy(joint.ravel(), base=2)
    return first, second, truth


def miller_madow(first, second):
    n, table = len(first), contingency_matrix(first, second)
    distinct = table.shape[0] + table.shape[1] - np.count_nonzero(table) - 1
    return (mutual_info_score(first, second) + distinct / (2 * n)) / np.log(2)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=200))
def test_the_paired_information_is_scikit_learns_and_millers_correction(tokens):
    first, second = np.array(tokens).T
    assert of(paired_information, first, second).value == pytest.approx(miller_madow(first, second), abs=1e-9)


@pytest.mark.parametrize(("size", "n"), [(8, 300), (64, 600), (256, 1200)])
def test_chance_is_the_expectation_over_all_pairings(size, n):
    generator = np.random.default_rng(size)
    first, second, _ = half_heard(generator, size, n)
    table = contingency_matrix(first, second)
    expected = expected_mutual_information(table.astype(np.int64), n)
    a, b = np.meshgrid(table.sum(axis=1), table.sum(axis=0), indexing="ij")
    occupied = (1 - stats.hypergeom.pmf(0, n, a, b)).sum()
    expected = (expected + (sum(table.shape) - occupied - 1) / (2 * n)) / np.log(2)
    assert of(chance_information, first, second).value == pytest.approx(expected, abs=0.03)
    entropy = miller_madow(first, first)
    share = (miller_madow(first, second) - expected) / (entropy - expected)
    assert of(information_share, first, second).value == pytest.approx(share, abs=0.02)
    assert of(mutual_information, first, second).value == pytest.approx(share * entropy, abs=0.02 * entropy)


@pytest.mark.parametrize("n", [120, 4000])
@pytest.mark.parametrize("size", [16, 1024])
def test_a_relabelling_carries_everything_however_few_the_tokens(size, n):
    generator = np.random.default_rng(0)
    codes = generator.choice(size, n, p=zipf(size))
    relabelled = generator.permutation(size)[codes]
    assert of(information_share, codes, relabelled).value == pytest.approx(1.0)
    assert of(mutual_information, codes, relabelled).value == pytest.approx(miller_madow(codes, codes))


@pytest.mark.parametrize("n", [600, 4000])
@pytest.mark.parametrize("size", [16, 1024])
def test_unrelated_codes_carry_nothing_however_few_the_tokens(size, n):
    generator = np.random.default_rng(0)
    found, uncorrected = [], []
    for _ in range(20):
        first, second = generator.choice(size, (2, n), p=zipf(size))
        found.append(of(mutual_information, first, second).value)
        uncorrected.append(of(paired_information, first, second).value)
    assert abs(np.mean(found)) < 0.05
    if size == 1024:
        assert np.mean(uncorrected) > 3  # what the correction is for


@pytest.mark.parametrize(("size", "n"), [(64, 1200), (64, 20_000), (1024, 4000), (1024, 100_000)])
def test_the_corrected_information_is_near_the_truth(size, n):
    first, second, truth = half_heard(np.random.default_rng(1), size, n)
    assert of(mutual_information, first, second).value == pytest.approx(truth, rel=0.1)


@given(
    tokens=st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6), min_size=3),
    clustered=st.booleans(),
)
def test_leaving_a_unit_out_is_computing_without_it(tokens, clustered):
    first, second = ([tuple(pair[side] for pair in row) for row in tokens] for side in (0, 1))
    labels = [str(i // 2 if clustered else i).zfill(4) for i in range(len(tokens))]

    def without(label):
        kept = [[row for row, own in zip(side, labels, strict=True) if own != label] for side in (first, second)]
        return of_rows(paired_information, *kept).value

    statistic = of_rows(paired_information, first, second)
    replicates = estimate(statistic, clusters=labels if clustered else None).replicates
    if len(set(labels)) >= 2:
        expected = [without(label) for label in sorted(set(labels))]
        np.testing.assert_allclose(replicates, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("figure", [mutual_information, information_share])
def test_the_interval_covers_what_the_figure_comes_to_on_average(figure):
    generator = np.random.default_rng(2)
    found = [estimate(of(figure, *half_heard(generator, 64, 3000)[:2])) for _ in range(80)]
    centre = np.mean([one.value for one in found])
    intervals = [one.interval(0.95) for one in found]
    assert np.mean([low <= centre <= high for low, high in intervals]) >= 0.9
    spread = np.std([one.value for one in found])
    assert np.mean([one.standard_error() for one in found]) == pytest.approx(spread, rel=0.25)


def test_shuffles_are_the_same_on_every_computer_and_day():
    first, second, _ = half_heard(np.random.default_rng(3), 64, 600)
    assert of(information_share, first, second).value == of(information_share, first, second).value


def test_rows_must_be_token_beside_token():
    with pytest.raises(ValueError, match="as many codes"):
        of_rows(paired_information, [(1, 2), (3,)], [(1,), (2, 3)])
