"""The YAML block above a Hugging Face model card, with a candidate's figures in the form that the Hub reads.

The form is Hugging Face's: https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vqbench.errors import ConfigError
from vqbench.judging.selection import Contender
from vqbench.records.clip_sets import named_set
from vqbench.records.reference import NATURAL
from vqbench.records.run import IntervalSpec, MetricSpec, Result, Run
from vqbench.report import format as fmt

TAGS = ("audio", "speech-tokenizer", "vqvae", "tortoise-tts")

_HUB_METRICS = ("wer", "cer")
"""Metrics that the Hub knows; the others keep their own names."""

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")

_DIGITS = 4
"""Significant digits of a published number: more than any interval leaves."""


class _Dumper(yaml.SafeDumper):
    """Quotes also what only YAML 1.2 takes for a number, which is what the Hub reads: a candidate called `1e5`."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+)$"),
    list("-+.0123456789"),
)


def front_matter(contender: Contender, license_id: str | None = None) -> str:
    """Writes tags, licence and `model-index` between two lines of dashes.

    Args:
        contender: the candidate that the card is about.
        license_id: what the Hub calls its licence, e.g. `apache-2.0`; left out where it is None.

    Raises:
        ConfigError: the licence cannot be one of the Hub's.
    """
    if license_id is not None and not _LICENSE.fullmatch(license_id):
        raise ConfigError(
            f"{license_id!r} cannot be a licence of the Hub's",
            where="--license",
            expected="its id in small letters, e.g. apache-2.0, mit, cc-by-4.0 or other",
        )
    content: dict[str, Any] = {"tags": list(TAGS), "library_name": "vqbench"}
    if license_id is not None:
        content["license"] = license_id
    results = _results(contender)
    if results:
        content["model-index"] = [{"name": fmt.one_line(contender.name), "results": results}]
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)
    return f"---\n{text}---"


def figures_of(contender: Contender) -> dict[str, Result]:
    """Metric → the candidate's figure; only those that are numbers."""
    return {
        result.metric: result
        for result in contender.run.results
        if result.candidate == contender.name and result.value is not None and math.isfinite(result.value)
    }


def headline(run: Run) -> Sequence[MetricSpec]:
    """The metrics that a card shows: those marked so, or all of them where none is."""
    return [spec for spec in run.metrics if spec.headline] or run.metrics


def limits_of(spec: MetricSpec, figures: Mapping[str, Result]) -> tuple[float | None, float | None]:
    """The floor and the ceiling of a metric, each None where there is none."""
    floor, ceiling = (
        figures[name].value if name in figures else None for name in (spec.floor or "", spec.ceiling or "")
    )
    return floor, ceiling


def _results(contender: Contender) -> list[dict[str, Any]]:
    """What `model-index` lists: one entry a clip set, each with the headline metrics there, and those the Hub knows.

    Speed is not among them, because it belongs to a machine as much as to the model; nor is what has no good end: it
    describes the clips, as floors and ceilings do, or the codes.
    """
    figures = figures_of(contender)
    metrics: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for spec in contender.run.metrics:
        shown = spec in headline(contender.run) or _hub_type(spec) in _HUB_METRICS
        if shown and spec.name in figures and spec.resampled == "clip" and spec.higher_is_better is not None:
            # On recordings it is agreement, whichever set they are of.
            what = "natural" if spec.group == NATURAL else spec.clip_set
            metrics.setdefault((what, spec.clip_set), []).append(_metric(spec, figures, contender.run.interval))
    return [
        {"task": _task(what, contender.run), "dataset": _dataset(contender.run, name), "metrics": listed}
        for (what, name), listed in metrics.items()
    ]


def _task(what: str, run: Run) -> dict[str, str]:
    about = named_set(what)
    return {"type": about.task, "name": about.title.format(run.suite.reference or "a GPT")}


def _dataset(run: Run, name: str) -> dict[str, Any]:
    suite, digest, config = (fmt.one_line(text) for text in (run.suite.name, run.suite.digest, name))
    n = sum(clip.clip_set == name for clip in run.clips)
    # The Hub refuses a type that is no id of a data set: letters, digits, and - _ . between them.
    return {
        "type": re.sub(r"[^A-Za-z0-9_.-]+", "-", f"vqbench-{suite}"),
        "name": f"{suite}, {config}: {n:,} {named_set(name).noun} (suite {digest})",
        "config": config,
        "args": {"suite": suite, "digest": digest, "seed": run.suite.seed, "n_clips": n},
    }


def _metric(spec: MetricSpec, figures: Mapping[str, Result], interval: IntervalSpec) -> dict[str, Any]:
    result = figures[spec.name]
    floor, ceiling = limits_of(spec, figures)
    numbers = {"ci_low": result.ci_low, "ci_high": result.ci_high, "floor": floor, "ceiling": ceiling}
    args = {
        "unit": fmt.one_line(spec.unit) or None,
        "higher_is_better": spec.higher_is_better,
        "confidence": None if result.ci_low is None else interval.confidence,
        **{name: _rounded(number) for name, number in numbers.items()},
        "n": result.n,
        f"n_{interval.cluster}s": result.n_clusters,
        "version": spec.version,
    }
    return {
        "type": _hub_type(spec),
        "name": fmt.one_line(spec.name),
        "value": _rounded(result.value),
        "args": {key: value for key, value in args.items() if value is not None},
    }


def _hub_type(spec: MetricSpec) -> str:
    last = spec.name.rpartition(".")[2]
    return last if last in _HUB_METRICS else fmt.one_line(spec.name)


def _rounded(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(f"{number:.{_DIGITS}g}")
