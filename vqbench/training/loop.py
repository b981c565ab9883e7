"""The training loop, the only one: an objective says what is minimised, the loop does the rest.

A killed training that is started again ends with the very weights of an unbroken one (bit for bit on a CPU): every
draw depends on seed and step alone, and weights, optimiser and step are saved together in one atomic file.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from vqbench.errors import TrainingError
from vqbench.files import write_whole
from vqbench.progress import Progress
from vqbench.training.recipe import OptimizationConfig


class Objective(Protocol):
    """What is minimised, and on what."""

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of one step's batch, and what the log says of it; `draw` is the step's own generator, on the CPU."""

    def updated(self, step: int, draw: torch.Generator) -> Mapping[str, float]:
        """Called after the optimiser's step; what it returns is logged, too."""

    def validate(self) -> Mapping[str, float]:
        """Figures on held-out data."""


def optimize(
    module: nn.Module,
    objective: Objective,
    config: OptimizationConfig,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: Progress,
    label: str = "training",
) -> None:
    """Trains a module, or goes on where `folder/state.pt` stopped; `folder/log.csv` is written beside it.

    The state is left for the caller to remove once it has saved the weights.

    Args:
        module: whose parameters are trained (AdamW); its whole state_dict is what resumes.
        objective: what is minimised.
        config: steps, learning rate and the rest.
        seed: of every draw.
        folder: where state and log lie.
        device: where the module is.
        progress: shows how far it is.
        label: what the progress calls it.

    Raises:
        TrainingError: the loss diverged, or the saved state cannot be read; what was saved is left as it is.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    state_path = folder / "state.pt"
    step, rows = _resume(state_path, module, optimizer, device)
    with progress.task(label, config.steps, done=step) as advance:
        while step < config.steps:
            draw = torch.Generator().manual_seed((seed << 32) + step)
            learning_rate = config.learning_rate * learning_rate_share(config, step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            # Dropout and its like draw from the global generator: it is the step's own, too.
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed((seed << 32) + step)
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    loss, figures = objective.loss(step, draw)
                value = loss.item()
                _require_finite("loss", value, step, config, folder)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
            # Such a step would ruin the weights, and the next checkpoint with them.
            _require_finite("gradient's norm", norm.item(), step, config, folder)
            optimizer.step()
            figures = {**figures, **objective.updated(step, draw)}
            step += 1
            if step % config.validate_every == 0 or step == config.steps:
                shown = {"step": step, "learning_rate": learning_rate, "loss": value, **figures}
                rows.append({**shown, **{f"validation_{name}": v for name, v in objective.validate().items()}})
            if step % config.checkpoint_every == 0 and step < config.steps:
                _save(state_path, step, module, optimizer, rows)
            name, first = next(iter(figures.items()), ("loss", value))
            advance(note=f"{name} {first:.4f}")
    write_log(folder / "log.csv", rows)


def learning_rate_share(config: OptimizationConfig, step: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then constant or half a cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Writes a CSV of all figures; a row that lacks one leaves it empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _require_finite(what: str, value: float, step: int, config: OptimizationConfig, folder: Path) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} became {value} at step {step}: training diverged",
            where=str(folder),
            fix=f"lower learning_rate (now {config.learning_rate}) or clip_norm (now {config.clip_norm}), "
            "and train into another folder; what was saved before is still there",
        )


def _resume(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[int, list[dict[str, float]]]:
    if not path.exists():
        return 0, []
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        module.load_state_dict(state["model"], strict=True)
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), list(state["log"])
    except Exception as error:
        raise TrainingError(
            f"the saved state cannot be read ({error})",
            where=str(path),
            fix="remove the folder to train from the start",
        ) from error


def _save(
    path: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[Mapping[str, float]],
) -> None:
    content = io.BytesIO()
    state = {"step": step, "model": module.state_dict(), "optimizer": optimizer.state_dict(), "log": list(rows)}
    torch.save(state, content)
    write_whole(path, content.getvalue())
    write_log(path.with_name("log.csv"), rows)
