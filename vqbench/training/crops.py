"""What the trainer reads: mels of all clips, a held-out part, and crops that depend on nothing but seed and step."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqbench.audio.mel import LOG_FLOOR, MelFrontEnd, MelSpec
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.errors import TrainingError
from vqbench.progress import Progress

WeightedClip = tuple[Clip, float]
"""A clip, and how often its frames are drawn against those of weight 1."""


@dataclass(frozen=True)
class Corpus:
    """Training and validation mels, each (n_mels, T) float32; a clip is in one of them only.

    `weights` says how often a frame of each training mel is drawn, against a frame of weight 1.
    """

    training: tuple[Tensor, ...]
    weights: tuple[float, ...]
    validation: tuple[Tensor, ...]
    spec: MelSpec

    @functools.cached_property
    def _frames(self) -> Tensor:
        """How often each training mel is drawn: its frames, times its weight."""
        frames = [mel.shape[-1] * weight for mel, weight in zip(self.training, self.weights, strict=True)]
        return torch.tensor(frames, dtype=torch.float64)

    def batch(self, generator: torch.Generator, size: int, n_frames: int) -> Tensor:
        """Draws the crops of one step.

        Long clips are drawn more often, so that every frame is equally likely; a clip shorter than the crop is
        followed by silence.

        Returns:
            (size, n_mels, n_frames) float32.
        """
        chosen = torch.multinomial(self._frames, size, replacement=True, generator=generator).tolist()
        places = torch.rand(size, generator=generator).tolist()
        silence = torch.tensor(LOG_FLOOR).log() / torch.tensor(self.spec.norms)
        crops = silence[None, :, None].repeat(size, 1, n_frames)
        for row, (clip, place) in enumerate(zip(chosen, places, strict=True)):
            mel = self.training[clip]
            start = int(place * (max(0, mel.shape[-1] - n_frames) + 1))
            piece = mel[:, start : start + n_frames]
            crops[row, :, : piece.shape[-1]] = piece
        return crops


def load_corpus(
    clips: Sequence[WeightedClip], spec: MelSpec, validation_share: float, progress: Progress, where: str | None = None
) -> Corpus:
    """Reads all clips and splits them by their ids: a clip's side never depends on which other clips there are.

    Args:
        clips: what to read.
        spec: the front end.
        validation_share: share of the clips that is held out.
        progress: shows how far it is.
        where: what an error names as the place that asked for these clips.

    Raises:
        DataError: for a clip that cannot be read.
        TrainingError: where nothing is left to train on.
    """
    held_out = [_place(clip) < validation_share for clip, _ in clips]
    if all(held_out):
        raise TrainingError(
            f"no clip is left to train on: {len(clips)} clips, {sum(held_out)} of them held out",
            where=where,
            expected="at least one clip outside validation_share",
        )
    front_end = MelFrontEnd(spec)
    training: list[Tensor] = []
    weights: list[float] = []
    validation: list[Tensor] = []
    with progress.task("reading training clips", len(clips)) as advance:
        for (clip, weight), is_held_out in zip(clips, held_out, strict=True):
            mel = front_end(load_clip(clip, spec.sample_rate_hz))
            if is_held_out:
                validation.append(mel)
            else:
                training.append(mel)
                weights.append(weight)
            advance()
    return Corpus(tuple(training), tuple(weights), tuple(validation), spec)


def _place(clip: Clip) -> float:
    """A number in [0, 1) that looks random and depends on the id alone."""
    return int(hashlib.sha256(clip.id.encode()).hexdigest()[:8], 16) / 2**32
