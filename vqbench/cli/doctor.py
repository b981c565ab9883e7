"""`vqbench doctor`: what is installed, found, missing, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import console


def doctor(
    teacher: Annotated[
        Path | None, typer.Option("--teacher", "-t", metavar="DIR", help="Also look at TorToiSe's checkpoints in DIR.")
    ] = None,
    as_json: console.AsJson = False,
) -> None:
    """Say what vqbench finds on this machine and what is missing.

    Exit 1 where `vqbench run suites/quick.yaml` could not run, or what was asked for is at fault.

    Example: vqbench doctor --teacher checkpoints/tortoise
    """
    from vqbench.engine.doctor import examine, is_fit

    findings = examine(teacher)
    if as_json:
        import json

        console.answer(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        from rich.markup import escape
        from rich.table import Column, Table

        # A path is worth reading whole.
        table = Table("", "what", Column("found", overflow="fold"), "to do", box=None, pad_edge=False)
        marks = {"ok": "✓", "missing": "✗", "note": "·"}
        for finding in findings:
            table.add_row(marks[finding.status], escape(finding.what), escape(finding.found), escape(finding.to_do))
        console.answer(table)
    if not is_fit(findings):
        raise typer.Exit(1)
