import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from histories import JUMP, changed_metric, excerpts_with, on_day, runs_with, with_figure
from hypothesis import given
from hypothesis import strategies as st

from vqbench.cli.console import plain
from vqbench.judging.excerpts import excerpt
from vqbench.judging.history import make_history
from vqbench.report.pictures.history import MARKERS, N_COLOURS, PLOT_HEIGHT, history_svg, nice_ticks
from vqbench.report.tables.history import history_grids, history_json, sparkline
from vqbench.report.tables.terminal import grid_table

WER, MEL = "speech.wer", "reconstruction.mel_l1"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert('1')</script>&amp;{{ 7 * 7 }}\x1b\u202e"


def history_of(values, metrics=(WER,), candidates=("good",)):
    return make_history(excerpts_with(values), metrics, candidates)


def text_of(history, *, every=False) -> str:
    return plain(*map(grid_table, history_grids(history, every=every)))


def rows_of(history) -> list[list[str]]:
    """The table of the first series."""
    return [[cell.text for cell in row.cells] for row in history_grids(history, every=True)[0].rows]


def test_the_overview_says_where_what_changed():
    text = text_of(history_of(JUMP))
    assert re.search(r"worse: 0\.125 → 0\.130 at run-10 \(p 0\.0\d\d\)", text)
    assert "▁▁▁▁▁▁▁▁▁▁██████████" in text
    assert "between run-09 and run-10 good differs in: commit 09c0ffee4242 → 10c0ffee4242" in text


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.125] * 3, "the same in 3 runs"),
        ([0.125, 0.126, 0.127], "too few runs to tell: 3 of 9"),
        ([0.1 + 0.01 * (i * 7 % 5) for i in range(15)], "no change found"),
        ([0.1 + 0.01 * i for i in range(15)], "worse: drifts 0.1"),
        ([None, None], "no figure"),
    ],
)
def test_the_overview_says_when_nothing_changed_and_why(values, says):
    assert says in text_of(history_of(values))


@pytest.mark.parametrize(
    ("higher_is_better", "says"), [(True, "better: 0.125"), (False, "worse: 0.125"), (None, " 0.125 →")]
)
def test_says_which_way_it_went(higher_is_better, says):
    runs = [changed_metric(run, WER, higher_is_better=higher_is_better) for run in runs_with(JUMP)]
    history = make_history([excerpt(str(day), run) for day, run in enumerate(runs)], [WER], ["good"])
    assert says in text_of(history)
    assert ("better" in text_of(history)) == (higher_is_better is True)


def test_all_fits_into_a_hundred_columns():
    runs = [
        on_day(day, machine="An Uncommonly Long Name of a Processor (R) 9000 with Sixty-Four Cores")
        for day in range(60)
    ]
    runs = [with_figure(run, 0.125 if day < 31 else 1234.5) for day, run in enumerate(runs)]
    excerpts = [excerpt(f"a-rather-long-name-of-a-run/{day:02d}", run) for day, run in enumerate(runs)]
    text = text_of(make_history(excerpts, None, ["good", "fair"]), every=True)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in re.sub(r"\w{12}…", "", text)


def test_every_figure_stands_with_its_difference():
    rows = rows_of(history_of([0.125, 0.125, 0.130, 0.13001, 0.129]))
    assert [row[2] for row in rows] == ["0.125", "0.125", "0.130", "0.130", "0.129"]
    assert [row[4] for row in rows] == ["", "=", "+0.005", "+0.00001", "-0.001"]
    assert [row[5].index("●") for row in rows] == [0, 0, 16, 16, 13]
    assert rows[0][:2] == ["run-00", "2026-03-01 09:30"]


def test_a_missing_figure_is_named_and_is_not_zero():
    history = history_of([0.125, None, 0.130])
    row = rows_of(history)[1]
    assert row[2] == "— [1]"
    assert row[3:6] == ["", "", " " * 17]
    assert "[1] nothing was scored; clip000: silence" in text_of(history, every=True)
    assert rows_of(history)[2][4] == "+0.005"


def test_what_does_not_compare_has_no_difference_and_a_note():
    runs = runs_with([0.1, 0.2])
    runs[0] = changed_metric(runs[0], WER, version=3)
    history = make_history([excerpt(str(day), run) for day, run in enumerate(runs)], [WER], ["good"])
    assert [row[4] for row in rows_of(history)] == ["", ""]
    assert "not comparable with the newest figure: another version, 3 and not 1" in text_of(history, every=True)


def test_a_figure_of_fewer_clips_says_so():
    runs = runs_with([0.1, 0.2, 0.3])
    results = tuple(replace(result, n=4) if result.metric == WER else result for result in runs[1].results)
    runs[1] = replace(runs[1], results=results)
    history = make_history([excerpt(str(day), run) for day, run in enumerate(runs)], [WER], ["good"])
    assert "over 4 clips, most others over 6" in text_of(history, every=True)


def test_only_the_overview_unless_asked():
    history = history_of(JUMP)
    assert len(history_grids(history)) == 2
    assert len(history_grids(history, every=True)) == 3


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=30))
def test_a_sparkline_has_a_character_a_value(values):
    line = sparkline(values)
    assert [character == " " for character in line] == [value is None for value in values]


def test_json_has_all_of_it():
    document = json.loads(history_json(history_of([*JUMP[:5], None, *JUMP[5:]])))
    assert document["runs"][3]["run"] == "run-03"
    assert document["runs"][3]["started"] == "2026-03-04T09:30:00+00:00"
    assert document["runs"][3]["commit"] == "03c0ffee4242"
    (series,) = document["series"]
    assert (series["metric"], series["candidate"]) == (WER, "good")
    assert [point["value"] for point in series["points"]] == [*JUMP[:5], None, *JUMP[5:]]
    assert "silence" in series["points"][5]["reason"]
    (group,) = series["groups"]
    assert "run-05" not in group["runs"]
    (change,) = group["changes"]
    assert (change["run"], change["run_before"], change["before"], change["after"]) == ("run-11", "run-10", 0.125, 0.13)
    assert change["differs"] == [{"fact": "commit", "before": "10c0ffee4242", "after": "11c0ffee4242"}]
    drifting = json.loads(history_json(history_of([0.1 + 0.01 * i for i in range(15)])))
    (drift,) = drifting["series"][0]["groups"][0]["drifts"]
    assert (drift["first_run"], drift["last_run"]) == ("run-00", "run-14")


def picture(history) -> ET.Element:
    source = history_svg(history)
    assert not re.search(r"url\(|@import|<script|<image|<foreignObject|href|javascript", source)
    return ET.fromstring(source)


def marks(root, kind: str) -> list[ET.Element]:
    return [element for element in root.iter() if kind in element.get("class", "").split()]


def dots(root, colour=0) -> list[tuple[float, float]]:
    """Where the dots of a candidate are, hollow ones too."""
    found = [e for e in root.iter(f"{SVG}path") if e.get("class") in (f"c{colour}", f"hollow s{colour}")]
    return [tuple(map(float, re.findall(r"[-\d.]+", dot.get("transform")))) for dot in found]


def texts(root) -> list[str]:
    """What stands in the picture, without tooltips."""
    parts = [
        [text.text, *(part for span in text.iter(f"{SVG}tspan") for part in (span.text, span.tail))]
        for text in root.iter(f"{SVG}text")
    ]
    return [" ".join("".join(filter(None, part)).split()) for part in parts]


def test_the_picture_speaks_to_those_who_do_not_see_it():
    root = picture(history_of(JUMP))
    named = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == list(named)
    assert named["title"] == "history of 20 runs, 2026-03-01 to 2026-03-20"
    assert "speech.wer of good: worse: 0.125 → 0.130 at run-10" in named["description"]
    tooltips = [title.text for title in root.iter(f"{SVG}title")]
    assert "run-03, 2026-03-04 09:30, 03c0ffee: good 0.125 (0.115–0.135)" in tooltips


def test_the_picture_draws_a_dot_a_run_in_its_place():
    places = dots(picture(history_of([0.1, 0.3, 0.2, 0.4])))
    assert [x for x, _ in places] == sorted({x for x, _ in places})
    ys = [y for _, y in places]
    assert sorted(ys, reverse=True) == [ys[0], ys[2], ys[1], ys[3]]  # higher figures are further up
    assert ys[1] - ys[3] == pytest.approx((ys[0] - ys[3]) / 3, abs=0.2)
    assert max(ys) - min(ys) <= PLOT_HEIGHT


def test_a_change_is_a_dashed_line_between_its_runs_with_label_and_p():
    root = picture(history_of(JUMP))
    (line,) = [mark for mark in marks(root, "mark") if mark.tag == f"{SVG}path"]
    x = float(re.match(r"M([\d.]+)", line.get("d"))[1])
    places = dots(root)
    assert places[9][0] < x < places[10][0]
    assert any(re.fullmatch(r"run-10 10c0ffee ● worse p 0\.0\d\d", text) for text in texts(root))
    assert len(marks(root, "level")) == 2


def test_a_drift_is_labelled_without_a_line():
    root = picture(history_of([0.1 + 0.01 * i for i in range(15)]))
    assert not marks(root, "mark")
    assert any(text.startswith("drift ● worse p") for text in texts(root))


def test_a_missing_figure_is_a_gap_and_a_cross():
    root = picture(history_of([0.1, 0.2, None, 0.3, 0.4]))
    assert len(dots(root)) == 4
    lines = [mark.get("points").split() for mark in marks(root, "line")]
    assert [len(line) for line in lines] == [2, 2]
    (cross,) = marks(root, "cross")
    assert "silence" in cross[0].text
    assert len(marks(root, "band")) == 2


def test_what_does_not_compare_is_hollow_and_not_joined():
    runs = runs_with([0.1, 0.1, 0.2, 0.2])
    runs[:2] = [changed_metric(run, WER, version=3) for run in runs[:2]]
    root = picture(make_history([excerpt(str(day), run) for day, run in enumerate(runs)], [WER], ["good"]))
    assert len(marks(root, "hollow")) == 2
    assert len(marks(root, "line")) == 2
    assert any(text.startswith("hollow:") for text in texts(root))


def test_a_panel_a_metric_with_units_and_a_line_a_candidate():
    history = make_history(excerpts_with(JUMP), [WER, "reconstruction.mcd_db"], ["good", "fair"])
    root = picture(history)
    assert [text for text in texts(root) if "is better" in text] == [
        "speech.wer lower is better",
        "reconstruction.mcd_db, dB lower is better",
    ]
    assert [len(dots(root, colour)) for colour in (0, 1)] == [40, 40]
    assert {"● good", "■ fair"} <= set(texts(root))
    assert {"0.120", "0.140", "3.50"} <= set(texts(root))


def test_colours_and_markers_differ_together_for_long():
    assert math.gcd(N_COLOURS, len(MARKERS)) == 1


def test_the_picture_knows_the_dark():
    source = history_svg(history_of(JUMP))
    light, dark = source.split("prefers-color-scheme: dark")
    for number in range(N_COLOURS):
        (day,), (night,) = (re.findall(rf"\.c{number} {{ fill: (#\w+)", part) for part in (light, dark))
        assert day != night


def test_strangers_names_are_shown_as_they_are():
    runs = [
        replace(
            run,
            candidates=tuple(replace(c, name=HOSTILE) if c.name == "good" else c for c in run.candidates),
            results=tuple(
                replace(r, candidate=HOSTILE, reason=HOSTILE) if r.candidate == "good" else r for r in run.results
            ),
            provenance={**run.provenance, "commit": HOSTILE},
        )
        for run in runs_with(JUMP)
    ]
    runs = [changed_metric(run, WER, description=HOSTILE, unit=HOSTILE) for run in runs]
    history = make_history([excerpt(HOSTILE, run) for run in runs], [WER], [HOSTILE])
    root = picture(history)
    assert "<script>" in next(element.text for element in root if element.get("id") == "description")
    assert not re.search("[\x1b\u202e]", history_svg(history))
    assert "{{ 7 * 7 }}" in history_svg(history)
    assert not re.search("[\x1b\u202e]", text_of(history, every=True))


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.1], [0.0, 0.0], [None, 0.1], [None, None], [-5.0, 1e9]])
def test_any_history_can_be_drawn(values):
    root = picture(history_of(values))
    assert len(dots(root)) == sum(value is not None for value in values)
    assert not re.search("nan|inf", " ".join(e.get("transform", "") + e.get("points", "") for e in root.iter()))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_span_all(low, spread):
    high = low + spread
    ticks, decimals = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-6 * spread
    assert ticks[-1] >= high - 1e-6 * spread
    assert 2 <= len(ticks) <= 8
    assert len({f"{tick:.{decimals}f}" for tick in ticks}) == len(ticks)
