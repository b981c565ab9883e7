import io
import re
from dataclasses import replace

import pytest
from builders import make_run, replace_table, summarised, table_of, without_clips
from rich.console import Console

from vqbench.judging.compare import compare_runs
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import MetricSpec, Run
from vqbench.records.verdict import Comparison, GateOutcome, GateReport
from vqbench.report.tables.grid import Column, Grid
from vqbench.report.tables.judgements import comparison_grid, gate_grid, verdict
from vqbench.report.tables.terminal import comparison_tables, gate_table, grid_table, run_tables

LONG = "nightly-2024-05-01/tortoise_vqvae.hidden_512.codebook_8192-seed-0"
UNBREAKABLE = "x" * 60
RULES = ("speech.wer <= 0.2", "speech.speaker_similarity >= baseline - 0.02", "codebook.perplexity >= 100")


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(gate=RULES)


def drawn(rendered, width: int = 100) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, highlight=False)
    for part in rendered:
        console.print(part)
    return text.getvalue()


def table(text: str, title: str) -> list[str]:
    """The lines of one table, from its title to the blank line under its notes."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == title)
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return lines[start:end]


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.split()[:1] == [name])


def renamed(run: Run, names: dict[str, str]) -> Run:
    return replace(
        run,
        candidates=tuple(replace(c, name=names.get(c.name, c.name)) for c in run.candidates),
        tables=tuple(replace(t, candidate=names.get(t.candidate, t.candidate)) for t in run.tables),
        results=tuple(replace(r, candidate=names.get(r.candidate, r.candidate)) for r in run.results),
    )


def everything(run: Run) -> str:
    """All that the terminal ever shows of a run."""
    alone = compare_runs([Selection("quick", run)])
    other = compare_runs([Selection(LONG, run), Selection("another-run", run, run.candidates[1].name)])
    shown = [*run_tables(run, headline=True), *run_tables(run), *comparison_tables(alone), *comparison_tables(other)]
    return drawn([*shown, gate_table(gate(run, Selection("main", run)), run.metrics)])


@pytest.mark.parametrize("name", ["good", LONG, UNBREAKABLE])
def test_nothing_is_wider_than_100_columns_and_nothing_is_cut(run, name):
    named = renamed(run, {"good": name})
    text = everything(named)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "…" not in text
    shown = drawn(run_tables(named))
    for result in named.results:
        decimals = next(metric.decimals for metric in named.metrics if metric.name == result.metric)
        for figure in (result.value, result.ci_low, result.ci_high):
            assert f"{figure + 0.0:,.{decimals}f}" in shown
    compared = compare_runs([Selection(LONG, named), Selection("new", make_run(seed=1))], ["speech.wer"])
    shown = drawn(comparison_tables(compared))
    for comparison in compared.comparisons:
        for figure in (comparison.delta, comparison.ci_low, comparison.ci_high):
            assert f"{figure:.3f}" in shown


def test_a_name_without_joints_is_folded_not_shortened(run):
    letters = drawn(run_tables(renamed(run, {"good": UNBREAKABLE}))).count("x")
    tables_with_candidates = drawn(run_tables(run)).count("good")
    other_letters = drawn(run_tables(renamed(run, {"good": ""}))).count("x")
    assert letters - other_letters == 60 * tables_with_candidates


def test_a_group_with_many_metrics_is_split_over_tables_that_fit():
    run = make_run()
    many = [replace(m, name=f"speech.wer_{i}") for i in range(12) for m in run.metrics if m.name == "speech.wer"]
    wide = summarised(replace(run, metrics=tuple(many)))
    text = drawn(run_tables(wide))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert sum(line.strip() == "speech" for line in text.splitlines()) == 2
    assert all(f"wer_{i} ↓" in text for i in range(12))


def test_the_best_of_a_column_is_marked_by_its_direction_and_without_colour(run):
    lines = table(drawn(run_tables(run)), "speech")
    assert row(lines, "good").count("▲") == 2
    assert row(lines, "fair").count("▲") == row(lines, "untrained").count("▲") == 0
    upside_down = replace(run, metrics=tuple(replace(m, higher_is_better=m.name == "speech.wer") for m in run.metrics))
    lines = table(drawn(run_tables(upside_down)), "speech")
    assert row(lines, "good").count("▲") == 0
    assert row(lines, "untrained").count("▲") == 2


def test_the_direction_stands_in_the_header(run):
    text = drawn(run_tables(run))
    assert "wer ↓" in text
    assert "perplexity ↑" in text
    header = next(line for line in text.splitlines() if "bits_per_second" in line or "bits_per_" in line)
    assert not re.search("bits_per_(second)? [↑↓]", header)


def test_a_metric_without_a_direction_has_no_best(run):
    line = row(table(drawn(run_tables(run)), "codebook"), "good")
    assert line.count("▲") == sum(m.group == "codebook" and m.higher_is_better is not None for m in run.metrics)


def test_colour_and_bold_reach_a_terminal_that_has_them(run):
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system="standard", no_color=False)
    for part in run_tables(run, headline=True):
        console.print(part)
    assert re.search(r"\x1b\[1m[^\x1b]*▲", text.getvalue())


def test_no_color_leaves_every_word_and_mark(run, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    for part in run_tables(run, headline=True):
        console.print(part)
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", text.getvalue())
    assert re.sub(r"\x1b\[[\d;]*m", "", text.getvalue()) == drawn(run_tables(run, headline=True))


def test_references_stand_apart_below_and_are_never_the_best(run):
    upside_down = replace(run, candidates=run.candidates[::-1])
    lines = table(drawn(run_tables(upside_down)), "speech")
    original = lines.index(row(lines, "original"))
    assert max(lines.index(row(lines, name)) for name in ("good", "fair", "untrained")) < original
    assert "reference" in lines[original + 1]
    above = lines[lines.index(row(lines, "good")) : original]
    assert any(set(line.strip()) == {"─"} for line in above)
    assert "▲" not in row(lines, "original")
    assert float(row(lines, "original").split()[1]) < 0.03  # although it has the lowest error rate


def test_a_reference_without_figures_is_left_out_of_a_group(run):
    assert not any("original" in line for line in table(drawn(run_tables(run)), "reconstruction"))


def test_the_caption_names_clips_and_speakers(run):
    lines = table(drawn(run_tables(run)), "speech")
    assert any("n = 24 clips of 8 speakers" in line for line in lines)
    anonymous = table(drawn(run_tables(make_run(n_speakers=0))), "speech")
    assert any("n = 24 clips;" in line for line in anonymous)
    timings = table(drawn(run_tables(run)), "throughput.encode")
    assert any("n = 8 repetitions" in line for line in timings)


def test_what_a_figure_is_out_of_stands_under_its_table(run):
    assert any("log2(codebook_size) = 8.00" in line for line in table(drawn(run_tables(run)), "codebook"))


def test_floor_and_ceiling_stand_under_the_table_of_what_they_bound(run):
    bounded = {"floor": "speech.wer", "ceiling": None}
    metrics = tuple(replace(m, **bounded) if m.name == "speech.speaker_similarity" else m for m in run.metrics)
    text = drawn(run_tables(replace(run, metrics=metrics), width=200), 200)
    wer = {r.candidate: r.value for r in run.results if r.metric == "speech.wer"}
    (line,) = [line for line in text.splitlines() if line.startswith("speaker_similarity: floor = ")]
    assert all(f"{wer[name]:.3f} ({name})" in line for name in ("good", "fair", "untrained"))


def test_clips_of_several_sets_are_counted_apart(run):
    metrics = tuple(replace(m, clip_set="pairs") if m.group == "speech" else m for m in run.metrics)
    text = drawn(run_tables(replace(run, metrics=metrics), headline=True))
    assert "n = 24 clips of 8 speakers" in text
    assert "n = 24 GPT sequences of 8 speakers" in text


def test_a_missing_figure_is_a_dash_with_its_reason(run):
    speech = table_of(run, "fair", "speech")
    lost = without_clips(speech, dict.fromkeys(speech.row_ids, "the ASR gave up"))
    lines = table(drawn(run_tables(replace_table(run, lost))), "speech")
    assert row(lines, "fair").split()[1:] == ["—", "[1]", "—", "[1]"]
    assert next(line for line in lines if line.startswith("[1]")).endswith("clip000: the ASR gave up")


def test_a_metric_that_was_not_measured_is_named(run):
    results = tuple(r for r in run.results if (r.candidate, r.metric) != ("fair", "speech.wer"))
    lines = table(drawn(run_tables(replace(run, results=results))), "speech")
    assert row(lines, "fair").split()[1:3] == ["—", "[1]"]
    assert "[1] not measured" in lines


@pytest.mark.parametrize(
    ("n", "shown", "more"), [(1, 1, None), (5, 5, None), (6, 5, "and 1 more"), (20, 5, "and 15 more")]
)
def test_unscored_clips_are_listed_by_name_then_counted(run, n, shown, more):
    speech = table_of(run, "fair", "speech")
    lost = {clip: f"too short: {clip}" for clip in speech.row_ids[:n]}
    text = drawn(run_tables(replace_table(run, without_clips(speech, lost))))
    assert f"not scored: {n} clip{'s' if n > 1 else ''} of fair in speech" in text
    assert text.count("too short") == shown
    assert "  clip000: too short: clip000" in text
    assert (more in text) if more else ("more" not in text)


def test_the_short_version_shows_headline_metrics_only(run):
    text = drawn(run_tables(run, headline=True))
    assert "speaker_" in text
    assert "perplexity" not in text
    assert sum(line.strip() == "headline figures" for line in text.splitlines()) == 1


def test_a_run_without_headline_metrics_is_shown_in_full(run):
    plain = replace(run, metrics=tuple(replace(metric, headline=False) for metric in run.metrics))
    assert drawn(run_tables(plain, headline=True)) == drawn(run_tables(plain))


@pytest.mark.parametrize(
    "hostile", ["[bold]x[/bold]", "[/]", "a\x1b[31mred", "two\nlines", "\ud800", "\u202eevil", ":smile:"]
)
def test_names_and_reasons_are_shown_as_text(run, hostile):
    named = renamed(run, {"fair": hostile})
    speech = table_of(named, hostile, "speech")
    lost = without_clips(speech, {"clip000": f"why: {hostile}"})
    text = everything(replace_table(named, lost))
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()
    shown = {
        "a\x1b[31mred": "a\ufffd[31mred",
        "two\nlines": "two lines",
        "\ud800": "\ufffd",
        "\u202eevil": "\ufffdevil",
    }
    assert f"why: {shown.get(hostile, hostile)}" in text


METRICS = {better: MetricSpec("g.m", "g", ("c",), "mean", "", better, 1, "") for better in (True, False, None)}


@pytest.mark.parametrize(
    ("higher_is_better", "delta", "interval", "word"),
    [
        (True, 0.1, (0.05, 0.15), "better"),
        (True, -0.1, (-0.15, -0.05), "worse"),
        (False, -0.1, (-0.15, -0.05), "better"),
        (False, 0.1, (0.05, 0.15), "worse"),
        (None, 0.1, (0.05, 0.15), "higher"),
        (None, -0.1, (-0.15, -0.05), "lower"),
        (True, 0.1, (-0.01, 0.21), "unclear"),
        (True, 0.1, (0.0, 0.2), "unclear"),
        (True, 0.0, (0.0, 0.0), "same"),
        (True, 0.1, (None, None), "unclear"),
        (True, None, (None, None), "not compared"),
    ],
)
def test_a_verdict_follows_direction_and_interval(higher_is_better, delta, interval, word):
    comparison = Comparison("g.m", "a", "b", 1.0, 1.1, delta, *interval, 0.001, 0.02, n_pairs=10)
    assert verdict(comparison, METRICS[higher_is_better], 0.95) == word


@pytest.mark.parametrize(
    ("p_holm", "confidence", "word"),
    [(0.05, 0.95, "worse"), (0.051, 0.95, "nominally worse"), (None, 0.95, "nominally worse"), (0.05, 0.9, "worse")],
)
def test_better_and_worse_follow_the_corrected_test(p_holm, confidence, word):
    comparison = Comparison("g.m", "a", "b", 1.0, 1.1, 0.1, 0.05, 0.15, 0.001, p_holm, n_pairs=10)
    assert verdict(comparison, METRICS[False], confidence) == word
    swapped = replace(comparison, delta=-0.1, ci_low=-0.15, ci_high=-0.05)
    assert verdict(swapped, METRICS[False], confidence) == word.replace("worse", "better")


def test_no_word_for_a_difference_is_above_what_the_correction_lets_stand(run):
    compared = compare_runs([Selection("quick", run)])
    words = [row.cells[-1] for row in comparison_grid(compared).rows]
    order = [metric.name for metric in compared.metrics]
    ordered = sorted(compared.comparisons, key=lambda one: order.index(one.metric))
    for cell, one in zip(words, ordered, strict=True):
        assert (cell.mark in ("better", "worse")) <= (one.p_holm is not None and one.p_holm <= 0.05)
        assert ("nominally" in cell.text) <= (cell.mark is None)
    assert {"worse", "nominally worse"} <= {cell.text for cell in words}


def test_a_comparison_shows_both_figures_the_difference_and_the_verdict(run):
    compared = compare_runs([Selection("quick", run)], ["speech.wer"])
    lines = table(drawn(comparison_tables(compared)), "differences from good")
    wer = {r.candidate: r.value for r in run.results if r.metric == "speech.wer"}
    first = next(i for i, line in enumerate(lines) if "untrained" in line)
    assert f"{wer['untrained']:.3f}" in lines[first]
    assert f"{wer['untrained'] - wer['good']:+.3f}" in lines[first]
    assert lines[first].rstrip().endswith("worse")
    assert f"{wer['good']:.3f}" in lines[first + 1]


def test_a_run_against_itself_is_the_same(run):
    compared = compare_runs([Selection("quick", run), Selection("quick", run)], ["speech.wer"])
    text = drawn(comparison_tables(compared))
    words = [line.split()[-1] for line in text.splitlines() if line.split()]
    assert words.count("same") == 3
    assert "better" not in words
    assert "worse" not in words


def test_what_cannot_be_compared_says_why(run):
    foreign = replace(run, candidates=tuple(replace(c, front_end="mel-24000-100") for c in run.candidates))
    compared = compare_runs([Selection("old", run), Selection("new", foreign)], ["reconstruction.mel_l1"])
    text = drawn(comparison_tables(compared))
    assert text.count("not compared [") == 3
    assert "[1] another mel front end" in text
    assert "▲" not in text.split("differences")[0]


def test_the_gate_shows_every_outcome_and_its_reason(run):
    report = gate(run, Selection("main", run))
    text = drawn([gate_table(report, run.metrics)])
    assert text.startswith("gate: fail (2 failed, ")
    assert "against the baseline main)" in text
    words = " ".join(text.split())
    for outcome in report.outcomes:
        assert outcome.rule in words
    assert sum(line.split()[:1] == ["fail"] for line in text.splitlines()) == 2


def test_an_outcome_without_figures_has_dashes():
    outcome = GateOutcome("g.x <= 1", "c", "g.x", "inconclusive", None, None, None, None, 0, "too few clips")
    text = drawn([gate_table(GateReport((outcome,), None), [])])
    assert re.search(r"inconclusive\s+g\.x <= 1\s+c\s+—\s+0", text)
    assert "too few clips" in text


def test_heads_are_shown_as_text(run):
    (grid,) = (Grid("title", (Column(("a\x1b[31m", "b\u202e"), "bits\x1b[31m\n"),), ()),)
    text = drawn([grid_table(grid)])
    assert [line.strip() for line in text.splitlines()][2:5] == ["a\ufffd[31m", "b\ufffd", "bits\ufffd[31m"]
    metrics = tuple(replace(metric, unit="bits\x1b[31m") for metric in run.metrics)
    assert "\x1b" not in everything(replace(run, metrics=metrics))


def test_a_table_without_rows_is_drawn():
    text = drawn([gate_table(GateReport((), None), [])])
    assert " ".join(text.split()).startswith("gate: inconclusive (0 failed, 0 inconclusive, of 0)")
    assert "status" in text


FAILED, TOO_FEW, HELD = (
    GateOutcome("g.x <= 1", "c", "g.x", status, None, None, None, None, 0, "", is_open)
    for status, is_open in (("fail", False), ("inconclusive", False), ("inconclusive", True))
)


@pytest.mark.parametrize(
    ("choice", "outcomes", "counted", "captioned"),
    [
        ("stop", (TOO_FEW, HELD), "inconclusive (0 failed, 2 inconclusive, of 2)", ""),
        ("fail", (TOO_FEW,), "fail (0 failed, 1 inconclusive, which the suite fails, of 1)", "the suite fails"),
        ("fail", (FAILED, HELD), "fail (1 failed, 1 inconclusive, which the suite fails, of 2)", "the suite fails"),
        ("fail", (FAILED,), "fail (1 failed, 0 inconclusive, of 1)", ""),
        ("pass", (TOO_FEW,), "inconclusive (0 failed, 1 inconclusive, of 1)", ""),
        ("pass", (HELD,), "pass (0 failed, 1 inconclusive, which the suite lets pass, of 1)", "the suite lets pass"),
        (
            "pass",
            (TOO_FEW, HELD),
            "inconclusive (0 failed, 2 inconclusive, 1 of which the suite lets pass, of 2)",
            "the suite lets pass",
        ),
    ],
)
def test_a_gate_says_what_the_suites_choice_did(choice, outcomes, counted, captioned):
    grid = gate_grid(GateReport(outcomes, None, (), choice), [])
    assert grid.title == f"gate: {counted}"
    assert grid.caption.startswith(captioned)
    assert bool(grid.caption) == bool(captioned)


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (["speech.wer"], "; p: paired permutation, below it Holm's over 2 comparisons"),
        (["codebook.entropy"], "; p: t test of the jackknife, below it Holm's over 2 comparisons"),
        (["throughput.encode.latency_p90"], "; p: unpaired permutation, below it Holm's over 2 comparisons"),
        (["codebook.bits_per_second"], ", nominally where the interval alone does"),
        (
            ["speech.wer", "codebook.entropy", "codebook.bits_per_second", "throughput.encode.latency_p90"],
            "; p: paired permutation (clips), t test of the jackknife (codes), unpaired permutation (timings), "
            "below it Holm's over 4 comparisons of quality and 2 of speed",
        ),
    ],
)
def test_a_comparison_names_the_tests_behind_its_p_values(run, metrics, said):
    caption = comparison_grid(compare_runs([Selection("quick", run)], metrics)).caption
    assert caption.endswith(said)
