import math
from dataclasses import replace

import numpy as np
import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.judging.choice import MOST_REASONS, choose_clips

N = 12
RUN = make_run(n_clips=N, quality={"good": 1.0, "fair": 2.0})
CLIPS = [clip.id for clip in RUN.clips]


def with_columns(run, candidate, group="speech", **columns):
    table = table_of(run, candidate, group)
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    return replace_table(run, replace(table, columns={**table.columns, **arrays}))


def only(run, *headlines):
    """The run with these metrics for headlines."""
    return replace(run, metrics=tuple(replace(m, headline=m.name in headlines) for m in run.metrics))


def with_errors(good, fair, words=10.0):
    """A run of error rates alone, with these errors of so many words on the first clips and none on the others."""
    run = only(RUN, "speech.wer")
    for name, errors in (("good", good), ("fair", fair)):
        run = with_columns(run, name, errors=[*errors, *[0.0] * (N - len(errors))], words=np.full(N, words))
    return run


def choose(run, *, named=(), drawn=0, worst=0, seed=0, clip_set="speech"):
    return choose_clips(run, clip_set, named, drawn, worst, seed)


def clips_of(chosen):
    return [one.clip for one in chosen]


def test_candidates_take_turns_in_naming_their_worst():
    run = with_errors(good=[1, 2, 3, 0], fair=[0, 0, 9, 14])
    chosen = choose(run, worst=3)
    assert [(one.clip, one.why) for one in chosen] == [
        ("clip002", ("worst speech.wer of good: 0.300", "2nd worst speech.wer of fair: 0.900")),
        ("clip003", ("worst speech.wer of fair: 1.400",)),
        ("clip001", ("2nd worst speech.wer of good: 0.200",)),
    ]


def test_where_higher_is_better_the_lowest_is_the_worst():
    similarity = np.linspace(0.9, 0.5, N)
    run = with_columns(only(RUN, "speech.speaker_similarity"), "good", similarity=similarity)
    run = with_columns(run, "fair", similarity=similarity[::-1])
    chosen = choose(run, worst=2)
    assert clips_of(chosen) == [CLIPS[-1], CLIPS[0]]
    assert chosen[0].why == ("worst speech.speaker_similarity of good: 0.500",)


def test_a_figure_is_written_with_its_unit():
    run = with_columns(
        only(RUN, "reconstruction.mcd_db"), "good", "reconstruction", mcd_db=[1000.126, *[0.0] * (N - 1)]
    )
    assert choose(run, worst=1)[0].why[0] == "worst reconstruction.mcd_db of good: 1,000.13 dB"


def test_the_first_few_come_from_different_metrics_and_candidates():
    headlines = ("reconstruction.mcd_db", "speech.wer")
    run = only(RUN, *headlines)
    for place, name in enumerate(("good", "fair")):  # four pairs with four different clips for their worst
        figures = np.where(np.arange(N) == place, 9.0, np.linspace(0.1, 0.2, N))
        run = with_columns(run, name, "reconstruction", mcd_db=figures)
        run = with_columns(run, name, errors=np.roll(figures, 2), words=np.full(N, 10.0))
    reasons = [one.why[0].rpartition(":")[0] for one in choose(run, worst=4)]
    assert reasons == [
        "worst reconstruction.mcd_db of good",
        "worst speech.wer of fair",
        "worst reconstruction.mcd_db of fair",
        "worst speech.wer of good",
    ]


def test_where_all_are_equal_none_is_the_worst():
    assert choose(with_errors(good=[], fair=[]), worst=3) == []
    assert choose(with_errors(good=[5] * N, fair=[0] * N), worst=3) == []


def test_a_clip_as_good_as_the_best_is_not_among_the_worst():
    assert clips_of(choose(with_errors(good=[0, 4], fair=[0, 0, 4]), worst=N)) == ["clip001", "clip002"]


def test_equals_share_a_rank():
    chosen = choose(with_errors(good=[3, 9, 9, 1], fair=[]), worst=N)
    assert [(one.clip, one.why[0]) for one in chosen] == [
        ("clip001", "worst speech.wer of good: 0.900"),
        ("clip002", "worst speech.wer of good: 0.900"),
        ("clip000", "3rd worst speech.wer of good: 0.300"),
        ("clip003", "4th worst speech.wer of good: 0.100"),
    ]


def test_an_undefined_figure_is_never_the_worst():
    run = with_errors(good=[9, 1, 2], fair=[])
    run = with_columns(run, "good", words=[0.0, *[10.0] * (N - 1)])
    assert clips_of(choose(run, worst=N)) == ["clip002", "clip001"]


def test_unscored_clips_are_never_the_worst():
    run = with_errors(good=[9, 1, 2], fair=[])
    run = replace_table(run, without_clips(table_of(run, "good", "speech"), {"clip000": "too loud"}))
    assert clips_of(choose(run, worst=N)) == ["clip002", "clip001"]


def test_references_name_no_clip():
    run = with_columns(with_errors(good=[], fair=[]), "original", errors=[9.0, *[0.0] * (N - 1)])
    assert choose(run, worst=3) == []


def test_metrics_that_are_no_headline_or_have_no_direction_name_no_clip():
    assert choose(only(RUN), worst=3) == []
    neither = tuple(replace(metric, higher_is_better=None) for metric in RUN.metrics)
    assert choose(replace(RUN, metrics=neither), worst=3) == []


def test_named_clips_come_first_and_do_not_count_among_the_worst():
    run = with_errors(good=[1, 2], fair=[])
    chosen = choose(run, named=["clip007", "clip001", "clip007"], worst=1)
    assert [(one.clip, one.why) for one in chosen] == [
        ("clip007", ("named in the suite",)),
        ("clip001", ("named in the suite", "worst speech.wer of good: 0.200")),
        ("clip000", ("2nd worst speech.wer of good: 0.100",)),
    ]


def test_a_clip_of_another_set_is_passed_over():
    assert choose(RUN, named=["pairs/clip000", "clip000"], clip_set="pairs", drawn=3) == []
    assert clips_of(choose(RUN, named=["pairs/clip000", "clip000"])) == ["clip000"]


def test_each_set_has_its_own_clips_and_metrics():
    of_gpt = replace(RUN.clips[0], id="pairs/0", clip_set="pairs")
    run = replace(RUN, clips=(*RUN.clips, of_gpt))
    assert clips_of(choose(run, drawn=99, worst=3, clip_set="pairs")) == ["pairs/0"]
    assert "pairs/0" not in clips_of(choose(run, drawn=99))


def test_reasons_are_few():
    quality = {f"seed{i}": 1.0 for i in range(6)}
    run = only(make_run(n_clips=N, quality=quality), "speech.wer")
    for name in quality:
        run = with_columns(run, name, errors=[9.0, *[0.0] * (N - 1)], words=np.full(N, 10.0))
    (chosen,) = choose(run, worst=2)
    assert len(chosen.why) == MOST_REASONS
    assert len(set(chosen.why)) == MOST_REASONS


def test_drawn_clips_change_with_the_seed_and_with_nothing_else():
    first = choose(RUN, drawn=5, seed=0)
    assert choose(RUN, drawn=5, seed=0) == first
    assert all(one.why == ("drawn by seed 0",) for one in first)
    assert len(set(clips_of(first))) == 5
    draws = {tuple(clips_of(choose(RUN, drawn=5, seed=seed))) for seed in range(8)}
    assert len(draws) == 8
    backwards = choose(replace(RUN, clips=RUN.clips[::-1]), drawn=5, seed=0)
    assert backwards == first


def test_drawn_clips_are_drawn_evenly():
    counts = dict.fromkeys(CLIPS, 0)
    for seed in range(600):
        for clip in clips_of(choose(only(RUN), drawn=3, seed=seed)):
            counts[clip] += 1
    spread = math.sqrt(600 * 0.25 * 0.75)
    assert all(abs(count - 150) < 4 * spread for count in counts.values())


def test_a_draw_prefers_clips_that_everybody_scored():
    lost = dict.fromkeys(CLIPS[:8], "too loud")
    run = replace_table(RUN, without_clips(table_of(RUN, "original", "speech"), lost))
    drawn = clips_of(choose(run, drawn=N))
    assert set(drawn[: N - 8]) == set(CLIPS[8:])
    assert set(drawn[N - 8 :]) == set(lost)


def test_a_small_set_is_shown_whole_and_once():
    chosen = clips_of(choose(RUN, named=["clip003"], drawn=99, worst=99))
    assert sorted(chosen) == CLIPS


@pytest.mark.parametrize("run", [make_run(n_clips=N, quality={}), replace(RUN, tables=())])
def test_where_nobody_is_judged_clips_are_drawn(run):
    assert len(choose(run, drawn=2, worst=2)) == 2
