from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, summarised, table_of, without_clips

from vqbench.errors import ConfigError, ManyErrors, VqbenchError
from vqbench.judging.asked import add_rules, check_rules, narrow_rules
from vqbench.judging.gate import gate, gate_if_possible
from vqbench.judging.selection import Selection
from vqbench.records.run import GateRule
from vqbench.records.store import load_run, save_run
from vqbench.records.verdict import GateReport
from vqbench.stats.columns import columns_of

BASE = make_run()
RULES = (
    "reconstruction.mel_l1 <= baseline",
    "reconstruction.mel_rms_db <= baseline * 1.05",
    "speech.wer <= baseline + 0.02",
    "speech.speaker_similarity >= baseline - 0.02",
    "codebook.entropy_corrected >= baseline",
    "codebook.perplexity >= 0.9 * baseline @ 99%",
    "throughput.encode.b8.audio_s_per_s >= baseline * 0.8",
    "throughput.encode.latency_p90 <= baseline",
    "throughput.encode.b8.peak_memory <= baseline * 1.1",
)
WER = "speech.wer <= baseline + 0.02"


def judge(run, *rules, baseline=BASE, candidate=None, candidates=("good",)) -> GateReport:
    suite = replace(run.suite, gate=tuple(GateRule(rule, candidates) for rule in rules))
    given = None if baseline is None else Selection("base", baseline, candidate)
    return gate(replace(run, suite=suite), given)


def only(report):
    (outcome,) = report.outcomes
    return outcome


def test_a_against_a_passes_every_rule():
    report = judge(BASE, *RULES, candidates=())
    assert len(report.outcomes) == 3 * len(RULES)
    assert [(o.rule, o.reason) for o in report.outcomes if o.status != "pass"] == []
    assert (report.status, report.baseline) == ("pass", "base")


def test_a_against_a_passes_after_a_round_over_the_disk(tmp_path):
    again = load_run(save_run(BASE, tmp_path))
    assert judge(again, *RULES, candidates=()).status == "pass"


def test_another_measurement_of_the_same_speed_passes_beside_the_yardsticks_and_never_alone():
    again = make_run(quality={"good": 1.001, "fair": 2.0})
    rule = "throughput.encode.b8.audio_s_per_s >= baseline * 0.8"
    outcome = only(judge(again, rule))
    assert (outcome.status, outcome.open) == ("inconclusive", False)
    assert "timed at another time; the suite names no yardstick" in outcome.reason
    assert judge(replace(again, suite=replace(again.suite, yardstick="fair")), rule).status == "pass"


def test_a_worsened_candidate_fails_and_the_reason_has_rule_figure_interval_limit_and_n():
    worse = make_run(quality={"good": 5.0})
    report = judge(worse, WER, "reconstruction.mel_l1 <= baseline", "codebook.entropy_corrected >= baseline")
    assert [outcome.status for outcome in report.outcomes] == ["fail"] * 3
    assert report.status == "fail"
    outcome = report.outcomes[0]
    value, base = (
        next(r.value for r in run.results if (r.candidate, r.metric) == ("good", "speech.wer")) for run in (worse, BASE)
    )
    assert (outcome.rule, outcome.candidate, outcome.metric) == (WER, "good", "speech.wer")
    assert (outcome.value, outcome.limit) == (pytest.approx(value), pytest.approx(base + 0.02))
    assert 0 < outcome.ci_low < value - base - 0.02 < outcome.ci_high
    assert outcome.reason == (
        f"{value:.3f} − limit {base + 0.02:.3f} = {value - base - 0.02:+.3f} "
        f"[{outcome.ci_low:.3f}, {outcome.ci_high:.3f}], n = 24 clips, 8 speakers; even the lower end breaks it"
    )


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("speech.wer <= 0.2", "pass"),
        ("speech.wer <= 20%", "pass"),
        ("speech.wer >= 20%", "fail"),
        ("speech.wer <= 0.001", "fail"),
        ("speech.wer <= 4%", "inconclusive"),
        ("speech.wer >= 4%", "inconclusive"),
        ("speech.wer >= 0.5", "fail"),
        ("speech.speaker_similarity >= 0.5", "pass"),
        ("codebook.dead <= 5%", "pass"),
        ("codebook.entropy >= 7", "pass"),
        ("throughput.encode.latency_p90 <= 20", "fail"),
        ("throughput.encode.latency_p90 >= 20", "pass"),
    ],
)
def test_rules_with_a_fixed_limit_need_no_baseline(rule, status):
    outcome = only(judge(BASE, rule, baseline=None))
    assert (outcome.status, outcome.n) == (status, 8 if "throughput" in rule else 24), outcome.reason


def test_a_limit_inside_the_interval_is_inconclusive_until_more_confidence_is_given_up():
    result = next(r for r in BASE.results if (r.candidate, r.metric) == ("good", "speech.speaker_similarity"))
    limit = (result.ci_low + result.value) / 2
    statuses = [only(judge(BASE, f"{result.metric} >= {limit} @ {c}%", baseline=None)).status for c in (99, 95, 50)]
    assert statuses == ["inconclusive", "inconclusive", "pass"]


def test_a_figure_that_stands_exactly_on_its_limit_passes():
    table = table_of(BASE, "good", "speech")
    flat = replace_table(BASE, replace(table, columns={**table.columns, "similarity": np.full(24, 0.1)}))
    for rule in ("speech.speaker_similarity >= 0.1", "speech.speaker_similarity <= 0.1"):
        assert only(judge(flat, rule, baseline=None)).status == "pass"


def test_pass_means_the_bound_lies_within_the_margin_not_that_no_loss_was_found():
    """With few clips a real loss is not significant; that must not pass."""
    rule = "speech.wer <= baseline"
    few = {"n_clips": 12, "n_speakers": 0}
    outcome = only(judge(make_run(quality={"good": 1.5}, **few), rule, baseline=make_run(**few)))
    assert outcome.value > outcome.limit
    assert outcome.ci_low <= 0 < outcome.ci_high
    assert outcome.status == "inconclusive"


def test_every_candidate_is_judged_and_no_reference():
    report = judge(BASE, "speech.wer <= 0.2", baseline=None, candidates=())
    assert [(o.candidate, o.status) for o in report.outcomes] == [
        ("good", "pass"),
        ("fair", "pass"),
        ("untrained", "fail"),
    ]
    assert report.status == "fail"


def test_a_rule_is_for_the_candidates_that_it_names():
    report = judge(BASE, "speech.wer <= 0.2", baseline=None, candidates=("good", "fair"))
    assert [o.candidate for o in report.outcomes] == ["good", "fair"]
    assert report.status == "pass"


def test_one_candidate_of_the_baseline_can_be_the_measure_of_all():
    report = judge(BASE, WER, candidate="good", candidates=())
    assert [o.status for o in report.outcomes] == ["pass", "inconclusive", "fail"]
    assert report.outcomes[0].limit == report.outcomes[2].limit


# What never passes


def without_table(run, candidate, group):
    kept = tuple(t for t in run.tables if (t.candidate, t.group) != (candidate, group))
    return summarised(replace(run, tables=kept))


def with_speech(run, **columns):
    table = table_of(run, "good", "speech")
    return replace_table(run, replace(table, columns={**table.columns, **columns_of(columns)}))


def unscored(run, clips, group="speech", candidate="good"):
    return replace_table(run, without_clips(table_of(run, candidate, group), dict.fromkeys(clips, "no speech")))


def allowing(run, n):
    return replace(run, suite=replace(run.suite, allow_unscored=n))


def new_front_end(run):
    return replace(run, candidates=tuple(replace(c, front_end="mel-24000") for c in run.candidates))


def new_version(run):
    return replace(run, metrics=tuple(replace(spec, version=2) for spec in run.metrics))


def other_audio(run):
    return replace(run, clips=(replace(run.clips[0], sha256="0" * 64), *run.clips[1:]))


NEVER_PASS = {
    "missing metric": (without_table(BASE, "good", "speech"), BASE, WER, "fail", "missing"),
    "undefined figure": (with_speech(BASE, words=(0.0,) * 24), BASE, WER, "fail", "undefined"),
    "nothing scored": (unscored(BASE, [c.id for c in BASE.clips]), BASE, WER, "fail", "24 clips could not be scored"),
    "nothing scored, allowed": (
        allowing(unscored(BASE, [c.id for c in BASE.clips]), 24),
        None,
        "speech.wer <= 1",
        "fail",
        "undefined",
    ),
    "unscored clips": (unscored(BASE, ["clip001", "clip004"]), BASE, WER, "fail", "clip001 (no speech), clip004"),
    "unscored clips, fixed limit": (unscored(BASE, ["clip001"]), None, "speech.wer <= 1", "fail", "suite allows 0"),
    "too few clips": (make_run(n_clips=9), make_run(n_clips=9), WER, "inconclusive", "too few clips: 9 of at least 10"),
    "too few clips, fixed limit": (make_run(n_clips=9), None, "speech.wer <= 1", "inconclusive", "too few clips"),
    "one clip": (make_run(n_clips=1), None, "speech.wer <= 1", "inconclusive", "too few clips"),
    "other front end": (
        new_front_end(BASE),
        BASE,
        "reconstruction.mel_l1 <= baseline",
        "inconclusive",
        "another mel front end",
    ),
    "other metric version": (new_version(BASE), BASE, WER, "inconclusive", "another version of the metric: 2"),
    "candidate not in the baseline": (
        BASE,
        make_run(quality={"old": 1.0}),
        WER,
        "inconclusive",
        "the baseline has no candidate good; it has old",
    ),
    "metric not in the baseline": (
        BASE,
        without_table(BASE, "good", "speech"),
        WER,
        "inconclusive",
        "not measured for baseline base:good",
    ),
    "undefined in the baseline": (
        BASE,
        with_speech(BASE, words=(0.0,) * 24),
        WER,
        "inconclusive",
        "the baseline's figure is undefined",
    ),
    "baseline with fewer clips": (BASE, make_run(n_clips=20), WER, "inconclusive", "24 here, 20 there, 20 of them"),
    "baseline with more clips": (make_run(n_clips=20), BASE, WER, "inconclusive", "20 here, 24 there, 20 of them"),
    "baseline on other audio": (BASE, other_audio(BASE), WER, "inconclusive", "23 of them the same"),
    "baseline with unscored clips": (BASE, unscored(BASE, ["clip001"]), WER, "inconclusive", "1 clip could not be"),
    "speed of another machine": (
        BASE,
        make_run(machine="gpu: other", slowdown=100.0),
        "throughput.encode.b8.audio_s_per_s >= baseline",
        "inconclusive",
        "timed on another machine",
    ),
}


@pytest.mark.parametrize("case", NEVER_PASS)
def test_what_cannot_be_trusted_never_passes(case):
    run, baseline, rule, status, reason = NEVER_PASS[case]
    report = judge(run, rule, baseline=baseline)
    outcome = only(report)
    assert (outcome.status, report.status) == (status, status)
    assert reason in outcome.reason


def test_one_repetition_is_too_little():
    table = table_of(BASE, "good", "throughput.encode.b8")
    once = replace(table, row_ids=table.row_ids[:1], columns={n: c[:1] for n, c in table.columns.items()})
    run = replace_table(BASE, once)
    for baseline in (BASE, run):
        rule = "throughput.encode.b8.peak_memory <= baseline * 1.5"
        assert only(judge(run, rule, baseline=baseline)).status == "inconclusive"


def test_clips_that_the_suite_lets_go_do_not_stop_a_rule():
    run = allowing(unscored(BASE, ["clip001"]), 1)
    outcome = only(judge(run, WER))
    assert (outcome.status, outcome.n) == ("pass", 23)
    assert only(judge(allowing(BASE, 1), WER, baseline=unscored(BASE, ["clip002"]))).n == 23


def test_more_than_five_unscored_clips_are_counted():
    outcome = only(judge(unscored(BASE, [f"clip{i:03d}" for i in range(8)]), WER))
    assert "8 clips could not be scored" in outcome.reason
    assert "clip004 (no speech) and 3 more" in outcome.reason


def test_another_front_end_does_not_matter_where_the_unit_is_not_its_own():
    assert only(judge(new_front_end(BASE), WER)).status == "pass"


# What is the user's mistake


@pytest.mark.parametrize(
    ("rule", "candidates", "baseline", "message"),
    [
        ("speech.wre <= 0.1", (), BASE, "there is no metric 'speech.wre' (did you mean 'speech.wer'?)"),
        ("speech.wer <= 0.1", ("goood",), BASE, "the candidate 'goood' is unknown (did you mean 'good'?)"),
        ("speech.wer <= 0.1", ("original",), BASE, "'original' is a reference, which is never judged"),
        ("speech.wer <= baseline", (), None, "the rule needs a baseline"),
        ("speech.wer < 0.1", (), BASE, "expected <= or >="),
        ("throughput.encode.latency_p90 <= baseline + 10%", (), BASE, "% is a hundredth, but"),
        ("codebook.entropy >= 90%", (), BASE, "is in bits"),
    ],
)
def test_a_rule_that_fits_nothing_is_the_users_mistake(rule, candidates, baseline, message):
    with pytest.raises(ConfigError) as caught:
        judge(BASE, rule, candidates=candidates, baseline=baseline)
    assert message in str(caught.value)


def test_an_unknown_candidate_of_the_baseline_is_the_users_mistake():
    with pytest.raises(ConfigError, match="did you mean 'good'"):
        judge(BASE, WER, candidate="goood")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ManyErrors) as caught:
        judge(BASE, "speech.wre <= 0.1", "speech.wer < 1", "speech.wer <= 1", baseline=None)
    assert len(caught.value.errors) == 2


def test_a_suite_without_rules_cannot_be_gated_on():
    with pytest.raises(VqbenchError, match="no rule"):
        judge(BASE)


# Which rules are asked


def rules_of(run) -> list[tuple[str, tuple[str, ...]]]:
    return [(rule.rule, rule.candidates) for rule in run.suite.gate]


@pytest.mark.parametrize(
    ("added", "rules"),
    [
        ([], ["speech.wer <= 0.9", "speech.cer <= 0.9"]),
        (["codebook.dead <= 1"], ["speech.wer <= 0.9", "speech.cer <= 0.9", "codebook.dead <= 1"]),
        (["speech.wer <= baseline"], ["speech.cer <= 0.9", "speech.wer <= baseline"]),
        (["speech.wer >= 0"], ["speech.wer <= 0.9", "speech.cer <= 0.9", "speech.wer >= 0"]),
        (
            ["speech.wer <= 0.1", "speech.wer <= baseline"],
            ["speech.cer <= 0.9", "speech.wer <= 0.1", "speech.wer <= baseline"],
        ),
    ],
)
def test_an_added_rule_takes_the_place_of_those_on_the_same_metric_and_side(added, rules):
    run = make_run(gate=[GateRule("speech.wer <= 0.9", ("good",)), "speech.cer <= 0.9"], n_clips=2, resamples=100)
    assert [rule for rule, _ in rules_of(add_rules(run, added))] == rules


def test_all_rules_that_cannot_be_added_or_replaced_are_told_at_once():
    run = make_run(gate=["speech.wer"], n_clips=2, resamples=100)
    with pytest.raises(ManyErrors) as caught:
        add_rules(run, ["speech.wer < 1", "speech.wer <= 1", "<= 1"])
    assert len(caught.value.errors) == 3


def test_rules_are_narrowed_to_the_candidates_that_are_asked_about():
    mine = GateRule("speech.wer <= 0.1", ("good", "fair"))
    run = make_run(gate=["speech.wer <= 0.9", mine], n_clips=2, resamples=100)
    assert narrow_rules(run, []) == run
    assert rules_of(narrow_rules(run, ["fair", "untrained"])) == [
        ("speech.wer <= 0.9", ("fair", "untrained")),
        ("speech.wer <= 0.1", ("fair",)),
    ]
    assert rules_of(narrow_rules(run, ["untrained"])) == [("speech.wer <= 0.9", ("untrained",))]
    with pytest.raises(VqbenchError, match="did you mean 'fair'"):
        narrow_rules(run, ["fare"])


@pytest.mark.parametrize(
    ("rules", "with_baseline", "is_judged"),
    [
        ((), True, False),
        ((), False, False),
        (("speech.wer <= 1",), False, True),
        (("speech.wer <= 1", WER), False, False),
        (("speech.wer <= 1", WER), True, True),
    ],
)
def test_a_run_is_judged_where_it_can_be(rules, with_baseline, is_judged):
    run = replace(BASE, suite=replace(BASE.suite, gate=tuple(map(GateRule, rules))))
    baseline = Selection("base", BASE) if with_baseline else None
    assert gate_if_possible(run, baseline) == (gate(run, baseline) if is_judged else None)


def test_a_rule_that_cannot_be_read_is_no_reason_to_leave_a_run_unjudged():
    run = replace(BASE, suite=replace(BASE.suite, gate=(GateRule("speech.wer < 1"),)))
    with pytest.raises(ConfigError, match="cannot read the rule"):
        gate_if_possible(run, None)


def test_rules_are_checked_before_there_is_a_run():
    check_rules([GateRule(rule, ("whoever",)) for rule in RULES], BASE.metrics, "quick.yaml")
    faulty = ("speech.wre <= 1", "speech.wer < 1", "codebook.entropy >= 90%", *RULES)
    with pytest.raises(ManyErrors) as caught:
        check_rules(list(map(GateRule, faulty)), BASE.metrics, "quick.yaml")
    assert len(caught.value.errors) == 3
    assert all(error.where.startswith("quick.yaml") for error in caught.value.errors)


WIDE = "speech.wer <= baseline"


@pytest.mark.parametrize(
    ("choice", "rules", "status"),
    [
        ("stop", [WIDE], "inconclusive"),
        ("fail", [WIDE], "fail"),
        ("pass", [WIDE], "pass"),
        ("pass", [WIDE, "codebook.dead <= -1"], "fail"),
        ("fail", ["speech.wer <= 100"], "pass"),
    ],
)
def test_what_an_open_rule_does_is_the_suites_choice(choice, rules, status):
    run = make_run(quality={"good": 1.02}, gate=rules, seed=3)
    run = replace(run, suite=replace(run.suite, inconclusive=choice))
    report = gate(run, Selection("main", BASE))
    outcome = report.outcomes[0]
    assert report.status == status
    if rules[0] == WIDE:
        assert (outcome.status, outcome.open) == ("inconclusive", True)
        assert "the interval holds the limit" in outcome.reason


@pytest.mark.parametrize("choice", ["stop", "fail", "pass"])
def test_what_cannot_be_compared_never_passes_whatever_is_chosen(choice):
    for run, rule, baseline in (
        (BASE, "speech.wer <= baseline + 1", make_run(quality={"other": 1.0})),
        (make_run(quality={"good": 1.0}, min_clips=25), "speech.wer <= 100", BASE),
        (BASE, "throughput.encode.b8.audio_s_per_s >= 0.1 * baseline", make_run(quality={"good": 1.0}, machine="x")),
    ):
        run = replace(run, suite=replace(run.suite, inconclusive=choice, gate=(GateRule(rule, ("good",)),)))
        report = gate(run, Selection("main", baseline))
        assert [(outcome.status, outcome.open) for outcome in report.outcomes] == [("inconclusive", False)]
        assert report.status == ("fail" if choice == "fail" else "inconclusive")


def heard_by(run, **settings):
    asr = {"model": "tiny.en", "weights": "ab12", "device": "cpu", "faster-whisper": "1.2.1", **settings}
    return replace(run, provenance={**run.provenance, "judges": {"speech": {"version": 1, "asr": asr}}})


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"model": "large-v3"}, "inconclusive"),
        ({"weights": "cd34"}, "inconclusive"),
        ({"beam_size": 5}, "inconclusive"),
        ({"faster-whisper": "1.3.0"}, "pass"),
        ({"device": "cuda"}, "pass"),
    ],
)
def test_what_another_judge_heard_is_not_compared(changed, status):
    run, base = heard_by(BASE, **changed), Selection("main", heard_by(BASE))
    rules = (GateRule("speech.wer <= baseline + 0.5", ("good",)), GateRule("codebook.dead <= baseline + 5%", ("good",)))
    report = gate(replace(run, suite=replace(run.suite, gate=rules)), base)
    assert [outcome.status for outcome in report.outcomes] == [status, "pass"]
    if status == "inconclusive":
        assert "measured otherwise: asr." in report.outcomes[0].reason


def test_another_text_is_another_clip():
    run = replace(BASE, clips=(replace(BASE.clips[0], text="another"), *BASE.clips[1:]))
    outcome = only(judge(run, "speech.wer <= baseline + 0.5", baseline=BASE))
    assert (outcome.status, outcome.open) == ("inconclusive", False)
    assert "other clips" in outcome.reason


def test_timings_of_another_workload_or_of_nobody_knows_where_are_not_compared():
    rule = "throughput.encode.b8.audio_s_per_s >= 0.1 * baseline"
    table = table_of(BASE, "good", "throughput.encode.b8")
    columns = {**table.columns, "audio_s": 3 * table.columns["audio_s"]}
    more = replace_table(BASE, replace(table, columns=columns))
    assert "another amount of audio" in only(judge(more, rule, baseline=BASE)).reason
    nowhere = replace(BASE, provenance={})
    outcome = only(judge(nowhere, rule, baseline=nowhere))
    assert (outcome.status, outcome.open) == ("inconclusive", False)
    assert "nobody knows on which machine" in outcome.reason


def test_a_confidence_that_the_resamples_cannot_tell_is_not_claimed():
    outcome = only(judge(BASE, "speech.wer <= 100 @ 99.99%"))
    assert (outcome.status, outcome.open) == ("inconclusive", False)
    assert "99.99 % takes 20,000 resamples or more" in outcome.reason
    assert only(judge(BASE, "speech.wer <= 100 @ 99%")).status == "pass"


def test_a_reason_says_where_nothing_varies_between_clips():
    outcome = only(judge(BASE, "speech.wer <= baseline + 0.02", baseline=BASE))
    assert outcome.status == "pass"
    assert "between which nothing varies" in outcome.reason


def test_a_damaged_column_of_a_file_stops_the_gate_that_needs_it(tmp_path):
    table = table_of(BASE, "good", "codebook")
    codes = table.columns["codes"]
    beyond = replace(table, columns={"codes": replace(codes, values=codes.values + 300)})
    tables = tuple(beyond if old is table else old for old in BASE.tables)
    with pytest.raises(VqbenchError, match=r"codes from \d+ to \d+"):
        gate(
            replace(BASE, tables=tables, suite=replace(BASE.suite, gate=(GateRule("codebook.dead <= 5%", ("good",)),)))
        )


def test_a_reason_counts_sentences_where_these_are_drawn_whole():
    run = replace(BASE, clips=tuple(replace(clip, text="abcdef"[i % 6]) for i, clip in enumerate(BASE.clips)))
    run = replace(run, interval=replace(run.interval, unit="sentence"))
    assert "n = 24 clips, 6 sentences" in only(judge(run, "speech.wer <= 0.5")).reason
