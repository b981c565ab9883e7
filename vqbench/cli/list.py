"""`vqbench list`: what can be had by name."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from vqbench.cli import console


class Catalogue(str, Enum):
    """What there is names of."""

    tokenizers = "tokenizers"
    metrics = "metrics"
    judges = "judges"
    teachers = "teachers"
    formats = "formats"
    corpora = "corpora"


def list_(
    kind: Annotated[Catalogue, typer.Argument(help="What to list.", show_default=False)],
    as_json: console.AsJson = False,
) -> None:
    """List what suites can name, a line each: vqbench's own, and what other packages bring as entry points.

    Example: vqbench list metrics
    """
    from vqbench.registries import KINDS
    from vqbench.report.tables.documents import to_json

    registry = KINDS[kind.value]
    found = [
        {"name": name, "about": registry.about(name), "object": registry[name], "own": registry.is_own(name)}
        for name in registry
    ]
    if as_json:
        console.answer(to_json(found))
        return
    width = max((len(str(one["name"])) for one in found), default=0)
    lines = [f"{one['name']:<{width}}  {one['about']}" + ("" if one["own"] else f" [{one['object']}]") for one in found]
    console.answer("\n".join(lines))
