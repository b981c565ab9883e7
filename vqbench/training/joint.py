"""Encoder and decoder together, on real speech, while a guard keeps the VQVAE writing the GPT's tokens."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from vqbench.config.training import JointConfig
from vqbench.training.distil import Distillation
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.loop import PhaseEnd, Term
from vqbench.training.reconstruct import ReconstructionObjective
from vqbench.training.stream import MelTokens

Work = tuple[Tensor, list[MelTokens]]
"""Crops of real speech, and pairs where the guard replays them."""


class Joint:
    """Reconstruction, and a guard's loss beside it.

    Args:
        config: of the phase.
        reconstruction: on real speech; its codebook moves only where the recipe asks for it.
        held_out: pairs on which agreement is watched; None where there are none.
        replayed: distillation on pairs, for the guard `replay`.
    """

    best = ("l1", False)

    def __init__(
        self,
        config: JointConfig,
        reconstruction: ReconstructionObjective,
        held_out: HeldOutPairs | None,
        replayed: Distillation | None,
    ) -> None:
        self.config, self.reconstruction = config, reconstruction
        self.held_out, self.replayed = held_out, replayed
        dvae = self.dvae = reconstruction.dvae
        self._before = copy.deepcopy(dvae.encoder).requires_grad_(False) if config.guard.kind == "regularise" else None
        self._began = held_out.figures(dvae).get("agreement") if held_out is not None else None

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Work]:
        """Crops of real speech, each part with its share of the pairs."""
        crops = self.reconstruction.batches(step, draw, rank, world)
        pairs: Sequence[list[MelTokens]] = [[]] * len(crops)
        if self.replayed is not None:
            pairs = self.replayed.batches(step, draw, rank, world)
        return list(zip(crops, pairs, strict=True))

    def counts(self, batch: Work) -> Mapping[str, int]:
        """Those of both."""
        crops, pairs = batch
        return {**self.reconstruction.counts(crops), **(self.replayed.counts(pairs) if self.replayed else {})}

    def loss(self, batch: Work, draw: torch.Generator) -> list[Term]:
        """The reconstruction's terms, and the guard's by its weight."""
        crops, pairs = batch
        terms, weight = self.reconstruction.loss(crops, draw), self.config.guard.weight
        if self.replayed is not None:
            terms += [
                replace(term, name=f"pairs_{term.name}", weight=weight * term.weight)
                for term in self.replayed.loss(pairs, draw)
            ]
        if self._before is not None:
            with torch.no_grad():
                before = self._before(crops)
            moved = F.mse_loss(self.dvae.encoder(crops).float(), before.float())
            terms.append(Term("moved", moved, weight, of="crops"))
        return terms

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> Mapping[str, float]:
        """Moves the codebook where it shall move."""
        return self.reconstruction.updated(step, draw, fabric)

    def validate(self) -> Mapping[str, float]:
        """Reconstruction of held-out speech, and agreement on held-out pairs.

        Raises:
            PhaseEnd: agreement has fallen by more than the guard tolerates.
        """
        found = dict(self.reconstruction.validate())
        if self.held_out is None:
            return found
        watched = self.held_out.figures(self.dvae)
        found |= {name: watched[name] for name in ("agreement", "floor", "ceiling", "normalised") if name in watched}
        guard, agreement = self.config.guard, found.get("agreement")
        if guard.kind != "none" and agreement is not None and self._began is not None:
            fallen = self._began - agreement
            if fallen > guard.tolerance:
                reason = f"agreement fell from {self._began:.3f} to {agreement:.3f}, more than {guard.tolerance}"
                raise PhaseEnd(reason, found)
        return found
