from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow_commands import Command, commands

from vqbench.cli import console
from vqbench.records.verdict import Finding, GateOutcome, GateReport
from vqbench.report import format as fmt
from vqbench.report.tables import terminal
from vqbench.report.verdicts.annotations import fenced, gate_annotations

HOSTILE = {
    "a command": "::set-output name=status::pass",
    "a command behind a name": "x::set-output name=y::z",
    "a command behind a line break": "x\n::add-mask::good",
    "a command behind a carriage return": "x\r::add-mask::good\r\n::error::y",
    "a command behind blanks": " \t ::add-mask::good",
    "an end of all commands": "::stop-commands::now",
    "an older command": "##[add-mask]good",
    "an older command within": "a ##[set-output name=status;]pass",
    "a comma and a colon": "x,file=secret.txt::y, z: 1",
    "an encoded line break": "x%0A::add-mask::good %25%2525 %3A%2C",
    "other line breaks": "x\x0b::add-mask::a\x0c::add-mask::b\x85::add-mask::c\u2028::add-mask::d",
    "a word that is cut": "x" * 300 + "::add-mask::good",
    "a place where a table breaks": " ".join(["0.123 -"] * 4 + ["::add-mask::good"] * 20),
    "terminal control": "\x1b]0;title\x07\x1b[2K",
    "a lone surrogate": "\ud800",
    "nothing": "",
}


def outcome(status="fail", rule="speech.wer <= 0.1", candidate="good", reason="0.2 − limit 0.1") -> GateOutcome:
    return GateOutcome(rule, candidate, "speech.wer", status, 0.2, 0.1, 0.05, 0.15, 24, reason)


def report(*outcomes: GateOutcome) -> GateReport:
    return GateReport(outcomes, "main")


def test_what_failed_is_an_error_what_is_open_a_warning_what_passed_nothing():
    said = gate_annotations(
        report(outcome("pass"), outcome("inconclusive", candidate="fair"), outcome("fail", candidate="drifted"))
    )
    assert said == (
        "::warning title=gate%3A inconclusive%2C fair::fair: speech.wer <= 0.1: 0.2 − limit 0.1\n"
        "::error title=gate%3A fail%2C drifted::drifted: speech.wer <= 0.1: 0.2 − limit 0.1\n"
    )


def test_the_suite_says_what_an_open_rule_is():
    open_rule = replace(outcome("inconclusive"), open=True)
    kinds = {
        choice: [command.name for command in commands(gate_annotations(GateReport((open_rule,), None, (), choice)))]
        for choice in ("stop", "fail", "pass")
    }
    assert kinds == {"stop": ["warning"], "fail": ["error"], "pass": ["warning"]}


def test_what_looks_wrong_with_the_run_is_told_too():
    findings = (Finding("few_clips", "", "warn", "too few"), Finding("constant_tokens", "good", "fail", "one code"))
    said = commands(gate_annotations(GateReport((outcome("pass"),), None, findings)))
    assert [(command.name, command.message) for command in said] == [
        ("warning", "the run: too few"), ("error", "good: one code")
    ]  # fmt: skip
    assert [command.properties["title"] for command in said] == [
        "plausibility: few_clips", "plausibility: constant_tokens"
    ]  # fmt: skip


def test_a_gate_that_passes_is_silent():
    assert gate_annotations(report(outcome("pass"), outcome("pass"))) == ""


def test_a_run_without_candidates_is_not_passed_over():
    (said,) = commands(gate_annotations(report()))
    assert (said.name, said.message) == ("warning", "the run has no candidates to judge")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("where", ["rule", "candidate", "reason"])
def test_every_line_is_one_command_with_the_message_as_it_was(where, text):
    hostile = outcome(**{where: text})
    said = gate_annotations(report(hostile, outcome("inconclusive")))
    assert said.count("\n") == 2
    first, second = commands(said)
    assert first.name == "error"
    assert first.message == fmt.clean(f"{hostile.candidate}: {hostile.rule}: {hostile.reason}")
    assert first.properties == {"title": fmt.one_line(f"gate: fail, {hostile.candidate}")[:255]}
    assert second.name == "warning"


@given(st.text(), st.text(), st.text())
def test_no_text_adds_a_command_or_is_changed(rule, candidate, reason):
    (said,) = commands(gate_annotations(report(outcome("inconclusive", rule, candidate, reason))))
    assert said.message == fmt.clean(f"{candidate}: {rule}: {reason}")
    assert said.properties == {"title": fmt.one_line(f"gate: inconclusive, {candidate}")[:255]}


def test_a_reason_of_several_lines_keeps_them():
    (said,) = commands(gate_annotations(report(outcome(reason="not scored:\n  fix: 100 %"))))
    assert said.message.endswith("not scored:\n  fix: 100 %")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_within_a_fence_is_a_command(text):
    after = "::error title=x::after\n"
    assert commands(fenced(text) + after) == [Command("error", "after", {"title": "x"})]
    assert commands(fenced(fenced(text)) + after) == [Command("error", "after", {"title": "x"})]


def test_a_fence_shows_the_text_whole():
    assert fenced("one\n two\n").splitlines()[1:-1] == ["one", " two"]


def test_no_two_fences_share_their_token():
    assert len({fenced("") for _ in range(50)}) == 50


@pytest.mark.parametrize("name", ["an older command", "a place where a table breaks"])
def test_a_table_without_a_fence_would_speak_to_the_runner(name):
    table = console.plain(terminal.gate_table(report(outcome(reason=HOSTILE[name])), []))
    assert {command.name for command in commands(table)} == {"add-mask"}
    assert not commands(fenced(table))
