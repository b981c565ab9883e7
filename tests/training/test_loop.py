"""The training loop: what is broken off ends the same, and what goes wrong is named before it spoils anything."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from interrupting import Interrupting
from torch import Tensor, nn

from vqbench.errors import TrainingError
from vqbench.progress import Progress, Silent
from vqbench.training.loop import learning_rate_share, optimize, write_log
from vqbench.training.recipe import OptimizationConfig

CPU = torch.device("cpu")
CONFIG = OptimizationConfig(steps=10, learning_rate=0.01, warmup_steps=2, validate_every=4, checkpoint_every=3)


class Line:
    """Fits y = 2 x through dropout, so that the global generator matters as well as the step's own."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 4))
        self.updates: list[int] = []

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        x = torch.randn(16, 4, generator=draw)
        loss = (self.module(x) - 2 * x).square().mean()
        return loss, {"error": loss.item()}

    def updated(self, step: int, draw: torch.Generator) -> Mapping[str, float]:
        self.updates.append(step)
        return {"drawn": torch.rand((), generator=draw).item()}

    def validate(self) -> Mapping[str, float]:
        self.module.eval()
        with torch.no_grad():
            x = torch.ones(1, 4)
            error = (self.module(x) - 2 * x).square().mean().item()
        self.module.train()
        return {"error": error}


def run(objective: Line, folder: Path, config: OptimizationConfig = CONFIG, progress: Progress | None = None) -> None:
    optimize(objective.module, objective, config, 5, folder, CPU, progress or Silent(), "line")


@pytest.mark.parametrize("at", [1, 3, 4, 8, 9])
def test_broken_off_and_resumed_it_ends_bit_for_bit_the_same(at: int, tmp_path: Path) -> None:
    unbroken, broken, resumed = Line(), Line(), Line()
    run(unbroken, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken", progress=Interrupting("line", at))
    torch.rand(7)  # whatever else the process draws
    run(resumed, tmp_path / "broken")
    assert resumed.updates == list(range(at // 3 * 3, 10))
    for ours, theirs in zip(unbroken.module.parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("unbroken", "broken")]
    assert logs[0] == logs[1]


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    objective = Line()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(objective, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_the_log_has_a_row_a_validation_with_all_figures(tmp_path: Path) -> None:
    run(Line(), tmp_path)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [4, 8, 10]
    assert list(rows[0]) == ["step", "learning_rate", "loss", "error", "drawn", "validation_error"]
    assert float(rows[-1]["validation_error"]) < float(rows[0]["validation_error"])


class Diverging(Line):
    """Goes wrong at a step, in its loss or in its gradient alone."""

    def __init__(self, at: int, where: str) -> None:
        super().__init__()
        self.at, self.where = at, where

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        loss, figures = super().loss(step, draw)
        if step == self.at and self.where == "loss":
            return loss * math.nan, figures
        if step == self.at:
            # sqrt has an infinite slope at 0, and 0 times that is no number; its value is 0 all the same.
            return loss + 0 * (loss - loss).sqrt(), figures
        return loss, figures


@pytest.mark.parametrize(("where", "says"), [("loss", "the loss became nan"), ("gradient", "gradient's norm became")])
@pytest.mark.parametrize("at", [5, 9])
def test_divergence_is_named_before_it_is_saved(where: str, says: str, at: int, tmp_path: Path) -> None:
    objective = Diverging(at, where)
    with pytest.raises(TrainingError, match=rf"{says}.* at step {at}") as caught:
        run(objective, tmp_path)
    assert "learning_rate (now 0.01)" in str(caught.value)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == at // 3 * 3
    for tensors in (state["model"].values(), objective.module.state_dict().values()):
        assert all(tensor.isfinite().all() for tensor in tensors)


def test_a_state_of_another_module_is_refused_and_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Line(), tmp_path, progress=Interrupting("line", 4))
    before = (tmp_path / "state.pt").read_bytes()
    other = Line()
    other.module = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(TrainingError, match="saved state cannot be read"):
        run(other, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_the_learning_rate_rises_and_falls() -> None:
    config = OptimizationConfig(steps=110, warmup_steps=10)
    shares = [learning_rate_share(config, step) for step in range(110)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == 1.0
    assert shares[60] == pytest.approx(0.5)
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.001
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate_share(constant, 109) == 1.0


def test_a_row_without_a_figure_leaves_it_empty(tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", [{"step": 1, "a": 2.0}, {"step": 2, "b": 3.0}])
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,a,b", "1,2.0,", "2,,3.0"]
