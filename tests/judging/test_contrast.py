"""What many comparisons have in common is made once, and what is left of two runs that differ is paired."""

from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.judging.contrast import Matches, contrast, contrast_all, p_values
from vqbench.judging.selection import Contender
from vqbench.stats.estimate import estimate
from vqbench.stats.reductions import REDUCTIONS

RUN = make_run(n_speakers=0)
OTHER = make_run(n_speakers=0, seed=1)
GOOD, FAIR, UNTRAINED = (Contender(name, RUN, name) for name in ("good", "fair", "untrained"))


def pairs_of(ours, theirs, group="speech"):
    return Matches().pairs(ours, table_of(ours, "good", group), theirs, table_of(theirs, "good", group))


@pytest.mark.parametrize("metric", ["speech.wer", "codebook.entropy", "throughput.encode.b8.audio_s_per_s"])
def test_the_reference_is_one_sample_however_many_are_compared_with_it(metric):
    matches = Matches()
    first, second = (matches.match(one, GOOD, metric, RUN.interval) for one in (FAIR, UNTRAINED))
    assert first.theirs is second.theirs
    assert first.ours is not second.ours


def test_usage_figures_of_a_table_find_their_codes_in_one_place():
    scored = without_clips(table_of(RUN, "good", "codebook"), {"clip003": "silent"})
    lossy = Contender("good", replace_table(RUN, scored), "good")
    matches = Matches()
    found = [matches.match(FAIR, lossy, name, RUN.interval).ours for name in ("codebook.entropy", "codebook.dead")]
    assert found[0].statistic.columns[0] is found[1].statistic.columns[0]
    assert found[0].units is found[1].units


def test_one_contrast_is_the_same_as_one_of_many():
    matches = Matches()
    asked = [(one, metric.name) for one in (FAIR, UNTRAINED) for metric in RUN.metrics]
    many = contrast_all([matches.match(one, GOOD, metric, RUN.interval) for one, metric in asked])
    for (one, metric), found in zip(asked, many, strict=True):
        alone = contrast(one, GOOD, metric, RUN.interval)
        assert found.difference.interval(0.95) == pytest.approx(alone.difference.interval(0.95), abs=1e-12)
        if found.testable:
            assert p_values([found], 200) == p_values([alone], 200)


def test_rows_are_all_there_are_where_both_runs_scored_the_same_clips():
    found = pairs_of(RUN, OTHER)
    assert (found.ours, found.theirs, found.n) == (None, None, 24)
    assert (found.only_ours, found.only_theirs, found.other_clips) == ((), (), ())


def test_what_is_left_of_two_runs_that_differ_is_paired_and_the_rest_named():
    ours = replace_table(RUN, without_clips(table_of(RUN, "good", "speech"), {"clip002": "silent"}))
    theirs = replace_table(OTHER, without_clips(table_of(OTHER, "good", "speech"), {"clip005": "silent"}))
    theirs = replace(theirs, clips=(replace(theirs.clips[0], sha256="0" * 64), *theirs.clips[1:]))
    found = pairs_of(ours, theirs)
    assert (found.only_ours, found.only_theirs, found.other_clips) == (("clip005",), ("clip002",), ("clip000",))
    ids = [i for i in range(24) if i not in (0, 2, 5)]
    assert found.n == len(ids)
    assert [table_of(ours, "good", "speech").row_ids[row] for row in found.ours] == [f"clip{i:03d}" for i in ids]
    assert [table_of(theirs, "good", "speech").row_ids[row] for row in found.theirs] == [f"clip{i:03d}" for i in ids]


def test_a_contrast_over_some_rows_is_over_these_rows():
    ours = replace_table(RUN, without_clips(table_of(RUN, "fair", "speech"), {"clip002": "silent"}))
    found = contrast(Contender("fair", ours, "fair"), GOOD, "speech.wer", RUN.interval)
    keep = np.array([i for i in range(24) if i != 2])
    errors, words = (table_of(RUN, "good", "speech").columns[name][keep] for name in ("errors", "words"))
    theirs = estimate(REDUCTIONS["ratio"].prepare([errors, words], {}), resamples=RUN.interval.resamples)
    np.testing.assert_allclose(found.theirs.replicates, theirs.replicates, rtol=1e-12)


def test_the_interval_that_the_run_asks_for_is_made():
    """BCa moves the interval of a skewed figure; of codes there is one interval, the jackknife's."""
    bca = replace(RUN.interval, bootstrap="bca")
    for metric, moves in (("reconstruction.mel_l1", True), ("codebook.entropy", False)):
        plain, corrected = (contrast(UNTRAINED, GOOD, metric, interval) for interval in (RUN.interval, bca))
        np.testing.assert_array_equal(plain.difference.replicates, corrected.difference.replicates)
        assert (plain.difference.interval(0.95) != corrected.difference.interval(0.95)) == moves
