"""Makes the pocket TorToiSe from packages alone, in stages that can be left and resumed at any step.

corpus → VQVAE → tokenised speech → GPT → CLVP → diffusion. Each stage ends with a check on held-out speech, and a stage
whose check failed is not gone past.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save
from torch import nn

from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import Recipe
from vqbench.data.manifest import Clip, read_manifest
from vqbench.data.synthesis import Voice, synthesize
from vqbench.errors import TrainingError
from vqbench.files import require_writable, write_text, write_whole
from vqbench.progress import Progress
from vqbench.teachers.tortoise.clvp import build_clvp
from vqbench.teachers.tortoise.diffusion import MelRange, build_diffusion
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.teachers.tortoise.text import TextEncoder
from vqbench.teachers.tortoise.upstream import upstream_module
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.finetune import NextToken
from vqbench.training.loop import Objective, optimize
from vqbench.training.pocket.objectives import Denoising, Matching
from vqbench.training.pocket.plan import BuildPlan, PartPlan
from vqbench.training.speech import Batches, Speech, load_speech, read_speech, save_speech, tokenizer_of
from vqbench.training.trainer import Sources, half_path, train, write_half

BUILD_VERSION = 1
"""Raised whenever the same plan would give other weights."""

_UNCONDITIONED = 0.1
"""Share of the diffusion's training rows without conditioning, so that guidance is possible."""

_WITHOUT_WEIGHT = ("name", "duration", "most_l1", "least_right", "least_above", "most_told", "speaking", "notes")
"""What a plan says that no weight depends on: a folder built without it is built with it."""

_UPSTREAM = ("utils.tokenizer", "models.clvp", "models.diffusion_decoder", "utils.diffusion")
"""Modules of tortoise-tts that the later stages need."""

PHASES = 4
"""Each utterance is tokenised as it is and without its first one, two and three mel frames, as `read_speech` does."""

_ELSEWHERE = "choose another folder with -o"


@dataclass(frozen=True)
class BuildStep:
    """One stage of a build: `done` where it left its work in the folder before."""

    name: str
    work: str
    done: bool


@dataclass(frozen=True)
class Built:
    """What a build made, and what its checks found.

    Attributes:
        corpus: all utterances, in order.
        speech: those that are not held out, tokenised.
        vqvae: its weights in half precision; the others' are in full.
        checks: of each trained part, figures on held-out speech.
    """

    corpus: list[Clip]
    speech: Speech
    vqvae: Path
    gpt: Path
    clvp: Path
    diffusion: Path
    checks: Mapping[str, Mapping[str, float]]


def stages(plan: BuildPlan, folder: Path) -> list[BuildStep]:
    """What a build will do, and what of it is done."""
    corpus = plan.corpus

    def trained(name: str, steps: int, file: str = "weights.safetensors") -> BuildStep:
        return BuildStep(name, f"{steps:,} steps", (folder / name / file).exists())

    spoken = f"{corpus.n:,} utterances by {', '.join(corpus.voices)}"
    return [
        BuildStep("corpus", spoken, manifest_path(folder).exists()),
        trained("vqvae", plan.vqvae_training["steps"], "checkpoint.safetensors"),
        BuildStep("speech", "the corpus in the VQVAE's tokens", _speech_file(folder).exists()),
        trained("gpt", plan.gpt_plan.training.steps),
        trained("clvp", plan.clvp_plan.training.steps),
        trained("diffusion", plan.diffusion_plan.training.steps),
    ]


def build(plan: BuildPlan, folder: Path, device: torch.device, progress: Progress) -> Built:
    """Carries out a plan, or what is left of it.

    Args:
        plan: what to build.
        folder: where every stage keeps its work; 2 GB for the full plan.
        device: where to train.
        progress: shows how far each stage is.

    Raises:
        TrainingError: a stage failed its check, or the folder holds a build of another plan.
        MissingExtraError, DataError: where a voice, a program, a package or the disk is missing.
    """
    for name in _UPSTREAM:
        upstream_module(name)  # what is missing is missed now, not after hours
    _claim(folder, plan)
    clips = make_corpus(plan, folder, progress)
    checkpoint = make_vqvae(plan, clips, folder, device, progress)
    checks: dict[str, Mapping[str, float]] = {"vqvae": _held_out_figures(folder / "vqvae" / "reconstruct" / "log.csv")}
    _require(checks["vqvae"]["l1"] <= plan.most_l1, "vqvae", checks["vqvae"])
    # What is shipped is half precision, and rounding flips codes: so the GPT learns the rounded VQVAE's.
    vqvae = half_path(checkpoint)
    if not vqvae.exists():
        write_half(checkpoint)
    tokenizer = load_tokenizer(vqvae, device=device)
    speech = tokenised_speech(plan, clips, tokenizer, folder, progress)
    gpt, checks["gpt"] = make_gpt(plan, speech, folder, device, progress)
    clvp, checks["clvp"] = make_clvp(plan, speech, folder, device, progress)
    diffusion, checks["diffusion"] = make_diffusion(plan, speech, gpt, tokenizer.mel_spec, folder, device, progress)
    return Built(clips, speech, vqvae, gpt, clvp, diffusion, checks)


def make_corpus(plan: BuildPlan, folder: Path, progress: Progress) -> list[Clip]:
    """Speaks the corpus, at one speed and one level: a narrow domain is what makes a small VQVAE sharp."""
    corpus = plan.corpus
    manifest = manifest_path(folder)
    if not manifest.exists():
        _speak(plan, folder / "corpus", corpus.n, plan.seed, progress)
    clips = read_manifest(manifest)
    voices = sorted({clip.speaker or "" for clip in clips})
    if len(clips) != corpus.n or voices != sorted(corpus.voices):
        raise TrainingError(
            f"the corpus has {len(clips):,} utterances by {', '.join(voices)}",
            where=str(manifest),
            expected=f"{corpus.n:,} by {', '.join(corpus.voices)}",
            fix=_ELSEWHERE,
        )
    return clips


def make_tuning_speech(plan: BuildPlan, folder: Path, corpus: list[Clip], progress: Progress) -> list[Clip]:
    """Speaks sentences that are not in the corpus, for GPTs to be tuned on what nothing was trained on yet."""
    known = {clip.text for clip in corpus}
    manifest = _speak(plan, folder / "tuning", plan.speaking.n_tuning, plan.seed + 1, progress)
    return [clip for clip in read_manifest(manifest) if clip.text not in known]


def _speak(plan: BuildPlan, folder: Path, n: int, seed: int, progress: Progress) -> Path:
    corpus = plan.corpus
    voices, level = cast("tuple[Voice, ...]", corpus.voices), (corpus.level, corpus.level)
    return synthesize(folder, n, seed, progress, voices=voices, speeds=(1.0,), levels=level, max_words=corpus.max_words)


def training_part(plan: BuildPlan, clips: list[Clip]) -> list[Clip]:
    """All but the test utterances; the last of these are the validation ones."""
    return clips[: len(clips) - plan.corpus.n_test]


def held_out_part(plan: BuildPlan, clips: list[Clip]) -> list[Clip]:
    """The utterances that nothing is trained on and no training watches."""
    return clips[len(clips) - plan.corpus.n_test :]


def make_vqvae(plan: BuildPlan, clips: list[Clip], folder: Path, device: torch.device, progress: Progress) -> Path:
    """Trains the VQVAE by reconstruction, by the same trainer as every candidate."""
    training = {"data": [{"manifest": manifest_path(folder)}], **plan.vqvae_training}
    recipe = Recipe.model_validate({"name": "pocket-vqvae", "model": plan.vqvae, "reconstruct": training})
    weighted = [(clip, 1.0) for clip in training_part(plan, clips)[: plan.vqvae_clips]]
    return train(recipe, Sources({"reconstruct": weighted}), folder / "vqvae", device, progress)


def tokenised_speech(
    plan: BuildPlan, clips: list[Clip], tokenizer: DVAETokenizer, folder: Path, progress: Progress
) -> Speech:
    """Reads and tokenises the training utterances once."""
    path = _speech_file(folder)
    if tokenizer_of(path) != tokenizer.digest:  # none there, or in the tokens of another VQVAE
        speech = read_speech(
            training_part(plan, clips), tokenizer, TextEncoder().encode, plan.corpus.n_validation, progress, PHASES
        )
        save_speech(path, speech, tokenizer.digest)
    return load_speech(path)


def make_gpt(
    plan: BuildPlan, speech: Speech, folder: Path, device: torch.device, progress: Progress
) -> tuple[Path, Mapping[str, float]]:
    """Trains the GPT to write the VQVAE's tokens."""
    with _seeded(plan.seed):
        gpt = UnifiedVoice(plan.gpt, plan.gpt_dropout).to(device)
    objective = NextToken(gpt, _batches(speech, plan.gpt_plan, device))
    path, check = _train_part("gpt", gpt, objective, plan.gpt_plan, plan.seed, folder, device, progress)
    _require(check["right"] >= plan.least_right, "gpt", check)
    return path, check


def make_clvp(
    plan: BuildPlan, speech: Speech, folder: Path, device: torch.device, progress: Progress
) -> tuple[Path, Mapping[str, float]]:
    """Trains CLVP to match texts and tokens."""
    with _seeded(plan.seed):
        clvp = build_clvp(plan.clvp).to(device)
    objective = Matching(clvp, _batches(speech, plan.clvp_plan, device))
    path, check = _train_part("clvp", clvp, objective, plan.clvp_plan, plan.seed, folder, device, progress)
    _require(check["above"] >= plan.least_above, "clvp", check)
    return path, check


def make_diffusion(
    plan: BuildPlan,
    speech: Speech,
    gpt_weights: Path,
    mel_spec: MelSpec,
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> tuple[Path, Mapping[str, float]]:
    """Trains the diffusion decoder to render the finished GPT's latents as mels of `mel_spec`."""
    gpt = UnifiedVoice(plan.gpt).to(device).eval()
    gpt.load_state_dict(load_file(gpt_weights), strict=True)
    with _seeded(plan.seed):
        diffusion = build_diffusion(plan.diffusion, unconditioned=_UNCONDITIONED).to(device)
    objective = Denoising(
        diffusion,
        gpt,
        _batches(speech, plan.diffusion_plan, device),
        MelRange.of_spec(mel_spec),
        plan.diffusion_crop_tokens,
    )
    path, check = _train_part(
        "diffusion", diffusion, objective, plan.diffusion_plan, plan.seed, folder, device, progress
    )
    _require(check["told"] <= plan.most_told, "diffusion", check)
    return path, check


def manifest_path(folder: Path) -> Path:
    """Where a build's corpus is listed."""
    return folder / "corpus" / "manifest.jsonl"


def _speech_file(folder: Path) -> Path:
    return folder / "speech.safetensors"


def _batches(speech: Speech, plan: PartPlan, device: torch.device) -> Batches:
    return Batches(speech, plan.batch_size, device, plan.conditioning_frames)


def _train_part(
    name: str,
    module: nn.Module,
    objective: Objective[Any],
    plan: PartPlan,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> tuple[Path, Mapping[str, float]]:
    """Trains one network and keeps its weights and what its check found; a finished one is only loaded."""
    weights, checked = folder / name / "weights.safetensors", folder / name / "check.json"
    if not weights.exists():
        optimize(module.train(), objective, plan.training, seed, folder / name, device, progress, name)
        write_text(checked, json.dumps(dict(objective.validate()), indent=2))
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in module.state_dict().items()}
        write_whole(weights, save(state))
        (folder / name / "state.pt").unlink(missing_ok=True)
    module.load_state_dict(load_file(weights), strict=True)
    found: dict[str, float] = json.loads(checked.read_text(encoding="utf-8"))
    return weights, found


def _require(good: bool, stage: str, figures: Mapping[str, float]) -> None:
    if not good:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        raise TrainingError(
            f"the stage {stage!r} failed its check on held-out speech: {shown}",
            fix="the stages after it would be trained on a bad one: change the plan, and build into another folder",
        )


def _claim(folder: Path, plan: BuildPlan) -> None:
    """One folder holds one plan's build."""
    marker, digest = folder / "plan.json", plan_digest(plan)
    if not marker.exists():
        # A corpus is what it is, whoever made it; what was trained without a plan could be anything.
        begun = [stage.name for stage in stages(plan, folder)[1:] if stage.done or (folder / stage.name).exists()]
        if begun:
            raise TrainingError(
                f"the folder holds {', '.join(begun)}, but no plan.json that says of what build",
                where=str(folder),
                fix=_ELSEWHERE,
            )
        require_writable(marker)
        write_text(marker, json.dumps({"digest": digest, "plan": _plain(plan)}, indent=2))
        return
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError("the folder's plan.json cannot be read", where=str(marker), fix=_ELSEWHERE) from error
    if found != digest:
        raise TrainingError(
            f"the folder holds a build of another plan (digest {found}, this one's is {digest})",
            where=str(folder),
            fix=_ELSEWHERE,
        )


def plan_digest(plan: BuildPlan) -> str:
    """Sixteen hex digits over all of a plan that its weights depend on."""
    decides = {key: value for key, value in _plain(plan).items() if key not in _WITHOUT_WEIGHT}
    return hashlib.sha256(json.dumps([BUILD_VERSION, decides], sort_keys=True).encode()).hexdigest()[:16]


def _plain(plan: BuildPlan) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json", exclude_defaults=True)  # a new setting changes no plan
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    shown = plain(asdict(plan))
    assert isinstance(shown, dict)
    return shown


def _held_out_figures(log: Path) -> Mapping[str, float]:
    """What a training's log says of the finished weights on held-out data."""
    header, *_, last = log.read_text(encoding="utf-8").splitlines()
    row = {name: float(cell) for name, cell in zip(header.split(","), last.split(","), strict=True) if cell}
    figures = {name: value for name, value in row.items() if name.startswith("validation_")}
    return {name.removeprefix("validation_"): value for name, value in figures.items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws a network's first weights from a seed of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
