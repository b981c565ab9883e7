"""Names that a registry knows, as fields of a file: checked when they are read, listed when a schema is printed."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vqbench.config.models import Fault, reject, shown
from vqbench.errors import did_you_mean
from vqbench.registries import CORPORA, FORMATS, JUDGES, METRICS, Registry


def _known(registry: Registry, noun: str, value: Any) -> Any:
    if isinstance(value, str) and value not in registry:
        problem = f"{shown(value)} is not a {noun}{did_you_mean(value, registry)}"
        raise reject(Fault((), problem, expected=", ".join(registry)))
    return value


def _listed(registry: Registry, schema: dict[str, Any]) -> None:
    # Only now: looking for the entry points of other packages takes longer than reading most files.
    schema["enum"] = list(registry)


FormatName = Annotated[
    str, BeforeValidator(partial(_known, FORMATS, "known format")), Field(json_schema_extra=partial(_listed, FORMATS))
]
"""A format of manifests."""

CorpusName = Annotated[
    str, BeforeValidator(partial(_known, CORPORA, "known corpus")), Field(json_schema_extra=partial(_listed, CORPORA))
]
"""A corpus that can be had by name."""

MetricName = Annotated[
    str, BeforeValidator(partial(_known, METRICS, "metric group")), Field(json_schema_extra=partial(_listed, METRICS))
]
"""A group of metrics; a metric's name is `group.figure`."""

JudgeName = Annotated[
    str, BeforeValidator(partial(_known, JUDGES, "judge")), Field(json_schema_extra=partial(_listed, JUDGES))
]
"""Who may listen besides the ASR and the speaker encoder."""
