"""The rules of a suite's gate, as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from vqbench.config.candidate import members
from vqbench.config.marked_yaml import Place
from vqbench.config.measuring import slice_fault
from vqbench.config.models import ConfigModel, Fault, Several, reject, repeated, shown
from vqbench.errors import ConfigError, did_you_mean
from vqbench.records.reference import judged_by_default
from vqbench.records.rules import parse_rule
from vqbench.records.run import rule_text
from vqbench.registries import METRICS


def _rule(text: str) -> str:
    try:
        parse_rule(text)
    except ConfigError as error:
        raise reject(Fault((), error.problem, error.expected, error.fix)) from None
    return text


class GateEntry(ConfigModel):
    """A rule that a release must hold. A rule alone, without `candidates`, may be written as plain text."""

    rule: Annotated[str, AfterValidator(_rule)]
    """`metric comparison limit`, e.g. `speech.wer <= baseline + 0.05`."""

    candidates: Several[str] = Field(default=(), min_length=1)
    """Names of the candidates that it is for; all of them where it is left out. One with seeds means each of these."""

    slice: str | None = Field(default=None, min_length=1)
    """The slice of the clips that it is judged on, e.g. `short` or `speaker=p225`; all clips where it is left out."""

    @property
    def text(self) -> str:
        """The rule as people read it, with its slice."""
        return rule_text(self.rule, self.slice)

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Each candidate once."""
        yield from repeated(data, "candidates")

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, data: Any) -> Any:
        return {"rule": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(handler(schema))
        return {"title": "GateEntry", "anyOf": [{"type": "string"}, mapping]}


def for_members(entries: tuple[GateEntry, ...], info: ValidationInfo) -> tuple[GateEntry, ...]:
    """Rules about candidates with seeds become rules about each of their seeds, but for one that is the reference."""
    # pydantic validates fields in their order, so the candidates are expanded by now.
    candidates, reference = info.data.get("candidates", ()), info.data.get("reference")
    expanded = []
    for entry in entries:
        names = tuple(dict.fromkeys(member for name in entry.candidates for member in members(candidates, name)))
        judged = judged_by_default(entry.rule, names or [one.name for one in candidates], reference and reference.name)
        expanded.append(entry.model_copy(update={"candidates": judged or names}))
    return tuple(expanded)


def unsliced(at: Place, entry: Mapping[str, Any], slices: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults where a rule is about a slice that there is not."""
    name, rule = entry.get("slice"), entry.get("rule")
    if name is None:
        return
    if (fault := slice_fault(slices, name)) is not None:
        yield fault._replace(at=(*at, "slice"))
    if isinstance(rule, str) and rule.lstrip().startswith("throughput."):
        problem = "speed is measured by repetitions, not by clips, so that it has no slices"
        yield Fault((*at, "slice"), problem, fix="take `slice` out")


def is_about(rule: Any, start: str) -> bool:
    """Whether a rule's metric starts so."""
    return (_metric_of(rule) or "").startswith(start)


def _metric_of(rule: Any) -> str | None:
    """What a rule is about; None where it does not parse, which is the field's fault."""
    try:
        return parse_rule(rule).metric if isinstance(rule, str) else None
    except ConfigError:
        return None


def unmeasured(at: Place, rule: Any, measured: list[Any]) -> Iterator[Fault]:
    """A fault where the suite does not measure what a rule is about."""
    metric = _metric_of(rule)
    if metric is None:
        return
    group = metric.split(".")[0]
    if group not in METRICS:
        problem = f"{shown(metric)} belongs to no metric group{did_you_mean(group, METRICS)}"
        yield Fault(at, problem, expected=f"a metric of {', '.join(METRICS)}")
    elif group not in measured:
        yield Fault(at, f"{shown(metric)} is not measured: metrics lacks {group!r}", fix=f"add {group} to metrics")
