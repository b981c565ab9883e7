"""What looks wrong with a run before anybody judges it: figures that no sound candidate, or no sound measuring, gives.

A rule asks whether a figure is good enough; a check asks whether it can be believed. What a check finds is named beside
the verdict, and stops the gate where the suite says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import TypeAlias

import numpy as np

from vqbench.judging.languages import NOT_UNDERSTOOD_CHECK, not_understood
from vqbench.judging.learning import TOO_LITTLE, UNTOLD, doubts
from vqbench.judging.selection import Contender, Selection, candidates_of
from vqbench.records.checks import CHECKS
from vqbench.records.clip_sets import named_set
from vqbench.records.likelihood import CEILING, GROUP, NATS, UNIFORM
from vqbench.records.reference import NATURAL, WRITTEN, asks_for_tokens
from vqbench.records.rules import parse_rule
from vqbench.records.run import ClipRecord, MetricSpec, Result, Run
from vqbench.records.verdict import Finding
from vqbench.stats.columns import Ragged

FEW_CODES = 2.0
"""An encoder whose perplexity is below this writes hardly anything but one code."""

MORE_BITS = 1.05
"""A candidate that spends this many times the bits of another, and surely more, should not score surely worse."""

_NAMES_SHOWN = 5

_Lines: TypeAlias = Iterator[tuple[str, str]]
"""(candidate, what is wrong with it); the candidate is empty where it is the run."""


def check_plausibility(run: Run, baseline: Selection | None = None) -> tuple[Finding, ...]:
    """Looks a run over, and its baseline where there is one.

    Args:
        run: what is to be judged.
        baseline: as in `gate`.

    Returns:
        What was found by the checks that the suite did not switch off, in the order of `CHECKS`. Candidates that no
        rule of the suite judges are passed over.
    """
    passed_over = set(candidates_of(run)) - set(_judged(run))
    found = []
    for name, check in CHECKS.items():
        level = run.suite.plausibility.get(name, check.level)
        if level != "off":
            found += [
                Finding(name, candidate, level, message)
                for candidate, message in _FINDERS[name](run, baseline)
                if candidate not in passed_over
            ]
    return tuple(found)


def _constant_tokens(run: Run, baseline: Selection | None) -> _Lines:
    figures = _figures(run)
    for name in candidates_of(run):
        used = _perplexity(run, name, figures)
        if used is not None and used < FEW_CODES:
            yield name, f"it writes hardly anything but one code: perplexity {used:.3f}"


def _perplexity(run: Run, candidate: str, figures: _Figures) -> float | None:
    """How many codes a candidate uses, in effect: as it was measured, else of the codes that stand in its tables."""
    for spec in run.metrics:
        result = figures.get((candidate, spec.name)) if spec.reduction == "perplexity" else None
        if result is not None and result.value is not None:
            return result.value
    for table in run.tables:
        codes = table.columns.get("codes") if table.candidate == candidate else None
        if isinstance(codes, Ragged) and codes.whole and len(codes.values):
            shares = np.unique(codes.values, return_counts=True)[1] / len(codes.values)
            return float(np.exp(-(shares * np.log(shares)).sum()))
    return None


def _codebook_size(run: Run, baseline: Selection | None) -> _Lines:
    for name, ours, theirs in _beside(run, baseline):
        sizes = ours.record.codebook_size, theirs.record.codebook_size
        if None not in sizes and sizes[0] != sizes[1]:
            yield name, f"its codebook has {sizes[0]:,} codes, {theirs.label}'s has {sizes[1]:,}"
    for table in run.tables:
        codes = table.constants.get(GPT_CODES)
        size = next(c.codebook_size for c in run.candidates if c.name == table.candidate)
        whose = {WRITTEN: "the GPT", NATURAL: run.suite.reference}.get(table.group)
        if codes is not None and size is not None and size != codes and whose is not None:
            yield table.candidate, f"its codebook has {size:,} codes, {whose} writes {codes:,.0f}"


GPT_CODES = "gpt_codes"
"""The constant of a table of agreement that says how many codes the GPT, or who stands in for it, has."""


def _front_end(run: Run, baseline: Selection | None) -> _Lines:
    if baseline is None:
        fronts = {c.name: c.front_end for c in run.candidates if c.role == "candidate" and c.front_end is not None}
        first = next(iter(fronts), "")
        for name, front in fronts.items():
            if front != fronts[first]:
                yield name, f"its mel front end is {front}, that of {first} is {fronts[first]}"
    for name, ours, theirs in _beside(run, baseline):
        if ours.record.front_end != theirs.record.front_end:
            yield name, f"its mel front end is {ours.record.front_end}, {theirs.label}'s is {theirs.record.front_end}"


def _above_ceiling(run: Run, baseline: Selection | None) -> _Lines:
    figures = _figures(run)
    for spec in run.metrics:
        if spec.ceiling is None or spec.higher_is_better is None:
            continue
        sign = 1 if spec.higher_is_better else -1
        for name in candidates_of(run):
            ours, top = figures.get((name, spec.name)), figures.get((name, spec.ceiling))
            if _surely_above(ours, top, sign):
                yield name, f"{spec.name} is {_shown(ours, spec)}, beyond its ceiling {_shown(top, spec)}"


def _more_bits_worse(run: Run, baseline: Selection | None) -> _Lines:
    bits = next((spec for spec in run.metrics if spec.reduction == "bits_per_second"), None)
    if bits is None:
        return
    figures = _figures(run)
    fronts = {candidate.name: candidate.front_end for candidate in run.candidates}
    for spec in run.metrics:
        if not spec.headline or spec.higher_is_better is None or spec.group not in ("reconstruction", "speech"):
            continue
        sign = 1 if spec.higher_is_better else -1
        for more, fewer in permutations(candidates_of(run), 2):
            if spec.needs_same_front_end and fronts[more] != fronts[fewer]:
                continue
            spent, saved = figures.get((more, bits.name)), figures.get((fewer, bits.name))
            mine, other = figures.get((more, spec.name)), figures.get((fewer, spec.name))
            if _surely_above(spent, saved, 1, MORE_BITS) and _surely_above(other, mine, sign):
                yield (
                    more,
                    f"{spec.name} is {_shown(mine, spec)} with {_shown(spent, bits)}, "
                    f"{fewer}'s is {_shown(other, spec)} with {_shown(saved, bits)}",
                )
                break


def _error_rate(run: Run, baseline: Selection | None) -> _Lines:
    for spec in run.metrics:
        if spec.name.rpartition(".")[2] in ("wer", "cer"):
            for result in run.results:
                if result.metric == spec.name and result.value is not None and result.value > 1:
                    yield result.candidate, f"{spec.name} is {_shown(result, spec)}: more errors than words"


def _not_understood(run: Run, baseline: Selection | None) -> _Lines:
    for problem in not_understood(run, run.metrics):
        yield "", problem


def _few_clips(run: Run, baseline: Selection | None) -> _Lines:
    counts: dict[str, int] = {}
    for clip in run.clips:
        counts[clip.clip_set] = counts.get(clip.clip_set, 0) + 1
    for name, n in counts.items():
        if n < run.suite.min_clips:
            yield "", f"the set {name!r} has {n} clips, the suite wants at least {run.suite.min_clips} for a judgement"


def _unknown_clusters(run: Run, baseline: Selection | None) -> _Lines:
    unit = run.interval.unit
    sets: dict[str, list[ClipRecord]] = {}
    for clip in run.clips:
        if unit != "clip" or not named_set(clip.clip_set).single:
            sets.setdefault(clip.clip_set, []).append(clip)
    for name, clips in sets.items():
        unknown = [clip.id for clip in clips if not (clip.text if unit == "sentence" else clip.speaker)]
        if 0 < len(unknown) < len(clips):
            yield (
                "",
                f"{len(unknown)} of the {len(clips)} clips of the set {name!r} name no {run.interval.cluster}, e.g. "
                f"{unknown[0]}; so its intervals draw clip by clip, as if no two were of one {run.interval.cluster}",
            )


def _other_clips(run: Run, baseline: Selection | None) -> _Lines:
    groups = list(dict.fromkeys(spec.group for spec in run.metrics if spec.resampled == "clip"))
    for group in groups:
        tables = [table for table in run.tables if table.group == group and table.candidate in candidates_of(run)]
        if len({frozenset(table.unscored) for table in tables}) > 1:
            for table in tables:
                if len(table.unscored) > run.suite.allow_unscored:
                    lost = ", ".join(list(table.unscored)[:_NAMES_SHOWN])
                    lost += ", …" if len(table.unscored) > _NAMES_SHOWN else ""
                    yield table.candidate, f"{group} lacks {lost}, and not everybody lacks the same clips"
    if baseline is not None:
        metrics = {spec.name: spec for spec in run.metrics}
        judged = [parse_rule(written.rule) for written in run.suite.gate]
        specs = [metrics[rule.metric] for rule in judged if rule.needs_baseline and rule.metric in metrics]
        for clip_set in dict.fromkeys(spec.clip_set for spec in specs if spec.resampled == "clip"):
            ours, theirs = _clips(run, clip_set), _clips(baseline.run, clip_set)
            if ours != theirs:
                counts = f"{len(ours):,} clips here, {len(theirs):,} there, {len(ours & theirs):,} of them the same"
                yield "", f"the baseline's set {clip_set!r} is another: {counts}"


def _missing_candidates(run: Run, baseline: Selection | None) -> _Lines:
    if baseline is not None and baseline.candidate is None:
        missing = [name for name in candidates_of(baseline.run) if name not in candidates_of(run)]
        if missing:
            yield "", f"nobody judges {', '.join(missing)}, whom the baseline {baseline.label} has"


def _agreement_not_asked(run: Run, baseline: Selection | None) -> _Lines:
    judged = _judged(run)
    if run.suite.gate:
        rules = [written for written in run.suite.gate if asks_for_tokens(written.rule)]
        asked = {name for written in rules for name in written.candidates or judged}
    else:
        asked = {table.candidate for table in run.tables if table.group in (WRITTEN, NATURAL, GROUP)}
    unasked = [name for name in judged if name not in asked and name != run.suite.reference]
    # (size of the codebook, digest) → who has it; a candidate that is another one by a second name writes the same.
    known: dict[int, dict[str, str]] = {}
    for candidate in run.candidates:
        if candidate.name in judged and candidate.codebook_size is not None:
            known.setdefault(candidate.codebook_size, {}).setdefault(candidate.digest, candidate.name)
    for name, ours, theirs in _beside(run, baseline):
        size = ours.record.codebook_size
        if name in unasked and size is not None and size == theirs.record.codebook_size:
            known[size].setdefault(theirs.record.digest, theirs.label)
    figure = f"{WRITTEN if any(spec.group == WRITTEN for spec in run.metrics) else NATURAL}.raw"
    measured = any(spec.name == figure for spec in run.metrics)
    for size, of_size in known.items():
        names = list(of_size.values())
        if len(names) > 1 and any(name in unasked for name in names):
            first = names[0] if names[1] in judged else "CHECKPOINT"
            fix = "" if measured else f"`reference: {first}` and "
            shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
            yield (
                "",
                f"{shown} have {size:,} codes each, and no rule asks whether they write the same tokens; if not, a "
                f"model trained on the tokens of one understands none of the others: add {fix}a rule like "
                f"`{figure} >= 0.9`",
            )


def _gpt_out_of_depth(run: Run, baseline: Selection | None) -> _Lines:
    figures = _figures(run)
    for spec in run.metrics:
        if spec.name != NATS:
            continue
        names = [name for name in candidates_of(run) if (name, UNIFORM) in figures]
        true = [(figures[name, CEILING], "the true tokenizer's tokens") for name in names if (name, CEILING) in figures]
        own = [(figures[name, NATS], f"the tokens of {name}, the likeliest of all,") for name in names]
        known = [(figure, whose) for figure, whose in true or own if figure.value is not None]
        best, whose = min(known, key=lambda one: one[0].value or 0.0, default=(None, ""))
        chance = next((figures[name, UNIFORM] for name in names if figures[name, UNIFORM].value is not None), None)
        if best is not None and chance is not None and not _surely_above(chance, best, 1):
            yield (
                "",
                f"the GPT is out of its depth on these recordings: even {whose} cost it {_shown(best, spec)} each, "
                f"where any token by chance costs {_shown(chance, spec)}; {GROUP}.* does not tell candidates apart",
            )


def _doubts(check: str) -> Callable[[Run, Selection | None], _Lines]:
    def find(run: Run, baseline: Selection | None) -> _Lines:
        for name, doubt in doubts(run).items():
            if doubt.check == check:
                yield name, doubt.reason

    return find


_FINDERS: Mapping[str, Callable[[Run, Selection | None], _Lines]] = {
    "constant_tokens": _constant_tokens,
    "codebook_size": _codebook_size,
    TOO_LITTLE: _doubts(TOO_LITTLE),
    UNTOLD: _doubts(UNTOLD),
    "gpt_out_of_depth": _gpt_out_of_depth,
    "other_clips": _other_clips,
    "missing_candidates": _missing_candidates,
    "front_end": _front_end,
    "above_ceiling": _above_ceiling,
    "more_bits_worse": _more_bits_worse,
    "error_rate_above_one": _error_rate,
    "agreement_not_asked": _agreement_not_asked,
    "unknown_clusters": _unknown_clusters,
    NOT_UNDERSTOOD_CHECK: _not_understood,
    "few_clips": _few_clips,
}
"""How each of `CHECKS` is made."""

assert _FINDERS.keys() == CHECKS.keys()


def _judged(run: Run) -> list[str]:
    """The candidates that some rule is for; all of them where there is none."""
    named = {name for written in run.suite.gate for name in written.candidates or candidates_of(run)}
    return [name for name in candidates_of(run) if name in named or not run.suite.gate]


def _beside(run: Run, baseline: Selection | None) -> Iterator[tuple[str, Contender, Contender]]:
    """Each candidate and what it is held against in the baseline, where that has it."""
    if baseline is not None:
        known = [candidate.name for candidate in baseline.run.candidates]
        for name in candidates_of(run):
            other = baseline.candidate or name
            if other in known:
                label = f"the baseline {baseline.label}:{other}"
                yield name, Contender(name, run, name), Contender(label, baseline.run, other)


def _clips(run: Run, clip_set: str) -> set[tuple[str, str, str]]:
    return {(clip.id, clip.sha256, clip.text) for clip in run.clips if clip.clip_set == clip_set}


_Figures: TypeAlias = Mapping[tuple[str, str], Result]
"""(candidate, metric) → the figure."""


def _figures(run: Run) -> _Figures:
    return {(result.candidate, result.metric): result for result in run.results}


def _surely_above(high: Result | None, low: Result | None, sign: int, factor: float = 1.0) -> bool:
    """Whether one figure is above another, with its whole interval; `sign` -1 turns above into below."""
    if high is None or low is None or None in (high.ci_low, high.ci_high, low.ci_low, low.ci_high):
        return False
    assert high.ci_low is not None and high.ci_high is not None
    assert low.ci_low is not None and low.ci_high is not None
    if sign > 0:
        return high.ci_low > factor * low.ci_high
    return high.ci_high < low.ci_low / factor


def _shown(result: Result | None, spec: MetricSpec) -> str:
    assert result is not None and result.value is not None
    unit = f" {spec.unit}" if spec.unit else ""
    return f"{result.value:.{spec.decimals}f}{unit}"
