"""What must not change a figure, its interval or its p-value, for any rows at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqbench.stats.columns import Column, Ragged, column_of, take
from vqbench.stats.estimate import Bootstrap, Sample, Statistic, estimate, estimate_all
from vqbench.stats.paired import Exchange, holm, permutation_p_values
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.units import units_of

CONSTANTS = {"codebook_size": 32.0, "token_rate_hz": 20.0}
NUMBERS = [name for name, reduction in REDUCTIONS.items() if reduction.cell == "number"]
USAGE = [name for name, reduction in REDUCTIONS.items() if reduction.cell == "codes" and reduction.n_columns == 1]
BOOTSTRAPPED = [name for name, reduction in REDUCTIONS.items() if reduction.cell in ("number", "scores")]

METHODS = st.sampled_from(["outer", "percentile", "bca"])
SEEDS = st.integers(0, 2**32 - 1)
RESAMPLES = 60


def columns_for(name: str, n: int, seed: int) -> list[Column]:
    """Rows that a reduction can take: numbers above 0 whose sums do not round, with ties; codes; scores."""
    draw = np.random.default_rng(seed)
    reduction = REDUCTIONS[name]
    columns: list[Column] = []
    for _ in range(reduction.n_columns):
        if reduction.cell == "number":
            columns.append(np.ceil(4 * draw.gamma(2.0, size=n)) / 4)
            continue
        lengths = draw.integers(1, 6, n)
        values = draw.integers(0, 32, lengths.sum()) if reduction.cell == "codes" else draw.normal(size=lengths.sum())
        columns.append(Ragged(values, lengths))
    return columns


def prepare(name: str, columns: list[Column]) -> Statistic:
    return REDUCTIONS[name].prepare(columns, CONSTANTS)


@given(
    name=st.sampled_from(NUMBERS + USAGE + ["pooled_p95", "equal_error_rate", "pooled_mean"]),
    n=st.integers(2, 30),
    seed=SEEDS,
)
def test_the_order_of_rows_does_not_matter(name: str, n: int, seed: int) -> None:
    columns = columns_for(name, n, seed)
    order = np.random.default_rng(seed).permutation(n)
    one, other = prepare(name, columns), prepare(name, [take(column, order) for column in columns])
    assert other.value == pytest.approx(one.value, rel=1e-9, nan_ok=True)
    if name in USAGE:
        ours, theirs = estimate(one), estimate(other)
        np.testing.assert_allclose(theirs.replicates, ours.replicates[order], rtol=1e-9, atol=1e-9)
    else:
        units = units_of(n, None)
        np.testing.assert_allclose(other.left_out(units), one.left_out(units)[order], rtol=1e-9)  # type: ignore[union-attr]


@given(seed=SEEDS, scale=st.floats(0.01, 100), shift=st.floats(-100, 100), method=METHODS, clustered=st.booleans())
def test_a_mean_and_its_interval_are_scaled_and_shifted_with_the_rows(
    seed: int, scale: float, shift: float, method: Bootstrap, clustered: bool
) -> None:
    rows = np.random.default_rng(seed).gamma(2.0, size=20)
    clusters = [str(i // 3) for i in range(20)] if clustered else None
    one, other = (
        estimate(prepare("mean", [given]), clusters=clusters, resamples=RESAMPLES, method=method)
        for given in (rows, scale * rows + shift)
    )
    slack = 1e-9 * (abs(shift) + scale)
    assert other.value == pytest.approx(scale * one.value + shift, rel=1e-9, abs=slack)
    ends = one.interval(0.9)
    assert ends is not None
    assert other.interval(0.9) == pytest.approx(
        [scale * end + shift for end in ends], rel=1e-6, abs=1e-6 * (abs(shift) + scale)
    )


@given(
    name=st.sampled_from(["ratio", "root_ratio", "normalised_ratio", "best_offset_ratio"]),
    seed=SEEDS,
    scale=st.floats(0.01, 100),
    method=METHODS,
)
def test_a_ratio_does_not_know_the_unit_of_its_columns(name: str, seed: int, scale: float, method: Bootstrap) -> None:
    columns = columns_for(name, 20, seed)
    one, other = (
        estimate(prepare(name, given), resamples=RESAMPLES, method=method)
        for given in (columns, [scale * np.asarray(column) for column in columns])
    )
    np.testing.assert_allclose(other.replicates, one.replicates, rtol=1e-6, atol=1e-9)
    assert other.value == pytest.approx(one.value, rel=1e-6, nan_ok=True)


@given(seed=SEEDS, n=st.integers(2, 20), clustered=st.booleans())
def test_how_codes_are_called_leaves_the_usage_of_a_codebook_as_it_is(seed: int, n: int, clustered: bool) -> None:
    (codes,) = columns_for("entropy", n, seed)
    assert isinstance(codes, Ragged)
    called = np.random.default_rng(seed).permutation(32)
    renamed = Ragged(called[codes.values].astype(np.uint8), codes.lengths)
    clusters = [str(i // 2) for i in range(n)] if clustered else None
    for name in USAGE:
        one, other = (estimate(prepare(name, [given]), clusters=clusters) for given in (codes, renamed))
        assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(other.replicates, one.replicates, rtol=1e-9, atol=1e-9)


@given(name=st.sampled_from(BOOTSTRAPPED), seed=SEEDS, paired=st.booleans(), clustered=st.booleans())
def test_swapping_the_two_mirrors_the_difference_and_keeps_the_p_value(
    name: str, seed: int, paired: bool, clustered: bool
) -> None:
    n = 16
    sides = [prepare(name, columns_for(name, n, seed + i)) for i in range(2)]
    clusters = [str(i // 2) for i in range(n)] if clustered else None
    ours, theirs = (estimate(side, clusters=clusters, resamples=RESAMPLES, method="bca") for side in sides)
    np.testing.assert_array_equal((ours - theirs).replicates, -(theirs - ours).replicates)
    assert (ours - theirs).acceleration() == pytest.approx(-(theirs - ours).acceleration())
    if not paired:
        return
    units = units_of(n, clusters)
    forwards, backwards = permutation_p_values([Exchange(*sides, units), Exchange(*sides[::-1], units)], 99, 0)
    assert forwards == backwards


@given(name=st.sampled_from(BOOTSTRAPPED), seed=SEEDS, paired=st.booleans())
def test_a_p_value_is_a_count_of_permutations_and_of_what_was_observed(name: str, seed: int, paired: bool) -> None:
    sides = [prepare(name, columns_for(name, 12, seed + i)) for i in range(2)]
    (p,) = permutation_p_values([Exchange(*sides, units_of(12, None) if paired else None)], 49, seed)
    assert p * 50 == pytest.approx(round(p * 50))
    assert 1 <= round(p * 50) <= 50


@given(name=st.sampled_from(NUMBERS + USAGE), seed=SEEDS, names=st.permutations("abcde"))
def test_how_speakers_are_called_changes_nothing(name: str, seed: int, names: list[str]) -> None:
    """But for the draws, which go by the names' order: so the names keep it here, or the jackknife is looked at."""
    draw = np.random.default_rng(seed)
    columns, speakers = columns_for(name, 20, seed), draw.integers(0, 5, 20)
    statistic = prepare(name, columns)
    first = estimate(statistic, clusters=["abcde"[i] for i in speakers], resamples=RESAMPLES)
    again = estimate(statistic, clusters=[f"speaker {'abcde'[i]}" for i in speakers], resamples=RESAMPLES)
    np.testing.assert_array_equal(first.replicates, again.replicates)
    renamed = estimate(statistic, clusters=[names[i] for i in speakers], resamples=RESAMPLES)
    assert (renamed.value, renamed.n_units) == (pytest.approx(first.value, nan_ok=True), first.n_units)
    if name in USAGE:
        np.testing.assert_allclose(sorted(renamed.replicates), sorted(first.replicates), rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, method=METHODS, data=st.data())
def test_what_is_estimated_beside_a_figure_does_not_touch_it(seed: int, method: Bootstrap, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(BOOTSTRAPPED + USAGE), min_size=2, max_size=5))
    clusters = [str(i // 2) for i in range(14)]
    samples = [
        Sample(
            prepare(name, columns_for(name, 14, seed + i)),
            units_of(14, data.draw(st.sampled_from([None, clusters]))),
            RESAMPLES,
            method=method,
        )
        for i, name in enumerate(names)
    ]
    together = estimate_all(samples)
    for sample in samples:
        alone = estimate_all([sample])[sample]
        assert alone.value == pytest.approx(together[sample].value, rel=1e-12, nan_ok=True)
        np.testing.assert_allclose(alone.replicates, together[sample].replicates, rtol=1e-9, atol=1e-12)


@given(seed=SEEDS)
def test_what_is_tested_beside_a_difference_does_not_touch_it(seed: int) -> None:
    units = units_of(15, None)
    exchanges = [
        Exchange(prepare(name, columns_for(name, 15, seed)), prepare(name, columns_for(name, 15, seed + 1)), units)  # type: ignore[arg-type]
        for name in ("mean", "ratio", "p50", "mean")
    ]
    exchanges.append(Exchange(exchanges[0].ours, exchanges[0].theirs))
    together = permutation_p_values(exchanges, 99, seed)
    assert together == [permutation_p_values([exchange], 99, seed)[0] for exchange in exchanges]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15), st.data())
def test_holm_knows_no_order_and_a_smaller_p_never_comes_out_larger(p: list[float], data: st.DataObject) -> None:
    corrected = holm(p)
    order = data.draw(st.permutations(range(len(p))))
    assert holm([p[i] for i in order]) == [corrected[i] for i in order]
    smaller = [value * data.draw(st.floats(0, 1)) for value in p]
    assert all(one <= other for one, other in zip(holm(smaller), corrected, strict=True))


def test_columns_of_cells_are_what_reductions_take() -> None:
    assert prepare("mean", [column_of([1.0, 2.0])]).value == 1.5
    with pytest.raises(TypeError, match="one number a row"):
        prepare("mean", [column_of([(1.0,), (2.0,)])])
    with pytest.raises(TypeError, match="several values a row"):
        prepare("entropy", [column_of([1.0, 2.0])])
