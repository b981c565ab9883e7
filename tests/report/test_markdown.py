import html
import re
from dataclasses import replace

import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.judging.compare import compare_runs
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import Run
from vqbench.records.verdict import GateOutcome, GateReport
from vqbench.report.tables.markdown import comparison_markdown, escape, gate_markdown, run_markdown

HOSTILE = "a|b\n# <img src=x onerror=alert(1)> `c` **d** [e](javascript:f) \\| ~~g~~ _h_ &lt;\x1b\ud800"


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(gate=["speech.wer <= 0.2", "speech.wer <= baseline + 0.02"])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line.strip())[1:-1]]


def tables(text: str) -> list[list[str]]:
    """The lines of every table."""
    found = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    return [table.splitlines() for table in found]


def check_tables(text: str) -> None:
    for lines in tables(text):
        assert len({len(cells(line)) for line in lines}) == 1
        assert re.fullmatch(r"\|( -+:? \|)+", lines[1])


def test_every_row_has_a_cell_a_column(run):
    text = run_markdown(run, gate(run, Selection("main", run)))
    assert len(tables(text)) == 5
    check_tables(text)
    check_tables(comparison_markdown(compare_runs([Selection("quick", run)])))


def test_figures_stand_with_interval_unit_direction_and_mark(run):
    text = run_markdown(run)
    mcd = next(r for r in run.results if (r.candidate, r.metric) == ("good", "reconstruction.mcd_db"))
    assert f"**▲ {mcd.value:.2f}**<br>{mcd.ci_low:.2f}–{mcd.ci_high:.2f}" in text
    assert "mcd_db ↓<br>dB" in text
    assert "n = 24 clips of 8 speakers" in text


def test_unscored_clips_are_all_listed(run):
    speech = table_of(run, "fair", "speech")
    lost = without_clips(speech, dict.fromkeys(speech.row_ids[:8], "too short"))
    assert len(re.findall("^- clip00[0-7]: too short$", run_markdown(replace_table(run, lost)), re.MULTILINE)) == 8


def test_hostile_texts_stay_text(run):
    names = {"good": HOSTILE}
    named = replace(
        run,
        suite=replace(run.suite, name=HOSTILE),
        candidates=tuple(replace(c, name=names.get(c.name, c.name)) for c in run.candidates),
        tables=tuple(replace(t, candidate=names.get(t.candidate, t.candidate)) for t in run.tables),
        results=tuple(replace(r, candidate=names.get(r.candidate, r.candidate), reason=HOSTILE) for r in run.results),
    )
    outcome = GateOutcome(HOSTILE, HOSTILE, "speech.wer", "fail", None, None, None, None, 0, HOSTILE)
    text = run_markdown(named, GateReport((outcome,), HOSTILE))
    check_tables(text)
    text.encode()
    assert not re.search(r"<(?!br>)", text)
    assert not re.search(r"(?<!\\)[`~]", text)
    assert not re.search(r"(?<!\\)\[", text)


@pytest.mark.parametrize(
    "text", ["plain", "speech.speaker_similarity", "a|b", "<b>", "&amp;", "\\", "_x_", "[1] why", "1 * 2"]
)
def test_escaped_text_reads_as_it_was(text):
    assert html.unescape(re.sub(r"\\([^A-Za-z0-9\s])", r"\1", escape(text))) == text


def test_the_gate_names_status_rule_and_reason(run):
    report = gate(run, Selection("main", run))
    text = gate_markdown(report, run.metrics)
    assert text.startswith("### gate: fail (1 failed")
    rows = [cells(line) for line in tables(text)[0][2:]]
    assert [row[0] for row in rows] == [f"**{outcome.status}**" for outcome in report.outcomes]
    assert rows[2][1].startswith("speech.wer &lt;= 0.2<br>")
