"""The card of a pocket TorToiSe for the terminal: what it is made of, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from vqbench.report import format as fmt

DIGEST_SHOWN = 16
"""Hex digits of a digest; the whole one is in the card."""

UNSCORED_SHOWN = 5
"""Reasons why a row has no figure before the rest is only counted."""


def card_tables(card: Mapping[str, Any]) -> list[RenderableType]:
    """Renders a card: parts, how they are run, corpus, figures against their targets, licence."""
    return [
        Text(fmt.one_line(f"{card['name']}: {card['bytes'] / 1e6:.1f} MB of weights"), style="bold"),
        _parts(card["parts"]),
        _facts({"run with": _listed(card["settings"]), "corpus": _listed(card["corpus"])}),
        _figures(card["figures"]),
        *(_note(line) for line in _outcome(card["figures"])),
        *(_note(f"tried: {note}") for note in card.get("notes", ())),
        _note(f"licence: {card['licence']}"),
    ]


def missed(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The targets that were missed, and by what."""
    return [
        f"{name} {fmt.number(figure['value'], _decimals(figure))} (target {figure['target']})"
        for name, figure in figures.items()
        if not figure["met"]
    ]


def _outcome(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not figures:
        return ["nothing was measured yet"]
    failed = missed(figures)
    lines = [f"missed: {', '.join(failed)}" if failed else "every target was met"]
    # What has no voice has none in every figure that asks for it: said once.
    unscored: dict[tuple[str, ...], list[str]] = {}
    for name, figure in figures.items():
        if figure.get("unscored"):
            unscored.setdefault(tuple(figure["unscored"]), []).append(name)
    for reasons, names in unscored.items():
        hidden = len(reasons) - UNSCORED_SHOWN
        more = f"; and {hidden} more" if hidden > 0 else ""
        lines.append(f"not scored in {', '.join(names)}: {'; '.join(reasons[:UNSCORED_SHOWN])}{more}")
    return lines


def _parts(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("part", Column("MB", justify="right"), Column("numbers", justify="right"), "sha256", "its own check")
    for name, part in parts.items():
        table.add_row(
            Text(name),
            f"{part['bytes'] / 1e6:.2f}",
            f"{part['numbers']:,}",
            Text(part["sha256"][:DIGEST_SHOWN]),
            Text(fmt.one_line(_listed(part.get("check", {})))),
        )
    return table


def _figures(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    right = {"justify": "right", "no_wrap": True}
    table = _table(
        "figure",
        Column("value", **right),  # type: ignore[arg-type]
        Column("95 % interval", no_wrap=True),
        Column("n", **right),  # type: ignore[arg-type]
        Column("target", no_wrap=True),
        "",
        "what it is",
    )
    for name, figure in figures.items():
        decimals = _decimals(figure)
        table.add_row(
            Text(name),
            fmt.number(figure["value"], decimals),
            fmt.interval(figure["ci_low"], figure["ci_high"], decimals),
            f"{figure['n']:,}",
            Text(fmt.one_line(figure["target"])),
            Text("met", style="green") if figure["met"] else Text("missed", style="bold red"),
            Text(fmt.one_line(figure["about"])),
        )
    return table


def _decimals(figure: Mapping[str, Any]) -> int:
    """Shares want three; what is counted in tens wants one."""
    value = figure["value"]
    return 1 if value is not None and abs(value) >= 10 else 3


def _facts(facts: Mapping[str, str]) -> Table:
    table = Table(Column(style="bold"), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for name, fact in facts.items():
        table.add_row(name, Text(fmt.one_line(fact)))
    return table


def _table(*columns: str | Column) -> Table:
    return Table(*columns, box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")


def _listed(values: Mapping[str, Any]) -> str:
    """`steps 24, sampling (temperature 0.7, …)`, names as people write them.

    >>> _listed({"diffusion_steps": 24, "sampling": {"top_p": 0.8}})
    'diffusion steps 24, sampling (top p 0.8)'
    """
    shown = (
        f"{name.replace('_', ' ')} {f'({_listed(value)})' if isinstance(value, Mapping) else _plain(value)}"
        for name, value in values.items()
    )
    return ", ".join(shown)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _note(line: str) -> Text:
    return Text(fmt.one_line(line), style="dim", overflow="fold")
