"""The training loop: what is broken off ends the same, and what goes wrong is named before it spoils anything."""

from __future__ import annotations

import csv
import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupting import Interrupting
from lightning_fabric import Fabric
from torch import Tensor, nn

from vqbench.config.training import OptimizationConfig
from vqbench.errors import TrainingError
from vqbench.files import seal, unseal
from vqbench.progress import Progress, Silent
from vqbench.training.log import write_log
from vqbench.training.loop import PhaseEnd, Term, learning_rate_share, optimize

CPU = torch.device("cpu")
CONFIG = OptimizationConfig(steps=10, learning_rate=0.01, warmup_steps=2, validate_every=4, checkpoint_every=3)


class Line:
    """Fits y = 2 x through dropout, so that the global generator matters as well as the step's own."""

    best = ("error", False)

    def __init__(self, parts: int = 1, dropout: float = 0.5) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 4))
        self.updates: list[int] = []
        self.parts = parts

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Tensor]:
        x = torch.randn(16, 4, generator=draw)
        return [*x.split(16 if self.parts == 1 else [3, 13])]

    def counts(self, batch: Tensor) -> Mapping[str, int]:
        return {"rows": len(batch)}

    def loss(self, batch: Tensor, draw: torch.Generator) -> Sequence[Term]:
        return [Term("error", (self.module(batch) - 2 * batch).square().mean(), 1.0)]

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> Mapping[str, float]:
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
    assert [int(row["step"]) for row in rows] == [0, 4, 8, 10]
    assert list(rows[0]) == ["step", "validation_error", "learning_rate", "loss", "error", "drawn"]
    assert float(rows[-1]["validation_error"]) < float(rows[0]["validation_error"])


class Diverging(Line):
    """Goes wrong at a step, in its loss or in its gradient alone."""

    def __init__(self, at: int, where: str) -> None:
        super().__init__()
        self.at, self.where = at, where

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Tensor]:
        self.step = step
        return super().batches(step, draw, rank, world)

    def loss(self, batch: Tensor, draw: torch.Generator) -> Sequence[Term]:
        (term,) = super().loss(batch, draw)
        loss = term.mean
        if self.step == self.at and self.where == "loss":
            return [replace(term, mean=loss * math.nan)]
        if self.step == self.at:
            # sqrt has an infinite slope at 0, and 0 times that is no number; its value is 0 all the same.
            return [replace(term, mean=loss + 0 * (loss - loss).sqrt())]
        return [term]


@pytest.mark.parametrize(("where", "says"), [("loss", "the loss became nan"), ("gradient", "gradient's norm became")])
@pytest.mark.parametrize("at", [5, 9])
def test_divergence_is_named_before_it_is_saved(where: str, says: str, at: int, tmp_path: Path) -> None:
    objective = Diverging(at, where)
    with pytest.raises(TrainingError, match=rf"{says}.* at step {at}") as caught:
        run(objective, tmp_path)
    assert "learning_rate (now 0.01)" in str(caught.value)
    state = torch.load(io.BytesIO(unseal((tmp_path / "state.pt").read_bytes())), weights_only=True)
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


def test_a_damaged_state_is_refused_whichever_byte_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Line(), tmp_path, progress=Interrupting("line", 4))
    whole = (tmp_path / "state.pt").read_bytes()
    for place in range(0, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        (tmp_path / "state.pt").write_bytes(damaged)
        with pytest.raises(TrainingError, match="saved state cannot be read"):
            run(Line(), tmp_path)


def test_a_state_past_the_end_is_no_finished_training(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Line(), tmp_path, progress=Interrupting("line", 4))
    state = torch.load(io.BytesIO(unseal((tmp_path / "state.pt").read_bytes())), weights_only=True)
    content = io.BytesIO()
    torch.save({**state, "step": 999}, content)
    (tmp_path / "state.pt").write_bytes(seal(content.getvalue()))
    with pytest.raises(TrainingError, match="it is at step 999 of"):
        run(Line(), tmp_path)


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


def weights(objective: Line) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in objective.module.parameters()]


def test_a_batch_in_parts_is_the_same_step(tmp_path: Path) -> None:
    whole, parts = Line(parts=1, dropout=0.0), Line(parts=2, dropout=0.0)
    run(whole, tmp_path / "whole")
    run(parts, tmp_path / "parts")
    for ours, theirs in zip(weights(whole), weights(parts), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    logs = [list(csv.DictReader((tmp_path / n / "log.csv").read_text().splitlines())) for n in ("whole", "parts")]
    for ours, theirs in zip(*logs, strict=True):
        assert float(ours["loss"] or 0) == pytest.approx(float(theirs["loss"] or 0), rel=1e-4)


def test_averaged_weights_are_validated_saved_and_handed_on(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"average": 0.5, "steps": 3, "checkpoint_every": 2})
    trace: list[list[Tensor]] = []

    class Traced(Line):
        def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> Mapping[str, float]:
            trace.append(weights(self))
            return {}

    objective = Traced()
    expected = weights(objective)
    saved: list[list[Tensor]] = []
    optimize(
        objective.module,
        objective,
        config,
        5,
        tmp_path,
        CPU,
        Silent(),
        save=lambda path: saved.append(weights(objective)),
    )
    for seen in trace:
        expected = [0.5 * old + 0.5 * new for old, new in zip(expected, seen, strict=True)]
    for found in (weights(objective), saved[-1]):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("at", [4, 8])
def test_averages_and_the_best_are_resumed_too(at: int, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"average": 0.9, "keep": "best", "schedule": "constant", "learning_rate": 0.5})
    unbroken, broken, resumed = Line(), Line(), Line()
    run(unbroken, tmp_path / "unbroken", config)
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken", config, progress=Interrupting("line", at))
    run(resumed, tmp_path / "broken", config)
    assert all(torch.equal(*pair) for pair in zip(weights(unbroken), weights(resumed), strict=True))


class Worsening(Line):
    """Validates worse from step to step, but for one."""

    def __init__(self, best_at: int, ends_at: int | None = None) -> None:
        super().__init__()
        self.best_at, self.ends_at = best_at, ends_at
        self.best_weights: list[Tensor] = []

    def validate(self) -> Mapping[str, float]:
        step = len(self.updates)
        if step == self.best_at:
            self.best_weights = weights(self)
        found = {"error": 0.5 if step == self.best_at else 1.0 + step}
        if step == self.ends_at:
            raise PhaseEnd("it drifted", found)
        return found


@pytest.mark.parametrize("best_at", [0, 4, 8])
def test_the_best_weights_are_handed_on_where_asked_for(best_at: int, tmp_path: Path) -> None:
    objective = Worsening(best_at)
    run(objective, tmp_path, CONFIG.model_copy(update={"keep": "best"}))
    assert all(torch.equal(*pair) for pair in zip(weights(objective), objective.best_weights, strict=True))


def test_a_phase_ends_where_its_objective_says_so(tmp_path: Path) -> None:
    objective = Worsening(best_at=4, ends_at=8)
    run(objective, tmp_path, CONFIG.model_copy(update={"keep": "best"}))
    assert objective.updates == list(range(8))
    assert all(torch.equal(*pair) for pair in zip(weights(objective), objective.best_weights, strict=True))
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [0, 4, 8]


class Rising(Line):
    """Its loss grows, though it stays a number."""

    def loss(self, batch: Tensor, draw: torch.Generator) -> Sequence[Term]:
        (term,) = super().loss(batch, draw)
        return [replace(term, mean=term.mean * 1.3 ** len(self.updates))]


def test_a_loss_that_only_rises_is_stopped_and_what_there_is_is_saved(tmp_path: Path) -> None:
    objective, saved = Rising(), []
    config = CONFIG.model_copy(update={"steps": 200, "learning_rate": 1e-9})
    with pytest.raises(TrainingError, match=r"the loss rose to .* training diverged"):
        optimize(objective.module, objective, config, 5, tmp_path, CPU, Silent(), save=lambda p: saved.append(p.name))
    assert 20 < len(objective.updates) < 60
    assert saved[-1] == "last.safetensors"
    assert (tmp_path / "log.csv").exists()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"perplexity": 1.02}, "the encoder is constant: at step 300"),
        ({"perplexity": 9.0, "perplexity_share": 0.011}, "the codebook collapsed: at step 300"),
        ({"perplexity": 9.0, "perplexity_share": 0.5}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("recovers_at", [None, 200])
def test_a_collapse_that_lasts_is_called_by_its_name(
    found: dict[str, float], says: str | None, recovers_at: int | None, tmp_path: Path
) -> None:
    class Collapsing(Line):
        def validate(self) -> Mapping[str, float]:
            return {"perplexity": 9.0} if len(self.updates) == recovers_at else found

    config = CONFIG.model_copy(update={"steps": 300, "validate_every": 100})
    if says is None or recovers_at is not None:
        run(Collapsing(), tmp_path, config)
        return
    with pytest.raises(TrainingError, match=says):  # from step 100 on: at step 0 nothing is learnt yet
        run(Collapsing(), tmp_path, config)


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Line(), tmp_path, CONFIG.model_copy(update={"steps": 30}), progress=Interrupting("line", 15))
    run(Line(), tmp_path, CONFIG.model_copy(update={"steps": 30}))
    points: dict[str, list[int]] = {}
    for file in sorted(tmp_path.glob("events.out.tfevents.*")):
        for event in _events(file):
            for value in event.summary.value:
                points.setdefault(value.tag, []).append(event.step)
    assert set(points["loss"]) == {10, 20, 30}
    assert set(points["validation_error"]) == {0, 4, 8, 12, 16, 20, 24, 28, 30}


def _events(path: Path) -> list[Any]:
    """The records of an event file: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        found.append(Event.FromString(content[at + 12 : at + 12 + length]))
        at += 16 + length
    return found
