"""`vqbench gate`: may this run be released?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqbench.results.record import GateStatus, Run

EXIT_CODES: dict[GateStatus, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


def gate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its result.json.")],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="A baseline's name, or a run; :CANDIDATE judges all against that one."),
    ] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Judge only this candidate; may be repeated.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Add a rule, in place of the suite's of the same metric and sign."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML too.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write Markdown too.")] = None,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Judge a run by its gate rules.

    The rules of its suite, and those given here, against fixed limits or a baseline.

    A rule passes when the whole confidence interval keeps it, fails when the whole interval breaks it, and is
    inconclusive in between. Exit code 0: all pass. 1: a rule failed. 2: bad input. 3: inconclusive.

    Example: vqbench gate runs/quick --baseline main --junit gate.xml
    """
    from vqbench.report import documents, terminal
    from vqbench.report.junit import gate_junit
    from vqbench.report.markdown import gate_markdown
    from vqbench.results.gate import gate as judge
    from vqbench.results.selection import load_selection
    from vqbench.results.store import load_run

    judged = load_run(run)
    selection = None if baseline is None else load_selection(baseline)
    report = judge(_narrowed(_with_rules(judged, rule or []), candidate or []), selection)
    if junit is not None:
        console.write(junit, gate_junit(report), quiet=quiet)
    if markdown is not None:
        console.write(markdown, gate_markdown(report, judged.metrics), quiet=quiet)
    console.answer(documents.gate_json(report) if as_json else terminal.gate_table(report, judged.metrics))
    raise typer.Exit(EXIT_CODES[report.status])


def _with_rules(run: Run, written: Sequence[str]) -> Run:
    """The run with further rules, each in place of those of its suite on the same metric and side."""
    from vqbench.results.record import GateRule
    from vqbench.results.rules import parse_rule

    rules = [parse_rule(rule) for rule in written]
    replaced = {(rule.metric, rule.op) for rule in rules}
    kept = []
    for rule in run.suite.gate:
        parsed = parse_rule(rule.rule)
        if (parsed.metric, parsed.op) not in replaced:
            kept.append(rule)
    return replace(run, suite=replace(run.suite, gate=(*kept, *map(GateRule, written))))


def _narrowed(run: Run, names: Sequence[str]) -> Run:
    """The run with its rules for some candidates only."""
    from vqbench.results.selection import check_candidate

    if not names:
        return run
    for name in names:
        check_candidate(run, name, f"suite {run.suite.name}")
    rules = [
        replace(rule, candidates=judged)
        for rule in run.suite.gate
        if (judged := tuple(name for name in names if not rule.candidates or name in rule.candidates))
    ]
    return replace(run, suite=replace(run.suite, gate=tuple(rules)))
