"""Trains a VQVAE, by reconstruction or from pairs, in a folder that can be left and resumed at any step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.mel import MelSpec
from vqbench.data.corpora import load_clips
from vqbench.errors import TrainingError
from vqbench.files import require_writable, write_whole
from vqbench.progress import Progress
from vqbench.tokenizer.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizer.dvae import DVAE, Dimensions, TrainingPass
from vqbench.tokenizer.quantizer import kmeans
from vqbench.training.augment import augment, frames_needed
from vqbench.training.crops import Corpus, WeightedClip, load_corpus
from vqbench.training.distillation import DISTILLATION_VERSION, Distillation, load_pairs, pairs_digest
from vqbench.training.loop import optimize
from vqbench.training.recipe import Recipe

TRAINER_VERSION = 1
"""Raised whenever the same recipe would give other weights."""

_KMEANS_BATCHES = 16
_RESTARTS_END = 0.9
"""Share of the steps after which dead codes are left alone, so that the last ones can settle."""


def training_clips(recipe: Recipe) -> list[WeightedClip]:
    """Finds all clips of a recipe; one with pairs has none.

    Raises:
        DataError: where a manifest or a clip is at fault.
    """
    return [(clip, source.weight) for source in recipe.data for clip in load_clips(source)]


def training_digest(recipe: Recipe, clips: Sequence[WeightedClip]) -> str:
    """Sixteen hex digits over all that decides the weights: settings, the data's content, the trainer's version.

    Where the data lie and what the recipe is called do not matter.

    Raises:
        DataError: where the recipe's pairs cannot be read.
    """
    settings = recipe.model_dump(mode="json", include={"seed", "model", "training"})
    content = [settings, TRAINER_VERSION, *[[clip.id, clip.sha256, weight] for clip, weight in clips]]
    if recipe.pairs is not None:
        distillation = recipe.distillation.model_dump(mode="json")
        content.append([distillation, DISTILLATION_VERSION, pairs_digest(recipe.pairs)])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def train(
    recipe: Recipe, clips: Sequence[WeightedClip], folder: Path, device: torch.device | str, progress: Progress
) -> Path:
    """Trains, or resumes, or finds that all is done.

    Args:
        recipe: what to train.
        clips: recordings with their weights, sha256 filled in; none for a recipe with pairs.
        folder: holds `state.pt` (to resume), `log.csv` and, in the end, `checkpoint.safetensors`.
        device: where to train.
        progress: shows how far it is.

    Returns:
        the finished checkpoint's path.

    Raises:
        TrainingError: the folder holds another training, or the loss diverged; what was saved is left as it is.
        DataError: a clip or pair cannot be read, or the folder not be written. Nothing is written before all are read.
        ConfigError: the pairs hold tokens that the recipe's codebook has not.
    """
    digest = training_digest(recipe, clips)
    finished = folder / "checkpoint.safetensors"
    started = _read_marker(folder)
    if started is not None and started != digest:
        raise TrainingError(
            f"the folder holds a training of another recipe or other clips (digest {started}, this one's is {digest})",
            where=str(folder),
            fix="choose another folder with -o, or remove this one",
        )
    if started is None and (finished.exists() or (folder / "state.pt").exists()):
        raise TrainingError(
            "the folder holds a training, but not the training.json that says of which recipe",
            where=str(folder),
            fix="choose another folder with -o, or remove this one",
        )
    if finished.exists():
        return finished
    require_writable(finished)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        dvae = DVAE(Dimensions(**recipe.model.model_dump())).to(device)
    spec = MelSpec()
    objective: _Reconstruction | Distillation | None = None
    if recipe.training.steps and recipe.pairs is not None:
        objective = Distillation(recipe, dvae, load_pairs(recipe, recipe.pairs, spec, progress), torch.device(device))
    elif recipe.training.steps:
        corpus = load_corpus(clips, spec, recipe.training.validation_share, progress, str(recipe.path or recipe.name))
        objective = _Reconstruction(recipe, dvae, corpus, torch.device(device))
    write_whole(folder / "training.json", json.dumps({"digest": digest, "recipe": recipe.name}, indent=2).encode())
    if objective is not None:
        if not (folder / "state.pt").exists():
            objective.start_codebook()
        optimize(dvae, objective, recipe.training, recipe.seed, folder, torch.device(device), progress)
    provenance: dict[str, str | int | float] = {
        "recipe": recipe.name,
        "training_digest": digest,
        "steps": recipe.training.steps,
        "seed": recipe.seed,
    }
    save_checkpoint(finished, dvae, spec, provenance)
    (folder / "state.pt").unlink(missing_ok=True)
    return finished


def write_half(checkpoint: Path) -> Path:
    """Writes a copy of a finished checkpoint rounded to half precision, `…-fp16.safetensors` beside it.

    It is another candidate, with another digest: rounding flips a few codes in a thousand.
    """
    tokenizer = load_tokenizer(checkpoint)
    path = half_path(checkpoint)
    save_checkpoint(path, tokenizer.dvae, tokenizer.mel_spec, {"rounded_from": tokenizer.digest}, torch.float16)
    return path


def half_path(checkpoint: Path) -> Path:
    """Where `write_half` puts the copy.

    >>> half_path(Path("trainings/small/checkpoint.safetensors")).name
    'checkpoint-fp16.safetensors'
    """
    return checkpoint.with_name(f"{checkpoint.stem}-fp16.safetensors")


class _Reconstruction:
    """The VQVAE's own objective: reconstruct the mel through the codes."""

    def __init__(self, recipe: Recipe, dvae: DVAE, corpus: Corpus, device: torch.device) -> None:
        self.seed = recipe.seed
        self.config = recipe.training
        self.dvae, self.corpus, self.device = dvae, corpus, device
        self._last: TrainingPass | None = None

    def loss(self, step: int, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        mel, weights = self._batch(draw), self.config.loss
        result = self._last = self.dvae(mel)
        with torch.autocast(self.device.type, enabled=False):
            l1, l2 = F.l1_loss(result.reconstruction, mel), F.mse_loss(result.reconstruction, mel)
            loss = weights.l1 * l1 + weights.l2 * l2 + weights.commitment * result.commitment
        return loss, {"l1": l1.item(), "l2": l2.item(), "commitment": result.commitment.item()}

    def updated(self, step: int, draw: torch.Generator) -> dict[str, float]:
        config = self.config
        assert self._last is not None
        rows = self._last.latents.transpose(1, 2).flatten(0, 1)
        codebook = self.dvae.codebook
        codebook.ema_update(rows, self._last.codes.flatten(), config.codebook.decay)
        restarted = 0
        if (step + 1) % config.codebook.restart_every == 0 and step < _RESTARTS_END * config.steps:
            restarted = codebook.restart_dead(rows, config.codebook.restart_below, draw)
        return {"restarted": restarted}

    @torch.no_grad()
    def start_codebook(self) -> None:
        """Starts the codebook on k-means centres of what the untrained encoder writes."""
        size = self.dvae.dimensions.codebook_size
        # Steps count from 0, so the draws of negative "steps" are never seen again in training.
        draws = [torch.Generator().manual_seed((self.seed << 32) - 1 - i) for i in range(_KMEANS_BATCHES)]
        batches = [self._batch(draw) for draw in draws]
        latents = torch.cat([self.dvae.encoder(mel).transpose(1, 2).flatten(0, 1) for mel in batches]).cpu()
        generator = torch.Generator().manual_seed(self.seed)
        centres = kmeans(latents, size, self.config.codebook.kmeans_iterations, generator)
        tokens_a_step = len(latents) / _KMEANS_BATCHES
        self.dvae.codebook.set_codes(centres.to(self.device), tokens_a_step / size)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean absolute error and share of codes used over all held-out clips; nothing where there are none."""
        error, count = 0.0, 0
        seen = torch.zeros(self.dvae.dimensions.codebook_size, dtype=torch.bool, device=self.device)
        for mel in self.corpus.validation:
            mel = mel[None].to(self.device)
            codes = self.dvae.encode(mel)
            seen[codes.flatten()] = True
            decoded = self.dvae.decode(codes)[..., : mel.shape[-1]]
            error += (decoded - mel).abs().sum().item()
            count += mel.numel()
        return {"l1": error / count, "used": seen.float().mean().item()} if count else {}

    def _batch(self, draw: torch.Generator) -> Tensor:
        config = self.config
        n_frames = config.crop_frames
        n_drawn = frames_needed(config.augment, n_frames) if config.augment.share else n_frames
        mel = self.corpus.batch(draw, config.batch_size, n_drawn)
        if config.augment.share:
            mel = augment(mel, n_frames, config.augment, self.corpus.spec, draw)
        return mel.to(self.device)


def _read_marker(folder: Path) -> str | None:
    marker = folder / "training.json"
    if not marker.exists():
        return None
    try:
        return str(json.loads(marker.read_text(encoding="utf-8"))["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            "the folder's training.json cannot be read", where=str(marker), fix="choose another folder"
        ) from error
