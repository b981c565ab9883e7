"""An estimate as people read it."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from vqbench.records.forecast import Forecast, Memory, StageForecast
from vqbench.report.tables.forecast import forecast_json, forecast_tables

ESTIMATE = Forecast(
    suite="release",
    machine="a GPU, 16 cores, threads: 8",
    candidate="oracle",
    opening_s=12.0,
    stages=(
        StageForecast("finetune", 2, 1000, 3.5, 20.0, 3540.0, 4),
        StageForecast("speaking", 3, 600, None, None, None, 0),
    ),
    seconds=3552.0,
    memory=(Memory("process", 9_000_000_000, 0, 128_000_000_000), Memory("all on the GPU", 40e9, 2e8, 0)),  # type: ignore[arg-type]
    disk={"tuned GPTs": 10_200_000_000, "speech": 300_000_000},
    disk_free_bytes=60_000_000_000,
    rehearsal_s=90.0,
    notes=("speaking: not rehearsed, so its 600 units are not counted",),
)


def text_of(estimate: Forecast) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, width=100, color_system=None, highlight=False)
    for part in forecast_tables(estimate):
        console.print(part)
    return text.getvalue().splitlines()


def test_everything_is_told() -> None:
    lines = text_of(ESTIMATE)
    assert lines[0] == "an estimate for release, from an empty cache, on this machine (a GPU, 16 cores, threads: 8)"
    rows = [line.split() for line in lines]
    assert ["opening", "12.0", "s"] in rows
    assert ["finetune", "1,000", "steps", "3.5", "s", "2", "20.0", "s", "59", "min", "00", "s"] in rows
    assert ["speaking", "600", "sentences", "—", "3", "—", "—"] in rows
    assert ["all", "59", "min", "12", "s"] in rows
    assert lines[-5:] == [
        "memory, process: 9.0 GB at the rehearsal's peak, where there are 128 GB",
        "memory, all on the GPU: 40 GB at the rehearsal's peak and 200 MB more for recordings",
        "disk: 10 GB in the cache (tuned GPTs 10 GB, speech 300 MB); 60 GB are free",
        "from a rehearsal with oracle, which took 1 min 30 s",
        "speaking: not rehearsed, so its 600 units are not counted",
    ]


def test_a_cache_that_stays_small() -> None:
    assert "disk: next to nothing in the cache; 60 GB are free" in text_of(replace(ESTIMATE, disk={}))


def test_json_is_all_of_it() -> None:
    found = json.loads(forecast_json(ESTIMATE))
    assert found["stages"][1]["seconds"] is None
    assert found["memory"][1]["more_bytes"] == 2e8
    assert found["notes"] == list(ESTIMATE.notes)
