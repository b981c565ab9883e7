"""The table over seeds, in every medium."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import asdict, replace

import pytest
from builders import make_run
from rich.console import Console

from vqbench.judging.evidence import Evidence
from vqbench.judging.families import FamilyResult, summarise_families
from vqbench.records.run import Run
from vqbench.report.page.document import run_page
from vqbench.report.tables.documents import run_csv, run_json
from vqbench.report.tables.markdown import escape, run_markdown
from vqbench.report.tables.terminal import run_tables

BOTH, MSE = ("both-s1", "both-s2", "both-s3"), ("mse-s1", "mse-s2")
TITLE = "over seeds"
HOSTILE = "a|b\n<img src=x> `c` [bold]\x1b\u202e"


@pytest.fixture(scope="module")
def run() -> Run:
    quality = {"both-s1": 1.0, "both-s2": 1.2, "both-s3": 1.1, "mse-s1": 2.0, "mse-s2": 2.4, "plain": 4.0}
    return make_run(quality=quality, families={"both": BOTH, "mse": MSE}, n_clips=12, resamples=100)


def drawn(run: Run, *, headline: bool = True, width: int = 100) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, highlight=False)
    for part in run_tables(run, headline=headline, width=width):
        console.print(part)
    return text.getvalue()


def over_seeds(text: str) -> list[str]:
    """The lines of all tables over seeds, notes included."""
    kept, inside = [], False
    for line in text.splitlines():
        inside = line.strip() == TITLE or (inside and bool(line.strip()))
        if inside:
            kept.append(line)
    return kept


def figure(run: Run, family: str, metric: str) -> FamilyResult:
    (found,) = (r for r in summarise_families(run) if (r.family, r.metric) == (family, metric))
    return found


def without(run: Run, candidate: str, metric: str, reason: str) -> Run:
    results = tuple(
        replace(r, value=None, ci_low=None, ci_high=None, reason=reason)
        if (r.candidate, r.metric) == (candidate, metric)
        else r
        for r in run.results
    )
    return replace(run, results=results)


@pytest.mark.parametrize("headline", [True, False])
def test_families_stand_below_the_candidates_with_mean_and_interval(run: Run, headline: bool) -> None:
    text = drawn(run, headline=headline)
    lines = over_seeds(text)
    assert text.index("plain") < text.index(TITLE)
    assert sum(line.split()[:1] == ["both"] for line in lines) == sum(line.strip() == TITLE for line in lines)
    joined = " ".join(" ".join(lines).split())
    assert "both-s1" not in joined
    for found in summarise_families(run):
        decimals = next(spec.decimals for spec in run.metrics if spec.name == found.metric)
        for number in (found.mean, found.ci_low, found.ci_high):
            assert number is not None
            assert f"{number:.{decimals}f}" in joined
    below = [line.split()[:2] for line in lines]
    assert ["3", "seeds"] in below
    assert ["2", "seeds"] in below


def test_the_caption_says_what_the_interval_is_for(run: Run) -> None:
    narrower = replace(run, interval=replace(run.interval, confidence=0.9))
    words = " ".join(" ".join(over_seeds(drawn(narrower))).split())
    assert "90 % interval by Student's t, which is for other seeds on these clips, not for other clips" in words


def test_without_families_there_is_no_such_table() -> None:
    lone = make_run(quality={"a-s1": 1.0, "b": 2.0}, families={"a": ("a-s1",)}, n_clips=4, resamples=100)
    for text in (drawn(lone), run_markdown(lone), run_page(Evidence("a", lone)).html):
        assert TITLE not in text
    assert json.loads(run_json(lone))["over_seeds"] == []


def test_a_seed_without_a_figure_is_a_dash_with_its_reason(run: Run) -> None:
    lines = over_seeds(drawn(without(run, "both-s2", "speech.wer", "nothing was scored")))
    (row,) = (line for line in lines if line.split()[:1] == ["both"] and "[1]" in line)
    assert "— [1]" in row
    assert "[1] not averaged: both-s2 has no figure (nothing was scored)" in lines
    assert all("[1]" not in line for line in lines if line.split()[:1] == ["mse"])


@pytest.mark.parametrize("family", ["b", "both", "arms.distilled_on_the_better_half/without-cross-entropy", "x" * 60])
def test_nothing_is_wider_than_its_terminal_and_nothing_is_cut(run: Run, family: str) -> None:
    named = replace(
        run, candidates=tuple(replace(c, family=family if c.family == "both" else c.family) for c in run.candidates)
    )
    for width in (80, 100):
        text = drawn(named, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text


def test_markdown_has_the_same_table(run: Run) -> None:
    text = run_markdown(run)
    table = text[text.index(f"### {TITLE}") :].split("\n\n")[1].splitlines()
    assert [re.split(r" \| |\| | \|", line)[1] for line in table[2:]] == ["both<br>3 seeds", "mse<br>2 seeds"]
    found = figure(run, "both", "reconstruction.mcd_db")
    assert f"{found.mean:.2f}<br>{found.ci_low:.2f}–{found.ci_high:.2f}" in table[2]


def test_hostile_names_and_reasons_stay_text(run: Run) -> None:
    named = replace(
        run, candidates=tuple(replace(c, family=HOSTILE if c.family == "both" else c.family) for c in run.candidates)
    )
    lost = without(named, "both-s2", "speech.wer", HOSTILE)
    text = run_markdown(lost)
    rows = text[text.index(f"### {TITLE}") :].split("\n\n")[1].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert escape(HOSTILE) in rows[2]
    assert not re.search(r"<(?!br>)", text)
    assert "\x1b" not in drawn(lost)
    page = run_page(Evidence("a", lost)).html
    assert "<img" not in page
    assert "<img src=x>" in html.unescape(page)


def test_the_page_has_the_same_table(run: Run) -> None:
    page = run_page(Evidence("a", run)).html
    assert page.count(f"<caption>{TITLE}</caption>") == 1
    assert "3 seeds" in page


def test_json_has_the_figures_whole_and_csv_the_family_of_each_candidate(run: Run) -> None:
    lost = without(run, "mse-s1", "speech.wer", "silent")
    document = json.loads(run_json(lost))
    assert document["over_seeds"] == [asdict(found) for found in summarise_families(lost)]
    assert {c["name"]: c["family"] for c in document["candidates"]}["both-s3"] == "both"
    rows = list(csv.DictReader(io.StringIO(run_csv(run))))
    assert {(row["candidate"], row["family"]) for row in rows} == {
        *((name, "both") for name in BOTH),
        *((name, "mse") for name in MSE),
        ("plain", ""),
        ("original", ""),
        ("mel_round_trip", ""),
    }
