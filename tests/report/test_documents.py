import csv
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace

import pytest
from builders import make_run, replace_table, table_of, without_clips

from vqbench.judging.compare import compare_runs
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.records.run import Run
from vqbench.records.verdict import GateOutcome, GateReport
from vqbench.report.format import clean
from vqbench.report.tables.documents import comparison_csv, comparison_json, gate_json, run_csv, run_json
from vqbench.report.verdicts.junit import gate_junit

HOSTILE = 'a,b;"c"\n=1+1\r\n|<&>\x00\x1b\ud800\ufffe'


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(gate=["speech.wer <= 0.2", "speech.wer <= baseline + 0.02"])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def outcome(**changes) -> GateOutcome:
    plain = GateOutcome(
        "speech.wer <= 0.2", "good", "speech.wer", "pass", 0.1, 0.2, -0.11, -0.09, 24, "0.1 is below 0.2"
    )
    return replace(plain, **changes)


def test_csv_carries_every_result_exactly(run):
    read = rows(run_csv(run))
    assert len(read) == len(run.results)
    for row, result in zip(read, run.results, strict=True):
        assert (row["candidate"], row["metric"], int(row["n"])) == (result.candidate, result.metric, result.n)
        assert float(row["value"]) == result.value
        assert (float(row["ci_low"]), float(row["ci_high"])) == (result.ci_low, result.ci_high)
    assert {row["role"] for row in read} == {"candidate", "reference"}
    assert {row["metric"]: row["higher_is_better"] for row in read}["speech.wer"] == "false"


def test_csv_leaves_missing_figures_empty_and_says_why(run):
    speech = table_of(run, "fair", "speech")
    lost = replace_table(run, without_clips(speech, dict.fromkeys(speech.row_ids, "the ASR gave up")))
    row = next(r for r in rows(run_csv(lost)) if (r["candidate"], r["metric"]) == ("fair", "speech.wer"))
    assert (row["value"], row["ci_low"], row["ci_high"]) == ("", "", "")
    assert "the ASR gave up" in row["reason"]


def test_csv_of_a_comparison_carries_figures_and_verdicts(run):
    table = compare_runs([Selection("quick", run)])
    read = rows(comparison_csv(table))
    assert [float(row["delta"]) for row in read] == [comparison.delta for comparison in table.comparisons]
    assert {row["verdict"] for row in read} <= {
        *("better", "worse", "nominally better", "nominally worse", "higher", "lower", "unclear")
    }


def test_csv_quotes_whatever_a_text_holds(run):
    results = tuple(replace(r, reason=HOSTILE) for r in run.results)
    read = rows(run_csv(replace(run, results=results)))
    assert len(read) == len(results)
    assert {row["reason"] for row in read} == {clean(HOSTILE)}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_holds_no_formula(run, text):
    results = tuple(replace(r, reason=text) for r in run.results)
    assert {row["reason"][0] for row in rows(run_csv(replace(run, results=results)))} <= {"'", "\ufffd"}


def test_json_of_a_run_has_figures_and_unscored_clips_but_no_statistics(run):
    speech = table_of(run, "fair", "speech")
    lost = replace_table(run, without_clips(speech, {"clip003": HOSTILE}))
    document = json.loads(run_json(lost, gate(lost, Selection("main", run))))
    assert document["results"] == [asdict(result) for result in lost.results]
    assert document["unscored"] == [{"candidate": "fair", "group": "speech", "clips": {"clip003": HOSTILE}}]
    assert document["gate"]["status"] == "fail"
    assert "tables" not in document


def test_json_of_a_comparison_carries_the_best_and_the_verdicts(run):
    table = compare_runs([Selection("quick", run)], ["speech.wer"])
    document = json.loads(comparison_json(table))
    assert {f["candidate"]: f["best"] for f in document["figures"]} == {"good": True, "fair": False, "untrained": False}
    assert [c["verdict"] for c in document["comparisons"]][1] == "worse"
    assert {f["metric"] for f in document["figures"]} == {"speech.wer"}


def test_json_of_a_gate_has_the_status_of_all(run):
    report = gate(run, Selection("main", run))
    document = json.loads(gate_json(report))
    assert (document["status"], document["baseline"]) == ("fail", "main")
    assert [o["status"] for o in document["outcomes"]] == [o.status for o in report.outcomes]


@pytest.mark.parametrize(("status", "child"), [("pass", "system-out"), ("fail", "failure"), ("inconclusive", "error")])
def test_junit_says_each_status_in_its_own_element(status, child):
    root = ET.fromstring(gate_junit(GateReport((outcome(status=status),), "main")).encode())
    (case,) = root.iter("testcase")
    assert (case.get("name"), case.get("classname")) == ("speech.wer <= 0.2", "good")
    assert [(element.tag, element.text) for element in case] == [(child, "0.1 is below 0.2")]


def test_junit_counts_what_is_not_green():
    statuses = ("pass", "fail", "fail", "inconclusive")
    root = ET.fromstring(gate_junit(GateReport(tuple(outcome(status=status) for status in statuses), None)).encode())
    for element in (root, root.find("testsuite")):
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == ("4", "2", "1")


def test_junit_of_nothing_judged_is_not_green():
    root = ET.fromstring(gate_junit(GateReport((), None)).encode())
    assert root.get("errors") == "1"
    assert root.find("testsuite/testcase/error") is not None


def test_junit_is_well_formed_whatever_names_and_reasons_hold():
    report = GateReport((outcome(rule=HOSTILE, candidate=HOSTILE, reason=HOSTILE, status="fail"),), HOSTILE)
    root = ET.fromstring(gate_junit(report).encode())
    (case,) = root.iter("testcase")
    assert case.get("classname") == 'a,b;"c" =1+1 |<&>\ufffd\ufffd\ufffd\ufffd'
    assert case.find("failure").text.startswith('a,b;"c"\n=1+1')
