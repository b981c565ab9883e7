"""A candidate's model card for the Hugging Face Hub: what it is, how it was measured, its figures and its gate."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vqbench.errors import ResultError
from vqbench.judging.selection import Contender, Selection, candidates_of
from vqbench.records.clip_sets import named_set
from vqbench.records.run import CandidateRecord, MetricSpec, Result, Run
from vqbench.records.verdict import GateReport
from vqbench.report import format as fmt
from vqbench.report.card.front_matter import figures_of, front_matter, headline, limits_of
from vqbench.report.tables.figures import intervals_made, rows_called, run_grids, unscored
from vqbench.report.tables.grid import Cell, Column, Grid, Row
from vqbench.report.tables.judgements import gate_grid
from vqbench.report.tables.markdown import escape, grid_markdown
from vqbench.report.tables.slices import slice_grids

CLIPS_SHOWN = 5
"""Unscored clips listed by name before the rest is only counted."""

_TESTS_OF_A_DROP_IN = {"token_agreement": "token agreement", "downstream": "downstream speech"}
"""Metric group → what it is called: the two that tell whether another model understands the tokens."""

_RESPONSIBLE_USE = """\
## Responsible use

This tokenizer turns speech into tokens and back; the figures were made to measure and repair such tokenizers. Do not
use it, or what is trained on its tokens, to speak in the voice of somebody who has not agreed to it. Tell listeners
when what they hear was made by a machine."""


def card_subject(selection: Selection) -> Contender:
    """The candidate that a card is written for: the one that was named, else the run's only one.

    Raises:
        ResultError: a reference was named, or none was and the run has several candidates or none.
    """
    run, names = selection.run, candidates_of(selection.run)
    expected = f"one of {', '.join(names)}" if names else "a run of at least one candidate"
    if selection.candidate is not None and selection.candidate not in names:
        raise ResultError(
            f"{selection.candidate!r} is a reference, no model that could have a card",
            where=selection.label,
            expected=expected,
        )
    if selection.candidate is None and len(names) != 1:
        raise ResultError(
            "which candidate is the card for?" if names else "there are only references, no candidate to write of",
            where=selection.label,
            expected=expected,
            fix=f"name it behind a colon: RUN:{names[0]}" if names else None,
        )
    name = selection.candidate or names[0]
    return Contender(name, run, name)


def model_card(contender: Contender, gate: GateReport | None = None, license_id: str | None = None) -> str:
    """Writes a README.md for the Hub: YAML with a `model-index`, then Markdown.

    Args:
        contender: the candidate that the card is about.
        gate: the verdict on this candidate alone; None where the suite has no rule for it, or could not be judged.
        license_id: what the Hub calls its licence, e.g. `apache-2.0`.

    Raises:
        ConfigError: the licence cannot be one of the Hub's.
    """
    run = contender.run
    parts = [
        front_matter(contender, license_id),
        f"# {escape(contender.name)}",
        _what_it_is(contender),
        "## Figures",
        grid_markdown(_figures(contender)),
        *map(grid_markdown, slice_grids(replace(run, candidates=(contender.record,)))),
    ]
    if len(run.candidates) > 1:
        parts += ["## Beside the others of the run", *map(grid_markdown, run_grids(run, headline=True))]
        if len(candidates_of(run)) > 1:
            parts.append(f"{fmt.BEST} best of its column among the candidates.")
    parts += ["## Gate", _gate(contender, gate)]
    parts += ["## What has no figure", *_without_figure(contender)]
    parts += ["## How it was measured", *_how(run)]
    parts += ["## What the figures do not say", _limits(contender), _RESPONSIBLE_USE]
    return "\n\n".join(parts) + "\n"


def _what_it_is(contender: Contender) -> str:
    record = contender.record
    facts = {
        "source": record.source,
        "digest": record.digest,
        "parameters": None if record.n_parameters is None else f"{record.n_parameters:,}",
        "codebook size": None if record.codebook_size is None else f"{record.codebook_size:,}",
        "token rate": None if record.token_rate_hz is None else f"{record.token_rate_hz:.4g} Hz",
        "digest of the mel front end": record.front_end,
        "one of the seeds of": record.family,
    }
    suite = escape(contender.run.suite.name)
    return f"A speech tokenizer, measured with vqbench on the suite {suite}.\n\n{_bullets(facts)}"


def _figures(contender: Contender) -> Grid:
    """The headline metrics as rows."""
    run, figures = contender.run, figures_of(contender)
    specs = headline(run)
    reasons = _reasons(contender)
    notes = fmt.Notes()
    timed = any(spec.resampled == "repetition" for spec in specs)
    return Grid(
        title=f"headline figures of {contender.name}",
        columns=(
            Column(("metric",), "unit, direction"),
            Column(("figure",), f"{fmt.share(run.interval.confidence)} interval", "figure"),
            Column(("n",), f"{run.interval.cluster}s", "figure"),
            Column(("floor",), "ceiling", "figure"),
            Column(("what it is",), kind="text"),
        ),
        rows=tuple(_row(spec, figures, reasons, notes) for spec in specs),
        caption=(
            "↑ higher is better, ↓ lower is better. A figure without a unit is a share or a ratio: 0.12 is 12 %. "
            "Floor: what comes for nothing on the same clips; ceiling: the best that could be had there."
            + (" Speeds are those of the machine below, and so stand only here, not in the card's metadata." * timed)
        ),
        notes=notes.lines(),
    )


def _row(spec: MetricSpec, figures: Mapping[str, Result], reasons: Mapping[str, str], notes: fmt.Notes) -> Row:
    metric = Cell(spec.name, f"{spec.unit} {fmt.arrow(spec)}".strip())
    about = Cell(spec.description)
    result = figures.get(spec.name)
    if result is None:
        return Row((metric, Cell(f"{fmt.MISSING} {notes.mark(reasons[spec.name])}"), Cell(""), Cell(""), about))
    value = f"{fmt.number(result.value, spec.decimals)} {notes.mark(result.reason)}".rstrip()
    floor, ceiling = limits_of(spec, figures)
    has_limits = floor is not None or ceiling is not None
    return Row(
        (
            metric,
            Cell(value, fmt.interval(result.ci_low, result.ci_high, spec.decimals)),
            Cell(f"{result.n:,} {rows_called(spec)}", "" if result.n_clusters is None else f"{result.n_clusters:,}"),
            Cell(fmt.number(floor, spec.decimals), fmt.number(ceiling, spec.decimals)) if has_limits else Cell(""),
            about,
        )
    )


def _gate(contender: Contender, gate: GateReport | None) -> str:
    if gate is not None:
        return grid_markdown(gate_grid(gate, contender.run.metrics))
    rules = [rule for rule in contender.run.suite.gate if not rule.candidates or contender.name in rule.candidates]
    if not rules:
        return "The suite has no rules for it."
    listed = "\n".join(f"- {escape(rule.rule)}" for rule in rules)
    return f"Not judged, because a rule of the suite needs a baseline and none was given:\n\n{listed}"


def _without_figure(contender: Contender) -> list[str]:
    metrics: dict[str, list[str]] = {}
    for metric, reason in _reasons(contender).items():
        metrics.setdefault(reason, []).append(metric)
    missing = [f"- {escape(', '.join(names))}: {escape(reason)}" for reason, names in metrics.items()]
    lost = []
    for entry in unscored(contender.run):
        if entry.candidate == contender.name:
            named = ", ".join(f"{clip} ({why})" for clip, why in entry.clips[:CLIPS_SHOWN])
            hidden = len(entry.clips) - CLIPS_SHOWN
            more = f" and {hidden:,} more" if hidden > 0 else ""
            head = f"{fmt.counted(len(entry.clips), 'clip')} not scored in {', '.join(entry.groups)}"
            lost.append(f"- {escape(f'{head}: {named}{more}')}")
    return ["\n".join(part) for part in (missing, lost) if part] or [
        "Nothing: every metric has a figure, and every clip was scored."
    ]


def _reasons(contender: Contender) -> dict[str, str]:
    """Metric → why the candidate has no figure there."""
    results = {result.metric: result for result in contender.run.results if result.candidate == contender.name}
    figures = figures_of(contender)
    return {spec.name: _why(results.get(spec.name)) for spec in contender.run.metrics if spec.name not in figures}


def _why(result: Result | None) -> str:
    if result is None:
        return "not measured"
    return result.reason or ("no figure" if result.value is None else f"came out as {result.value}")


def _how(run: Run) -> list[str]:
    known = run.provenance
    facts = {
        "suite": f"{run.suite.name}, digest {run.suite.digest}, seed {run.suite.seed}",
        "clips": "; ".join(_counted(run)),
        "intervals": intervals_made(run.interval),
        "machine": known.get("machine"),
        "device": known.get("device"),
        "vqbench": known.get("vqbench"),
        "date": known.get("started"),
    }
    parts = [_bullets(facts)]
    command = known.get("command")
    if isinstance(command, (list, tuple)) and command:
        parts.append(f"To repeat it:\n\n{_code(shlex.join(map(str, command)))}")
    rows = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in fmt.flat(known))
    if rows:
        head = "<details><summary>Versions, judges, and all else that the run says of itself</summary>"
        parts.append(f"{head}\n\n| what | |\n| --- | --- |\n{rows}\n\n</details>")
    return parts


def _counted(run: Run) -> Iterable[str]:
    """How many clips of each set there are, and by how many speakers."""
    for clip_set in dict.fromkeys(clip.clip_set for clip in run.clips):
        clips = [clip for clip in run.clips if clip.clip_set == clip_set]
        speakers = {clip.speaker for clip in clips} - {None}
        of = f" of {fmt.counted(len(speakers), 'speaker')}" if speakers else ""
        yield f"{clip_set}: {len(clips):,} {named_set(clip_set).noun}{of}"


def _limits(contender: Contender) -> str:
    run, record = contender.run, contender.record
    groups = {spec.group.partition(".")[0] for spec in run.metrics if spec.name in figures_of(contender)}
    missing = [name for group, name in _TESTS_OF_A_DROP_IN.items() if group not in groups]
    return "\n".join(
        f"- {line}"
        for line in (
            "They stand on the clips counted above. The intervals cover other clips like these, not other languages, "
            "microphones or noise.",
            _seeds(run, record),
            "Models and formulas judged, those that stand among the versions above: another recogniser counts other "
            "word errors. No person listened.",
            "Good reconstruction alone makes no drop-in: a model that speaks in tokens understands those of its own "
            "codebook only. Token agreement and downstream speech tell."
            + (f" Not measured here: {', '.join(missing)}." if missing else ""),
        )
    )


def _seeds(run: Run, record: CandidateRecord) -> str:
    n = sum(other.family == record.family for other in run.candidates) if record.family is not None else 1
    if n == 1:
        return "They are of one training. The same recipe with another seed gives others, by how much is unknown."
    return f"They are of one training, of {n} in the run that differ in their seed: the tables above show the others."


def _bullets(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {escape(str(fact))}" for name, fact in facts.items() if fact is not None)


def _code(line: str) -> str:
    """One line as it is, which no Markdown and no HTML within it can leave."""
    text = fmt.one_line(line)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"
