"""Where a run's figures come from, and how to have them again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from vqbench.records.run import Run
from vqbench.report import format as fmt


@dataclass(frozen=True)
class Provenance:
    """What a page says of a run's origin.

    Attributes:
        repeat: commands that make it again; none where it does not say how it was made.
        facts: name, value.
        run: whose it is.
    """

    repeat: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    run: Run


def provenance_of(run: Run) -> Provenance:
    """Gathers the origin of a run's figures."""
    command, commit = (run.provenance.get(name) for name in ("command", "commit"))
    suite = f"{run.suite.name}, seed {run.suite.seed}, digest {run.suite.digest}"
    reference = () if run.suite.reference is None else (("reference", run.suite.reference),)
    return Provenance(
        (*([f"git checkout {shlex.quote(str(commit))}"] if commit else []), *_typed(command)),
        (("suite", suite), *reference, *fmt.flat(run.provenance)),
        run,
    )


def _typed(command: Any) -> list[str]:
    """As it was typed; paths on another machine are told as they were."""
    if not isinstance(command, (list, tuple)) or not command:
        return []
    return [shlex.join(map(str, command))]
