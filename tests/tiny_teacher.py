"""A whole TorToiSe with random weights, small enough to speak in a test: 64 codes, Griffin-Lim, no sense."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelSpec
from vqbench.teachers.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.teachers.tortoise.conditioning import gpt_conditioning, mel_conditioning
from vqbench.teachers.tortoise.diffusion import DiffusionDecoder, DiffusionDimensions, MelRange, build_diffusion
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.lazy_model import LazyModel
from vqbench.teachers.tortoise.sampling import Sampling
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.text import TextEncoder
from vqbench.teachers.tortoise.tokens import MelVocabulary
from vqbench.teachers.tortoise.utterance import Voice
from vqbench.teachers.tortoise.vocoder import GriffinLimVocoder, Vocoder

VOCABULARY = MelVocabulary(n_codes=64, start=64, stop=65, calm=5, tail=(1, 1, 2))
SAMPLING = Sampling(max_tokens=20)
SECOND = 22_050


def make_teacher(seed: int = 0, *, keep: bool = True, stop_bias: float = 3.2) -> TortoiseTeacher:
    """The teacher of a seed; the higher the bias, the sooner its GPT stops."""

    def gpt() -> UnifiedVoice:
        torch.manual_seed(seed)
        model = UnifiedVoice(GPTDimensions(n_layers=2, width=32, n_heads=2, n_codes=64, max_mel_tokens=60))
        # Louder than a new model, so that voices, texts and neighbours would be heard in the tokens.
        for parameter in model.parameters():
            parameter.data.mul_(4 if parameter.ndim > 1 else 1)
        model.mel_head.bias.data[VOCABULARY.stop] = stop_bias
        return _still(model)

    def clvp() -> nn.Module:
        torch.manual_seed(seed + 1)
        return _still(build_clvp(CLVPDimensions(width=32, n_layers=1, n_heads=1, n_codes=64)))

    def diffusion() -> DiffusionDecoder:
        torch.manual_seed(seed + 2)
        sizes = DiffusionDimensions(n_mels=80, width=32, n_layers=1, n_heads=2, latent_width=32, n_codes=1)
        model = build_diffusion(sizes)
        for parameter in model.parameters():  # some start at zero, where nothing would be heard of anything
            nn.init.normal_(parameter, std=0.05)
        # Quieter than the real range, so that noise does not clip.
        mel_range = replace(MelRange.of_spec(MelSpec()), high=tuple(-4.0 / norm for norm in MelSpec().norms))
        return DiffusionDecoder(_still(model), mel_range, steps=3)

    def vocoder() -> Vocoder:
        return GriffinLimVocoder(GriffinLim(MelSpec(), iterations=2))

    return TortoiseTeacher(
        name=f"tiny-{seed}",
        digest=hashlib.sha256(f"{seed} {stop_bias}".encode()).hexdigest()[:16],
        gpt=LazyModel(gpt, keep),
        clvp=LazyModel(clvp, keep),
        diffusion=LazyModel(diffusion, keep),
        vocoder=LazyModel(vocoder, keep),
        text=TextEncoder(),
        vocabulary=VOCABULARY,
        mel_frames=lambda n_tokens: 4 * n_tokens,
        gpt_mel=lambda waveform: gpt_conditioning(waveform, 0, n_samples=SECOND),
        diffusion_mel=lambda waveform: mel_conditioning(waveform, n_samples=SECOND),
        max_text_tokens=404,
        sampling=SAMPLING,
        batch_size=4,
    )


@functools.cache
def teacher() -> TortoiseTeacher:
    """The one that most tests share; its models are loaded once."""
    return make_teacher()


@functools.cache
def voices() -> tuple[Voice, ...]:
    """Three speakers of hums."""
    return tuple(teacher().voices({name: [hum(hz)] for name, hz in (("ann", 220), ("bob", 110), ("cy", 160))}))


def hum(hz: float, n_samples: int = SECOND // 2) -> Tensor:
    """A tone with overtones, (n_samples,) float32."""
    t = torch.arange(n_samples) / SECOND
    return sum((0.2 / n * torch.sin(2 * torch.pi * n * hz * t) for n in range(1, 9)), start=torch.zeros(n_samples))


def _still(model: nn.Module):
    return model.eval().requires_grad_(False)
