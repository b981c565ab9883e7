"""Everything a user can get wrong, said once: what, where, what was expected, what to do.

Only `vqbench.cli` catches these and turns them into exit codes; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class VqbenchError(Exception):
    """A mistake in what the user gave, never a bug in vqbench.

    Args:
        problem: one sentence that says what is wrong and what came.
        where: file, file:line, or the name of the thing at fault.
        expected: what would have been right.
        fix: the next step.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.expected = expected
        self.fix = fix
        super().__init__(problem)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors come from other processes, too, and some are made of other arguments than they hold.
        return _restored, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.problem}" if self.where else self.problem]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class ConfigError(VqbenchError):
    """A suite, recipe or rule that cannot be read."""


class DataError(VqbenchError):
    """A clip, manifest or corpus that cannot be read; a clip's error makes that clip unscored."""


class CheckpointError(VqbenchError):
    """A checkpoint that is truncated, foreign, of another shape, or a pickle that wants to run code."""


class ResultError(VqbenchError):
    """A run folder or baseline that cannot be read or compared."""


class TrainingError(VqbenchError):
    """A training that cannot start or that went wrong: diverged loss, collapsed codebook."""


class DivergedError(TrainingError):
    """A training whose loss or gradients ran off, or are no numbers."""


class MissingExtraError(VqbenchError):
    """A package is missing that one of vqbench's extras brings."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            fix=f"pip install 'vqbench[{extra}]'",
        )


class ManyErrors(VqbenchError):  # noqa: N818 - it is many
    """All the faults of one input, reported at once."""

    def __init__(self, errors: Sequence[VqbenchError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in errors))


def _restored(kind: type[VqbenchError], args: tuple[object, ...], content: dict[str, object]) -> VqbenchError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(content)
    return error


def raise_all(errors: Sequence[VqbenchError]) -> None:
    """Raises nothing, the one error, or all of them together."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ManyErrors(errors)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the nearest known name, or an empty string.

    >>> did_you_mean("codebok", ["codebook", "speech"])
    " (did you mean 'codebook'?)"
    >>> did_you_mean("zzz", ["codebook"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
