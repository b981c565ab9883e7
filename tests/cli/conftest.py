from pathlib import Path

import pytest
from builders import make_run, replace_table, table_of

from vqbench.records.run import Run, Table
from vqbench.records.store import save_baseline, save_run

RULES = ("speech.wer <= 0.9", "speech.speaker_similarity >= baseline - 0.02")


def worsened(run: Run) -> Run:
    """The run with every candidate's speaker similarity 0.1 lower."""
    for candidate in ("good", "fair", "untrained"):
        speech = table_of(run, candidate, "speech")
        lower = speech.columns["similarity"] - 0.1
        run = replace_table(run, Table(candidate, "speech", speech.row_ids, {**speech.columns, "similarity": lower}))
    return run


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """The runs quick, worse, small (too few clips) and open (no rules), and the baselines main and small."""
    folder = tmp_path_factory.mktemp("workplace")
    quick, small = make_run(gate=RULES), make_run(n_clips=6, n_speakers=3, gate=RULES)
    save_run(quick, folder / "runs/quick")
    save_run(worsened(quick), folder / "runs/worse")
    save_run(small, folder / "runs/small")
    save_run(make_run(), folder / "runs/open")
    save_baseline(quick, "main", folder / "baselines")
    save_baseline(small, "small", folder / "baselines")
    return folder
