"""A gate report as JUnit XML, which every CI system shows."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from vqbench.records.verdict import Finding, GateReport, GateStatus
from vqbench.report import format as fmt

_ELEMENT = {"fail": "failure", "inconclusive": "error"}


@dataclass(frozen=True)
class _Case:
    """One test case: whom it is about, what was asked, how it ended, and why."""

    about: str
    name: str
    verdict: GateStatus
    kind: str
    reason: str


def gate_junit(report: GateReport) -> str:
    """Writes one test case a rule and candidate, and one a check that finds something wrong with a candidate.

    What fails the gate is a `<failure>`. What is inconclusive is an `<error>`, not a `<skipped>`: CI systems show a
    skipped case as green, and too little data to decide must never look like a pass.
    """
    cases = _cases(report)
    verdicts = [case.verdict for case in cases]
    counts = {
        "tests": str(len(cases)),
        "failures": str(verdicts.count("fail")),
        "errors": str(verdicts.count("inconclusive")),
        "skipped": "0",
        "time": "0",
    }
    root = ET.Element("testsuites", {"name": "vqbench gate", **counts})
    name = fmt.one_line(f"gate against {report.baseline or 'fixed limits'}")
    suite = ET.SubElement(root, "testsuite", {"name": name, **counts})
    for case in cases:
        element = ET.SubElement(
            suite, "testcase", classname=fmt.one_line(case.about), name=fmt.one_line(case.name), time="0"
        )
        if case.verdict in _ELEMENT:
            # Some systems show the message, others the text, so that both tell the reason.
            message = fmt.one_line(case.reason)
            detail = ET.SubElement(element, _ELEMENT[case.verdict], message=message, type=case.kind)
        else:
            detail = ET.SubElement(element, "system-out")
        detail.text = fmt.clean(case.reason)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _cases(report: GateReport) -> list[_Case]:
    # What one check finds with one candidate is one case: CI systems drop a case whose names were there before.
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        found.setdefault((finding.candidate or "run", finding.check), []).append(finding)
    cases = [
        _Case(
            about,
            f"plausibility: {check}",
            "fail" if any(finding.level == "fail" for finding in findings) else "pass",
            "plausibility",
            "\n".join(finding.message for finding in findings),
        )
        for (about, check), findings in found.items()
    ]
    cases += [
        _Case(outcome.candidate, outcome.rule, report.verdict(outcome), outcome.status, outcome.reason)
        for outcome in report.outcomes
    ]
    if not report.outcomes:
        reason = "the run has no candidates to judge"
        cases.append(_Case("gate", "anything to judge", "inconclusive", "inconclusive", reason))
    return cases
