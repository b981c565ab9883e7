"""What goes wrong in a training, found early and called by its name, with the likely cause."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vqbench.errors import DivergedError, TrainingError

_CURVE = 0.9
"""Share of the old mean loss that a step keeps in the smoothed one."""

_SETTLING_STEPS = 20
"""Steps whose mean loss is where a training began."""

_DIVERGED = 10.0
"""A smoothed loss so many times what it began with has diverged, though it is a number yet."""

_CONSTANT = 1.5
"""A perplexity below this is one code, and now and then another."""

_COLLAPSED = 0.02
"""A perplexity below this share of what it should be is a collapsed codebook."""

_PATIENCE_STEPS = 200
"""So long a codebook may be so: at first an encoder can outrun its codes, and dead ones are started again."""


class Health:
    """Watches one training.

    Args:
        memory: what it remembers from step to step; saved and resumed with the training.
        learning_rate: for the advice.
        clip_norm: for the advice.
        where: the training's folder.
    """

    def __init__(self, memory: dict[str, float], learning_rate: float, clip_norm: float, where: str) -> None:
        self._memory, self._where = memory, where
        self._advice = (
            f"lower learning_rate (now {learning_rate}) or clip_norm (now {clip_norm}), and train into another folder; "
            "what was saved before is still there"
        )

    def check_finite(self, what: str, value: float, step: int) -> None:
        """Raises DivergedError where a figure is no number, or is infinite."""
        if not math.isfinite(value):
            raise DivergedError(
                f"the {what} became {value} at step {step}: training diverged", where=self._where, fix=self._advice
            )

    def check_loss(self, step: int, value: float) -> None:
        """Raises DivergedError where the loss is no number, or far above what it began with."""
        self.check_finite("loss", value, step)
        memory = self._memory
        if step < _SETTLING_STEPS:
            memory["began"] = memory.get("began", 0.0) + abs(value) / _SETTLING_STEPS
        smoothed = memory["smoothed"] = _CURVE * memory.get("smoothed", value) + (1 - _CURVE) * value
        if step >= _SETTLING_STEPS and smoothed > _DIVERGED * memory["began"] > 0:
            raise DivergedError(
                f"the loss rose to {smoothed:.3g} by step {step}, from {memory['began']:.3g} at the start: "
                "training diverged",
                where=self._where,
                fix=self._advice,
            )

    def check_figures(self, step: int, warmup_steps: int, found: Mapping[str, float]) -> None:
        """Raises TrainingError where, after the warm-up, held-out speech stays written in one code, or in hardly any.

        It looks at `perplexity`, the exponential of the entropy of the codes written, and at `perplexity_share`, the
        same over what it should be; figures that were not found are not looked at.
        """
        if step < max(1, warmup_steps):
            return
        perplexity, share = found.get("perplexity", math.inf), found.get("perplexity_share", math.inf)
        if perplexity >= _CONSTANT and share >= _COLLAPSED:
            self._memory.pop("poor_since", None)
            return
        if step - self._memory.setdefault("poor_since", step) < _PATIENCE_STEPS:
            return
        if perplexity < _CONSTANT:
            raise TrainingError(
                f"the encoder is constant: at step {step} it writes held-out speech in one code "
                f"(perplexity {perplexity:.2f})",
                where=self._where,
                fix="its gradient died, or all codes came to one point: lower learning_rate, raise commitment or "
                "cross_entropy, or begin from other weights (seed)",
            )
        raise TrainingError(
            f"the codebook collapsed: at step {step} held-out speech is written in {perplexity:.1f} codes' worth "
            f"(perplexity), {share:.1%} of what it should be",
            where=self._where,
            fix="codes that are learnt by vector_mse alone are drawn to one point: add cross_entropy, or give a "
            "known codebook; codes that follow the latents starve: raise restart_below, or lower decay",
        )
