"""A gate report as annotations of GitHub Actions, and a fence around whatever else is printed beside them.

The runner takes a line of a job's log for a command where it begins with `::`, blanks before it left out, or, in the
older form, where `##[` stands anywhere in it. So a table with a hostile name in it could speak to the runner: set an
output, mask a word of the log, switch all commands off. Syntax and escapes are those of
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands.
"""

from __future__ import annotations

import secrets

from vqbench.records.verdict import GateReport
from vqbench.report import format as fmt

_TITLE_LENGTH = 255
"""Characters that GitHub allows in the title of an annotation; it cuts the message by itself."""

_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def gate_annotations(report: GateReport) -> str:
    """Writes one command a line: an error for whatever fails the gate, a warning for what is inconclusive or odd.

    Rules that pass are left out; an open one that the suite lets pass is not. GitHub shows the first ten errors and ten
    warnings of a step, all others stand in its log only. A log shows no titles, so that the message tells all.
    """
    lines = [
        _command(
            "error" if report.verdict(outcome) == "fail" else "warning",
            f"gate: {outcome.status}, {outcome.candidate}",
            f"{outcome.candidate}: {outcome.rule}: {outcome.reason}",
        )
        for outcome in report.outcomes
        if outcome.status != "pass"
    ]
    lines += [
        _command(
            "error" if finding.level == "fail" else "warning",
            f"plausibility: {finding.check}",
            f"{finding.candidate or 'the run'}: {finding.message}",
        )
        for finding in report.findings
    ]
    if not report.outcomes:
        lines.append(_command("warning", f"gate: {report.status}", "the run has no candidates to judge"))
    return "".join(f"{line}\n" for line in lines)


def fenced(text: str) -> str:
    """Puts a text between two lines that keep GitHub's runner from reading commands in it.

    Only a line that repeats the token ends it, and nobody who wrote the text can know that: it is drawn anew each time.
    """
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}\n{text.rstrip()}\n::{token}::\n"


def _command(name: str, title: str, message: str) -> str:
    """One workflow command.

    >>> _command("error", "100 %, or: less", "two\\nlines")
    '::error title=100 %25%2C or%3A less::two%0Alines'
    """
    shown = fmt.one_line(title)[:_TITLE_LENGTH].translate(_PROPERTY)
    return f"::{name} title={shown}::{fmt.clean(message).translate(_DATA)}"
