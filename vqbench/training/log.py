"""What a training says of itself: a CSV with a row a validation, and TensorBoard's curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from vqbench.files import write_whole

_STEPS_BETWEEN = 10
"""Steps between two points of the loss's curve."""


class Log:
    """A training's log, to be entered once all that can fail at once has not failed.

    Args:
        folder: where `log.csv` and the event files lie.
        rows: of validations so far; it is added to.
        step: that goes on; what TensorBoard saw of later ones, in a run that was killed, is hidden.
        enabled: nothing is written without.
    """

    def __init__(self, folder: Path, rows: list[dict[str, float]], step: int, *, enabled: bool) -> None:
        self._folder, self._rows, self._step, self._enabled = folder, rows, step, enabled

    def __enter__(self) -> Log:
        if self._enabled:
            from tensorboardX import SummaryWriter  # a second and a half to import

            purge = self._step + 1 if self._step else None
            self._curves = SummaryWriter(
                str(self._folder), purge_step=purge, flush_secs=30, filename_suffix=f".{self._step}"
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._enabled:
            self._curves.close()

    def step(self, step: int, loss: float) -> None:
        """A point of the loss's curve, now and then."""
        if self._enabled and step % _STEPS_BETWEEN == 0:
            self._curves.add_scalar("loss", loss, step)

    def row(self, figures: Mapping[str, float], found: Mapping[str, float]) -> None:
        """A row of figures of a step, and of what validation found."""
        row = {**figures, **{f"validation_{name}": value for name, value in found.items()}}
        self._rows.append(row)
        if self._enabled:
            for name, value in row.items():
                if name not in ("step", "loss"):
                    self._curves.add_scalar(name, value, row["step"])
            write_log(self._folder / "log.csv", self._rows)


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Writes a CSV of all figures; a row that lacks one leaves it empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())
