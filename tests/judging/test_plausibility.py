"""Each check finds what it is for, says nothing of a sound run, and does what the suite wants."""

from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, summarised, table_of, without_clips

from vqbench.errors import VqbenchError
from vqbench.judging.asked import narrow_rules
from vqbench.judging.gate import gate
from vqbench.judging.learning import TOO_LITTLE, UNTOLD
from vqbench.judging.plausibility import GPT_CODES, check_plausibility
from vqbench.judging.selection import Selection
from vqbench.records.checks import CHECKS
from vqbench.records.run import GateRule, MetricSpec
from vqbench.stats.columns import Ragged

EASY = "speech.wer <= 100"
RUN = make_run(gate=[EASY])


def with_candidate(run, name, **changes):
    return replace(run, candidates=tuple(replace(c, **changes) if c.name == name else c for c in run.candidates))


def with_columns(run, candidate, group, **columns):
    table = table_of(run, candidate, group)
    return replace_table(run, replace(table, columns={**table.columns, **columns}))


def with_result(run, candidate, metric, value, low, high):
    changed = [
        replace(r, value=value, ci_low=low, ci_high=high) if (r.candidate, r.metric) == (candidate, metric) else r
        for r in run.results
    ]
    return replace(run, results=tuple(changed))


def codes_of(run, candidate):
    return table_of(run, candidate, "codebook").columns["codes"]


def constant(run):
    codes = codes_of(run, "fair")
    return with_columns(run, "fair", "codebook", codes=Ragged(np.full_like(codes.values, 7), codes.lengths))


def nearly_constant(run):
    codes = codes_of(run, "fair")
    values = np.full_like(codes.values, 7)
    values[:3] = 1, 2, 3
    return with_columns(run, "fair", "codebook", codes=Ragged(values, codes.lengths))


def constant_without_perplexity(run):
    kept = tuple(spec for spec in run.metrics if spec.reduction != "perplexity")
    return constant(summarised(replace(run, metrics=kept)))


def of_the_gpt(run):
    """The run with a teacher's question, asked of `good` and `fair`; the GPT has 512 codes."""
    spec = MetricSpec("token_agreement.raw", "token_agreement", ("matches", "tokens"), "ratio", "", True, 1, "")
    tables = [
        replace(
            table_of(run, name, "reconstruction"),
            group="token_agreement",
            columns={"matches": np.full(24, 5.0), "tokens": np.full(24, 50.0)},
            constants={GPT_CODES: size, "codebook_size": 512.0},
        )
        for name, size in (("good", 256.0), ("fair", 512.0))
    ]
    return summarised(replace(run, metrics=(*run.metrics, spec), tables=(*run.tables, *tables)))


def beyond_its_ceiling(run):
    specs = tuple(
        replace(s, ceiling="codebook.entropy") if s.name == "codebook.entropy_corrected" else s for s in run.metrics
    )
    run = replace(run, metrics=specs)
    for name in ("good", "untrained"):
        run = with_result(run, name, "codebook.entropy", 8.0, 7.9, 8.0)
    run = with_result(run, "fair", "codebook.entropy", 5.0, 4.9, 5.1)
    return with_result(run, "fair", "codebook.entropy_corrected", 5.5, 5.3, 5.7)


def more_bits(run):
    return with_result(run, "untrained", "codebook.bits_per_second", 900.0, 890.0, 910.0)


def more_errors_than_words(run):
    words = table_of(run, "fair", "speech").columns["words"]
    return with_columns(run, "fair", "speech", errors=1.2 * words)


def lost(run):
    return replace_table(run, without_clips(table_of(run, "fair", "speech"), {"clip003": "silent"}))


def by_the_rule(run, rule):
    """The run with one rule, which it keeps whatever was spoilt."""
    return replace(run, suite=replace(run.suite, gate=(GateRule(rule),)))


def not_understood(run):
    """The run with its recordings half in Vietnamese, of which the ASR gets two words in three wrong."""
    clips = tuple(replace(clip, language="vi") if i % 2 else clip for i, clip in enumerate(run.clips))
    words = table_of(run, "original", "speech").columns["words"]
    errors = np.where(np.arange(len(words)) % 2, 2 * words / 3, 0.0)
    return with_columns(replace(run, clips=clips), "original", "speech", errors=errors)


def too_few(run):
    return replace(run, suite=replace(run.suite, min_clips=25))


def asking(run, *rules, **changes):
    """The run with these rules, where nothing keeps a check from asking whether candidates agree."""
    gate = tuple(rule if isinstance(rule, GateRule) else GateRule(rule) for rule in rules)
    return replace(run, suite=replace(run.suite, gate=gate, plausibility={}, **changes))


def without_a_speaker(run):
    return replace(run, clips=(replace(run.clips[0], speaker=None), *run.clips[1:]))


def not_asked(run):
    return asking(run, EASY)


@pytest.mark.parametrize(
    ("spoil", "check", "candidate", "message"),
    [
        (constant, "constant_tokens", "fair", "perplexity 1.000"),
        (nearly_constant, "constant_tokens", "fair", "perplexity 1.0"),
        (constant_without_perplexity, "constant_tokens", "fair", "perplexity 1.000"),
        (of_the_gpt, "codebook_size", "fair", "its codebook has 256 codes, the GPT writes 512"),
        (lambda run: with_candidate(run, "fair", front_end="xtts"), "front_end", "fair", "is xtts, that of good"),
        (beyond_its_ceiling, "above_ceiling", "fair", "5.50 bits, beyond its ceiling 5.00 bits"),
        (more_bits, "more_bits_worse", "untrained", "with 900.0 bit/s"),
        (more_errors_than_words, "error_rate_above_one", "fair", "speech.wer is 1.200"),
        (lost, "other_clips", "fair", "speech lacks clip003, and not everybody lacks the same clips"),
        (not_understood, "not_understood", "", "does not understand recordings in Vietnamese (vi): speech.wer of"),
        (too_few, "few_clips", "", "'speech' has 24 clips, the suite wants at least 25"),
        (
            without_a_speaker,
            "unknown_clusters",
            "",
            "1 of the 24 clips of the set 'speech' name no speaker, e.g. clip000",
        ),
        (not_asked, "agreement_not_asked", "", "good, fair, untrained have 256 codes each, and no rule asks whether"),
    ],
)
def test_what_looks_wrong_is_named(spoil, check, candidate, message):
    assert check_plausibility(RUN) == ()
    # What is spoilt may look wrong in other ways, too: an encoder of one code spends no bits.
    found = [finding for finding in check_plausibility(spoil(RUN)) if finding.check == check]
    assert {finding.candidate for finding in found} == {candidate}
    assert message in found[0].message
    assert found[0].level == CHECKS[check].level


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (constant, "constant_tokens"),
        (of_the_gpt, "codebook_size"),
        (lambda run: with_candidate(run, "fair", front_end="xtts"), "front_end"),
        (beyond_its_ceiling, "above_ceiling"),
        (more_bits, "more_bits_worse"),
        (more_errors_than_words, "error_rate_above_one"),
        (not_understood, "not_understood"),
        (lambda run: by_the_rule(lost(run), "codebook.dead <= 1"), "other_clips"),
        (lambda run: by_the_rule(too_few(run), "throughput.encode.b8.peak_memory <= 1e9"), "few_clips"),
        (not_asked, "agreement_not_asked"),
        (without_a_speaker, "unknown_clusters"),
    ],
)
def test_every_check_can_stop_a_gate(spoil, check):
    spoilt = spoil(RUN)
    others = dict.fromkeys(CHECKS, "off")
    for level, status in (("off", "pass"), ("warn", "pass"), ("fail", "fail")):
        report = gate(replace(spoilt, suite=replace(spoilt.suite, plausibility={**others, check: level})))
        assert report.status == status
        assert {f.level for f in report.findings} == (set() if level == "off" else {level})


def test_every_check_is_tried_above():
    tried = {
        mark.args[1][i][1] for mark in test_every_check_can_stop_a_gate.pytestmark for i in range(len(mark.args[1]))
    }
    # One needs a baseline: below. Of learning: test_learning.py. Of a GPT's likelihood: test_likelihood.py.
    assert {*tried, "missing_candidates", "gpt_out_of_depth", TOO_LITTLE, UNTOLD} == set(CHECKS)


def test_against_a_baseline_it_is_that_candidate_that_counts():
    other = with_candidate(with_candidate(RUN, "fair", front_end="xtts"), "good", codebook_size=512)
    found = check_plausibility(RUN, Selection("main", other))
    assert {(f.check, f.candidate) for f in found} == {("front_end", "fair"), ("codebook_size", "good")}
    assert "its codebook has 256 codes, the baseline main:good's has 512" in [f.message for f in found]
    only = check_plausibility(RUN, Selection("main", other, "good"))
    assert {(f.check, f.candidate) for f in only} == {("codebook_size", name) for name in ("good", "fair", "untrained")}


def test_other_recordings_of_the_baseline_matter_only_to_rules_that_compare_with_them():
    other = replace(RUN, clips=tuple(replace(clip, sha256="0" * 64) for clip in RUN.clips))
    assert check_plausibility(RUN, Selection("main", other)) == ()
    run = replace(RUN, suite=replace(RUN.suite, gate=(GateRule("speech.wer <= baseline"),)))
    (finding,) = check_plausibility(run, Selection("main", other))
    assert (finding.check, finding.level) == ("other_clips", "warn")
    assert "24 clips here, 24 there, 0 of them the same" in finding.message


def test_a_candidate_that_the_baseline_has_and_the_run_has_not_is_missed():
    fewer = make_run(quality={"good": 1.0}, gate=[EASY])
    (finding,) = check_plausibility(fewer, Selection("main", RUN))
    assert (finding.check, finding.level, finding.candidate) == ("missing_candidates", "warn", "")
    assert "nobody judges fair, untrained, whom the baseline main has" in finding.message
    assert check_plausibility(fewer, Selection("main", RUN, "good")) == ()
    stopped = replace(fewer, suite=replace(fewer.suite, plausibility={"missing_candidates": "fail"}))
    assert gate(stopped, Selection("main", RUN)).status == "fail"


def test_who_is_not_judged_stops_nothing():
    spoilt = constant(RUN)
    assert gate(spoilt).status == "fail"
    assert gate(narrow_rules(spoilt, ["good"])).status == "pass"


def test_uncertain_figures_are_no_finding():
    run = with_result(beyond_its_ceiling(RUN), "fair", "codebook.entropy_corrected", 5.5, 5.0, 6.0)
    assert check_plausibility(run) == ()
    run = with_result(more_bits(RUN), "untrained", "codebook.bits_per_second", 900.0, None, None)
    assert check_plausibility(run) == ()


def test_a_lost_clip_that_the_suite_allows_is_allowed():
    run = lost(RUN)
    assert check_plausibility(replace(run, suite=replace(run.suite, allow_unscored=1))) == ()


def test_a_finding_about_nobody_judged_fails_no_gate_without_rules():
    with pytest.raises(VqbenchError):
        gate(replace(constant(RUN), suite=replace(RUN.suite, gate=())))


def test_speakers_may_all_be_unknown_or_of_no_matter():
    nobody = replace(RUN, clips=tuple(replace(clip, speaker=None) for clip in RUN.clips))
    assert check_plausibility(nobody) == ()
    by_clip = replace(RUN, interval=replace(RUN.interval, unit="clip"))
    assert check_plausibility(without_a_speaker(by_clip)) == ()


def unasked(run, baseline=None):
    return [f.message for f in check_plausibility(run, baseline) if f.check == "agreement_not_asked"]


def test_what_was_not_asked_names_what_to_add():
    (message,) = unasked(asking(RUN, EASY))
    assert message.endswith("add `reference: good` and a rule like `token_agreement.natural.raw >= 0.9`")


@pytest.mark.parametrize(
    ("rule", "asks"),
    [
        ("token_agreement.natural.raw >= 0.9", True),
        ("token_agreement.natural.edit_rate <= 0.1", True),
        ("token_agreement.normalised >= 0.9", True),
        # These are as high for one that gives every code another name.
        ("token_agreement.natural.relabelled >= 0.9", False),
        ("token_agreement.mutual_information_share >= 0.9", False),
        ("token_agreement.natural.floor >= 0", False),
        ("codebook.dead <= 1", False),
    ],
)
def test_only_rules_about_the_very_tokens_ask_for_them(rule, asks):
    assert bool(unasked(asking(RUN, rule))) is not asks


def test_agreement_is_asked_candidate_by_candidate():
    rule = "token_agreement.natural.raw >= 0.9"
    others = GateRule(rule, ("fair", "untrained"))
    assert unasked(asking(RUN, EASY, others, reference="good")) == []
    assert unasked(asking(RUN, EASY, GateRule(rule, ("fair",)), reference="good"))
    # Of those whom no rule judges nothing is said.
    assert unasked(asking(RUN, GateRule(EASY, ("good",)))) == []
    assert unasked(asking(RUN, GateRule(EASY, ("good", "fair"))))


def test_nobody_asks_whether_tokens_of_other_codebooks_are_the_same():
    other_sizes = with_candidate(with_candidate(RUN, "fair", codebook_size=512), "untrained", codebook_size=8)
    assert unasked(asking(other_sizes, EASY)) == []
    digest = next(c.digest for c in RUN.candidates if c.name == "good")
    same = with_candidate(with_candidate(RUN, "fair", digest=digest), "untrained", digest=digest)
    assert unasked(asking(same, EASY)) == []


def test_a_baseline_of_another_vqvae_may_write_other_tokens():
    rule = GateRule(EASY, ("good",))
    assert unasked(asking(RUN, rule), Selection("main", RUN)) == []
    (message,) = unasked(asking(RUN, rule), Selection("main", with_candidate(RUN, "good", digest="another")))
    assert message.startswith("good, the baseline main:good have 256 codes each")
    assert "`reference: CHECKPOINT`" in message


def test_without_rules_measuring_is_asking():
    assert unasked(asking(RUN))
    assert unasked(asking(of_the_gpt(RUN))), "untrained was not measured"
    everybody = of_the_gpt(RUN)
    last = replace(table_of(everybody, "fair", "token_agreement"), candidate="untrained")
    assert unasked(asking(replace(everybody, tables=(*everybody.tables, last)))) == []
