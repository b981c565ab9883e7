import math
from dataclasses import replace

import pytest
from builders import METRICS, make_clips, make_run, table_of, without_clips

from vqbench.errors import VqbenchError
from vqbench.records.run import IntervalSpec, Table
from vqbench.records.summary import summarise
from vqbench.stats.columns import columns_of

SPEC = {spec.name: spec for spec in METRICS}
INTERVAL = IntervalSpec(resamples=300)
WER = SPEC["speech.wer"]


def speech(errors, words, **options):
    ids = tuple(f"clip{i:03d}" for i in range(len(errors)))
    return Table("good", "speech", ids, columns_of({"errors": errors, "words": words}), **options)


def test_a_figure_has_value_interval_and_n():
    result = summarise(WER, speech([1.0, 0.0, 2.0], [10.0, 20.0, 20.0]), make_clips(3, 0), INTERVAL)
    assert (result.candidate, result.metric, result.value, result.n) == ("good", "speech.wer", 0.06, 3)
    assert result.ci_low <= 0.06 <= result.ci_high
    assert (result.n_clusters, result.reason) == (None, None)


def test_clips_are_clustered_by_speaker_only_where_all_name_one_and_there_are_two():
    table = speech([1.0, 0.0, 2.0, 0.0], [10.0] * 4)
    clips = make_clips(4, 2)
    one_speaker = tuple(replace(clip, speaker="a") for clip in clips)
    one_unnamed = (replace(clips[0], speaker=None), *clips[1:])
    n_clusters = [summarise(WER, table, given, INTERVAL).n_clusters for given in (clips, one_speaker, one_unnamed)]
    assert n_clusters == [2, None, None]


def test_where_the_voices_are_all_there_are_every_clip_is_drawn_by_itself():
    # Each speaker's four clips are equal, so whole speakers are three draws and clips are twelve.
    table, clips = speech([3.0] * 4 + [0.0] * 8, [10.0] * 12), make_clips(12, 3)
    clips = tuple(replace(clip, speaker="abc"[i // 4]) for i, clip in enumerate(clips))
    whole = summarise(WER, table, clips, INTERVAL)
    single = summarise(WER, table, clips, replace(INTERVAL, unit="clip"))
    assert whole.value == single.value == pytest.approx(0.1)
    assert (whole.n_clusters, single.n_clusters) == (3, None)
    assert single.ci_high - single.ci_low < whole.ci_high - whole.ci_low
    unnamed = tuple(replace(clip, speaker=None) for clip in clips)
    assert single == summarise(WER, table, unnamed, INTERVAL)
    human = tuple(replace(clip, clip_set="natural") for clip in clips)
    assert summarise(WER, table, human, replace(INTERVAL, unit="clip")) == whole


def test_the_speaker_of_an_unscored_clip_does_not_count():
    clips = make_clips(4, 2)
    clips = (replace(clips[0], speaker=None), *clips[1:])
    table = without_clips(speech([1.0, 0.0, 2.0, 0.0], [10.0] * 4), {"clip000": "silent"})
    assert summarise(WER, table, clips, INTERVAL).n_clusters == 2


def test_repetitions_are_not_clustered():
    run = make_run()
    table = table_of(run, "good", "throughput.encode.b8")
    result = summarise(SPEC["throughput.encode.b8.audio_s_per_s"], table, run.clips, INTERVAL)
    assert (result.n, result.n_clusters) == (8, None)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (speech([], [], unscored={"clip000": "the file is empty"}), "clip000: the file is empty"),
        (speech([], []), "nothing to measure"),
        (speech([1.0, 1.0], [0.0, 0.0]), "undefined"),
    ],
)
def test_without_a_value_there_is_a_reason(table, reason):
    result = summarise(WER, table, make_clips(2, 0), INTERVAL)
    assert (result.value, result.ci_low, result.ci_high) == (None, None, None)
    assert reason in result.reason


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (speech([1.0], [5.0]), "one clip alone"),
        (speech([1.0, 1.0], [5.0, 0.0]), "undefined on some resamples"),
    ],
)
def test_without_an_interval_there_is_a_reason(table, reason):
    result = summarise(WER, table, make_clips(2, 0), INTERVAL)
    assert result.value is not None
    assert (result.ci_low, result.ci_high) == (None, None)
    assert reason in result.reason


def test_an_interval_of_a_share_stays_between_nothing_and_all():
    run = make_run()
    result = summarise(SPEC["codebook.dead"], table_of(run, "good", "codebook"), run.clips, INTERVAL)
    assert result.value == result.ci_low == 0 < result.ci_high
    share_used = replace(SPEC["codebook.dead"], reduction="share_used")
    result = summarise(share_used, table_of(run, "good", "codebook"), run.clips, INTERVAL)
    assert result.ci_low < result.value == result.ci_high == 1


def test_codebook_figures_say_what_they_are_out_of():
    run = make_run()
    result = summarise(SPEC["codebook.entropy"], table_of(run, "good", "codebook"), run.clips, INTERVAL)
    assert result.bounds == {"log2(codebook_size)": 8.0, "log2(min(codebook_size, n_tokens))": 8.0}


CODEBOOK = Table("good", "codebook", ("clip000",), columns_of({"codes": ((1, 2),)}), {"codebook_size": 8.0})


@pytest.mark.parametrize(
    ("spec", "table", "message"),
    [
        (WER, speech([1.0, math.nan], [5.0, 5.0]), "good / speech, column errors: row clip001 holds nan"),
        (WER, speech([1.0, 1.0], [5.0, math.inf]), "column words: row clip001 holds inf"),
        (WER, speech([(1.0,), (3.0,)], [5.0, 5.0]), "column errors: row clip000 holds a list"),
        (WER, speech([1.0], [5.0, 5.0]), "column words: has 2 cells for 1 rows"),
        (
            WER,
            Table("good", "speech", ("a",), columns_of({"errors": (1.0,)})),
            "column words: the column that speech.wer reduces",
        ),
        (
            WER,
            Table("good", "speech", ("a", "a"), columns_of({"errors": (1.0, 1.0), "words": (1.0, 1.0)})),
            "more than once: a",
        ),
        (
            replace(WER, reduction="energy_distance"),
            speech([(1.0, 2.0), (1.0,)], [(1.0,), (1.0,)]),
            "column errors: holds vectors of several lengths",
        ),
        (replace(WER, reduction="ration"), speech([1.0], [5.0]), "did you mean 'ratio'"),
        (replace(WER, columns=("errors",)), speech([1.0], [5.0]), "names 1 columns, but ratio takes 2"),
        (SPEC["codebook.entropy"], replace(CODEBOOK, constants={}), "the constant codebook_size is missing"),
        (SPEC["codebook.entropy"], replace(CODEBOOK, constants={"codebook_size": 0.0}), "codebook_size is 0.0"),
        (SPEC["codebook.bits_per_second"], CODEBOOK, "the constant token_rate_hz is missing"),
        (SPEC["codebook.entropy"], replace(CODEBOOK, columns=columns_of({"codes": ((1, 8),)})), "codes from 1 to 8"),
        (SPEC["codebook.entropy"], replace(CODEBOOK, columns=columns_of({"codes": ((-1, 3),)})), "codes from -1 to 3"),
        (SPEC["codebook.entropy"], replace(CODEBOOK, columns=columns_of({"codes": (5.0,)})), "row clip000 holds 5.0"),
        (replace(SPEC["codebook.entropy"], resampled="repetition"), CODEBOOK, "over clips, not over repetitions"),
    ],
)
def test_a_table_that_cannot_be_reduced_is_named_with_its_place(spec, table, message):
    with pytest.raises(VqbenchError, match=r".") as caught:
        summarise(spec, table, make_clips(2, 0), INTERVAL)
    assert message in str(caught.value)


def test_where_several_say_the_same_sentences_are_drawn_whole():
    # Each sentence's four clips are equal, so whole sentences are three draws and clips are twelve.
    table, clips = speech([3.0] * 4 + [0.0] * 8, [10.0] * 12), make_clips(12, 0)
    clips = tuple(replace(clip, text="abc"[i // 4]) for i, clip in enumerate(clips))
    whole = summarise(WER, table, clips, replace(INTERVAL, unit="sentence"))
    single = summarise(WER, table, clips, replace(INTERVAL, unit="clip"))
    assert (whole.value, whole.n_clusters, single.n_clusters) == (single.value, 3, None)
    assert single.ci_high - single.ci_low < whole.ci_high - whole.ci_low
    by_speaker = tuple(replace(clip, speaker=clip.text, text="") for clip in clips)
    assert whole == summarise(WER, table, by_speaker, INTERVAL)
    untold = (replace(clips[0], text=""), *clips[1:])
    assert summarise(WER, table, untold, replace(INTERVAL, unit="sentence")).n_clusters is None
