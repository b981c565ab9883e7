from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, table_of

from vqbench.errors import ConfigError, ResultError
from vqbench.judging.compare import compare_runs
from vqbench.judging.power import Difference, parse_difference, sample_sizes
from vqbench.judging.selection import Selection
from vqbench.records.run import Table
from vqbench.stats.power import POWER, units_needed

RUN = make_run(n_clips=60, n_speakers=0)
OF_SPEAKERS = make_run(n_clips=60, n_speakers=12)


def asked(run, *metrics, difference=None):
    table = compare_runs([Selection("run", run)], metrics or None)
    return sample_sizes(table, None if difference is None else parse_difference(difference))


def size_of(run, metric, difference=None, candidate="fair"):
    sizes = asked(run, metric, difference=difference).sizes
    return next(size for size in sizes if size.comparison.candidate == candidate)


def with_similarity(run, candidate, values):
    speech = table_of(run, candidate, "speech")
    columns = {**speech.columns, "similarity": np.asarray(values, dtype=np.float64)}
    return replace_table(run, Table(candidate, "speech", speech.row_ids, columns))


def without_difference():
    """`fair` is as similar as `good` on every clip."""
    return with_similarity(RUN, "fair", table_of(RUN, "good", "speech").columns["similarity"])


def shifted():
    """`fair` is 0.1 less similar than `good` on every clip."""
    return with_similarity(RUN, "fair", np.asarray(table_of(RUN, "good", "speech").columns["similarity"]) - 0.1)


def test_of_a_mean_it_is_the_paired_t_tests_answer():
    noise = np.random.default_rng(0).normal(scale=0.1, size=60)
    good = np.asarray(table_of(RUN, "good", "speech").columns["similarity"])
    size = size_of(with_similarity(RUN, "fair", good - 0.03 + noise), "speech.speaker_similarity", "0.02")
    deviation = np.std(noise, ddof=1)
    assert size.standard_error == pytest.approx(deviation / np.sqrt(60), rel=0.08)
    assert size.needed_for_difference == pytest.approx(units_needed(deviation, 0.02), rel=0.16)
    assert size.needed_for_delta == pytest.approx(units_needed(deviation, size.comparison.delta), rel=0.16)
    assert size.unit == "clip"


@pytest.mark.parametrize("run", [RUN, OF_SPEAKERS])
@pytest.mark.parametrize("metric", ["speech.wer", "reconstruction.mel_rms_db", "reconstruction.mcd_db"])
def test_the_answers_agree_with_each_other(run, metric):
    size = size_of(run, metric)
    n = size.comparison.n_clusters or size.comparison.n_pairs
    seen = abs(size.comparison.delta) >= size.detectable
    assert seen == (size.needed_for_delta <= n)
    again = size_of(run, metric, repr(size.detectable * (1 + 1e-9)))
    assert again.needed_for_difference == n
    assert size.detectable > 2.8 * size.standard_error  # the normal quantiles of 97.5 and 80 %


def test_where_speakers_are_resampled_whole_they_are_what_is_counted():
    size = size_of(OF_SPEAKERS, "speech.wer", "0.01")
    assert (size.unit, size.comparison.n_clusters, size.comparison.n_pairs) == ("speaker", 12, 60)
    assert size.relative_error == pytest.approx(np.sqrt(2 / 11))
    assert size_of(RUN, "speech.wer").relative_error == pytest.approx(np.sqrt(2 / 59))


def test_a_higher_confidence_takes_more():
    strict = replace(RUN, interval=replace(RUN.interval, confidence=0.99))
    usual, stricter = size_of(RUN, "speech.wer", "0.01"), size_of(strict, "speech.wer", "0.01")
    assert stricter.needed_for_difference > usual.needed_for_difference
    assert stricter.detectable > usual.detectable
    assert (asked(strict).confidence, asked(strict).power) == (0.99, POWER)


def test_a_share_of_the_references_figure():
    size = size_of(RUN, "reconstruction.mcd_db", "0.05 * baseline")
    assert size.difference == pytest.approx(0.05 * size.comparison.reference_value)


def test_percent_is_a_hundredth_and_only_of_shares():
    assert size_of(RUN, "speech.wer", "2%").difference == pytest.approx(0.02)
    in_db = size_of(RUN, "reconstruction.mcd_db", "2%")
    assert (in_db.difference, in_db.needed_for_difference) == (None, None)
    assert in_db.needed_for_delta is not None


@pytest.mark.parametrize(
    ("run", "metric", "why"),
    [
        (RUN, "codebook.entropy", "how much is encoded"),
        (RUN, "codebook.dead", "how much is encoded"),
        (without_difference(), "speech.speaker_similarity", "every clip gives the same difference"),
        (shifted(), "speech.speaker_similarity", "every clip gives the same difference"),
        (make_run(n_clips=1), "speech.wer", "at least two pairs"),
    ],
)
def test_what_has_no_answer_says_why(run, metric, why):
    size = size_of(run, metric, "0.01")
    assert why in size.unanswered
    assert (size.detectable, size.needed_for_delta, size.difference, size.needed_for_difference) == (None,) * 4


@pytest.mark.parametrize("reduction", ["maximum", "best_offset", "best_offset_ratio"])
def test_figures_that_do_not_fall_with_the_root_of_the_number_are_named(reduction):
    n_columns = 1 if reduction == "maximum" else 10
    columns = ("errors",) * (n_columns - 1) + ("words",)
    metrics = tuple(
        replace(spec, reduction=reduction, columns=columns) if spec.name == "speech.wer" else spec
        for spec in RUN.metrics
    )
    assert size_of(replace(RUN, metrics=metrics), "speech.wer").unanswered


def test_a_candidate_without_the_metric_is_named():
    wer = asked(
        replace(RUN, tables=tuple(t for t in RUN.tables if (t.candidate, t.group) != ("fair", "speech"))), "speech.wer"
    )
    assert {size.comparison.candidate: size.unanswered for size in wer.sizes} == {
        "fair": "not measured for fair",
        "untrained": None,
    }


def test_timings_and_metrics_without_a_better_end_are_left_out():
    table = asked(RUN)
    assert {spec.resampled for spec in table.metrics} == {"clip"}
    assert None not in {spec.higher_is_better for spec in table.metrics}
    assert len(table.sizes) == 2 * len(table.metrics)
    left_out = len(RUN.metrics) - len(table.metrics)
    assert table.notes == (f"left out: timings, and metrics of which neither end is better ({left_out})",)
    with pytest.raises(ResultError, match="none of these metrics"):
        asked(RUN, "throughput.encode.b8.audio_s_per_s", "codebook.bits_per_second")


@pytest.mark.parametrize(
    ("text", "scale", "offset", "percent"),
    [
        ("0.02", 0.0, 0.02, False),
        (" .5 ", 0.0, 0.5, False),
        ("1e-3", 0.0, 0.001, False),
        ("2%", 0.0, 0.02, True),
        ("2 %", 0.0, 0.02, True),
        ("0.05*baseline", 0.05, 0.0, False),
        ("3 * baseline", 3.0, 0.0, False),
    ],
)
def test_sizes_of_a_difference_that_can_be_read(text, scale, offset, percent):
    assert parse_difference(text) == Difference(text.strip(), scale, offset, percent)


@pytest.mark.parametrize(
    "text", ["", "0", "0.0%", "-0.02", "+0.02", "nan", "inf", "1e999", "0.02x", "5%*baseline", "baseline*1.05", "2%%"]
)
def test_sizes_of_a_difference_that_cannot_be_read(text):
    with pytest.raises(ConfigError) as caught:
        parse_difference(text)
    assert "0.05*baseline" in caught.value.expected
