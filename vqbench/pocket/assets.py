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
from vqbench.files import write_text, write_whole
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.tokenizer.dvae_tokenizer import DVAETokenizer
from vqbench.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.tortoise.conditioning import mel_conditioning
from vqbench.tortoise.diffusion import DiffusionDecoder, DiffusionDimensions, MelRange, build_diffusion
from vqbench.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.tortoise.part import Part
from vqbench.tortoise.sampling import Sampling
from vqbench.tortoise.teacher import Teacher
from vqbench.tortoise.text import TextEncoder
from vqbench.tortoise.tokens import MelVocabulary
from vqbench.tortoise.vocoder import GriffinLimVocoder

SHIPPED = Path(__file__).parent / "data"
"""Where the built pocket TorToiSe lies in the package."""

FORMAT = 1
"""Of the card; raised when older code could no longer read it."""

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


def load_card(folder: Path = SHIPPED) -> dict[str, Any]:
    """Reads the card: sizes, digests, corpus, settings, figures, licence. Needs no weights.

    Raises:
        CheckpointError: there is no pocket TorToiSe in the folder.
    """
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"there is no pocket TorToiSe here ({error})",
            where=str(path),
            fix="reinstall vqbench, or make one with `vqbench pocket build`",
        ) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError("the card has another format", where=str(path), expected=f"format {FORMAT}")
    return card


def load_pocket(device: torch.device | str = "cpu", folder: Path = SHIPPED) -> Teacher:
    """Loads the pocket TorToiSe as a teacher whose true tokenizer is known.

    Raises:
        CheckpointError: a file is missing or is not the one that the card names.
        MissingExtraError: tortoise-tts is not installed.
    """
    card, device = load_card(folder), torch.device(device)
    for name, part in card["parts"].items():
        _check_digest(folder / part["file"], part["sha256"], name)
    settings = settings_of(card)
    tokenizer = load_true_tokenizer(device, folder)
    spec = tokenizer.mel_spec
    text = TextEncoder()
    n_samples = (settings.conditioning_frames - 1) * spec.hop_length
    gpt = Part(lambda: load_gpt(folder).to(device))
    n_codes = tokenizer.codebook_size
    return Teacher(
        name="pocket",
        digest=_teacher_digest(card, text),
        gpt=gpt,
        clvp=Part(lambda: load_clvp(folder).to(device)),
        diffusion=Part(
            lambda: DiffusionDecoder(
                load_diffusion(folder).to(device),
                MelRange.of_spec(spec),
                steps=settings.diffusion_steps,
                cond_free_k=settings.cond_free_k,
            )
        ),
        vocoder=Part(lambda: GriffinLimVocoder(GriffinLim(spec, settings.vocoder_iterations))),
        text=text,
        vocabulary=MelVocabulary(n_codes, n_codes, n_codes + 1, settings.calm, (settings.calm,) * 3),
        mel_frames=lambda n_tokens: 4 * n_tokens,
        gpt_mel=lambda waveform: mel_conditioning(waveform, spec, n_samples),
        diffusion_mel=lambda waveform: mel_conditioning(waveform, spec, n_samples),
        sampling=settings.sampling,
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
    """What a card says the parts are run with."""
    values = dict(card["settings"])
    return Settings(**{**values, "sampling": Sampling(**values["sampling"])})


def load_gpt(folder: Path = SHIPPED) -> UnifiedVoice:
    """Loads the GPT, in evaluation mode."""
    return _load_part(folder / "gpt.safetensors", GPTDimensions, UnifiedVoice)


def load_clvp(folder: Path = SHIPPED) -> nn.Module:
    """Loads CLVP, in evaluation mode."""
    return _load_part(folder / "clvp.safetensors", CLVPDimensions, build_clvp)


def load_diffusion(folder: Path = SHIPPED) -> nn.Module:
    """Loads the diffusion network, in evaluation mode."""
    return _load_part(folder / "diffusion.safetensors", DiffusionDimensions, build_diffusion)


def save_part(path: Path, module: nn.Module, dimensions: GPTDimensions | CLVPDimensions | DiffusionDimensions) -> None:
    """Writes a network in half precision, its sizes beside it."""
    state = {key: tensor.detach().cpu().half().contiguous() for key, tensor in module.state_dict().items()}
    write_whole(path, save(state, metadata={_DIMENSIONS: json.dumps(asdict(dimensions))}))


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Writes the card, readable by people."""
    write_text(folder / "card.json", json.dumps({"format": FORMAT, **card}, indent=2, ensure_ascii=False) + "\n")


_Module = TypeVar("_Module", bound=nn.Module)


def _load_part(path: Path, sizes: type[_Sizes], make: Callable[[_Sizes], _Module]) -> _Module:
    try:
        with safe_open(path, framework="pt") as file:
            dimensions = sizes(**json.loads((file.metadata() or {})[_DIMENSIONS]))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a mapping
        with torch.random.fork_rng(devices=[]):
            module = make(dimensions)
        module.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"this is no part of a pocket TorToiSe ({error})", where=str(path)) from error
    return module.eval()


def _check_digest(path: Path, sha256: str, name: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none, the file is missing"
    if found != sha256:
        raise CheckpointError(
            f"the {name} weights are not the ones that the card names: sha256 {found}",
            where=str(path),
            expected=f"sha256 {sha256}",
            fix="reinstall vqbench",
        )


def _teacher_digest(card: Mapping[str, Any], text: TextEncoder) -> str:
    parts = {name: part["sha256"] for name, part in card["parts"].items()}
    content = json.dumps([parts, card["settings"], dict(text.identity)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
