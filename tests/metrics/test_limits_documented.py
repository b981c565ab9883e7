"""Which metrics have a floor and a ceiling is what the documents say."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

from vqbench.engine.question import natural_specs
from vqbench.metrics.agreement import AGREEMENT_SPECS
from vqbench.metrics.codebook import CodebookUsage
from vqbench.metrics.reconstruction import ReconstructionDistance
from vqbench.metrics.speech import Intelligibility, VoiceSimilarity
from vqbench.metrics.spoken.fit import SpokenFit
from vqbench.metrics.spoken.quality import SpokenQuality
from vqbench.metrics.spoken.voice import SpokenVoice
from vqbench.metrics.spoken.words import SpokenWords
from vqbench.metrics.throughput import Load, throughput_specs

GROUPS = (ReconstructionDistance, CodebookUsage, VoiceSimilarity, SpokenWords, SpokenVoice)
SPECS = (
    *(spec for group in (*GROUPS, SpokenFit, SpokenQuality) for spec in group.specs),
    *Intelligibility(SimpleNamespace(languages={"en"}, identity={}), 22_050).specs,
    *AGREEMENT_SPECS,
    *natural_specs(None, "natural"),
    *throughput_specs(Load((1, 8), 4.0, 2, 0)),
)


def test_the_table_of_floors_and_ceilings_is_that_of_the_metrics() -> None:
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    table = text.split("| metric | floor | ceiling |\n|---|---|---|\n")[1].split("\n\n")[0]
    said = [tuple(cell.strip().strip("`") for cell in row.strip("|").split("|")) for row in table.splitlines()]
    assert said == [(s.name, s.floor or "", s.ceiling or "") for s in _in_the_order_of(said) if s.floor or s.ceiling]


def _in_the_order_of(said):  # type: ignore[no-untyped-def]
    places = {row[0]: place for place, row in enumerate(said)}
    return sorted(SPECS, key=lambda spec: places.get(spec.name, len(places)))


def test_every_metric_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_]+)`", text))
    quality = [spec for spec in SPECS if not spec.name.startswith("throughput.")]
    assert {spec.name.rpartition(".")[2] for spec in quality} <= named
