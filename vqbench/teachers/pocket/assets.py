"""The pocket TorToiSe as it is shipped: its weights, its card, its recordings, and how they become a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.data.manifest import Clip, read_manifest
from vqbench.errors import CheckpointError
from vqbench.files import write_whole
from vqbench.teachers.pocket.card import SHIPPED, check_parts, load_card
from vqbench.teachers.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.teachers.tortoise.conditioning import mel_conditioning
from vqbench.teachers.tortoise.diffusion import (
    DiffusionDecoder,
    DiffusionDimensions,
    MelRange,
    Predicted,
    Sampler,
    build_diffusion,
)
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.lazy_model import LazyModel
from vqbench.teachers.tortoise.sampling import Sampling
from vqbench.teachers.tortoise.teacher import TEACHER_VERSION, TortoiseTeacher
from vqbench.teachers.tortoise.text import TextEncoder
from vqbench.teachers.tortoise.tokens import MelVocabulary
from vqbench.teachers.tortoise.vocoder import GriffinLimVocoder, Vocoder
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

PREDICTED: Predicted = "mel"
"""What the pocket's diffusion tells, and learnt to."""

SAMPLER: Sampler = "ddim"
"""How its mels are rendered."""

_DIMENSIONS = "vqbench.dimensions"
_Sizes = TypeVar("_Sizes", GPTDimensions, CLVPDimensions, DiffusionDimensions)


@dataclass(frozen=True)
class Settings:
    """What the pocket TorToiSe's parts are run with; part of the card.

    Attributes:
        sampling: of the GPT.
        calm: the code of silence.
        conditioning_frames: mel frames that tell a voice.
        diffusion_steps: steps of the noise schedule that a mel is rendered in.
        cond_free_k: strength of the guidance; 0 is none.
        vocoder_iterations: rounds of Griffin-Lim.
    """

    sampling: Sampling
    calm: int
    conditioning_frames: int
    diffusion_steps: int
    cond_free_k: float
    vocoder_iterations: int


def open_pocket(written: str, device: torch.device) -> TortoiseTeacher:
    """The small TorToiSe that comes along, whose true VQVAE is known."""
    return load_pocket(device)


def load_pocket(device: torch.device | str = "cpu", folder: Path = SHIPPED) -> TortoiseTeacher:
    """Loads the pocket TorToiSe as a teacher whose true tokenizer is known.

    Raises:
        CheckpointError: a file is missing or is not the one that the card names (several: ManyErrors).
        MissingExtraError: tortoise-tts is not installed.
    """
    card, device = load_card(folder), torch.device(device)
    check_parts(card, folder)
    settings = settings_of(card)
    tokenizer = load_true_tokenizer(device, folder)
    spec = tokenizer.mel_spec
    text = TextEncoder()
    vocoder = GriffinLimVocoder(GriffinLim(spec, settings.vocoder_iterations).to(device))
    n_samples = (settings.conditioning_frames - 1) * spec.hop_length
    gpt = LazyModel(lambda: load_gpt(folder).to(device))
    n_codes = tokenizer.codebook_size
    return TortoiseTeacher(
        name="pocket",
        digest=_teacher_digest(card, text, vocoder),
        gpt=gpt,
        clvp=LazyModel(lambda: load_clvp(folder).to(device)),
        diffusion=LazyModel(
            lambda: DiffusionDecoder(
                load_diffusion(folder).to(device),
                MelRange.of_spec(spec),
                steps=settings.diffusion_steps,
                cond_free_k=settings.cond_free_k,
                predicted=PREDICTED,
                sampler=SAMPLER,
            )
        ),
        vocoder=LazyModel(lambda: vocoder),
        text=text,
        vocabulary=MelVocabulary(n_codes, n_codes, n_codes + 1, settings.calm, (settings.calm,) * 3),
        mel_frames=lambda n_tokens: 4 * n_tokens,
        gpt_mel=lambda waveform: mel_conditioning(waveform, spec, n_samples),
        diffusion_mel=lambda waveform: mel_conditioning(waveform, spec, n_samples),
        max_text_tokens=card["parts"]["gpt"]["dimensions"]["max_text_tokens"],
        sampling=settings.sampling,
        batch_size=16 if device.type == "cpu" else 64,
        device=device,
        tokenizer=tokenizer,
    )


def load_true_tokenizer(device: torch.device | str = "cpu", folder: Path = SHIPPED) -> DVAETokenizer:
    """Loads the VQVAE whose tokens the pocket's GPT writes: what a candidate tries to be."""
    return load_tokenizer(folder / "vqvae.safetensors", device=device)


def voices(folder: Path = SHIPPED) -> list[Clip]:
    """The recordings by which the teacher is told a voice; none was trained on."""
    return [clip for clip in read_manifest(folder / "clips.jsonl") if clip.split == "conditioning"]


def settings_of(card: Mapping[str, Any]) -> Settings:
    """What a card says the parts are run with.

    Raises:
        CheckpointError: the card says something else.
    """
    try:
        values = dict(card["settings"])
        return Settings(**{**values, "sampling": Sampling(**values["sampling"])})
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"the card's settings are not those of this vqbench ({error})") from error


def load_gpt(folder: Path = SHIPPED) -> UnifiedVoice:
    """Loads the GPT, in evaluation mode."""
    return _load_part(folder / "gpt.safetensors", GPTDimensions, UnifiedVoice)


def load_clvp(folder: Path = SHIPPED) -> nn.Module:
    """Loads CLVP, in evaluation mode."""
    return _load_part(folder / "clvp.safetensors", CLVPDimensions, build_clvp)


def load_diffusion(folder: Path = SHIPPED) -> nn.Module:
    """Loads the diffusion network, in evaluation mode."""
    return _load_part(folder / "diffusion.safetensors", DiffusionDimensions, build_diffusion)


_UNREAD = ("code_embedding.", "code_converter.")
"""The diffusion's entrance for codes in place of latents: never used, so not shipped, and zero when loaded."""


def save_part(path: Path, module: nn.Module, dimensions: GPTDimensions | CLVPDimensions | DiffusionDimensions) -> None:
    """Writes a network in half precision, its sizes beside it."""
    state = {
        key: tensor.detach().cpu().half().contiguous()
        for key, tensor in module.state_dict().items()
        if not key.startswith(_UNREAD)
    }
    write_whole(path, save(state, metadata={_DIMENSIONS: json.dumps(asdict(dimensions))}))


_Module = TypeVar("_Module", bound=nn.Module)


def _load_part(path: Path, sizes: type[_Sizes], make: Callable[[_Sizes], _Module]) -> _Module:
    try:
        with safe_open(path, framework="pt") as file:
            dimensions = sizes(**json.loads((file.metadata() or {})[_DIMENSIONS]))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a mapping
        with torch.random.fork_rng(devices=[]):
            module = make(dimensions)
        unread = {key: torch.zeros_like(t) for key, t in module.state_dict().items() if key.startswith(_UNREAD)}
        module.load_state_dict({**state, **unread}, strict=True)
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"this is no part of a pocket TorToiSe ({error})", where=str(path)) from error
    return module.eval()


def _teacher_digest(card: Mapping[str, Any], text: TextEncoder, vocoder: Vocoder) -> str:
    parts = {name: part["sha256"] for name, part in card["parts"].items()}
    rendered = [PREDICTED, SAMPLER, dict(vocoder.identity), TEACHER_VERSION]
    content = json.dumps([parts, card["settings"], dict(text.identity), rendered], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
