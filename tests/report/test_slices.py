"""Figures by slice, as people and programs read them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from builders import make_run
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.judging.evidence import Evidence
from vqbench.judging.selection import Contender
from vqbench.records.run import GateRule, Run
from vqbench.records.slices import make_slices, summarise_slices
from vqbench.records.store import save_run
from vqbench.report.card.model_card import model_card
from vqbench.report.page.document import run_page
from vqbench.report.tables.documents import run_csv, run_json
from vqbench.report.tables.markdown import run_markdown
from vqbench.report.tables.slices import slice_grids


def sliced(run: Run, named: dict[str, str], by: tuple[str, ...] = ()) -> Run:
    run = replace(run, slices=make_slices(named, by, run.clips))
    return replace(run, slice_results=summarise_slices(run))


NAMED = {"short": "duration_s < 4", "none": "duration_s > 99"}


def test_each_candidate_has_its_figures_by_slice_with_n() -> None:
    run = sliced(make_run(quality={"good": 1.0, "bad": 8.0}, references=("original",)), NAMED)
    (grid,) = slice_grids(run, width=10_000)
    heads = ["".join(column.lines) for column in grid.columns]
    assert heads[:3] == ["candidate", "slice", "n"]
    rows = [[cell.text for cell in row.cells] for row in grid.rows]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("good", "all clips", "24"),
        ("good", "short", "8 [1]"),
        ("bad", "all clips", "24"),
        ("bad", "short", "8 [1]"),
        ("original", "all clips", "24"),
        ("original", "short", "8 [1]"),
    ]
    result = next(r for r in run.slice_results if (r.candidate, r.metric) == ("bad", "speech.wer"))
    assert rows[3][heads.index("wer ↓")] == f"{result.value:.3f}"
    assert "[1] fewer clips than min_clips, 10: no rule is decided on them" in grid.notes
    assert "short: duration_s < 4; 8 clips" in grid.notes
    assert "none: duration_s > 99; it holds of no clip" in grid.notes
    assert not any("audio_s_per_s" in head for head in heads)


def test_tables_stay_within_their_width() -> None:
    run = sliced(make_run(), NAMED, ("speaker",))
    grids = slice_grids(run, width=60)
    assert len(grids) > 1
    assert sum(len(grid.columns) - 3 for grid in grids) == 5


def test_of_many_values_people_see_the_worst_and_programs_all() -> None:
    run = sliced(make_run(quality={"good": 1.0}, references=(), n_clips=40, n_speakers=20), {}, ("speaker",))
    (grid,) = slice_grids(run, width=10_000)
    figures = {r.slice: r.value for r in run.slice_results if r.metric == "reconstruction.mel_l1"}
    worst = sorted(figures, key=lambda name: -(figures[name] or 0))[:3]
    assert [row.cells[1].text for row in grid.rows] == ["all clips", *worst]
    assert any(note.startswith("speaker: the 3 of 20 with the worst reconstruction.mel_l1") for note in grid.notes)
    (everything,) = slice_grids(run, width=10_000, whole=True)
    assert len(everything.rows) == 21
    assert len({row["slice"] for row in csv.DictReader(io.StringIO(run_csv(run)))} - {""}) == 20


def test_clips_of_which_nobody_knows_are_told() -> None:
    run = make_run()
    clips = tuple(replace(clip, speaker=None) if clip.id == "clip003" else clip for clip in run.clips)
    notes = slice_grids(sliced(replace(run, clips=clips), {"one": 'speaker == "speaker1"'}))[-1].notes
    assert "1 clip has no speaker, and so no place in one" in notes


def test_a_run_without_slices_says_nothing_of_them() -> None:
    run = make_run()
    assert slice_grids(run) == []
    assert "slices" not in run_markdown(run)
    assert 'id="slices"' not in run_page(Evidence("run", run)).html


def test_documents_and_the_page_have_the_slices() -> None:
    run = sliced(make_run(), NAMED, ("speaker",))
    document = json.loads(run_json(run))
    assert [one["name"] for one in document["slices"]][:2] == ["short", "none"]
    assert len(document["slice_results"]) == len(run.slice_results)
    rows = list(csv.DictReader(io.StringIO(run_csv(run))))
    assert len(rows) == len(run.results) + len(run.slice_results)
    assert [row["slice"] for row in rows[: len(run.results)]] == [""] * len(run.results)
    assert "### slices" in run_markdown(run)
    html = run_page(Evidence("run", run)).html
    assert 'id="slices"' in html
    assert "speaker=speaker7" in html


def test_a_card_has_the_slices_of_its_candidate() -> None:
    card = model_card(Contender("good", run := sliced(make_run(), NAMED), "good"))
    assert "### slices" in card
    table = card.partition("### slices")[2].partition("###")[0].partition("\n## ")[0]
    assert "| good | short |" in table
    assert "| fair |" not in table
    assert "### slices" not in model_card(Contender("good", replace(run, slices=(), slice_results=()), "good"))


def test_a_name_from_a_manifest_is_only_shown() -> None:
    run = make_run(n_clips=12)
    clips = tuple(replace(clip, speaker="<script>") for clip in run.clips)
    html = run_page(Evidence("run", sliced(replace(run, clips=clips), {}, ("speaker",)))).html
    assert "speaker=&lt;script&gt;" in html
    assert "speaker=<script>" not in html


def test_one_slice_is_reported_and_compared_whole(tmp_path: Path) -> None:
    rules = [GateRule("speech.wer <= 1", ("good",), "short")]
    save_run(sliced(make_run(n_clips=48, gate=rules), NAMED), tmp_path / "new")
    save_run(make_run(n_clips=48), tmp_path / "old")
    invoke = CliRunner().invoke
    new, old = str(tmp_path / "new"), str(tmp_path / "old")
    shown = invoke(app, ["report", new, "--slice", "short"])
    assert shown.exit_code == 0, shown.output
    assert "slice short: duration_s < 4; 14 clips" in shown.output
    assert "n = 14 clips" in shown.output
    assert "bits_per_" in shown.output, "all metrics, not the headline ones alone"
    written = invoke(app, ["report", new, "--slice", "short", "-f", "csv"])
    rows = list(csv.DictReader(io.StringIO(written.stdout)))
    assert {(row["slice"], row["n"]) for row in rows} == {("short", "14")}
    compared = invoke(app, ["compare", old, new, "--slice", "short", "-f", "json"])
    answer = json.loads(compared.stdout)
    assert {one["n_pairs"] for one in answer["comparisons"]} == {14}
    assert answer["notes"] == ["only the clips of slice short: duration_s < 4; 14 clips"]
    gated = invoke(app, ["gate", new, "--junit", str(tmp_path / "gate.xml"), "--annotations", "github"])
    assert gated.exit_code == 0, gated.output
    assert 'name="speech.wer &lt;= 1, slice short"' in (tmp_path / "gate.xml").read_text()


def test_a_slice_that_is_not_there_and_a_page_of_one_are_refused(tmp_path: Path) -> None:
    save_run(sliced(make_run(), NAMED), tmp_path)
    for arguments, said in (
        (["report", str(tmp_path), "--slice", "shrt"], "did you mean 'short'"),
        (["report", str(tmp_path), "--slice", "short", "-f", "html"], "--slice is of tables"),
        (["compare", str(tmp_path), "--slice", "shrt"], "did you mean 'short'"),
    ):
        answer = CliRunner().invoke(app, arguments, catch_exceptions=True)
        assert said in f"{answer.output}{answer.exception}"
