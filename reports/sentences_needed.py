"""How many sentences it takes to tell two candidates apart: `python reports/sentences_needed.py RUN A B [METRIC]`.

Sentences are drawn from the run without replacement, 500 times for each number of them, and each draw is tested as
`vqbench compare` tests, one comparison alone. Printed is the share of draws with p < 0.05.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vqbench.results.selection import Contender
from vqbench.results.store import load_run
from vqbench.stats.bootstrap import WeightedStatistic
from vqbench.stats.paired import paired_permutation_p
from vqbench.stats.reductions import REDUCTIONS

DRAWS, SEED = 500, 0


def main(place: str, first: str, second: str, metric: str = "downstream.wer") -> None:
    """Prints a line a number of sentences."""
    run = load_run(Path(place))
    one, other = Contender(first, run, first), Contender(second, run, second)
    spec = one.metric(metric)
    assert spec is not None
    tables = [contender.table(spec.group) for contender in (one, other)]
    rows = [
        dict(zip(table.row_ids, zip(*(table.columns[name] for name in spec.columns), strict=True), strict=True))
        for table in tables
        if table is not None
    ]
    both = [row for row in rows[0] if row in rows[1]]
    draw = np.random.default_rng(SEED)
    print(f"{metric}, {first} against {second}, {len(both)} sentences, {DRAWS} draws each, seed {SEED}")
    for n in [n for n in (4, 6, 8, 12, 16, 24, 32, 48, 64, 96) if n < len(both)]:
        found = 0
        for _ in range(DRAWS):
            ids = [both[at] for at in draw.choice(len(both), n, replace=False)]
            cells = [side[row] for side in rows for row in ids]
            statistic = REDUCTIONS[spec.reduction].prepare([*zip(*cells, strict=True)], {})
            assert isinstance(statistic, WeightedStatistic)
            found += paired_permutation_p(statistic, np.arange(n), 500, SEED) < 0.05
        print(f"{n:4} sentences: {found / DRAWS:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
