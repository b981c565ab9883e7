"""Prints, as Markdown, the ratios of saved benchmark runs: `python tests/benchmarks/ratios.py run1.json run2.json …`.

Times are compared within one file only, the fastest round of each, which other work on the machine disturbed least;
across files the median ratio and its range are given. Every contender is compared with the first of its group.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Run = dict[str, dict[str, dict[str, Any]]]
"""group → contender → what pytest-benchmark saved of it"""


def read_run(path: Path) -> Run:
    groups: Run = {}
    for saved in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
        contender = saved["params"].get("contender") or saved["params"]["command"]
        groups.setdefault(saved["group"], {})[contender] = saved
    return groups


def rows(runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    for group, contenders in runs[0].items():
        first, *_ = contenders
        for contender in contenders:
            entries = [(run[group][contender], run[group][first]) for run in runs]
            times = [ours["stats"]["min"] / theirs["stats"]["min"] for ours, theirs in entries]
            spread = "" if contender == first else f"{min(times):.2f} to {max(times):.2f}"
            peaks = [ours["extra_info"].get("peak_mb") for ours, _ in entries]
            memory = f"{median(peaks):.0f}" if all(peak is not None for peak in peaks) else ""
            rounds = str(sum(ours["stats"]["rounds"] for ours, _ in entries))
            yield group, contender, f"{median(times):.2f}", spread, memory, rounds


def main(paths: Sequence[str]) -> None:
    header = ("group", "contender", "time, × the first", "range over runs", "peak MB", "rounds")
    for row in (header, ("---",) * len(header), *rows([read_run(Path(path)) for path in paths])):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
