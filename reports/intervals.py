"""The old and the new interval of every headline figure, side by side, from the rows of the committed baselines.

Nothing is measured again. Old: the percentile bootstrap for all. New: what `vqbench run` makes today.

python reports/intervals.py > reports/intervals.md
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vqbench.records.run import MetricSpec, Run, Table
from vqbench.records.store import load_run
from vqbench.records.summary import Samples
from vqbench.stats.estimate import Estimate, estimate_all
from vqbench.stats.reductions import REDUCTIONS

BASELINES = Path(__file__).parents[1] / "baselines"
SHARES = ("downstream.runaway", "downstream.cut_off", "downstream.eer")


def figures(run: Run) -> list[tuple[MetricSpec, Table, Estimate]]:
    """Headline figures and shares of clips."""
    samples, interval = Samples(), replace(run.interval, bootstrap="outer")
    tables = {(table.candidate, table.group): table for table in run.tables}
    asked = []
    for spec in run.metrics:
        for candidate in run.candidates if spec.headline or spec.name in SHARES else ():
            table = tables.get((candidate.name, spec.group))
            if table is not None:
                units, _ = samples.units(spec, table, run.clips, interval)
                asked.append((spec, table, samples.sample(spec, table, units, interval)))
    found = estimate_all(sample for *_, sample in asked)
    return [(spec, table, found[sample]) for spec, table, sample in asked]


def shown(spec: MetricSpec, figure: Estimate, confidence: float) -> str:
    """An interval as the reports write it."""
    ends, (least, most) = figure.interval(confidence), REDUCTIONS[spec.reduction].span
    if ends is None:
        return "—"
    return f"{max(ends[0], least):.{spec.decimals}f} to {min(ends[1], most):.{spec.decimals}f}"


def main() -> None:
    """Prints the tables."""
    print("# Intervals, old and new\n")
    print(
        "95 % intervals of the headline figures, and of shares of clips, from the rows of the committed baselines: the"
    )
    print("percentile bootstrap as it was, and the outer ends of percentile and BCa, exact for shares, as it is")
    print(
        "([decision 2](../docs/decisions/0002-intervals.md)). Nothing was measured anew: `python reports/intervals.py`."
    )
    for name in ("pocket", "adapted", "quick"):
        run = load_run(BASELINES / f"{name}.json")
        print(f"\n## {name}\n\n| metric | candidate | figure | n | old | new |\n|---|---|---|---|---|---|")
        for spec, table, new in figures(run):
            old = replace(new, shares=(), method="percentile")
            before, after = (shown(spec, one, run.interval.confidence) for one in (old, new))
            value = f"{new.value:.{spec.decimals}f}"
            print(f"| {spec.name} | {table.candidate} | {value} | {len(table.row_ids)} | {before} | {after} |")


if __name__ == "__main__":
    main()
