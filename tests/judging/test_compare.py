from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, summarised, table_of, without_clips

from vqbench.errors import ResultError
from vqbench.judging.compare import best_by_metric, compare_runs
from vqbench.judging.selection import Selection
from vqbench.stats.columns import take
from vqbench.stats.paired import holm

RUN = make_run()
WORSE = make_run(quality={"good": 1.6, "fair": 3.0, "new": 1.0})
RUN_METRICS = {spec.name: spec for spec in RUN.metrics}
TIMINGS = [spec.name for spec in RUN.metrics if spec.resampled == "repetition"]


def compare(*selections, metrics=None):
    return compare_runs([Selection(*given) for given in selections], metrics)


def found(table, metric, candidate=None):
    return next(c for c in table.comparisons if c.metric == metric and candidate in (None, c.candidate))


def changed(run, **options):
    """The run with every candidate record changed."""
    return replace(run, candidates=tuple(replace(candidate, **options) for candidate in run.candidates))


def with_metric(run, name, **options):
    return replace(run, metrics=tuple(replace(s, **options) if s.name == name else s for s in run.metrics))


def test_a_against_a_differs_in_nothing():
    table = compare(("a", RUN), ("b", RUN))
    assert len(table.comparisons) == 3 * len(RUN.metrics)
    for one in table.comparisons:
        directed = RUN_METRICS[one.metric].higher_is_better is not None
        assert (one.delta, one.p_value, one.p_holm) == (0.0, *([1.0] * 2 if directed else [None] * 2)), one
        if one.metric not in ("codebook.dead",):
            assert (one.ci_low, one.ci_high) == (0.0, 0.0), one


def test_one_run_compares_its_candidates_with_its_first():
    table = compare(("run", RUN))
    assert [row.label for row in table.contenders] == ["good", "fair", "untrained"]
    assert {(c.reference, c.candidate) for c in table.comparisons} == {("good", "fair"), ("good", "untrained")}
    wer = found(table, "speech.wer", "untrained")
    values = {r.candidate: r.value for r in RUN.results if r.metric == "speech.wer"}
    assert wer.delta == pytest.approx(values["untrained"] - values["good"])
    assert 0 < wer.ci_low < wer.delta < wer.ci_high
    assert (wer.n_pairs, wer.n_clusters, wer.reason) == (24, 8, None)


def test_one_run_compares_its_candidates_with_the_one_that_is_named():
    table = compare(("run", RUN, "untrained"))
    assert {(c.reference, c.candidate) for c in table.comparisons} == {("untrained", "good"), ("untrained", "fair")}


def test_several_runs_compare_candidates_of_the_same_name_else_with_the_first():
    table = compare(("old", RUN), ("new", WORSE))
    assert {(c.reference, c.candidate) for c in table.comparisons} == {
        ("old:good", "new:good"),
        ("old:fair", "new:fair"),
        ("old:good", "new:new"),
    }


def test_a_named_candidate_of_the_first_run_is_the_reference_of_all():
    table = compare(("old", RUN, "fair"), ("new", WORSE), ("old", RUN, "good"))
    assert {c.reference for c in table.comparisons} == {"old:fair"}
    assert [row.label for row in table.contenders[1:]] == ["new:good", "new:fair", "new:new", "old:good"]


def test_a_reference_row_is_compared_only_where_it_is_named():
    table = compare(("run", RUN), ("run", RUN, "original"))
    wer = found(table, "speech.wer")
    assert (wer.reference, wer.candidate) == ("run:good", "run:original")
    assert wer.delta < 0
    entropy = found(table, "codebook.entropy")
    assert (entropy.delta, entropy.reason) == (None, "not measured for run:original")
    assert all("original" not in label for labels in table.best.values() for label in labels)


def test_p_values_are_corrected_over_quality_and_over_speed():
    table = compare(("old", RUN), ("new", WORSE))
    for chosen in (True, False):
        family = [c for c in table.comparisons if (c.metric in TIMINGS) == chosen and c.p_value is not None]
        assert [c.p_holm for c in family] == holm([c.p_value for c in family])
    assert found(table, "reconstruction.mel_l1", "new:good").p_value < 0.05


def test_what_has_no_better_end_is_compared_but_not_tested():
    """A floor is the same for everybody: as one more test it would only make the others harder to pass."""
    table = compare(("old", RUN), ("new", WORSE))
    untested = {c.metric for c in table.comparisons if c.p_value is None and c.reason is None}
    assert untested == {name for name, spec in RUN_METRICS.items() if spec.higher_is_better is None}
    assert untested
    assert all(c.ci_low is not None for c in table.comparisons if c.metric in untested)


def test_more_tests_in_a_family_bring_more_permutations():
    """Else the smallest p-value that there is, times the size of the family, could never be small."""
    run = make_run(
        quality={f"c{i}": 1.0 if i == 0 else 3.0 for i in range(12)}, n_clips=40, n_speakers=0, resamples=200
    )
    mel = found(compare(("run", run)), "reconstruction.mel_l1")
    assert mel.p_holm <= 0.05


def test_clips_are_paired_by_id_not_by_position():
    table = table_of(RUN, "fair", "speech")
    order = np.random.default_rng(0).permutation(len(table.row_ids))
    columns = {name: take(column, np.array(order)) for name, column in table.columns.items()}
    shuffled = replace_table(RUN, replace(table, row_ids=tuple(table.row_ids[i] for i in order), columns=columns))
    one, other = (found(compare(("run", run)), "speech.speaker_similarity", "fair") for run in (RUN, shuffled))
    assert one.delta == pytest.approx(other.delta)
    assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high), rel=0.15)


def test_clips_of_one_side_alone_are_named_and_left_out():
    scored = without_clips(table_of(WORSE, "good", "speech"), {"clip002": "silent", "clip005": "truncated"})
    table = compare(("old", RUN), ("new", replace_table(WORSE, scored)))
    wer = found(table, "speech.wer", "new:good")
    assert wer.n_pairs == 22
    errors, words = (table_of(RUN, "good", "speech").columns[name] for name in ("errors", "words"))
    keep = [i for i in range(24) if i not in (2, 5)]
    assert wer.reference_value == pytest.approx(sum(errors[i] for i in keep) / sum(words[i] for i in keep))
    turned = found(compare(("new", replace_table(WORSE, scored)), ("old", RUN)), "speech.wer", "old:good")
    assert (turned.n_pairs, turned.delta) == (22, pytest.approx(-wer.delta))
    (note,) = table.notes
    assert note == "speech: 2 clips were scored only for old:good, not for new:good: clip002, clip005"


def test_the_same_id_with_other_clips_is_no_pair():
    other = (replace(WORSE.clips[0], sha256="0" * 64), *WORSE.clips[1:])
    table = compare(("old", RUN), ("new", replace(WORSE, clips=other)), metrics=["speech.wer"])
    assert found(table, "speech.wer", "new:good").n_pairs == 23
    assert (
        "speech: 1 clip was scored on other audio or text under the same id for new:good and old:good: clip000"
        in table.notes
    )


@pytest.mark.parametrize("n_common", [0, 1])
def test_fewer_than_two_pairs_make_no_comparison(n_common):
    clips = tuple(replace(c, sha256=c.sha256 if i < n_common else "0") for i, c in enumerate(WORSE.clips))
    table = compare(("old", RUN), ("new", replace(WORSE, clips=clips)))
    for one in table.comparisons:
        if one.metric not in TIMINGS:
            assert (one.delta, one.ci_low, one.p_value, one.n_pairs) == (None, None, None, n_common)
            assert "at least two pairs of clips" in one.reason


def test_another_front_end_has_no_difference_where_the_unit_is_its_own():
    table = compare(("old", RUN), ("new", changed(WORSE, front_end="mel-24000-100")))
    mel, mcd = (found(table, name, "new:good") for name in ("reconstruction.mel_l1", "reconstruction.mcd_db"))
    assert (mel.delta, mel.p_value, mel.p_holm) == (None, None, None)
    assert mel.reason == "another mel front end: mel-24000-100 for new:good, mel-22050-80 for old:good"
    assert mcd.delta is not None
    assert "reconstruction.mel_l1" not in table.best
    assert "reconstruction.mcd_db" in table.best


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"version": 2}, "another version of the metric: 2 for new:good, 1 for old:good"), ({"unit": "%"}, "differently")],
)
def test_another_definition_of_a_metric_has_no_difference(options, reason):
    table = compare(("old", RUN), ("new", with_metric(WORSE, "speech.wer", **options)))
    wer = found(table, "speech.wer", "new:good")
    assert (wer.delta, wer.p_value) == (None, None)
    assert reason in wer.reason
    assert "speech.wer" not in table.best


def test_what_one_side_did_not_measure_is_named():
    without = replace(WORSE, metrics=tuple(s for s in WORSE.metrics if s.name != "speech.wer"))
    without = summarised(without)
    for table in (compare(("old", RUN), ("new", without)), compare(("new", without), ("old", RUN))):
        wer = found(table, "speech.wer")
        assert (wer.delta, wer.n_pairs) == (None, 0)
        assert wer.reason == "not measured for new:good"


def test_an_undefined_figure_has_no_difference():
    table = table_of(WORSE, "good", "speech")
    silent = replace_table(WORSE, replace(table, columns={**table.columns, "words": np.zeros(24)}))
    wer = found(compare(("old", RUN), ("new", silent)), "speech.wer", "new:good")
    assert (wer.delta, wer.ci_low, wer.p_value) == (None, None, None)
    assert "undefined" in wer.reason


def test_timings_of_another_time_are_not_compared():
    """The machine may have been in another mood; a yardstick would tell."""
    for other, why in (
        (WORSE, "timed at another time"),
        (
            make_run(quality={"good": 1.6}, machine="gpu: other"),
            "timed on another machine: gpu: other against cpu: test",
        ),
    ):
        one = found(compare(("old", RUN), ("new", other)), TIMINGS[0], "new:good")
        assert (one.delta, one.ci_low, one.p_value) == (None, None, None)
        assert one.reason.startswith(f"{why}; the suite names no yardstick")


def in_blocks(run, mood=0.0):
    """The run as if its timings had been taken in turns, in blocks of which each has its own pace."""
    paces = np.exp(mood * np.random.default_rng(5).normal(size=8))
    tables = []
    for table in run.tables:
        if table.group.startswith("throughput"):
            columns = {n: column * paces if n.startswith("wall") else column for n, column in table.columns.items()}
            table = replace(table, row_ids=tuple(f"block-{i}" for i in range(8)), columns=columns)
        tables.append(table)
    return summarised(replace(run, tables=tuple(tables)))


def test_timings_of_the_same_blocks_are_paired_and_others_are_not():
    """What the blocks have in common is not between the candidates."""
    moody = in_blocks(RUN, mood=1.0)
    apart = replace(moody, tables=tuple(replace(t, row_ids=tuple(f"x{i}" for i in t.row_ids)) for t in moody.tables))
    for metric in TIMINGS[:2]:
        paired, loose = (found(compare(("run", run)), metric, "untrained") for run in (moody, apart))
        assert paired.delta == pytest.approx(loose.delta)
        assert paired.ci_high - paired.ci_low < 0.5 * (loose.ci_high - loose.ci_low)


def test_the_best_follows_the_declared_direction():
    best = best_by_metric(RUN)
    assert best["speech.wer"] == best["speech.speaker_similarity"] == best["codebook.entropy"] == ("good",)
    assert "codebook.bits_per_second" not in best


def test_the_best_share_a_tie():
    run = make_run(quality={"a": 1.0, "b": 1.0, "c": 2.0})
    twins = replace_table(run, replace(table_of(run, "a", "speech"), candidate="b"))
    assert best_by_metric(twins)["speech.wer"] == ("a", "b")


def test_one_candidate_alone_is_not_the_best_of_anything():
    assert best_by_metric(make_run(quality={"only": 1.0})) == {}


@pytest.mark.parametrize(
    ("selections", "metrics", "message"),
    [
        ([("run", make_run(quality={"only": 1.0}))], None, "nothing to compare with"),
        ([("run", make_run(quality={}))], None, "only references"),
        ([("run", RUN, "goood")], None, "did you mean 'good'"),
        ([("run", RUN)], ["speech.wre"], "no run has the metric 'speech.wre'"),
    ],
)
def test_what_cannot_be_compared_is_said(selections, metrics, message):
    with pytest.raises(ResultError) as caught:
        compare(*selections, metrics=metrics)
    assert message in str(caught.value)


def test_candidates_of_one_run_are_told_apart_by_their_names():
    table = compare_runs([Selection("run", RUN, name) for name in ("good", "fair", "untrained")], ["speech.wer"])
    assert [contender.label for contender in table.contenders] == ["run:good", "run:fair", "run:untrained"]
    twice = compare_runs([Selection("run", RUN, "good"), Selection("run", RUN, "good")], ["speech.wer"])
    assert [contender.label for contender in twice.contenders] == ["run:good", "run (2):good"]
    other = compare_runs([Selection("run", RUN, "good"), Selection("run", WORSE, "fair")], ["speech.wer"])
    assert [contender.label for contender in other.contenders] == ["run:good", "run (2):fair"]
    again = compare_runs([Selection("run", RUN), Selection("run", RUN, "good")], ["speech.wer"])
    assert [contender.label for contender in again.contenders] == ["run:good", "run (2):good"]
