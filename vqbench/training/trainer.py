"""Trains a VQVAE from scratch by reconstruction, in a folder that can be left and resumed at any step.

A killed training that is started again ends with the very weights of an unbroken one (bit for bit on a CPU): every
draw depends on seed and step alone, and model, optimiser and step are saved together in one atomic file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
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
from vqbench.tokenizer.dvae import DVAE, Dimensions
from vqbench.tokenizer.quantizer import kmeans
from vqbench.training.augment import augment, frames_needed
from vqbench.training.crops import Corpus, WeightedClip, load_corpus
from vqbench.training.recipe import Recipe, TrainingConfig

TRAINER_VERSION = 1
"""Raised whenever the same recipe would give other weights."""

_KMEANS_BATCHES = 16
_RESTARTS_END = 0.9
"""Share of the steps after which dead codes are left alone, so that the last ones can settle."""

_LOG_FIELDS = (
    "step",
    "learning_rate",
    "loss",
    "l1",
    "l2",
    "commitment",
    "restarted",
    "validation_l1",
    "validation_used",
)


def training_clips(recipe: Recipe) -> list[WeightedClip]:
    """Finds all clips of a recipe.

    Raises:
        DataError: where a manifest or a clip is at fault.
    """
    return [(clip, source.weight) for source in recipe.data for clip in load_clips(source)]


def training_digest(recipe: Recipe, clips: Sequence[WeightedClip]) -> str:
    """Sixteen hex digits over all that decides the weights: settings, the clips' content, the trainer's version.

    Where the clips lie and what the recipe is called do not matter.
    """
    settings = recipe.model_dump(mode="json", include={"seed", "model", "training"})
    content = [settings, TRAINER_VERSION, *[[clip.id, clip.sha256, weight] for clip, weight in clips]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def train(
    recipe: Recipe, clips: Sequence[WeightedClip], folder: Path, device: torch.device | str, progress: Progress
) -> Path:
    """Trains, or resumes, or finds that all is done.

    Args:
        recipe: what to train.
        clips: recordings with their weights, sha256 filled in.
        folder: holds `state.pt` (to resume), `log.csv` and, in the end, `checkpoint.safetensors`.
        device: where to train.
        progress: shows how far it is.

    Returns:
        the finished checkpoint's path.

    Raises:
        TrainingError: the folder holds another training, or the loss diverged; what was saved is left as it is.
        DataError: a clip cannot be read, or the folder not be written. Nothing is written before all clips are read.
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
    loop = None
    if recipe.training.steps:
        corpus = load_corpus(clips, spec, recipe.training.validation_share, progress, str(recipe.path or recipe.name))
        loop = _Loop(recipe, dvae, corpus, folder, torch.device(device))
    write_whole(folder / "training.json", json.dumps({"digest": digest, "recipe": recipe.name}, indent=2).encode())
    if loop is not None:
        loop.run(progress)
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
    path = checkpoint.with_name(f"{checkpoint.stem}-fp16.safetensors")
    save_checkpoint(path, tokenizer.dvae, tokenizer.mel_spec, {"rounded_from": tokenizer.digest}, torch.float16)
    return path


class _Loop:
    """The steps of one training."""

    def __init__(self, recipe: Recipe, dvae: DVAE, corpus: Corpus, folder: Path, device: torch.device) -> None:
        self.seed = recipe.seed
        self.config = recipe.training
        self.dvae, self.corpus, self.device = dvae, corpus, device
        self.state_path, self.log_path = folder / "state.pt", folder / "log.csv"
        self.optimizer = torch.optim.AdamW(
            dvae.parameters(),
            lr=self.config.learning_rate,
            betas=self.config.betas,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.start, self.rows = self._resume()

    def run(self, progress: Progress) -> None:
        step, rows, config = self.start, self.rows, self.config
        with progress.task("training", config.steps, done=step) as advance:
            if step == 0:
                self._start_codebook()
            while step < config.steps:
                row = self._step(step)
                step += 1
                if step % config.validate_every == 0 or step == config.steps:
                    row["validation_l1"], row["validation_used"] = self._validate()
                    rows.append(row)
                if step % config.checkpoint_every == 0 and step < config.steps:
                    self._save(step, rows)
                advance(note=f"l1 {row['l1']:.4f}")
        _write_log(self.log_path, rows)

    def _step(self, step: int) -> dict[str, float]:
        config = self.config
        mel, generator = self._batch(step)
        learning_rate = config.learning_rate * _schedule(config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            result = self.dvae(mel)
        l1, l2 = F.l1_loss(result.reconstruction, mel), F.mse_loss(result.reconstruction, mel)
        loss = config.loss.l1 * l1 + config.loss.l2 * l2 + config.loss.commitment * result.commitment
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss became {loss.item()} at step {step}: training diverged",
                where=str(self.state_path.parent),
                fix=f"lower learning_rate (now {config.learning_rate}) or clip_norm (now {config.clip_norm}), "
                "and train into another folder; what was saved before is still there",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.dvae.parameters(), config.clip_norm)
        self.optimizer.step()

        rows = result.latents.transpose(1, 2).flatten(0, 1)
        codebook = self.dvae.codebook
        codebook.ema_update(rows, result.codes.flatten(), config.codebook.decay)
        restarted = 0
        if (step + 1) % config.codebook.restart_every == 0 and step < _RESTARTS_END * config.steps:
            restarted = codebook.restart_dead(rows, config.codebook.restart_below, generator)
        return {
            "step": step + 1,
            "learning_rate": learning_rate,
            "loss": loss.item(),
            "l1": l1.item(),
            "l2": l2.item(),
            "commitment": result.commitment.item(),
            "restarted": restarted,
        }

    def _batch(self, step: int) -> tuple[Tensor, torch.Generator]:
        config = self.config
        n_frames = config.crop_frames
        n_drawn = frames_needed(config.augment, n_frames) if config.augment.share else n_frames
        mel, generator = self.corpus.batch(self.seed, step, config.batch_size, n_drawn)
        if config.augment.share:
            mel = augment(mel, n_frames, config.augment, self.corpus.spec, generator)
        return mel.to(self.device), generator

    @torch.no_grad()
    def _start_codebook(self) -> None:
        """Starts the codebook on k-means centres of what the untrained encoder writes."""
        size = self.dvae.dimensions.codebook_size
        # Steps count from 0, so the draws of negative "steps" are never seen again in training.
        batches = [self._batch(-1 - i)[0] for i in range(_KMEANS_BATCHES)]
        latents = torch.cat([self.dvae.encoder(mel).transpose(1, 2).flatten(0, 1) for mel in batches]).cpu()
        generator = torch.Generator().manual_seed(self.seed)
        centres = kmeans(latents, size, self.config.codebook.kmeans_iterations, generator)
        tokens_a_step = len(latents) / _KMEANS_BATCHES
        self.dvae.codebook.set_codes(centres.to(self.device), tokens_a_step / size)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Mean absolute error and share of codes used over all held-out clips; NaN where there are none."""
        error, count = 0.0, 0
        seen = torch.zeros(self.dvae.dimensions.codebook_size, dtype=torch.bool, device=self.device)
        for mel in self.corpus.validation:
            mel = mel[None].to(self.device)
            codes = self.dvae.encode(mel)
            seen[codes.flatten()] = True
            decoded = self.dvae.decode(codes)[..., : mel.shape[-1]]
            error += (decoded - mel).abs().sum().item()
            count += mel.numel()
        return (error / count, seen.float().mean().item()) if count else (math.nan, math.nan)

    def _resume(self) -> tuple[int, list[dict[str, float]]]:
        if not self.state_path.exists():
            return 0, []
        try:
            state = torch.load(self.state_path, map_location=self.device, weights_only=True)
            self.dvae.load_state_dict(state["model"], strict=True)
            self.optimizer.load_state_dict(state["optimizer"])
            return int(state["step"]), list(state["log"])
        except Exception as error:
            raise TrainingError(
                f"the saved state cannot be read ({error})",
                where=str(self.state_path),
                fix="remove the folder to train from the start",
            ) from error

    def _save(self, step: int, rows: list[dict[str, float]]) -> None:
        state = {"step": step, "model": self.dvae.state_dict(), "optimizer": self.optimizer.state_dict(), "log": rows}
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(self.state_path, content.getvalue())
        _write_log(self.log_path, rows)


def _schedule(config: TrainingConfig, step: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then constant or half a cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


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


def _write_log(path: Path, rows: Sequence[dict[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _LOG_FIELDS)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())
