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
from vqbench.results.summary import prepare
from vqbench.stats.paired import Exchange, permutation_p_values
from vqbench.stats.units import units_of
from vqbench.stats.usage import UsageStatistic

DRAWS, SEED = 500, 0


def main(place: str, first: str, second: str, metric: str = "downstream.wer") -> None:
    """Prints a line a number of sentences."""
    run = load_run(Path(place))
    one, other = Contender(first, run, first), Contender(second, run, second)
    spec = one.metric(metric)
    assert spec is not None
    tables = [table for contender in (one, other) if (table := contender.table(spec.group)) is not None]
    row_of = [{row_id: row for row, row_id in enumerate(table.row_ids)} for table in tables]
    both = [row_id for row_id in row_of[0] if row_id in row_of[1]]
    draw = np.random.default_rng(SEED)
    print(f"{metric}, {first} against {second}, {len(both)} sentences, {DRAWS} draws each, seed {SEED}")
    for n in [n for n in (4, 6, 8, 12, 16, 24, 32, 48, 64, 96) if n < len(both)]:
        found = 0
        for _ in range(DRAWS):
            ids = [both[at] for at in draw.choice(len(both), n, replace=False)]
            ours, theirs = (
                prepare(spec, table, np.array([rows[row_id] for row_id in ids]))
                for table, rows in zip(tables, row_of, strict=True)
            )
            assert not isinstance(ours, UsageStatistic)
            assert not isinstance(theirs, UsageStatistic)
            found += permutation_p_values([Exchange(ours, theirs, units_of(n, None))], 500, SEED)[0] < 0.05
        print(f"{n:4} sentences: {found / DRAWS:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
