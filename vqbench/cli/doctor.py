"""`vqbench doctor`: what is installed, found, missing, and what to do about it."""

from __future__ import annotations

import typer

from vqbench.cli import console


def doctor(as_json: console.AsJson = False) -> None:
    """Say what vqbench finds on this machine and what is missing.

    Exit 1 where `vqbench run suites/quick.yaml` could not run.

    Example: vqbench doctor
    """
    from vqbench.engine.doctor import examine, is_fit

    findings = examine()
    if as_json:
        import json

        console.answer(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        from rich.table import Table

        table = Table("", "what", "found", "to do", box=None, pad_edge=False)
        for finding in findings:
            table.add_row(
                {"ok": "✓", "missing": "✗", "note": "·"}[finding.status], finding.what, finding.found, finding.to_do
            )
        console.answer(table)
    if not is_fit(findings):
        raise typer.Exit(1)
