"""Draws how recovery grows with the number of pairs, from a run of the suite `recovery`:

    python reports/recovery_scaling.py runs/recovery

Needs matplotlib, which is in the extra `dev`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from vqbench.judging.families import summarise_families
from vqbench.records.run import Run
from vqbench.records.store import load_run

PAIRS = {"n500": 500, "both": 1000, "n2000": 2000, "n4000": 4000}
"""Families of the suite `recovery` and how many pairs they were given; all took the same number of steps."""

SERIES = {
    "token_agreement.raw": ("renderings, speaker not trained on", "tab:blue"),
    "token_agreement.natural.raw": ("recordings, all speakers", "tab:orange"),
}


def draw(run: Run, path: Path) -> None:
    """Writes the picture as SVG: means over seeds with their intervals, and the oracle's agreement as the ceiling."""
    found = {(result.family, result.metric): result for result in summarise_families(run)}
    values = {(result.candidate, result.metric): result.value for result in run.results}
    figure, axes = plt.subplots(figsize=(6.4, 4))
    for metric, (label, colour) in SERIES.items():
        points = [(n, found[family, metric]) for family, n in PAIRS.items()]
        middle = [point.mean or 0.0 for _, point in points]
        down = [(point.mean or 0.0) - (point.ci_low or 0.0) for _, point in points]
        up = [(point.ci_high or 0.0) - (point.mean or 0.0) for _, point in points]
        axes.errorbar([n for n, _ in points], middle, [down, up], marker="o", capsize=3, color=colour, label=label)
    ceiling = values["oracle", "token_agreement.raw"]
    assert ceiling is not None
    axes.axhline(ceiling, linestyle="--", color="tab:blue", linewidth=1, label="the true VQVAE on the renderings")
    axes.set_xscale("log")
    axes.set_xticks(list(PAIRS.values()), [f"{n:,}" for n in PAIRS.values()])
    axes.minorticks_off()
    axes.set_ylim(0, 0.5)
    axes.set_xlabel("pairs trained on, at 1,000 steps each")
    axes.set_ylabel("token agreement, mean of 3 seeds, 95 % interval")
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(load_run(Path(sys.argv[1])), Path(__file__).with_name("recovery-scaling.svg"))
