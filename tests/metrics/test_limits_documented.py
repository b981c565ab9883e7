"""Which metrics have a floor and a ceiling is what the documents say."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

from vqbench.engine.question import natural_specs
from vqbench.judges.ratings import SpeechRatings
from vqbench.judges.transcription import Intelligibility
from vqbench.judges.voice import CopiedVoice, SpokenVoice
from vqbench.judges.words import SpokenWords
from vqbench.metrics.agreement import AGREEMENT_SPECS
from vqbench.metrics.codebook import CodebookUsage
from vqbench.metrics.likelihood import TokenLikelihood
from vqbench.metrics.reconstruction import ReconstructionDistance
from vqbench.metrics.throughput import throughput_specs
from vqbench.metrics.workloads import Load
from vqbench.teachers.tortoise.fit import SpeechFit

GROUPS = (ReconstructionDistance, CodebookUsage, CopiedVoice, SpokenWords, SpokenVoice)
SPECS = (
    *(spec for group in GROUPS for spec in group.specs),
    *(spec for judge in (SpeechFit, SpeechRatings) for spec in judge.specs_for("downstream")),
    *Intelligibility(SimpleNamespace(languages={"en"}, identity={})).specs,
    *AGREEMENT_SPECS,
    *TokenLikelihood("", knows_truth=True, writes=True).specs,
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
