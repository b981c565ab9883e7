"""The whole page: what is read without a script, the data that the script draws from, and what had to stay out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from vqbench.files import write_text, write_whole
from vqbench.judging.compare import ComparisonTable
from vqbench.judging.evidence import Evidence, distinct_labels
from vqbench.records.verdict import GateReport
from vqbench.report import format as fmt
from vqbench.report.page.bars import Bar, grid_bars
from vqbench.report.page.blocks import Cast
from vqbench.report.page.codes import confusion_tables, relabelling_tables
from vqbench.report.page.contents import BUDGET_BYTES, Contents, fill
from vqbench.report.page.exhibits import showings, sound_files
from vqbench.report.page.provenance import provenance_of
from vqbench.report.tables.figures import contender_grids, legend, run_grids, unscored
from vqbench.report.tables.grid import Grid, Row
from vqbench.report.tables.judgements import comparison_grid, gate_grid, gate_sentence
from vqbench.report.tables.slices import slice_grids
from vqbench.report.template import render_template

PAGE_FILE = "page.html"
"""What the page of a run is called in the run's folder."""

_SCRIPTS = (
    *("data", "dom", "words", "charts", "codebook", "scatter", "rows", "cliprows", "views", "clips", "detail"),
    *("mel", "tokens", "takes", "player", "controls", "lane", "listen", "main"),
)
_STYLES = (
    "page",
    "data",
    "listen",
)

_ENDLESS = 1_000_000
"""Width of a table that is never split: a page scrolls."""

_UNSCORED_SHOWN = 20
"""Clips without a figure that are listed before the rest is only counted."""


@dataclass(frozen=True)
class Page:
    """A page, and the files beside it that it needs: name → content; none where all of it is in the page."""

    html: str
    assets: Mapping[str, bytes]


def write_page(page: Page, output: Path, assets: Path | None) -> None:
    """Writes the files beside the page, then the page.

    Raises:
        DataError: something cannot be written.
    """
    for name, content in page.assets.items():
        assert assets is not None
        write_whole(assets / name, content)
    write_text(output, page.html)


def run_page(evidence: Evidence, gate: GateReport | None = None, assets: str | None = None) -> Page:
    """The page of a run.

    Every name, text and reason is escaped: a candidate called `<script>` is shown as that.

    Args:
        evidence: the run, and what lies beside it.
        gate: its verdict; None where it was not gated.
        assets: the folder beside the page, as the page names it, that shall hold the sounds; None puts as many of them
            into the page as it may hold.

    Raises:
        ResultError: a sound is missing, or has changed.
    """
    run = evidence.run
    verdict = None if gate is None else gate_grid(gate, run.metrics)
    headline = run_grids(run, headline=True, width=_ENDLESS)
    others = [grid for grid in run_grids(run, width=_ENDLESS) if grid not in headline]
    usage = [grid for grid in others if grid.title == "codebook"]
    return _page(
        Cast.of([evidence]),
        assets,
        title=run.suite.name,
        gate=gate,
        gate_sentence=None if gate is None else gate_sentence(gate),
        verdict=None if verdict is None else (verdict, grid_bars(verdict, each=True)),
        differences=None,
        headline=_with_bars(headline),
        slices=_with_bars(slice_grids(run, width=_ENDLESS, whole=True)),
        everything=_with_bars([grid for grid in others if grid not in usage]),
        usage=_with_bars(usage),
        unscored=unscored(run),
    )


def comparison_page(evidence: Sequence[Evidence], table: ComparisonTable, assets: str | None = None) -> Page:
    """The page of several runs: what differs, and the clips that got worse first.

    Args:
        evidence: the runs; the first is the reference.
        table: the figures and differences of these very runs.
        assets: as for `run_page`.

    Raises:
        ResultError: a sound is missing, or has changed.
    """
    contenders = {contender.label: contender for contender in table.contenders}
    pairs = dict.fromkeys((comparison.reference, comparison.candidate) for comparison in table.comparisons)
    differences = comparison_grid(table)
    return _page(
        Cast.of(evidence, [(contenders[reference], contenders[candidate]) for reference, candidate in pairs]),
        assets,
        title=" against ".join(reversed(distinct_labels(evidence))),
        gate=None,
        gate_sentence=None,
        verdict=None,
        differences=(differences, grid_bars(differences, each=True)),
        headline=_with_bars(contender_grids(table, width=_ENDLESS)),
        slices=[],
        everything=[],
        usage=[],
        unscored=[
            replace(entry, candidate=f"{label}:{entry.candidate}")
            for label, one in zip(distinct_labels(evidence), evidence, strict=True)
            for entry in unscored(one.run)
        ],
    )


def _with_bars(grids: Sequence[Grid]) -> list[tuple[Grid, list[list[Bar | None]]]]:
    return [(grid, grid_bars(grid)) for grid in grids if grid.rows]


def _page(cast: Cast, assets: str | None, **parts: Any) -> Page:
    shown = showings(cast)
    script = _script()
    groups = {table.group for one in cast.evidence for table in one.run.tables}

    values = {
        **parts,
        "cast": cast,
        "legend": legend(cast.evidence[0].run.interval),
        "has_codes": not groups.isdisjoint(("codebook", "token_agreement")),
        "confusions": confusion_tables(cast),
        "relabellings": relabelling_tables(cast),
        "provenance": [
            (label, provenance_of(one.run))
            for label, one in zip(distinct_labels(cast.evidence), cast.evidence, strict=True)
        ],
        "unscored_shown": _UNSCORED_SHOWN,
        "budget": f"{BUDGET_BYTES // 1_000_000} MB",
        "numbered": _numbered,
        "listens": bool(shown),
        "sounds_from": "data:" if assets is None else "data: file: 'self'",
        "style": "".join(_static(f"{name}.css") for name in _STYLES),
        "script": script,
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }
    empty = render_template("page/page.html", **values, contents=Contents())
    contents = fill(BUDGET_BYTES - len(empty.encode()), cast, shown, assets)
    html = render_template("page/page.html", **values, contents=contents)
    return Page(html, {} if assets is None else dict(sound_files(contents.shown)))


def _numbered(rows: Sequence[Row]) -> list[tuple[bool, list[tuple[int, Row]]]]:
    """Candidates, then references, each row with its number in the grid."""
    numbered = list(enumerate(rows))
    parts = [(kind, [(n, row) for n, row in numbered if row.reference is kind]) for kind in (False, True)]
    return [(kind, part) for kind, part in parts if part]


@cache
def _static(name: str) -> str:
    """One of our own files; cleaned as the whole page is, so that the script stays what its digest is of."""
    return fmt.clean(resources.files("vqbench.report.page").joinpath("static", name).read_text(encoding="utf-8"))


def _script() -> str:
    # Tools for developers would look for the map that its last line names.
    charts = re.sub(r"//# sourceMappingURL=\S*", "", _static("vendor/chart.umd.min.js"))
    ours = "".join(_static(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n{charts}\n{ours}'
