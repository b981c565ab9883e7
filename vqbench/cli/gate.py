"""`vqbench gate`: may this run be released?"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import console

if TYPE_CHECKING:
    from vqbench.records.verdict import GateStatus

EXIT_CODES: dict[GateStatus, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


class Annotations(str, Enum):
    """Whose log the annotations are for."""

    github = "github"


def gate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its result.json.")],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="A baseline's name, or a run; :CANDIDATE judges all against that one."),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Judge only this candidate, or all its seeds; may be repeated."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Add a rule, in place of the suite's of the same metric and sign."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML too.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write Markdown too.")] = None,
    annotations: Annotated[
        Annotations | None,
        typer.Option(help="Write what did not pass as commands, too, which this CI shows in a pull request."),
    ] = None,
    as_json: console.AsJson = False,
    quiet: console.Quiet = False,
) -> None:
    """Judge a run by its gate rules.

    The rules of its suite, and those given here, against fixed limits or a baseline.

    A rule passes when the whole confidence interval keeps it, fails when the whole interval breaks it, and is
    inconclusive in between. Exit code 0: all pass. 1: a rule failed. 2: bad input. 3: inconclusive.

    Example: vqbench gate runs/quick --baseline main --junit gate.xml
    """
    from vqbench.errors import ConfigError
    from vqbench.files import require_writable
    from vqbench.judging.asked import add_rules, narrow_rules
    from vqbench.judging.gate import gate as judge
    from vqbench.judging.selection import load_baseline
    from vqbench.records.store import load_run
    from vqbench.report.tables import documents, terminal
    from vqbench.report.tables.markdown import gate_markdown
    from vqbench.report.verdicts.annotations import fenced, gate_annotations
    from vqbench.report.verdicts.junit import gate_junit

    if annotations is not None and as_json:
        raise ConfigError("--annotations and --json exclude each other: both write to stdout", fix="gate twice")
    for file in (junit, markdown):
        if file is not None:
            require_writable(file)
    judged = load_run(run)
    asked = narrow_rules(add_rules(judged, rule or []), candidate or [])
    report = judge(asked, load_baseline(baseline, None))
    if junit is not None:
        console.write(junit, gate_junit(report), quiet=quiet)
    if markdown is not None:
        console.write(markdown, gate_markdown(report, judged.metrics), quiet=quiet)
    table = terminal.gate_table(report, judged.metrics)
    if annotations is not None:
        console.answer(fenced(console.plain(table)) + gate_annotations(report))
    else:
        console.answer(documents.gate_json(report) if as_json else table)
    raise typer.Exit(EXIT_CODES[report.status])
