"""One self-contained page for a run: no script, no network, light and dark, fit for paper."""

from __future__ import annotations

from vqbench.report import format as fmt
from vqbench.report.figures import legend, run_grids, unscored
from vqbench.report.judgements import gate_grid
from vqbench.report.template import render_template
from vqbench.results.record import GateReport, Run


def run_page(run: Run, gate: GateReport | None = None) -> str:
    """Renders a run, and the verdict of its gate where it was gated.

    Every name, text and reason is escaped: a candidate called `<script>` is shown as that.
    """
    return render_template(
        "run.html",
        run=run,
        gate=gate,
        gate_grid=None if gate is None else gate_grid(gate, run.metrics),
        grids=run_grids(run),
        unscored=unscored(run),
        provenance=list(fmt.flat(run.provenance)),
        legend=legend(run.interval),
    )
