import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vqbench.stats.columns import column_of
from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.paired import Exchange, holm, permutation_p_values
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.units import units_of


def paired_p(name, ours, theirs, *, clusters=None, resamples=999, seed=0):
    return exchanged_p(name, ours, theirs, units_of(len(ours[0]), clusters), resamples, seed)


def unpaired_p(name, ours, theirs, *, resamples=999, seed=0):
    return exchanged_p(name, ours, theirs, None, resamples, seed)


def exchanged_p(name, ours, theirs, units, resamples, seed):
    sides = (REDUCTIONS[name].prepare([column_of(column) for column in side], {}) for side in (ours, theirs))
    return permutation_p_values([Exchange(*sides, units)], resamples, seed)[0]


@pytest.mark.parametrize("name", ["mean", "ratio", "root_ratio", "p50", "p90", "maximum"])
@pytest.mark.parametrize("clusters", [None, [str(i % 7) for i in range(40)]])
def test_a_against_itself_is_exactly_one(name, clusters):
    generator = np.random.default_rng(0)
    columns = [generator.gamma(2.0, size=40) for _ in range(REDUCTIONS[name].n_columns)]
    assert paired_p(name, columns, columns, clusters=clusters) == 1.0
    assert unpaired_p(name, columns, columns) == 1.0


def test_values_that_differ_by_rounding_alone_do_not_differ():
    assert paired_p("mean", [[0.1] * 1001 + [0.3]], [[0.1] * 1001 + [0.1 + 0.2]]) == 1.0


@pytest.mark.parametrize("name", ["mean", "p50"])
def test_the_paired_p_value_agrees_with_scipys_exact_one(name):
    generator = np.random.default_rng(1)
    ours, theirs = generator.normal(0.4, 1, 9), generator.normal(0, 1, 9)
    reduce = np.mean if name == "mean" else np.median
    exact = stats.permutation_test(
        (ours, theirs), lambda x, y: reduce(x) - reduce(y), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_p(name, [ours], [theirs], resamples=20_000) == pytest.approx(exact, abs=0.01)


def test_the_paired_p_value_of_a_ratio_agrees_with_full_enumeration():
    errors, words = np.array([[3.0, 1, 4, 2, 5], [1.0, 1, 2, 0, 1]]), np.array([[10.0, 8, 12, 9, 20]] * 2)
    clusters = ["a", "a", "b", "c", "d"]
    units = units_of(5, clusters)

    def difference(swapped):
        first = np.where(np.array(swapped)[units.of_row], 1, 0)
        rows = np.arange(5)
        return (
            errors[first, rows].sum() / words[first, rows].sum()
            - errors[1 - first, rows].sum() / words[1 - first, rows].sum()
        )

    every = np.array([difference(swapped) for swapped in itertools.product([0, 1], repeat=4)])
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-12)
    found = paired_p("ratio", [errors[0], words[0]], [errors[1], words[1]], clusters=clusters, resamples=20_000)
    assert found == pytest.approx(exact, abs=0.01)


def test_the_unpaired_p_value_agrees_with_scipys_exact_one():
    generator = np.random.default_rng(2)
    ours, theirs = generator.normal(1, 1, 6), generator.normal(0, 1, 5)
    exact = stats.permutation_test(
        (ours, theirs), lambda x, y: x.mean() - y.mean(), permutation_type="independent", n_resamples=np.inf
    ).pvalue
    assert unpaired_p("mean", [ours], [theirs], resamples=20_000) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("clustered", [False, True])
def test_p_values_are_uniform_where_nothing_differs(clustered):
    generator = np.random.default_rng(4)
    clusters = [str(i // 3) for i in range(60)] if clustered else None
    p_values = []
    for seed in range(300):
        bias = np.repeat(generator.normal(size=20), 3) if clustered else 0.0
        hardness = generator.lognormal(size=60)
        ours, theirs = hardness + generator.normal(size=60) + bias, hardness + generator.normal(size=60)
        p_values.append(paired_p("mean", [ours], [theirs], clusters=clusters, resamples=399, seed=seed))
    assert stats.kstest(p_values, "uniform").pvalue > 0.02


def test_swapping_clips_apart_finds_differences_that_are_only_speakers():
    generator = np.random.default_rng(5)
    p_values = []
    for seed in range(200):
        bias = np.repeat(generator.normal(size=10), 6)
        ours, theirs = bias + generator.normal(scale=0.3, size=60), generator.normal(scale=0.3, size=60)
        p_values.append(paired_p("mean", [ours], [theirs], resamples=199, seed=seed))
    assert np.mean(np.array(p_values) < 0.05) > 0.2


def test_a_real_difference_is_found():
    generator = np.random.default_rng(6)
    hardness = generator.lognormal(size=60)
    assert paired_p("mean", [hardness + 0.3], [hardness + generator.normal(scale=0.1, size=60)]) == pytest.approx(0.001)


def test_undefined_permutations_count_against_a_finding():
    # Swapping one pair and not the other leaves one side without words.
    ours, theirs = [[2.0, 0.0], [5.0, 0.0]], [[0.0, 1.0], [0.0, 5.0]]
    assert paired_p("ratio", ours, theirs) == 1.0


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_the_t_test_of_codebook_usage_finds_no_difference_too_often(kind):
    """Two tokenizers of equal entropy whose codes mean different things."""
    generator = np.random.default_rng(7)
    weights = np.ones(128) if kind == "uniform" else 1 / np.arange(1, 129)
    probabilities = weights / weights.sum()
    p_values = []
    for _ in range(300):
        first, second = (
            estimate(
                REDUCTIONS["entropy"].prepare(
                    [
                        column_of(
                            [
                                tuple(row)
                                for row in order[generator.choice(128, size=(40, 20), p=probabilities)].tolist()
                            ]
                        )
                    ],
                    {"codebook_size": 128.0},
                )
            )
            for order in (np.arange(128), generator.permutation(128))
        )
        p_values.append((first - second).t_test())
    assert np.mean(np.array(p_values) < 0.05) <= 0.07
    assert (first - first).t_test() == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_a_difference_that_is_undefined_without_one_unit_is_no_evidence():
    replicates = np.array([0.4, 0.5, np.nan, 0.45])
    assert Estimate(0.45, replicates, "jackknife", 4).t_test() == 1.0
    assert Estimate(0.45, np.nan_to_num(replicates, nan=0.44), "jackknife", 4).t_test() < 0.05
