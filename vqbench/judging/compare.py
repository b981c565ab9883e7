"""Candidates beside each other: paired differences with interval and p-value, and the best of each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vqbench.errors import ResultError, did_you_mean
from vqbench.judging.contrast import Contrast, Match, Matches, Pairs, contrast_all, obstacle, other_machine, p_values
from vqbench.judging.languages import mixed_languages
from vqbench.judging.learning import concerns, doubts
from vqbench.judging.selection import Contender, Selection, candidates_of, check_candidate
from vqbench.judging.yardstick import yardsticks
from vqbench.records.run import MetricSpec, Result, Run
from vqbench.records.verdict import Comparison
from vqbench.stats.paired import holm

_PERMUTATIONS_A_TEST = 50
"""Permutations for each test of a family: with fewer, not even the smallest p-value would survive the correction."""

_TIE = 1e-12
"""Values this close, relative to their size, are equal."""


@dataclass(frozen=True)
class ComparisonTable:
    """Everything that `vqbench compare` shows.

    Attributes:
        contenders: the rows; references of comparisons first.
        metrics: the columns.
        results: (label, metric) → the figure over all clips of that contender's own run.
        comparisons: the differences, over the clips that both sides scored.
        best: metric → labels of the best contenders; metrics without a direction are not in it.
        notes: what a reader must know: clips that have no partner.
    """

    contenders: tuple[Contender, ...]
    metrics: tuple[MetricSpec, ...]
    results: Mapping[tuple[str, str], Result]
    comparisons: tuple[Comparison, ...]
    best: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def compare_runs(selections: Sequence[Selection], metrics: Sequence[str] | None = None) -> ComparisonTable:
    """Compares what a person named; the first is the reference.

    One run: its first candidate, or the one named, is the reference of all others. Several: each candidate of the later
    runs is compared with the one of the same name in the first run if there is one, and no candidate was named there;
    else with the first run's named or first candidate.

    Args:
        selections: at least one.
        metrics: names of metrics; None compares all.

    Raises:
        ResultError: an unknown candidate; nothing to compare.
    """
    labelled = _distinct(selections)
    for selection in labelled:
        if selection.candidate is not None:
            check_candidate(selection.run, selection.candidate, selection.label)
    pairings = _pairings(labelled)
    rows = [*(reference for reference, _ in pairings), *(candidate for _, candidate in pairings)]
    contenders = tuple({contender.label: contender for contender in rows}.values())
    specs = _specs(contenders, metrics)
    comparisons, notes = compare(pairings, [spec.name for spec in specs])
    notes = (*mixed_languages(contender.run for contender in contenders), *notes)
    results = {
        (contender.label, result.metric): result
        for contender in contenders
        for result in contender.run.results
        if result.candidate == contender.name
    }
    best = {spec.name: labels for spec in specs if (labels := best_of(spec, contenders, results))}
    return ComparisonTable(contenders, tuple(specs), results, comparisons, best, notes)


def compare(
    pairings: Sequence[tuple[Contender, Contender]], metrics: Sequence[str]
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Compares contenders pairwise, as one family of tests.

    Args:
        pairings: (reference, candidate).
        metrics: names of metrics.

    Returns:
        One comparison a pairing and metric, and notes on clips without a partner. P-values are corrected by Holm over
        all comparisons of quality, and over all of speed: how many stages were timed says nothing about quality.
        Metrics without a direction are not tested.
    """
    matches = Matches()
    asked: list[tuple[Contender, Contender, Comparison, Match | None]] = []
    for reference, candidate in pairings:
        for metric in metrics:
            reason, sticks = obstacle(candidate, reference, metric), None
            spec = candidate.metric(metric)
            if reason is None and spec is not None:
                found = yardsticks(candidate, reference, spec)
                reason, sticks = (found, None) if isinstance(found, str) else (None, found)
            interval = reference.run.interval
            match = None if reason else matches.match(candidate, reference, metric, interval, sticks)
            empty = Comparison(
                metric, reference.label, candidate.label, None, None, None, None, None, None, None, 0, reason=reason
            )
            asked.append((reference, candidate, empty, match))
    contrasts = iter(contrast_all([match for *_, match in asked if match is not None]))
    comparisons: list[Comparison] = []
    families: dict[str, list[tuple[int, Contrast]]] = {}
    notes: dict[str, None] = {}
    for reference, candidate, empty, match in asked:
        if match is None:
            comparisons.append(empty)
            continue
        contrast = next(contrasts)
        if match.pairs is not None:
            notes.update(dict.fromkeys(_notes(reference, candidate, match.spec, match.pairs)))
        if contrast.testable:
            families.setdefault("speed" if match.pairs is None else "quality", []).append((len(comparisons), contrast))
        comparisons.append(_comparison(reference, candidate, empty, contrast))
    for family in families.values():
        least = _PERMUTATIONS_A_TEST * len(family)
        permutations = max(least, *(reference.run.interval.resamples for reference, _ in pairings))
        found_p = p_values([contrast for _, contrast in family], permutations)
        for (index, _), p_value, p_holm in zip(family, found_p, holm(found_p), strict=True):
            comparisons[index] = replace(comparisons[index], p_value=p_value, p_holm=p_holm)
    return tuple(comparisons), tuple(notes)


def best_of(
    spec: MetricSpec, contenders: Iterable[Contender], results: Mapping[tuple[str, str], Result]
) -> tuple[str, ...]:
    """The labels of the best contenders on a metric: several where they tie, none where no end is better.

    References are never the best, and where contenders do not compare (another front end, another version) nobody is.
    """
    if spec.higher_is_better is None:
        return ()
    sign = 1 if spec.higher_is_better else -1
    scored = []
    for contender in contenders:
        result = results.get((contender.label, spec.name))
        if contender.record.role == "candidate" and result is not None and result.value is not None:
            scored.append((contender, sign * result.value))
    if len(scored) < 2 or any(obstacle(scored[0][0], other, spec.name) for other, _ in scored[1:]):
        return ()
    top = max(value for _, value in scored)
    return tuple(contender.label for contender, value in scored if math.isclose(value, top, rel_tol=_TIE))


def best_by_metric(run: Run) -> dict[str, tuple[str, ...]]:
    """Metric → the names of the best candidates of a run; metrics without a direction are not in it."""
    contenders = [Contender(name, run, name) for name in candidates_of(run)]
    results = {(result.candidate, result.metric): result for result in run.results}
    return {spec.name: best for spec in run.metrics if (best := best_of(spec, contenders, results))}


def _comparison(reference: Contender, candidate: Contender, empty: Comparison, found: Contrast) -> Comparison:
    """The comparison without its p-values."""
    match, difference = found.match, found.difference
    what = "pairs of clips" if match.pairs is not None else "repetitions"
    if match.n < 2:
        return replace(empty, n_pairs=match.n, reason=f"needs at least two {what}, there are {match.n}")
    if not math.isfinite(difference.value):
        return replace(empty, n_pairs=match.n, reason=f"the figure is undefined over these {what}")
    reason = None
    ends = difference.interval(reference.run.interval.confidence)
    if ends is None:
        reason = "no interval: the figure is undefined on some resamples"
    elif match.pace is not None:
        why = other_machine(candidate.run, reference.run) or "timed at another time"
        reason = f"{why}; scaled by the yardstick {candidate.run.suite.yardstick}"
    else:
        reason = _doubt(reference, candidate, match.spec)
    low, high = ends or (None, None)
    return replace(
        empty,
        reference_value=found.theirs.value,
        candidate_value=found.ours.value,
        delta=difference.value,
        ci_low=low,
        ci_high=high,
        n_pairs=match.n,
        n_clusters=match.n_clusters,
        reason=reason,
    )


def _doubt(reference: Contender, candidate: Contender, spec: MetricSpec) -> str | None:
    """What is doubtful about one of two figures; the candidate's comes first."""
    if concerns(spec):
        for contender in (candidate, reference):
            if (doubt := doubts(contender.run).get(contender.name)) is not None:
                return f"{contender.label}: {doubt.reason}"
    return None


def _pairings(selections: Sequence[Selection]) -> list[tuple[Contender, Contender]]:
    first, *others = selections
    judged = candidates_of(first.run)
    if not judged and first.candidate is None:
        raise ResultError("there are only references, no candidates, to compare", where=first.label)
    default = first.candidate or judged[0]
    if not others:
        reference = Contender(default, first.run, default)
        pairings = [(reference, Contender(name, first.run, name)) for name in judged if name != default]
    else:
        pairings = []
        for other in others:
            for name in [other.candidate] if other.candidate else candidates_of(other.run):
                same = name if name in judged and first.candidate is None else default
                reference = Contender(f"{first.label}:{same}", first.run, same)
                pairings.append((reference, Contender(f"{other.label}:{name}", other.run, name)))
    if not pairings:
        raise ResultError(
            "there is nothing to compare with",
            where=first.label,
            expected="a second run, or a run of at least two candidates",
        )
    return pairings


def _distinct(selections: Sequence[Selection]) -> list[Selection]:
    """The selections, with a number behind a label that was there before, but for other candidates of that very run."""
    seen: dict[str, list[Selection]] = {}
    distinct = []
    for selection in selections:
        earlier = seen.setdefault(selection.label, [])
        named = {name for other in earlier for name in (other.candidate, *_all_of(other))} | {None}
        told_apart = selection.candidate not in named and all(other.run is selection.run for other in earlier)
        earlier.append(selection)
        label = selection.label if told_apart or len(earlier) == 1 else f"{selection.label} ({len(earlier)})"
        distinct.append(replace(selection, label=label))
    return distinct


def _all_of(selection: Selection) -> list[str]:
    """Everybody whom a selection without a candidate means."""
    return candidates_of(selection.run) if selection.candidate is None else []


def _specs(contenders: Iterable[Contender], names: Sequence[str] | None) -> list[MetricSpec]:
    specs: dict[str, MetricSpec] = {}
    for contender in contenders:
        for spec in contender.run.metrics:
            specs.setdefault(spec.name, spec)
    if names is None:
        return list(specs.values())
    unknown = [name for name in names if name not in specs]
    if unknown:
        near = did_you_mean(unknown[0], specs)
        raise ResultError(f"no run has the metric {unknown[0]!r}{near}", expected=f"one of {', '.join(specs)}")
    return [specs[name] for name in names]


def _notes(reference: Contender, candidate: Contender, spec: MetricSpec, pairs: Pairs) -> Iterable[str]:
    for ids, what in (
        (pairs.only_ours, f"only for {candidate.label}, not for {reference.label}"),
        (pairs.only_theirs, f"only for {reference.label}, not for {candidate.label}"),
        (
            pairs.other_clips,
            f"on other audio or text under the same id for {candidate.label} and {reference.label}",
        ),
    ):
        if ids:
            shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
            yield f"{spec.group}: {len(ids)} {'clip was' if len(ids) == 1 else 'clips were'} scored {what}: {shown}"
