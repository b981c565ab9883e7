"""The VQVAE's own objective: reconstruct the mel through the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from vqbench.config.training import ReconstructConfig
from vqbench.errors import ConfigError
from vqbench.tokenizers.dvae.network import DVAE, TrainingPass
from vqbench.tokenizers.dvae.quantizer import kmeans
from vqbench.training.augment import augment, frames_needed
from vqbench.training.crops import Corpus
from vqbench.training.loop import Term
from vqbench.training.processes import gathered, summed

S = TypeVar("S", Tensor, list[Any])

_KMEANS_BATCHES = 16
_RESTARTS_END = 0.9
"""Share of the steps after which dead codes are left alone, so that the last ones can settle."""


class ReconstructionObjective:
    """L1 and L2 of the mel and the commitment of the latents; the codebook follows the latents where it shall move."""

    best = ("l1", False)

    def __init__(
        self, config: ReconstructConfig, dvae: DVAE, corpus: Corpus, seed: int, *, moving_codebook: bool = True
    ) -> None:
        self.config, self.dvae, self.corpus, self.seed = config, dvae, corpus, seed
        self.moving_codebook = moving_codebook
        self._passes: list[TrainingPass] = []

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Tensor]:
        """Crops, (b, n_mels, crop_frames) each."""
        self._passes.clear()
        mel = own_part(self._drawn(draw), rank, world, self.config.batch_size)
        return [part.to(self._device) for part in in_parts(mel, self.config.accumulate)]

    def counts(self, batch: Tensor) -> Mapping[str, int]:
        """All crops have the same length."""
        return {"crops": len(batch)}

    def loss(self, batch: Tensor, draw: torch.Generator) -> list[Term]:
        """Mean errors of normalised log mels, and the commitment."""
        weights, result = self.config.loss, self.dvae(batch)
        self._passes.append(result)
        with torch.autocast(self._device.type, enabled=False):
            return [
                Term("l1", F.l1_loss(result.reconstruction, batch), weights.l1, of="crops"),
                Term("l2", F.mse_loss(result.reconstruction, batch), weights.l2, of="crops"),
                Term("commitment", result.commitment, weights.commitment, of="crops"),
            ]

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> dict[str, float]:
        """Moves the codebook, and starts dead codes again."""
        if not self.moving_codebook:
            return {}
        config, codebook = self.config, self.dvae.codebook
        rows = torch.cat([result.latents.transpose(1, 2).flatten(0, 1) for result in self._passes])
        codes = torch.cat([result.codes.flatten() for result in self._passes])
        codebook.ema_update(rows, codes, config.codebook.decay, over_processes=lambda own: summed(fabric, own))
        restarted = 0
        if (step + 1) % config.codebook.restart_every == 0 and step < _RESTARTS_END * config.steps:
            restarted = codebook.restart_dead(gathered(fabric, rows), config.codebook.restart_below, draw)
        return {"restarted": restarted}

    @torch.no_grad()
    def start_codebook(self) -> None:
        """Starts the codebook on k-means centres of what the untrained encoder writes."""
        size = self.dvae.dimensions.codebook_size
        # Steps count from 0, so the draws of negative "steps" are never seen again in training.
        draws = [torch.Generator().manual_seed((self.seed << 32) - 1 - i) for i in range(_KMEANS_BATCHES)]
        batches = [self._drawn(draw).to(self._device) for draw in draws]
        latents = torch.cat([self.dvae.encoder(mel).transpose(1, 2).flatten(0, 1) for mel in batches]).cpu()
        generator = torch.Generator().manual_seed(self.seed)
        centres = kmeans(latents, size, self.config.codebook.kmeans_iterations, generator)
        tokens_a_step = len(latents) / _KMEANS_BATCHES
        self.dvae.codebook.set_codes(centres.to(self._device), tokens_a_step / size)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean absolute error, and how the codes are used, over all held-out clips; nothing where there are none."""
        error, count = 0.0, 0
        usage = torch.zeros(self.dvae.dimensions.codebook_size, dtype=torch.int64, device=self._device)
        for mel in self.corpus.validation:
            mel = mel[None].to(self._device)
            codes = self.dvae.encode(mel)
            usage += torch.bincount(codes.flatten(), minlength=len(usage))
            decoded = self.dvae.decode(codes)[..., : mel.shape[-1]]
            error += (decoded - mel).abs().sum().item()
            count += mel.numel()
        if not count:
            return {}
        n_used = (usage > 0).sum().item()
        return {"l1": error / count, "used": n_used / len(usage), "perplexity": perplexity(usage)}

    def _drawn(self, draw: torch.Generator) -> Tensor:
        """The crops of one step, of all processes together."""
        config = self.config
        n_frames = config.crop_frames
        n_drawn = frames_needed(config.augment, n_frames) if config.augment.share else n_frames
        mel = self.corpus.batch(draw, config.batch_size, n_drawn)
        return augment(mel, n_frames, config.augment, self.corpus.spec, draw) if config.augment.share else mel

    @property
    def _device(self) -> torch.device:
        return self.dvae.codebook.embed.device


def own_part(batch: Tensor, rank: int, world: int, batch_size: int) -> Tensor:
    """This process's rows of a batch of all processes, the processes' parts being one after the other.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    if batch_size % world:
        raise ConfigError(
            f"batches of {batch_size} cannot be shared out evenly among {world} processes",
            expected=f"a batch_size that is a multiple of {world}",
        )
    size = batch_size // world
    return batch[rank * size : (rank + 1) * size]


def in_parts(rows: S, n: int) -> list[S]:
    """Cuts a process's batch into parts as equal as can be.

    >>> in_parts([1, 2, 3, 4, 5], 3)
    [[1], [2, 3], [4, 5]]

    Raises:
        ConfigError: there would be parts with nothing in them.
    """
    if n > len(rows):
        raise ConfigError(
            f"a batch of {len(rows)} on each process cannot be cut into {n} parts",
            expected="an `accumulate` of at most the batch_size over the number of processes",
        )
    bounds = [len(rows) * i // n for i in range(n + 1)]
    return [rows[start:end] for start, end in pairwise(bounds)]


def perplexity(usage: Tensor) -> float:
    """The exponential of the entropy of a histogram: as many codes, evenly used, would tell as much.

    >>> round(perplexity(torch.tensor([5, 5, 5, 5, 0])), 6)
    4.0
    """
    share = usage[usage > 0].double() / usage.sum()
    return float((-(share * share.log()).sum()).exp())
