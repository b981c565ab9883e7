"""One self-contained page for a run: no script, no network, light and dark, fit for paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jinja2

from vqbench.report import format as fmt
from vqbench.report.figures import legend, run_grids, unscored
from vqbench.report.judgements import gate_grid
from vqbench.results.record import GateReport, Run


def run_page(run: Run, gate: GateReport | None = None) -> str:
    """Renders a run, and the verdict of its gate where it was gated.

    Every name, text and reason is escaped: a candidate called `<script>` is shown as that.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vqbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("run.html").render(
        run=run,
        gate=gate,
        gate_grid=None if gate is None else gate_grid(gate, run.metrics),
        grids=run_grids(run),
        unscored=unscored(run),
        provenance=list(_flat(run.provenance)),
        legend=legend(run.interval),
        fmt=fmt,
    )
    return fmt.clean(page) + "\n"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as dotted names, e.g. `versions.torch`."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", fmt.MISSING if value is None else str(value)
