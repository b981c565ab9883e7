import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.errors import ResultError
from vqbench.judging.clip_figures import clip_differences, clip_metrics, clip_values
from vqbench.judging.contrast import Matches
from vqbench.judging.selection import Contender
from vqbench.records.run import MetricSpec, Table
from vqbench.records.store import load_run
from vqbench.stats.columns import column_of, take
from vqbench.stats.reductions import OFFSETS, REDUCTIONS

ROOT = Path(__file__).parents[2]

RUN = make_run(n_clips=12)

OTHER_RUN = make_run(n_clips=12, quality={"good": 1.2, "fair": 2.5})

OFFSET_COLUMNS = [[float((3 * offset + row) % 5) for row in range(3)] for offset in OFFSETS] + [[7.0, 0.0, 9.0]]

WITH_A_FIGURE = [
    ("mean", [[0.5, -2.0, 0.0]]),
    ("ratio", [[1.0, 3.0, 0.0], [4.0, 0.0, 0.0]]),
    ("root_ratio", [[8.0, 1.0, -1.0], [2.0, 0.0, 1.0]]),
    ("best_offset_ratio", OFFSET_COLUMNS),
    ("best_offset", OFFSET_COLUMNS),
    ("p50", [[3.0, 1.0, 2.0]]),
    ("p90", [[3.0, 1.0, 2.0]]),
    ("maximum", [[3.0, -1.0, 2.0]]),
    ("pooled_mean", [[(0.25, 0.75, 0.1), (), (3.0,)]]),
]
"""Reductions of one row alone, and three rows of columns; some of the rows are undefined."""


def spec_of(reduction, n_columns, **more):
    columns = tuple(f"column{i}" for i in range(n_columns))
    return MetricSpec(f"group.{reduction}", "group", columns, reduction, "", None, 1, "", **more)


def table_from(columns, constants=None):
    cells = {f"column{i}": column_of(column) for i, column in enumerate(columns)}
    ids = tuple(f"clip{i}" for i in range(len(columns[0])))
    return Table("candidate", "group", ids, cells, constants or {})


def alone(metric, table, row):
    """The figure of one row by the reduction itself, NaN where it is undefined."""
    columns = [take(table.columns[name], np.array([row])) for name in metric.columns]
    value = REDUCTIONS[metric.reduction].prepare(columns, table.constants).value
    return value if math.isfinite(value) else math.nan


@pytest.mark.parametrize(("reduction", "columns"), WITH_A_FIGURE)
def test_a_clips_figure_is_the_reduction_of_its_row_alone(reduction, columns):
    metric, table = spec_of(reduction, len(columns)), table_from(columns)
    values = clip_values(metric, table)
    assert values == pytest.approx([alone(metric, table, row) for row in range(3)], nan_ok=True)


@pytest.mark.parametrize("reduction", sorted(set(REDUCTIONS) - {name for name, _ in WITH_A_FIGURE}))
def test_what_takes_many_clips_has_no_figure_of_one(reduction):
    needs = REDUCTIONS[reduction]
    cell = {"number": 1.0, "codes": (1, 2), "scores": (0.5, 0.7), "vectors": (0.5, 0.7)}[needs.cell]
    table = table_from([[cell] * 3] * needs.n_columns, {"codebook_size": 8.0, "token_rate_hz": 20.0})
    metric = spec_of(reduction, needs.n_columns)
    assert clip_values(metric, table) is None
    assert clip_metrics([metric]) == []


def test_every_figure_of_a_real_run():
    run = load_run(ROOT / "baselines/pocket.json")
    compared = set()
    for metric in run.metrics:
        for table in run.tables:
            values = clip_values(metric, table) if table.group == metric.group else None
            if values is not None:
                rows = range(0, len(table.row_ids), 11)
                assert values.shape == (len(table.row_ids),)
                assert values[::11] == pytest.approx([alone(metric, table, row) for row in rows], nan_ok=True)
                compared.add(metric.name)
    assert {"speech.wer", "token_agreement.best_offset_tokens", "downstream.impostor_similarity"} <= compared
    assert not {"token_agreement.normalised", "codebook.perplexity", "downstream.eer"} & compared


def test_timings_have_no_clips():
    (metric,) = (spec for spec in RUN.metrics if spec.name == "throughput.encode.latency_p90")
    assert clip_values(metric, table_of(RUN, "good", metric.group)) is None
    assert clip_metrics([metric]) == []


@pytest.mark.parametrize(("reduction", "columns"), WITH_A_FIGURE)
def test_a_table_without_rows_has_no_values(reduction, columns):
    assert clip_values(spec_of(reduction, len(columns)), table_from([[] for _ in columns])).shape == (0,)


def test_columns_of_the_wrong_kind_are_refused():
    with pytest.raises(ResultError, match="holds a list"):
        clip_values(spec_of("mean", 1), table_from([[(1, 2), (3,)]]))


def test_of_figures_that_come_to_the_same_the_first_stays():
    mean, p50, p90, ratio, pooled = (
        spec_of(name, REDUCTIONS[name].n_columns) for name in ("mean", "p50", "p90", "ratio", "pooled_mean")
    )
    elsewhere = replace(p90, name="elsewhere.p90", group="elsewhere")
    assert clip_metrics([p90, ratio, mean, pooled, p50, elsewhere]) == [p90, ratio, pooled, elsewhere]


def test_clip_metrics_of_a_run():
    names = [metric.name for metric in clip_metrics(RUN.metrics)]
    assert names == [spec.name for spec in RUN.metrics if spec.group in ("reconstruction", "speech")]


def test_a_metric_nobody_was_measured_by_may_have_any_reduction():
    assert clip_metrics([replace(RUN.metrics[0], reduction="median of means")]) == []


def wer(run, candidate):
    table = table_of(run, candidate, "speech")
    return dict(zip(table.row_ids, table.columns["errors"] / table.columns["words"], strict=True))


def both(metric="speech.wer", ours=RUN, theirs=OTHER_RUN, matches=None):
    return clip_differences(Contender("a", ours, "good"), Contender("b", theirs, "fair"), metric, matches)


@pytest.mark.parametrize("matches", [None, Matches()])
def test_a_difference_is_the_contenders_figure_minus_the_references(matches):
    ids, differences = both(matches=matches)
    mine, other = wer(RUN, "good"), wer(OTHER_RUN, "fair")
    assert list(ids) == [clip.id for clip in RUN.clips]
    assert differences == pytest.approx([mine[clip] - other[clip] for clip in ids])


def test_clips_that_either_side_lacks_have_no_difference():
    ours = replace_table(RUN, without_clips(table_of(RUN, "good", "speech"), {"clip001": "too loud"}))
    theirs = replace_table(OTHER_RUN, without_clips(table_of(OTHER_RUN, "fair", "speech"), {"clip004": "too long"}))
    ids, differences = both(ours=ours, theirs=theirs)
    mine, other = wer(RUN, "good"), wer(OTHER_RUN, "fair")
    assert set(ids) == {clip.id for clip in RUN.clips} - {"clip001", "clip004"}
    assert differences == pytest.approx([mine[clip] - other[clip] for clip in ids])


def test_a_clip_without_words_has_no_difference():
    table = table_of(RUN, "good", "speech")
    words = table.columns["words"].copy()
    words[3] = 0.0
    ids, differences = both(ours=replace_table(RUN, replace(table, columns={**table.columns, "words": words})))
    assert "clip003" not in ids
    assert len(ids) == len(differences) == 11


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"text": "another sentence"}])
def test_another_clip_under_the_same_id_has_no_difference(change):
    clips = tuple(replace(clip, **change) if clip.id == "clip005" else clip for clip in RUN.clips)
    ids, _ = both(ours=replace(RUN, clips=clips))
    assert set(ids) == {clip.id for clip in RUN.clips} - {"clip005"}


def another_front_end(run):
    return replace(run, candidates=tuple(replace(one, front_end="another") for one in run.candidates))


@pytest.mark.parametrize(
    ("metric", "theirs", "n"),
    [
        ("speech.wer", another_front_end(OTHER_RUN), 12),
        ("reconstruction.mel_l1", another_front_end(OTHER_RUN), 0),
        ("reconstruction.mel_l1", OTHER_RUN, 12),
        ("codebook.entropy", OTHER_RUN, 0),
        ("throughput.encode.latency_p90", OTHER_RUN, 0),
        ("speech.unknown", OTHER_RUN, 0),
        ("speech.wer", replace(OTHER_RUN, metrics=tuple(replace(m, version=2) for m in OTHER_RUN.metrics)), 0),
    ],
)
def test_what_does_not_compare_has_no_differences(metric, theirs, n):
    ids, differences = both(metric, theirs=theirs)
    assert len(ids) == len(differences) == n
