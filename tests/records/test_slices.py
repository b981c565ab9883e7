"""Slices of a run: who is in them, their figures, and rules that are judged on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import make_run, replace_table, same_figure, table_of, without_clips

from vqbench.errors import ConfigError, ManyErrors, ResultError
from vqbench.extras import missing_extra
from vqbench.judging.asked import add_rules, check_rules
from vqbench.judging.compare import compare_runs
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.judging.slices import slices_of
from vqbench.metrics.agreement import AGREEMENT_SPECS, Encoded, GptSequence, agreement_columns
from vqbench.records.check import check_run
from vqbench.records.run import ClipRecord, GateRule, Result, Run, Table
from vqbench.records.slices import make_slices, narrowed, of_slice, summarise_slices
from vqbench.records.store import load_run, save_run
from vqbench.records.summary import summarise
from vqbench.stats.columns import columns_of, numbers, take

SHORT = "duration_s < 4"


def sliced(run: Run, named: Mapping[str, str] | None = None, by: Sequence[str] = ()) -> Run:
    run = replace(run, slices=make_slices({"short": SHORT} if named is None else named, by, run.clips))
    return replace(run, slice_results=summarise_slices(run))


def with_clips(run: Run, **changes: Mapping[str, object]) -> Run:
    """The run whose clips say something else: id → fields."""
    return replace(run, clips=tuple(replace(clip, **changes.get(clip.id, {})) for clip in run.clips))  # type: ignore[arg-type]


# ---- who is in a slice


def test_a_condition_takes_its_clips_in_their_order() -> None:
    run = make_run()
    (short,) = make_slices({"short": SHORT}, (), run.clips)
    assert short.clips == tuple(clip.id for clip in run.clips if clip.duration_s < 4)
    assert (short.name, short.where, short.unknown, short.by) == ("short", SHORT, {}, None)


def test_each_value_of_a_field_makes_a_slice() -> None:
    run = make_run(n_clips=6, n_speakers=3)
    slices = make_slices({}, ["speaker"], run.clips)
    assert [one.name for one in slices] == ["speaker=speaker0", "speaker=speaker1", "speaker=speaker2"]
    assert slices[1].clips == ("clip001", "clip004")
    assert slices[1].by == "speaker"


def test_clips_of_which_nobody_knows_are_counted_by_set_and_field() -> None:
    clips = (
        *make_run(n_clips=3).clips,
        ClipRecord("clip9", "", 0.0, "said", "ann"),
        ClipRecord("downstream/1", "", 0.0, "said", None, "downstream"),
    )
    short, ann = make_slices({"short": SHORT, "ann": f'speaker == "ann" and {SHORT}'}, (), clips)
    assert short.unknown == {"speech": {"duration_s": 1}, "downstream": {"duration_s": 1}}
    # Who is of another speaker is not in it, however long; who says neither lacks both.
    assert ann.unknown == {"speech": {"duration_s": 1}, "downstream": {"speaker": 1, "duration_s": 1}}


def test_clips_of_a_set_in_several_languages_are_told_apart_unasked() -> None:
    spoken = make_run(n_clips=4).clips
    clips = (
        *(replace(clip, language=code) for clip, code in zip(spoken, ("de", "vi", "de", None), strict=True)),
        ClipRecord("natural/a", "", 1.0, "x", None, "natural", "de"),
    )
    slices = make_slices({}, (), clips)
    assert {one.name: one.clips for one in slices} == {
        "language=de": ("clip000", "clip002"),
        "language=vi": ("clip001",),
    }
    assert slices[0].unknown == {"speech": {"language": 1}}
    # Asked for, they are of all sets; one language alone is no slice unless it is asked for.
    assert make_slices({}, ["language"], clips)[0].clips == ("clip000", "clip002", "natural/a")
    assert make_slices({}, (), [replace(clip, language="de") for clip in spoken]) == ()


def test_a_slice_that_holds_of_no_clip_is_there() -> None:
    (one,) = make_slices({"long": "duration_s > 99"}, (), make_run().clips)
    assert one.clips == ()


@pytest.mark.parametrize(
    ("named", "by", "said"),
    [
        ({"x": "duration < 2"}, (), "slices.x: no clip has a duration (did you mean 'duration_s'?)"),
        ({"x": "snr_bd < 2"}, (), "(did you mean 'snr_db'?)"),
        ({}, ("speeker",), "slices.by: no clip has a speeker (did you mean 'speaker'?)"),
        ({}, ("language",), "slices.by: no clip has a language\n"),
        ({"x": "duration_s <"}, (), "ends too early"),
    ],
)
def test_a_field_that_no_clip_has_is_an_error_with_near_names(
    named: Mapping[str, str], by: Sequence[str], said: str
) -> None:
    clips = [replace(clip, columns={"snr_db": "3"}) for clip in make_run(n_clips=3).clips]
    with pytest.raises(ConfigError) as raised:
        make_slices(named, by, clips, "suite.yaml")
    assert said in str(raised.value)


def test_too_many_values_are_refused() -> None:
    clips = [ClipRecord(f"{n}", "", 1.0, "x", f"s{n}") for n in range(1001)]
    with pytest.raises(ConfigError, match="1,001 values"):
        make_slices({}, ["speaker"], clips)


# ---- figures


def alone(run: Run, ids: Sequence[str]) -> dict[tuple[str, str], Result]:
    """The figures of a run on these clips alone, made table by table."""
    found = {}
    for spec in run.metrics:
        for table in run.tables:
            if table.group == spec.group and spec.resampled == "clip":
                rows = np.array([row for row, row_id in enumerate(table.row_ids) if row_id in ids])
                part = Table(
                    table.candidate,
                    table.group,
                    tuple(table.row_ids[row] for row in rows),
                    {name: take(column, rows) for name, column in table.columns.items()},
                    table.constants,
                )
                clips = [clip for clip in run.clips if clip.id in ids]
                found[table.candidate, spec.name] = summarise(spec, part, clips, run.interval)
    return found


def test_figures_are_those_of_a_run_on_these_clips_alone() -> None:
    run = sliced(make_run(), {"short": SHORT, "few": 'speaker == "speaker1"'})
    for one in run.slices:
        expected = {key: replace(result, slice=one.name) for key, result in alone(run, one.clips).items()}
        found = {(r.candidate, r.metric): r for r in run.slice_results if r.slice == one.name}
        assert found.keys() == expected.keys()
        assert all(same_figure(found[key], expected[key]) for key in found)
    assert not any(r.metric.startswith("throughput") for r in run.slice_results)
    assert all(r.slice is None for r in run.results)


def test_an_average_hides_what_a_slice_shows() -> None:
    run = make_run()
    table = table_of(run, "good", "speech")
    short = np.array([clip.duration_s < 4 for clip in run.clips])
    errors = np.where(short, numbers(table.columns["words"]), 0.0)
    run = sliced(replace_table(run, replace(table, columns={**table.columns, "errors": errors})))
    whole = next(r for r in run.results if (r.candidate, r.metric) == ("good", "speech.wer"))
    part = next(r for r in run.slice_results if (r.candidate, r.metric) == ("good", "speech.wer"))
    assert part.value == 1.0
    assert part.n == short.sum()
    assert whole.value is not None and whole.value < 0.35


def sequences(seed: int) -> tuple[list[GptSequence], list[Encoded], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    targets = [rng.integers(0, 16, size=int(n)) for n in rng.integers(20, 60, size=12)]
    moved = rng.permutation(16)  # the candidate's codes are the target's under other names, with some noise
    own = [np.where(rng.random(len(t)) < 0.3, moved[t], rng.integers(0, 16, len(t))) for t in targets]
    written = [GptSequence(f"pairs/{i}", t, np.ones(len(t), bool), f"sentence {i % 9}") for i, t in enumerate(targets)]
    heard = [Encoded(o, rng.integers(0, 9, len(o)), rng.random(len(o))) for o in own]
    return written, heard, [np.where(rng.random(len(t)) < 0.9, t, 0) for t in targets]


def test_what_depends_on_all_sequences_is_counted_anew_on_those_of_the_slice() -> None:
    written, heard, oracle = sequences(3)
    clips = tuple(ClipRecord(s.id, "", float(len(s.codes)), s.sentence, None, "pairs") for s in written)

    def table(places: Sequence[int]) -> Table:
        chosen = [[part[place] for place in places] for part in (written, heard, oracle)]
        return Table(
            "c",
            "token_agreement",
            tuple(written[place].id for place in places),
            columns_of(agreement_columns(*chosen, 16)),  # type: ignore[arg-type]
            {"codebook_size": 16.0, "token_rate_hz": 21.5},
        )

    base = make_run(quality={"c": 1.0}, references=())
    run = replace(base, clips=clips, metrics=AGREEMENT_SPECS, tables=(table(range(12)),), results=())
    run = sliced(run, {"short": "duration_s < 40"})
    places = [place for place, clip in enumerate(clips) if clip.duration_s < 40]
    assert 2 < len(places) < 12
    part = table(places)
    found = {r.metric: r for r in run.slice_results}
    for spec in AGREEMENT_SPECS:
        expected = summarise(spec, part, [clips[place] for place in places], run.interval)
        assert same_figure(found[spec.name], replace(expected, slice="short")), spec.name
    rows = np.array(places)
    kept = numbers(take(run.tables[0].columns["relabelled_matches"], rows)).sum()
    assert kept != numbers(part.columns["relabelled_matches"]).sum(), "fitted on other sequences, as it must be"


def test_only_the_relabelling_of_a_slice_needs_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    written, heard, oracle = sequences(3)
    clips = tuple(ClipRecord(s.id, "", 1.0, s.sentence, None, "pairs") for s in written)
    columns = columns_of(agreement_columns(written, heard, oracle, 16))
    ids = tuple(clip.id for clip in clips)
    table = Table("c", "token_agreement", ids, columns, {"codebook_size": 16.0, "token_rate_hz": 21.5})
    run = replace(make_run(quality={"c": 1.0}, references=()), clips=clips, metrics=AGREEMENT_SPECS, tables=(table,))
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    (part,) = narrowed(run, ids[:6]).tables
    for spec in AGREEMENT_SPECS:
        if "relabelled" not in spec.name:
            summarise(spec, part, clips, run.interval)
    with pytest.raises(ModuleNotFoundError) as raised:
        part.columns["relabelled_matches"]
    assert missing_extra(raised.value) is not None


def test_a_slice_is_a_run_that_agrees_with_itself() -> None:
    run = sliced(make_run())
    part = of_slice(run, "short")
    check_run(part)
    assert {clip.id for clip in part.clips} == set(run.slices[0].clips)
    assert part.results == run.slice_results
    with pytest.raises(ResultError, match=r"did you mean 'short'"):
        of_slice(run, "shorter")


# ---- files


def test_slices_are_kept_in_the_file(tmp_path: Path) -> None:
    run = sliced(make_run(gate=[GateRule("speech.wer <= 1", (), "short")]), by=["speaker"])
    save_run(run, tmp_path)
    assert load_run(tmp_path) == run
    again = summarise_slices(load_run(tmp_path))
    assert again == run.slice_results


def test_files_from_before_there_were_slices_read_as_they_did(tmp_path: Path) -> None:
    run = make_run(gate=["speech.wer <= 1"])
    file = save_run(run, tmp_path)
    plain = json.loads(file.read_text())
    assert (plain.pop("slices"), plain.pop("slice_results")) == ([], [])
    for record in (*plain["results"], *plain["suite"]["gate"]):
        assert record.pop("slice") is None
    plain["schema"] = 2  # which had no checksum, either
    del plain["checksum"]
    file.write_text(json.dumps(plain))
    assert load_run(tmp_path) == run
    assert gate(load_run(tmp_path)) == gate(run)


def test_a_figure_of_a_slice_that_its_rows_contradict_is_refused(tmp_path: Path) -> None:
    file = save_run(sliced(make_run()), tmp_path)
    plain = json.loads(file.read_text())
    plain["schema"] = 2
    del plain["checksum"]
    plain["slice_results"][0] |= {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    file.write_text(json.dumps(plain))
    with pytest.raises(ResultError, match="figures that its rows contradict"):
        load_run(tmp_path)


def test_slices_that_do_not_agree_with_their_run_are_refused() -> None:
    run = sliced(make_run())
    first = run.slice_results[0]
    for broken, said in (
        (replace(run, slices=(replace(run.slices[0], clips=("nobody",)),)), "has unknown clips: nobody"),
        (replace(run, slice_results=(replace(first, slice="shrt"),)), "unknown slice 'shrt'"),
        (replace(run, slice_results=(first, first)), "named more than once"),
        (replace(run, slices=run.slices * 2), "named more than once"),
        (replace(run, results=(*run.results[1:], first)), "among those of all clips"),
    ):
        with pytest.raises((ResultError, ManyErrors), match=said):
            check_run(broken)


# ---- rules


def spoilt(run: Run, share: float) -> Run:
    """The run whose candidate `good` gets this share of the words of short clips wrong, and all others right."""
    table = table_of(run, "good", "speech")
    short = np.array([clip.duration_s < 4 for clip in run.clips])
    errors = np.where(short, share * numbers(table.columns["words"]), 0.0)
    return replace_table(run, replace(table, columns={**table.columns, "errors": errors}))


RULES = ["speech.wer <= 0.3", GateRule("speech.wer <= 0.3", ("good",), "short")]


def test_a_rule_on_a_slice_fails_where_the_average_passes() -> None:
    run = sliced(spoilt(make_run(quality={"good": 1.0}, n_clips=48, gate=RULES), 0.9))
    whole, part = gate(run).outcomes
    assert (whole.status, whole.slice, whole.rule) == ("pass", None, "speech.wer <= 0.3")
    assert (part.status, part.slice, part.rule) == ("fail", "short", "speech.wer <= 0.3, slice short")
    assert part.n == len(run.slices[0].clips)
    assert part.value == pytest.approx(0.9)


def test_a_rule_on_a_slice_is_held_against_the_baseline_on_its_clips() -> None:
    rule = GateRule("speech.wer <= baseline + 0.02", ("good",), "short")
    run = sliced(spoilt(make_run(quality={"good": 1.0}, n_clips=48, gate=[rule]), 0.5))
    # The baseline is older than the slice, and bad elsewhere.
    older = spoilt(make_run(quality={"good": 1.0}, n_clips=48), 0.5)
    (outcome,) = gate(run, Selection("older", older)).outcomes
    assert (outcome.status, outcome.limit, outcome.n) == ("pass", pytest.approx(0.52), len(run.slices[0].clips))
    (outcome,) = gate(run, Selection("better", spoilt(older, 0.1))).outcomes
    assert outcome.status == "fail"


def test_a_baseline_without_these_clips_decides_nothing() -> None:
    rule = GateRule("speech.wer <= baseline + 0.02", ("good",), "short")
    run = sliced(make_run(quality={"good": 1.0}, n_clips=48, gate=[rule]))
    (outcome,) = gate(run, Selection("half", make_run(quality={"good": 1.0}, n_clips=24))).outcomes
    assert (outcome.status, outcome.open) == ("inconclusive", False)
    assert "measured on other clips: 14 here, 8 there" in outcome.reason


def test_too_few_clips_and_none_at_all_decide_nothing() -> None:
    rules = [GateRule("speech.wer <= 1", ("good",), name) for name in ("short", "none")]
    run = sliced(make_run(gate=rules), {"short": SHORT, "none": "duration_s > 99"})
    few, none = gate(run).outcomes
    assert (few.status, few.n) == ("inconclusive", 8)
    assert few.reason.startswith("too few clips: 8 of at least 10")
    assert (none.status, none.n, none.open) == ("inconclusive", 0, False)
    assert "the slice none has none of the clips" in none.reason


def test_only_the_unscored_clips_of_a_slice_count_against_it() -> None:
    run = make_run(n_clips=48, gate=[GateRule("speech.wer <= 1", ("good",), name) for name in ("short", "long")])
    run = replace_table(run, without_clips(table_of(run, "good", "speech"), {"clip000": "cannot be read"}))
    short, long = gate(sliced(run, {"short": SHORT, "long": "duration_s > 4"})).outcomes
    assert short.status == "fail"
    assert "1 clip could not be scored" in short.reason
    assert long.status == "pass"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (GateRule("speech.wer <= 1", (), "shor"), "there is no slice 'shor' (did you mean 'short'?)"),
        (GateRule("throughput.encode.b8.audio_s_per_s >= 1", (), "short"), "which are of no slice"),
    ],
)
def test_rules_on_what_has_no_slice_are_refused(rule: GateRule, said: str) -> None:
    run = sliced(make_run(gate=[rule]))
    with pytest.raises(ConfigError) as raised:
        gate(run)
    assert said in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        check_rules([rule], run.metrics, "suite.yaml", ["short"])
    assert said in str(raised.value)


def test_a_further_rule_takes_no_rule_of_a_slice_away() -> None:
    run = add_rules(sliced(make_run(gate=RULES)), ["speech.wer <= 0.5"])
    assert [rule.text for rule in run.suite.gate] == ["speech.wer <= 0.3, slice short", "speech.wer <= 0.5"]


# ---- comparisons


def test_a_slice_of_several_runs_is_compared_on_its_clips() -> None:
    new, old = sliced(spoilt(make_run(), 0.9)), make_run()
    table = compare_runs(slices_of([Selection("old", old), Selection("new", new)], "short"), ["speech.wer"])
    one = next(c for c in table.comparisons if c.candidate == "new:good")
    assert one.n_pairs == 8
    assert one.candidate_value == pytest.approx(0.9)
    assert table.results["old:good", "speech.wer"].value == one.reference_value
    assert table.notes == ()


def test_a_comparison_over_several_languages_says_so() -> None:
    run = make_run()
    codes = ("de", "vi")
    clips = tuple(replace(clip, language=codes[place % 2]) for place, clip in enumerate(run.clips))
    run = sliced(replace(run, clips=clips), {})
    note = "figures over clips in several languages; --slice shows one: language=de, language=vi"
    assert note in compare_runs([Selection("run", run)], ["speech.wer"]).notes
    assert note not in compare_runs(slices_of([Selection("run", run)], "language=de"), ["speech.wer"]).notes


def test_two_meanings_of_a_slice_do_not_compare() -> None:
    one, other = sliced(make_run()), sliced(make_run(), {"short": "duration_s < 3"})
    with pytest.raises(ResultError, match="mean different slices"):
        slices_of([Selection("a", one), Selection("b", other)], "short")
    with pytest.raises(ResultError, match="a run of a suite with `slices:`"):
        slices_of([Selection("a", make_run())], "short")


def test_a_narrowed_run_leaves_the_whole_as_it_is() -> None:
    run = make_run()
    before = make_run()
    part = narrowed(run, ["clip001", "nobody"])
    assert [clip.id for clip in part.clips] == ["clip001"]
    assert run == before
