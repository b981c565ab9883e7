"""Rows: what is measured of one clip, numbers that can be added up, and what a person would read beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vqbench.records.run import MetricSpec
from vqbench.stats.columns import Cell


@dataclass(frozen=True)
class Measured:
    """One row of a group's tables, and what a person would read beside it."""

    cells: Mapping[str, Cell]
    texts: Mapping[str, str] = field(default_factory=dict)


class Measures(Protocol):
    """Metrics that are measured together, whatever on: their rows stand in one table."""

    @property
    def name(self) -> str:
        """The group that its figures name."""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures that its columns are reduced to."""

    @property
    def identity(self) -> Mapping[str, object]:
        """All that changes a row besides what is measured: versions, options, models, whom it is compared with."""
