"""Makes a candidate by a recipe, in a folder that can be left and resumed at any step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vqbench.audio.io import file_digest
from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import PAIRS_LAYERS, VQVAE_PHASES, Recipe
from vqbench.config.source import POCKET, DataSource
from vqbench.data.clip import Clip
from vqbench.data.corpora import load_clips
from vqbench.errors import CheckpointError, ConfigError, TrainingError
from vqbench.files import has_sum, require_writable, write_sum, write_whole
from vqbench.progress import Progress
from vqbench.tokenizers.dvae.checkpoint import START, load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.crops import WeightedClip
from vqbench.training.finetune import GPT_WEIGHTS, require_transcripts, require_writable_codes
from vqbench.training.phases import Phases, Teaching
from vqbench.training.processes import all_processes_together, own_device, rank, world_size

TRAINER_VERSION = 2
"""Raised whenever the same recipe would give other weights."""


@dataclass(frozen=True)
class Sources:
    """What a recipe reads, found and checked.

    Attributes:
        clips: of each phase that reads recordings, with their weights, sha256 filled in.
        teaching: the recipe's teacher, where it has one.
        start: the VQVAE that it begins with, where it names one.
        pairs: the digest of its folder of pairs, or of what they are made of; None where it has none.
    """

    clips: Mapping[str, Sequence[WeightedClip]] = field(default_factory=dict)
    teaching: Teaching | None = None
    start: DVAETokenizer | None = None
    pairs: str | None = None


def find_sources(
    recipe: Recipe,
    pairs: str | None = None,
    teaching: Teaching | None = None,
    pocket: DVAETokenizer | None = None,
    read: Callable[[DataSource], Sequence[Clip]] = load_clips,
    load: Callable[[Path, Path | None], DVAETokenizer] = load_tokenizer,
) -> Sources:
    """Finds what a recipe reads.

    Args:
        recipe: what to make.
        pairs: the digest of its folder of pairs, or of what they are made of, where it has any.
        teaching: its teacher, where it has one.
        pocket: the VQVAE that `start: pocket` means.
        read: finds the clips of a source; who finds the sources of many recipes reads each once.
        load: likewise the VQVAE that training starts with, of its checkpoint and mel norms.

    Raises:
        DataError: where a manifest or a clip is at fault.
        CheckpointError: where the VQVAE to start with is at fault.
    """
    clips = {
        phase: [(clip, source.weight) for source in config.data for clip in read(source)]
        for phase in ("reconstruct", "joint", "finetune")
        if (config := getattr(recipe, phase)) is not None
    }
    if recipe.pseudo_label is not None:
        clips["pseudo_label"] = [(clip, 1.0) for source in recipe.pseudo_label.data for clip in read(source)]
    start = None
    if recipe.start is not None:
        start = pocket if str(recipe.start) == POCKET else load(recipe.start, recipe.mel_norms)
    return Sources(clips, teaching, start, pairs)


def training_digest(recipe: Recipe, sources: Sources) -> str:
    """Sixteen hex digits over all that decides the weights: settings, the data's content, the trainer's version.

    Where the data lie and what the recipe is called do not matter.
    """
    # Defaults are left out, so that a setting which is new to vqbench changes no recipe that does not use it.
    settings = recipe.model_dump(
        mode="json", exclude={"name", "start", "mel_norms", "teacher", "pairs"}, exclude_defaults=True
    )
    for phase in sources.clips:
        settings[phase].pop("data")
    content: dict[str, object] = {"version": TRAINER_VERSION, "settings": settings}
    content["clips"] = {
        phase: [[clip.id, clip.sha256, weight] for clip, weight in clips] for phase, clips in sources.clips.items()
    }
    if recipe.finetune is not None:
        content["said"] = [[clip.text, clip.speaker] for clip, _ in sources.clips["finetune"]]
    if recipe.pseudo_label is not None:
        content["labelled"] = [[clip.text, clip.speaker] for clip, _ in sources.clips["pseudo_label"]]
    if sources.start is not None:
        content["start"] = sources.start.digest
    if sources.teaching is not None:
        content["teacher"] = sources.teaching.teacher.digest
    if recipe.pairs is not None:
        asked = recipe.pairs.model_dump(mode="json", exclude={"folder", "sentences", "voices"}, exclude_defaults=True)
        content["pairs"] = [asked, sources.pairs]
    if recipe.distil is not None and isinstance(recipe.distil.codebook, Path):
        settings["distil"]["codebook"] = file_digest(recipe.distil.codebook)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def train(recipe: Recipe, sources: Sources, folder: Path, device: torch.device | str, progress: Progress) -> Path:
    """Carries out all phases, or resumes, or finds that all is done.

    Started by torchrun, all processes call it alike.

    Args:
        recipe: what to make.
        sources: what it reads.
        folder: holds `training.json`, a folder a phase (`state.pt` to resume by, `log.csv`, `best.safetensors`,
            `last.safetensors`; a fine-tuned GPT's `autoregressive.pth`) and, in the end, `checkpoint.safetensors`.
        device: where to train.
        progress: shows how far it is.

    Returns:
        the finished checkpoint's path.

    Raises:
        TrainingError: the folder holds another training, or one went wrong; what was saved is left as it is.
        DataError: a clip or pair cannot be read, or the folder not be written. Nothing is written before all are read.
        ConfigError: the batches cannot be shared out among the processes, or crops are no whole tokens of `start`.
        CheckpointError: the VQVAE fits neither the pairs, nor a known codebook, nor the GPT that shall learn its codes.
    """
    device = own_device(torch.device(device))
    finished = folder / "checkpoint.safetensors"
    digest = training_digest(recipe, sources)
    if rank() == 0:
        _require_own(folder, digest)
    all_processes_together(device)
    if has_sum(finished) and (recipe.finetune is None or has_sum(folder / "finetune" / GPT_WEIGHTS)):
        return finished

    if sources.start is not None:
        dvae, spec = DVAE(sources.start.dvae.dimensions).to(device), sources.start.mel_spec
        dvae.load_state_dict(sources.start.dvae.state_dict(), strict=True)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            dvae, spec = DVAE(Dimensions(**recipe.model.model_dump())).to(device), MelSpec()
    _require_fit(recipe, sources, dvae)

    def claim() -> None:
        if rank() == 0:
            _mark(folder, recipe, digest)

    phases = Phases(recipe, dvae, spec, sources.teaching, folder, device, progress, claim)
    if recipe.reconstruct is not None:
        phases.reconstruct(sources.clips["reconstruct"])
    if recipe.distil is not None:
        phases.distil()
    if recipe.refine is not None:
        phases.refine()
    if recipe.joint is not None:
        phases.joint(sources.clips["joint"])
    if recipe.pseudo_label is not None:
        phases.pseudo_label([clip for clip, _ in sources.clips["pseudo_label"]])
    claim()
    if rank() == 0:
        vqvae_steps = recipe.steps - (recipe.finetune.steps if recipe.finetune is not None else 0)
        provenance: dict[str, str | int | float] = {
            "recipe": recipe.name,
            "training_digest": digest,
            "steps": vqvae_steps,
            "seed": recipe.seed,
        }
        if sources.start is not None and sources.start.loaded:
            provenance[START] = sources.start.loaded
        save_checkpoint(finished, dvae, spec, provenance)
        write_sum(finished)
    if recipe.finetune is not None:
        phases.finetune(sources.clips["finetune"])
    all_processes_together(device)
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


def _require_fit(recipe: Recipe, sources: Sources, dvae: DVAE) -> None:
    """Finds what later phases would stumble over before anything is trained."""
    per_token, where = dvae.dimensions.frames_per_token, str(recipe.path or recipe.name)
    if recipe.pairs is not None and per_token != 1 << PAIRS_LAYERS:
        raise CheckpointError(
            f"a token of this VQVAE stands for {per_token} mel frames, one of a GPT for {1 << PAIRS_LAYERS}",
            where=str(recipe.start or where),
            expected=f"a VQVAE of {PAIRS_LAYERS} layers where there are pairs",
        )
    for phase in (*VQVAE_PHASES, "finetune"):
        config = getattr(recipe, phase)
        if config is not None and config.batch_size % world_size():
            raise ConfigError(
                f"batches of {config.batch_size} cannot be shared out evenly among {world_size()} processes",
                where=where,
                expected=f"{phase}.batch_size a multiple of {world_size()}",
            )
        if phase in VQVAE_PHASES and config is not None and config.crop_frames % per_token:
            raise ConfigError(
                f"crops of {config.crop_frames} frames are not whole tokens of {per_token} frames",
                where=where,
                expected=f"{phase}.crop_frames a multiple of {per_token}",
            )
    if recipe.finetune is not None and sources.teaching is not None:
        require_writable_codes(dvae.dimensions.codebook_size, sources.teaching.teacher, where)
        require_transcripts([clip for clip, _ in sources.clips["finetune"]])


def _require_own(folder: Path, digest: str) -> None:
    """One folder holds one recipe's training."""
    started = _read_marker(folder)
    if started is not None and started != digest:
        raise TrainingError(
            f"the folder holds a training of another recipe or other clips (digest {started}, this one's is {digest})",
            where=str(folder),
            fix="choose another folder with -o, or remove this one",
        )
    if started is None:
        left = ("checkpoint.safetensors", *VQVAE_PHASES, "pairs-best", "finetune")
        if any((folder / name).exists() for name in left):
            raise TrainingError(
                "the folder holds a training, but not the training.json that says of which recipe",
                where=str(folder),
                fix="choose another folder with -o, or remove this one",
            )
        require_writable(folder / "training.json")


def _mark(folder: Path, recipe: Recipe, digest: str) -> None:
    """Says whose training a folder holds, before there is anything of it."""
    if _read_marker(folder) is None:
        write_whole(folder / "training.json", json.dumps({"digest": digest, "recipe": recipe.name}, indent=2).encode())


def _read_marker(folder: Path) -> str | None:
    marker = folder / "training.json"
    if not marker.exists():
        return None
    try:
        return str(json.loads(marker.read_text(encoding="utf-8"))["digest"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrainingError(
            "the folder's training.json cannot be read", where=str(marker), fix="choose another folder"
        ) from error
