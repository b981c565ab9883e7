import gc
import weakref
from dataclasses import replace

import pytest
from builders import make_run
from histories import (
    JUMP,
    base,
    changed_candidates,
    changed_metric,
    excerpts_with,
    on_day,
    runs_with,
    with_figure,
)

from vqbench.errors import ManyErrors, ResultError
from vqbench.judging.excerpts import excerpt, load_excerpts
from vqbench.judging.history import make_history
from vqbench.records.store import save_baseline, save_run

WER, SPEED, MEL = "speech.wer", "throughput.encode.b8.audio_s_per_s", "reconstruction.mel_l1"


def of(runs, metric=WER, candidate="good"):
    """The one series asked for."""
    excerpts = [excerpt(f"run-{index:02d}", run) for index, run in enumerate(runs)]
    (series,) = make_history(excerpts, [metric], [candidate]).series
    return series


def test_a_change_is_found_at_its_run():
    (series,) = make_history(excerpts_with(JUMP), [WER], ["good"]).series
    (group,) = series.groups
    (change,) = group.course.changes
    assert (group.runs[change.index], change.before, change.after) == (10, 0.125, 0.130)
    assert change.p_value <= 0.05
    assert series.found


def test_runs_are_put_in_order_of_their_start():
    excerpts = excerpts_with(JUMP)
    history = make_history(excerpts[::2] + excerpts[::-2], [WER], ["good"])
    assert [run.label for run in history.runs] == [run.label for run in excerpts]
    assert [point.value for point in history.series[0].points] == JUMP


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-03-01T12:00:00+00:00", "2026-03-01T12:00:01+00:00"),
        ("2026-03-01T12:00:00", "2026-03-01T12:00:01Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T11:00:00Z"),
    ],
)
def test_times_of_all_zones_compare(earlier, later):
    excerpts = [excerpt(str(index), on_day(0, started=time)) for index, time in enumerate((later, earlier))]
    assert [run.label for run in make_history(excerpts).runs] == ["1", "0"]


@pytest.mark.parametrize("started", [None, "", "yesterday", 17, "2026-13-01"])
def test_a_run_without_a_time_has_no_place(started):
    with pytest.raises(ResultError, match="place in time") as caught:
        excerpt("run-07", on_day(0, started=started))
    assert caught.value.where == "run-07"


@pytest.mark.parametrize(
    ("metric", "change", "says"),
    [
        (WER, lambda run: changed_metric(run, WER, version=2), "another version, 2 and not 1"),
        (WER, lambda run: changed_metric(run, WER, reduction="mean"), "defined otherwise"),
        (WER, lambda run: replace(run, clips=run.clips[1:]), "other clips, 5 there and 6 in the newest"),
        (WER, lambda run: replace(run, clips=(replace(run.clips[0], sha256="0" * 64), *run.clips[1:])), "other clips"),
        (MEL, lambda run: changed_candidates(run, {"front_end": "mel-24000-100"}), "another mel front end"),
        (SPEED, lambda run: replace(run, provenance={**run.provenance, "machine": "Z80"}), "another machine, Z80"),
        (SPEED, lambda run: replace(run, provenance={**run.provenance, "device": "cuda"}), "another device, cuda"),
    ],
)
def test_what_does_not_compare_is_never_looked_at_together(metric, change, says):
    runs = runs_with(JUMP, metric)
    series = of([*map(change, runs[:10]), *runs[10:]], metric)
    older, newer = series.groups
    assert (older.runs, newer.runs) == (tuple(range(10)), tuple(range(10, 20)))
    assert says in older.reason
    assert newer.reason is None
    assert not series.found


@pytest.mark.parametrize(
    ("metric", "change"),
    [
        (WER, lambda run: changed_candidates(run, {"front_end": "mel-24000-100"})),
        (WER, lambda run: changed_candidates(run, {"digest": "another training"})),
        (WER, lambda run: replace(run, provenance={**run.provenance, "machine": "Z80"})),
        (WER, lambda run: changed_metric(run, WER, description="in other words", headline=False, decimals=1)),
        (WER, lambda run: replace(run, clips=run.clips[::-1])),
        (WER, lambda run: replace(run, clips=(*run.clips, replace(run.clips[0], id="new", clip_set="pairs")))),
    ],
)
def test_what_compares_is_looked_at_together(metric, change):
    runs = runs_with(JUMP, metric)
    series = of([*map(change, runs[:10]), *runs[10:]], metric)
    assert len(series.groups) == 1
    assert series.found


def test_machines_that_take_turns_are_each_a_series_of_their_own():
    values = [JUMP[index // 2] + index % 2 for index in range(40)]
    runs = [
        with_figure(on_day(index, machine=("big", "small")[index % 2]), value, SPEED)
        for index, value in enumerate(values)
    ]
    groups = of(runs, SPEED).groups
    assert [group.runs[:3] for group in groups] == [(0, 2, 4), (1, 3, 5)]
    assert [[group.runs[change.index] for change in group.course.changes] for group in groups] == [[20], [21]]


def test_a_run_without_a_figure_is_named_and_passed_over():
    values = [*JUMP[:4], None, *JUMP[4:]]
    series = of(runs_with(values))
    assert series.points[4].value is None
    assert series.points[4].failed
    assert "silence" in series.points[4].reason
    (group,) = series.groups
    assert 4 not in group.runs
    assert [group.runs[change.index] for change in group.course.changes] == [11]


def test_a_metric_that_always_failed_is_shown_and_has_no_course():
    series = of(runs_with([None] * 12))
    assert not series.groups
    assert all(point.failed for point in series.points)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: replace(run, candidates=run.candidates[1:]), "good is not in this run"),
        (lambda run: replace(run, results=()), "not measured"),
        (lambda run: changed_metric(run, WER, unit="%"), "measured in %, not in no unit"),
    ],
)
def test_what_a_run_cannot_tell_is_said(change, says):
    runs = runs_with(JUMP[:4])
    series = of([change(runs[0]), *runs[1:]])
    assert says in series.points[0].reason
    assert not series.points[0].failed
    assert series.groups[0].runs == (1, 2, 3)


def test_without_names_it_takes_headline_metrics_that_most_runs_have_and_the_newest_candidates():
    runs = [on_day(day) for day in range(3)]
    runs[0] = changed_candidates(runs[0], {"name": "old"})
    no_mcd = tuple(spec for spec in base().metrics if spec.name != "reconstruction.mcd_db")
    runs[1:] = [replace(runs[1], metrics=no_mcd), runs[2]]
    runs[0] = replace(runs[0], metrics=no_mcd)
    history = make_history([excerpt(str(index), run) for index, run in enumerate(runs)])
    headline = [spec.name for spec in no_mcd if spec.headline]
    expected = {(metric, candidate) for metric in headline for candidate in ("good", "fair")}
    assert {(series.metric.name, series.candidate) for series in history.series} == expected
    assert "reconstruction.mcd_db (1 of 3)" in history.notes[0]


def test_all_seeds_of_a_recipe_go_by_its_name():
    run = make_run(
        quality={"a1": 1.0, "a2": 1.1, "b": 2.0}, n_clips=4, n_speakers=2, resamples=20, families={"a": ["a1", "a2"]}
    )
    history = make_history([excerpt("one", on_day(0, run))], [WER], ["a"])
    assert [series.candidate for series in history.series] == ["a1", "a2"]


@pytest.mark.parametrize(
    ("metrics", "candidates", "says"),
    [
        (["speech.were"], None, "did you mean 'speech.wer'"),
        (None, ["goood"], "did you mean 'good'"),
        ([MEL], ["original"], "no run has measured reconstruction.mel_l1 for original"),
    ],
)
def test_unknown_names(metrics, candidates, says):
    with pytest.raises(ResultError, match=says):
        make_history(excerpts_with(JUMP[:2]), metrics, candidates)


def test_the_level_is_shared_by_all_series_that_could_change():
    short = JUMP[6:14] + JUMP[14:15]
    alone = make_history(excerpts_with(short), [WER], ["good"])
    assert (alone.n_tested, alone.needed) == (1, 9)
    assert alone.series[0].found
    noisy = [
        with_figure(with_figure(run, value, WER), index * (index - 3.5) % 1.7, MEL)
        for index, (run, value) in enumerate(zip(runs_with(short), short, strict=True))
    ]
    both = make_history([excerpt(str(index), run) for index, run in enumerate(noisy)], [WER, MEL], ["good", "fair"])
    assert (both.n_tested, both.needed) == (2, 10)
    assert not any(series.found for series in both.series)


def test_nothing_of_the_tables_is_kept():
    run = make_run(quality={"good": 1.0}, n_clips=4, n_speakers=2, resamples=20)
    table = weakref.ref(run.tables[0])
    kept = excerpt("one", on_day(0, run))
    del run
    gc.collect()
    assert table() is None
    assert kept.results


@pytest.fixture
def folder(tmp_path):
    """runs/ with three runs and one that was interrupted, and a baseline that is one of them."""
    runs = runs_with(JUMP[:3])
    for index, run in enumerate(runs):
        save_run(run, tmp_path / f"runs/night-{index}")
    (tmp_path / "runs/cut-off").mkdir()
    (tmp_path / "runs/.hidden").mkdir()
    save_baseline(runs[1], "main", tmp_path / "baselines")
    return tmp_path


def test_a_folder_of_runs_is_all_of_them_and_says_what_it_leaves_out(folder):
    excerpts, notes = load_excerpts([str(folder / "runs")])
    assert [run.label for run in excerpts] == ["night-0", "night-1", "night-2"]
    assert len(notes) == 1
    assert "cut-off" in notes[0]


def test_runs_by_folder_file_and_baseline(folder):
    arguments = [str(folder / "runs/night-0"), str(folder / "runs/night-2/result.json"), "main"]
    excerpts, notes = load_excerpts(arguments, folder / "baselines")
    assert [run.label for run in excerpts] == ["night-0", "night-2", "main"]
    assert not notes


def test_the_same_run_counts_once(folder):
    excerpts, notes = load_excerpts([str(folder / "runs/night-1"), str(folder / "runs"), "main"], folder / "baselines")
    assert sorted(run.label for run in excerpts) == ["night-0", "night-1", "night-2"]
    assert any("main" in note and "same run as night-1" in note for note in notes)


def test_runs_of_one_name_are_told_apart(folder):
    save_run(runs_with(JUMP[:4])[3], folder / "others/night-0")
    excerpts, _ = load_excerpts([str(folder / "runs/night-0"), str(folder / "others")])
    assert [run.label for run in excerpts] == ["night-0", "night-0 (2)"]


def test_all_faults_are_told_at_once(folder):
    (folder / "runs/night-0/result.json").write_text("{}")
    save_run(base(), folder / "runs/night-1")
    with pytest.raises(ManyErrors) as caught:
        load_excerpts([str(folder / "runs"), str(folder / "nowhere"), str(folder / "baselines")])
    told = str(caught.value)
    for part in ("night-0", "night-1: the run does not say when", "nowhere", "there is no run in this folder"):
        assert part in told
