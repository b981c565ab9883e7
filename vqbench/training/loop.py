"""The training loop, the only one: an objective says what is minimised, the loop does the rest.

It runs on Lightning Fabric, on one device or, started by `torchrun`, on as many as there are processes. A killed
training that is started again ends with the very weights of an unbroken one (bit for bit on a CPU): every draw depends
on seed and step alone, and weights, optimiser and step are saved together in one atomic file.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vqbench.config.training import OptimizationConfig
from vqbench.errors import DataError, TrainingError
from vqbench.files import seal, unseal, write_whole
from vqbench.progress import Progress
from vqbench.training.health import Health
from vqbench.training.log import Log
from vqbench.training.processes import open_fabric, summed

B = TypeVar("B")


@dataclass(frozen=True)
class Term:
    """One mean that a loss is made of, or, with weight 0, that is only logged.

    Attributes:
        name: in the log.
        mean: scalar, over this process's part of the batch.
        weight: in the loss.
        of: what it is a mean over, one of the objective's `counts`.
    """

    name: str
    mean: Tensor
    weight: float = 0.0
    of: str = "rows"


class PhaseEnd(Exception):  # noqa: N818 - no error: a phase that is over before its last step
    """Raised by an objective's `validate` where going on would make it worse; `figures` are logged."""

    def __init__(self, reason: str, figures: Mapping[str, float]) -> None:
        super().__init__(reason)
        self.figures = figures


class Objective(Protocol[B]):
    """What is minimised, and on what."""

    @property
    def best(self) -> tuple[str, bool]:
        """The figure of `validate` that says which weights are best, and whether higher is better."""

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[B]:
        """This process's part of a step's batch, in one or more parts; `draw` is the step's own generator, on the CPU.

        The parts of all processes together are the same for any number of them.
        """

    def counts(self, batch: B) -> Mapping[str, int]:
        """How much there is in a part of what its terms are means over."""

    def loss(self, batch: B, draw: torch.Generator) -> Sequence[Term]:
        """What the loss of a part is made of."""

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> Mapping[str, float]:
        """Called after the optimiser's step; what it returns is logged, too."""

    def validate(self) -> Mapping[str, float]:
        """Figures on held-out data.

        Raises:
            PhaseEnd: going on would make it worse.
        """


class _Step(nn.Module):
    """One part of a step as a module, so that Fabric sets precision and joins gradients around it."""

    def __init__(self, module: nn.Module, objective: Objective[Any]) -> None:
        super().__init__()
        self.module, self.objective = module, objective

    def forward(self, work: _Work) -> tuple[Tensor, Tensor]:
        """The loss, and all terms' parts in the means over all processes."""
        terms = self.objective.loss(work.batch, work.draw)
        work.names = [term.name for term in terms]
        # Gradients are averaged over the processes, so a part weighs what it holds of the whole, times all of them.
        loss, *rest = [term.weight * term.mean * work.shares[term.of] for term in terms if term.weight]
        for more in rest:
            loss = loss + more
        parts = torch.stack([term.mean.detach().float() * work.shares[term.of] for term in terms])
        return loss, parts


class _Work:
    """What a step hands to its module; Fabric leaves an object of an unknown kind as it is, where it copies others."""

    def __init__(self, batch: Any, draw: torch.Generator, shares: Mapping[str, float]) -> None:
        self.batch, self.draw, self.shares = batch, draw, shares
        self.names: list[str] = []


def optimize(
    module: nn.Module,
    objective: Objective[Any],
    config: OptimizationConfig,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: Progress,
    label: str = "training",
    save: Callable[[Path], None] | None = None,
) -> None:
    """Trains what of a module asks for gradients, or goes on where `folder/state.pt` stopped.

    Beside the state lie `log.csv`, a TensorBoard event file and, where there is `save`, `best.safetensors`. The module
    ends as `config.keep` says. The state is left for the caller to remove once it has saved the weights.

    Args:
        module: whose parameters are trained (AdamW); its whole state_dict is what resumes.
        objective: what is minimised.
        config: steps, learning rate and the rest.
        seed: of every draw.
        folder: where state and log lie.
        device: where the module is.
        progress: shows how far it is.
        label: what the progress calls it.
        save: writes the module, as it is, to a file.

    Raises:
        TrainingError: the loss diverged, the codebook collapsed, or the saved state cannot be read; what was saved is
            left as it is, and what there is is saved as `last.safetensors`.
    """
    fabric = open_fabric(device, config.precision)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    stepper, stepping = fabric.setup(_Step(module, objective), optimizer)
    run = _Run(module, trained, optimizer, config, folder, fabric, save)
    run.resume(device)
    log = Log(folder, run.rows, run.step, enabled=fabric.is_global_zero)
    health = Health(run.health, config.learning_rate, config.clip_norm, str(folder))

    def validate(figures: Mapping[str, float]) -> str | None:
        """Logs a row; the reason where the phase is over."""
        ended = None
        with run.averaged():
            try:
                found = objective.validate()
            except PhaseEnd as end:
                ended, found = str(end), end.figures
            log.row({"step": run.step, **figures}, found)
            if not ended:
                run.keep_best(objective.best, found)
        health.check_figures(run.step, config.warmup_steps, found)
        return ended

    try:
        with progress.task(label, config.steps, done=run.step) as advance, log:
            if run.step == 0 and config.steps:
                validate({})
            while run.step < config.steps and run.ended is None:
                step, draw = run.step, torch.Generator().manual_seed((seed << 32) + run.step)
                learning_rate = config.learning_rate * learning_rate_share(config, step)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate
                with _own_randomness(seed, step, fabric.global_rank, device):
                    figures, value = _gradients(fabric, stepper, optimizer, objective, step, draw)
                health.check_loss(step, value)
                norm: Any = fabric.clip_gradients(
                    stepper, stepping, max_norm=config.clip_norm, error_if_nonfinite=False
                )
                # Such a step would ruin the weights, and the next checkpoint with them.
                health.check_finite("gradient's norm", norm.item(), step)
                stepping.step()
                figures |= objective.updated(step, draw, fabric)
                run.step += 1
                run.follow()
                log.step(run.step, value)
                if run.step % config.validate_every == 0 or run.step == config.steps:
                    run.ended = validate({"learning_rate": learning_rate, "loss": value, **figures})
                if run.step % config.checkpoint_every == 0 and run.step < config.steps:
                    run.save_state()
                name, first = next(iter(figures.items()), ("loss", value))
                advance(note=run.ended or f"{name} {first:.4f}")
    except TrainingError:
        run.save_as("last.safetensors")
        raise
    run.finish()


def _gradients(
    fabric: Fabric,
    stepper: Any,
    optimizer: torch.optim.Optimizer,
    objective: Objective[Any],
    step: int,
    draw: torch.Generator,
) -> tuple[dict[str, float], float]:
    """Leaves the gradients of one step's whole batch; gives the means of its terms, and its loss."""
    rank, world = fabric.global_rank, fabric.world_size
    batches = objective.batches(step, draw, rank, world)
    counts = [objective.counts(batch) for batch in batches]
    names = list(counts[0])
    own = torch.tensor([sum(count[name] for count in counts) for name in names], device=fabric.device)
    totals = summed(fabric, own).clamp_min(1).tolist()
    optimizer.zero_grad(set_to_none=True)
    both: Tensor | None = None
    for index, (batch, count) in enumerate(zip(batches, counts, strict=True)):
        shares = {name: count[name] / total * world for name, total in zip(names, totals, strict=True)}
        work = _Work(batch, draw, shares)
        with fabric.no_backward_sync(stepper, enabled=index < len(batches) - 1) if world > 1 else nullcontext():
            loss, parts = stepper(work)
            fabric.backward(loss)
        part = torch.cat([loss.detach().float()[None], parts])
        both = part if both is None else both + part
    assert both is not None
    value, *means = (summed(fabric, both) / world).tolist()
    return dict(zip(work.names, means, strict=True)), value


@contextmanager
def _own_randomness(seed: int, step: int, rank: int, device: torch.device) -> Iterator[None]:
    """Dropout and its like draw from the global generator: it is the step's own, too, and the process's."""
    drawn = (seed << 32) + step
    if rank:
        drawn = int.from_bytes(hashlib.sha256(f"{drawn}:{rank}".encode()).digest()[:8], "big")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # torch.manual_seed would seed every kind of device there is, and note the whole stack for each that is not.
        torch.default_generator.manual_seed(drawn)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(drawn)
        yield


def learning_rate_share(config: OptimizationConfig, step: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then constant or half a cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _problem(error: Exception) -> str:
    return error.problem if isinstance(error, DataError) else str(error)


class _Run:
    """Where a training stands: all of it is saved together, and read together."""

    def __init__(
        self,
        module: nn.Module,
        trained: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        config: OptimizationConfig,
        folder: Path,
        fabric: Fabric,
        save: Callable[[Path], None] | None,
    ) -> None:
        self.module, self.trained, self.optimizer, self.config = module, trained, optimizer, config
        self.folder, self.fabric, self.save = folder, fabric, save
        self.step = 0
        self.ended: str | None = None
        self.rows: list[dict[str, float]] = []
        self.health: dict[str, float] = {}
        self.best: dict[str, Any] = {}
        self._average = [parameter.detach().clone() for parameter in trained] if config.average else []

    def resume(self, device: torch.device) -> None:
        """Reads what was saved, where something was."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        try:
            content = io.BytesIO(unseal(path.read_bytes()))
            state = torch.load(content, map_location=device, weights_only=True)
            self.module.load_state_dict(state["model"], strict=True)
            self.optimizer.load_state_dict(state["optimizer"])
            for ours, theirs in zip(self._average, state["average"], strict=True):
                ours.copy_(theirs)
            self.step, self.ended, self.best = int(state["step"]), state["ended"], dict(state["best"])
            if not 0 <= self.step <= self.config.steps:
                raise ValueError(f"it is at step {self.step} of {self.config.steps}")
            self.rows.extend(state["log"])
            self.health.update(state["health"])
        except Exception as error:
            raise TrainingError(
                f"the saved state cannot be read: {_problem(error)}",
                where=str(path),
                fix="remove the folder to train anew",
            ) from error

    def save_state(self) -> None:
        """Saves all of it in one atomic file."""
        if self.fabric.is_global_zero:
            content = io.BytesIO()
            torch.save(
                {
                    "step": self.step,
                    "ended": self.ended,
                    "model": self.module.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "average": self._average,
                    "best": self.best,
                    "log": self.rows,
                    "health": self.health,
                },
                content,
            )
            write_whole(self.folder / "state.pt", seal(content.getvalue()))
        self.fabric.barrier()

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average of the weights."""
        if self._average:
            torch._foreach_lerp_(self._average, [p.detach() for p in self.trained], 1 - self.config.average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The module with the averaged weights, where they are averaged."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, parameter in zip(self._average, self.trained, strict=bool(self._average)):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def keep_best(self, figure: tuple[str, bool], found: Mapping[str, float]) -> None:
        """Remembers these weights where they validate best so far; of equals, the earlier ones."""
        name, higher = figure
        if name in found:
            value = found[name] if higher else -found[name]
        elif self.config.keep == "best":
            value = float(self.step)  # nothing tells: the last ones before the phase ended
        else:
            return
        if math.isfinite(value) and value > self.best.get("value", -math.inf):
            self.best = {"value": value, "step": self.step}
            if self.config.keep == "best":
                self.best["model"] = {key: tensor.detach().clone() for key, tensor in self.module.state_dict().items()}
            self.save_as("best.safetensors")

    def save_as(self, name: str) -> None:
        """Saves the module as it is."""
        if self.save is not None and self.fabric.is_global_zero:
            self.save(self.folder / name)

    def finish(self) -> None:
        """Leaves the module with the weights that the phase hands on."""
        with self.averaged():
            self.save_as("last.safetensors")
        self._swap()
        if "model" in self.best:
            self.module.load_state_dict(self.best["model"], strict=True)
