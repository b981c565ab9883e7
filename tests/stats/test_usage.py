import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from vqbench.stats.columns import column_of
from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.reductions import REDUCTIONS
from vqbench.stats.usage import count_grassberger

USAGE = [name for name, reduction in REDUCTIONS.items() if (reduction.cell, reduction.n_columns) == ("codes", 1)]
CONSTANTS = {"codebook_size": 64.0, "token_rate_hz": 21.5}


def prepare(name, rows, size=64):
    return REDUCTIONS[name].prepare(
        [column_of([tuple(row) for row in rows])], {**CONSTANTS, "codebook_size": float(size)}
    )


def source(kind, size):
    weights = np.ones(size) if kind == "uniform" else 1 / np.arange(1, size + 1)
    return weights / weights.sum()


def rows_from(generator, probabilities, n_rows, length):
    codes = generator.choice(len(probabilities), size=(n_rows, length), p=probabilities)
    return [tuple(row.tolist()) for row in codes]


@given(st.lists(st.lists(st.integers(0, 63), max_size=20), min_size=1, max_size=5).filter(any))
def test_plug_in_entropy_is_that_of_scipy(rows):
    counts = np.bincount([code for row in rows for code in row])
    assert prepare("entropy", rows).value == pytest.approx(stats.entropy(counts, base=2), abs=1e-9)


def test_grassbergers_table_is_his_digamma_formula():
    n = np.arange(1, 60)
    difference = special.digamma((n + 1) / 2) - special.digamma(n / 2)
    formula = special.digamma(n) + 0.5 * (-1.0) ** n * difference
    np.testing.assert_allclose(count_grassberger(np.arange(60)), [0, *(n * formula)], atol=1e-10)


@pytest.mark.parametrize("size", [16, 256, 2048])
@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_the_corrected_entropy_is_nearer_the_truth_than_the_plug_in_and_miller_madow(kind, size):
    generator = np.random.default_rng(0)
    probabilities = source(kind, size)
    truth = stats.entropy(probabilities, base=2)
    plug_in, corrected, miller_madow = [], [], []
    for _ in range(40):
        rows = rows_from(generator, probabilities, 10, 100)
        plug_in.append(prepare("entropy", rows, size).value)
        corrected.append(prepare("entropy_corrected", rows, size).value)
        used = prepare("share_used", rows, size).value * size
        miller_madow.append(plug_in[-1] + (used - 1) / (2 * 1000 * np.log(2)))
    bias = {
        name: abs(np.mean(values) - truth)
        for name, values in (("plug-in", plug_in), ("corrected", corrected), ("miller-madow", miller_madow))
    }
    assert bias["corrected"] < 0.6 * bias["plug-in"] + 0.01
    assert bias["corrected"] < bias["miller-madow"] + 0.01


@given(
    rows=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=3, max_size=6),
    name=st.sampled_from(USAGE),
    clustered=st.booleans(),
)
def test_leaving_a_unit_out_is_computing_without_it(rows, name, clustered):
    clusters = [f"speaker{i // 2}" for i in range(len(rows))] if clustered else None
    labels = clusters or [str(i) for i in range(len(rows))]
    without = [
        prepare(name, [row for row, own in zip(rows, labels, strict=True) if own != label]).value
        for label in sorted(set(labels))
    ]
    replicates = estimate(prepare(name, rows), clusters=clusters).replicates
    np.testing.assert_allclose(replicates, without, rtol=1e-9, atol=1e-9)


def test_codes_may_be_large_and_far_between():
    rows = [(0, 7, 7, 3), (3, 3), (7, 0, 2)]
    spread = [tuple(10**9 * code + 5 for code in row) for row in rows]
    for name in ("entropy", "entropy_corrected", "perplexity"):
        near, far = estimate(prepare(name, rows)), estimate(prepare(name, spread))
        assert far.value == near.value
        np.testing.assert_array_equal(far.replicates, near.replicates)


def test_no_code_lost_by_leaving_out_any_clip_closes_the_interval_on_the_value():
    rows = [tuple(range(64))] * 3
    assert estimate(prepare("dead", rows)).interval(0.95) == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
@pytest.mark.parametrize("name", ["entropy", "entropy_corrected", "perplexity", "share_used"])
def test_the_interval_covers_what_the_figure_comes_to_on_average(kind, name):
    """Nominal 95 %; the jackknife may be wide, never narrow."""
    size, repetitions = 256, 300
    generator = np.random.default_rng(1)
    probabilities = source(kind, size)
    estimates = [estimate(prepare(name, rows_from(generator, probabilities, 50, 20), size)) for _ in range(repetitions)]
    centre = np.mean([one.value for one in estimates])
    assert coverage(estimates, centre) >= 0.93


def test_the_corrected_entropys_interval_covers_the_entropy_of_the_source():
    generator = np.random.default_rng(2)
    probabilities = source("zipf", 256)
    truth = stats.entropy(probabilities, base=2)
    estimates = {
        name: [estimate(prepare(name, rows_from(generator, probabilities, 50, 60), 256)) for _ in range(200)]
        for name in ("entropy_corrected", "entropy")
    }
    assert 0.93 <= coverage(estimates["entropy_corrected"], truth) <= 0.99
    assert coverage(estimates["entropy"], truth) < 0.8  # what the correction is for


def test_the_interval_keeps_up_when_clips_of_a_speaker_share_codes():
    generator = np.random.default_rng(3)
    clustered, naive = [], []
    clusters = [str(i // 8) for i in range(240)]
    for _ in range(200):
        tilts = generator.dirichlet(5 * source("zipf", 64), size=30)
        rows = [row for tilt in tilts for row in rows_from(generator, tilt, 8, 20)]
        clustered.append(estimate(prepare("entropy", rows), clusters=clusters))
        naive.append(estimate(prepare("entropy", rows)))
    centre = np.mean([one.value for one in clustered])
    assert coverage(clustered, centre) >= 0.92
    assert coverage(naive, centre) < 0.75


def coverage(estimates: list[Estimate], truth: float) -> float:
    intervals = [one.interval(0.95) for one in estimates]
    return float(np.mean([low <= truth <= high for low, high in intervals]))
