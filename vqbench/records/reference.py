"""Whose tokens those of the candidates are held against on recordings, and whom a rule about that can judge."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.errors import ConfigError
from vqbench.records.likelihood import CEILING, GROUP, UNIFORM, UNIGRAM
from vqbench.records.rules import parse_rule
from vqbench.records.run import Run

NATURAL = "token_agreement.natural"
"""The group of agreement on recordings: with the suite's reference, or else with the teacher's own VQVAE."""

WRITTEN = "token_agreement"
"""The group of agreement with what a teacher's GPT wrote."""

_FOR_ANY_NAMES = ("floor", "floor_unigram", "ceiling", "relabelled", "best_offset_tokens")


def judged_by_default(rule: str, candidates: Sequence[str], reference: str | None) -> tuple[str, ...]:
    """Whom a rule judges that names nobody: all candidates, but for the reference where it would judge itself.

    Args:
        rule: as written.
        candidates: the names of all candidates.
        reference: whom the others' tokens are held against.

    Returns:
        Their names; none of them where it is for everyone.
    """
    if reference not in candidates or not _metric(rule).startswith(f"{NATURAL}."):
        return ()
    return tuple(name for name in candidates if name != reference)


def asks_for_tokens(rule: str) -> bool:
    """Whether a rule is about which tokens are written, so that one about other names for the same codes breaks it."""
    group, _, figure = _metric(rule).rpartition(".")
    if group == GROUP:
        return f"{GROUP}.{figure}" not in (UNIFORM, UNIGRAM, CEILING)
    return group in (WRITTEN, NATURAL) and figure not in _FOR_ANY_NAMES and not figure.startswith("mutual_information")


def held_against(run: Run) -> tuple[str, str] | None:
    """The group of metrics that shows codes side by side, and whose the others are; None where there is none."""
    groups = {spec.group for spec in run.metrics}
    if WRITTEN in groups:
        return WRITTEN, "the GPT"
    if NATURAL in groups:
        return NATURAL, run.suite.reference or "the true tokenizer"
    return None


def _metric(rule: str) -> str:
    try:
        return parse_rule(rule).metric
    except ConfigError:
        return ""  # its own fault says so
