"""Other voices and rooms from the same recordings: random changes of whole crops, made on the log mel."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.mel import LOG_FLOOR, MelSpec
from vqbench.config.training import AugmentConfig

_NEPERS_PER_DB = math.log(10) / 10
_EQUALIZER_WAVES = 3


def frames_needed(config: AugmentConfig, n_frames: int) -> int:
    """Frames that a crop must have so that `n_frames` are left after the most stretching."""
    return math.ceil(n_frames * (1 + config.stretch))


def augment(mel: Tensor, n_frames: int, config: AugmentConfig, spec: MelSpec, generator: torch.Generator) -> Tensor:
    """Changes each crop of a batch at random, with probability `config.share`.

    Stretching the band axis moves the formants, as another vocal tract would; stretching time changes the tempo; gain
    and a smooth equaliser are other microphones and rooms.

    Args:
        mel: (B, n_mels, frames_needed(config, n_frames)) float32, log-mel / norms.
        n_frames: length of what comes back.
        config: how much of each.
        spec: the front end.
        generator: source of all randomness, on the CPU.

    Returns:
        (B, n_mels, n_frames) float32, never below the front end's silence.
    """
    size, n_mels, n_source = mel.shape
    norms = torch.tensor(spec.norms)[:, None]
    log_power = mel * norms

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=generator)

    bands = (torch.arange(n_mels) + 0.5) / n_mels * uniform(1 - config.warp, 1 + config.warp)[:, None]
    frames = (torch.arange(n_frames) + 0.5) / n_source * uniform(1 - config.stretch, 1 + config.stretch)[:, None]
    # grid_sample wants places in [-1, 1], x before y.
    places = torch.stack(
        [
            (2 * frames - 1)[:, None, :].expand(size, n_mels, n_frames),
            (2 * bands - 1)[:, :, None].expand(size, n_mels, n_frames),
        ],
        dim=-1,
    )
    moved = F.grid_sample(log_power[:, None], places, padding_mode="border", align_corners=False)[:, 0]

    waves = torch.arange(1, _EQUALIZER_WAVES + 1)
    heights = torch.randn(size, _EQUALIZER_WAVES, generator=generator) * config.equalizer_db / waves
    curve = heights @ torch.cos(math.pi * waves[:, None] * torch.linspace(0, 1, n_mels))
    decibels = curve + uniform(-config.gain_db, config.gain_db)[:, None]
    moved = moved + _NEPERS_PER_DB * decibels[:, :, None]

    changed = torch.rand(size, generator=generator) < config.share
    result = torch.where(changed[:, None, None], moved, log_power[:, :, :n_frames])
    return result.clamp_min(math.log(LOG_FLOOR)) / norms
