import xml.etree.ElementTree as ET

import pytest

from vqbench.records.verdict import Finding, GateOutcome, GateReport
from vqbench.report.verdicts.junit import gate_junit


def outcome(status="pass", *, rule="speech.wer <= 0.1", candidate="good", reason="why", is_open=False) -> GateOutcome:
    return GateOutcome(rule, candidate, "speech.wer", status, 0.2, 0.1, None, None, 24, reason, is_open)


def cases(report: GateReport) -> tuple[ET.Element, list[tuple[str | None, str | None, list[str]]]]:
    """The root, and of each case its class, its name and the tags below it."""
    root = ET.fromstring(gate_junit(report).encode())
    return root, [(c.get("classname"), c.get("name"), [e.tag for e in c]) for c in root.iter("testcase")]


def test_counts_are_those_of_the_cases_and_nothing_is_skipped():
    outcomes = (outcome("pass"), outcome("fail"), outcome("fail"), outcome("inconclusive"))
    root, found = cases(GateReport(outcomes, None, (Finding("few_clips", "", "warn", "few"),)))
    for element in (root, root[0]):
        counts = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
        assert counts == {"tests": "5", "failures": "2", "errors": "1", "skipped": "0", "time": "0"}
    assert len(found) == 5


@pytest.mark.parametrize(("choice", "tag"), [("stop", "error"), ("fail", "failure"), ("pass", "system-out")])
def test_the_suite_says_what_an_open_rule_is(choice, tag):
    _, found = cases(GateReport((outcome("inconclusive", is_open=True),), None, (), choice))
    assert [tags for _, _, tags in found] == [[tag]]


def test_a_finding_that_fails_the_gate_is_a_failure():
    report = GateReport((outcome("pass"),), None, (Finding("constant_tokens", "good", "fail", "one code"),))
    root, found = cases(report)
    assert report.status == "fail"
    assert found[0] == ("good", "plausibility: constant_tokens", ["failure"])
    assert root.get("failures") == "1"


def test_what_a_check_finds_with_a_candidate_is_one_case():
    findings = tuple(Finding("above_ceiling", "good", "warn", f"finding {i}") for i in range(3))
    root, found = cases(GateReport((outcome("pass"),), None, findings))
    assert found[0] == ("good", "plausibility: above_ceiling", ["system-out"])
    assert root.find(".//system-out").text == "finding 0\nfinding 1\nfinding 2"
    assert len(found) == 2


def test_the_reason_stands_in_the_message_and_in_the_text():
    root, _ = cases(GateReport((outcome("fail", reason="first\nsecond"),), None))
    (failure,) = root.iter("failure")
    assert (failure.get("message"), failure.text) == ("first second", "first\nsecond")
