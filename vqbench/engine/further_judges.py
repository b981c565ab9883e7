"""Judges that a suite asks for by name."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.judges.protocol import Asked, Judge, NamedJudge
from vqbench.records.run import MetricSpec
from vqbench.registries import JUDGES


def further_specs(names: Sequence[str], clip_set: str) -> tuple[MetricSpec, ...]:
    """The figures that further judges will give; none of them is loaded."""
    return tuple(spec for name in names for spec in _judge(name).specs_for(clip_set))


def check_further_judges(names: Sequence[str], asked: Asked) -> None:
    """Sees to it that there is what they need.

    Raises:
        ConfigError: one is asked about what it cannot hear.
    """
    for name in names:
        _judge(name).check(asked)


def further_judges(names: Sequence[str], asked: Asked) -> tuple[Judge, ...]:
    """Further judges, in the order of their names.

    Raises:
        ConfigError: as for `check_further_judges`.
        MissingExtraError: the package of one is not installed.
    """
    return tuple(_judge(name).make(asked) for name in names)


def _judge(name: str) -> NamedJudge:
    found: NamedJudge = JUDGES.load(name)
    return found
