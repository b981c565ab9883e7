"""A gate report as JUnit XML, which every CI system shows."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from vqbench.report import format as fmt
from vqbench.results.record import GateReport

_ELEMENT = {"fail": "failure", "inconclusive": "error"}


def gate_junit(report: GateReport) -> str:
    """Writes one test case a rule and candidate.

    A failed rule is a `<failure>`. An inconclusive one is an `<error>`, not a `<skipped>`: CI systems show a
    skipped case as green, and too little data to decide must never look like a pass.
    """
    statuses = [outcome.status for outcome in report.outcomes] or [report.status]
    counts = {
        "tests": str(len(statuses)),
        "failures": str(statuses.count("fail")),
        "errors": str(statuses.count("inconclusive")),
    }
    root = ET.Element("testsuites", {"name": "vqbench gate", **counts})
    name = fmt.one_line(f"gate against {report.baseline or 'fixed limits'}")
    suite = ET.SubElement(root, "testsuite", {"name": name, **counts})
    if not report.outcomes:
        case = ET.SubElement(suite, "testcase", classname="gate", name="anything to judge", time="0")
        ET.SubElement(case, "error", message="the run has no candidates to judge", type="inconclusive")
    for outcome in report.outcomes:
        reason = fmt.clean(outcome.reason)
        case = ET.SubElement(
            suite, "testcase", classname=fmt.one_line(outcome.candidate), name=fmt.one_line(outcome.rule), time="0"
        )
        if outcome.status in _ELEMENT:
            detail = ET.SubElement(
                case, _ELEMENT[outcome.status], message=fmt.one_line(outcome.reason), type=outcome.status
            )
            detail.text = reason
        else:
            ET.SubElement(case, "system-out").text = reason
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
