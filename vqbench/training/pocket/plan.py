"""How big the pocket TorToiSe is, how long each part is trained, how it speaks; `TINY` is the same build in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqbench.config.recipe import ModelConfig
from vqbench.config.training import OptimizationConfig
from vqbench.teachers.tortoise.clvp import CLVPDimensions
from vqbench.teachers.tortoise.diffusion import DiffusionDimensions
from vqbench.teachers.tortoise.gpt import GPTDimensions
from vqbench.teachers.tortoise.sampling import Sampling


@dataclass(frozen=True)
class CorpusPlan:
    """What is spoken. The last utterances are never trained on by anything: they are for conditioning and testing."""

    n: int
    n_test: int
    n_validation: int
    max_words: int = 12
    voices: tuple[str, ...] = ("joe", "slt", "rms", "awb")
    level: float = 0.7


@dataclass(frozen=True)
class PartPlan:
    """How one network is trained.

    Attributes:
        training: the loop.
        batch_size: utterances a step.
        conditioning_frames: mel frames of the recording that tells a voice.
    """

    training: OptimizationConfig
    batch_size: int
    conditioning_frames: int = 128


@dataclass(frozen=True)
class SpeakingPlan:
    """How the finished parts are run and judged. No weight depends on it.

    Attributes:
        sampling: of the GPT.
        diffusion_steps: that a mel is rendered in.
        cond_free_k: strength of the diffusion's guidance; 0 is none.
        vocoder_iterations: rounds of Griffin-Lim.
        n_packed: test recordings that come along, besides those that tell the voices.
        n_tuning: recordings of further sentences that come along, for a GPT to be fine-tuned on.
        n_copied: test recordings that the VQVAE is judged on.
        n_spoken: new sentences that the whole is judged on.
        tries: how often the GPT writes each of them where CLVP chooses.
    """

    sampling: Sampling
    diffusion_steps: int
    cond_free_k: float
    vocoder_iterations: int
    n_packed: int
    n_tuning: int
    n_copied: int
    n_spoken: int
    tries: int


@dataclass(frozen=True)
class BuildPlan:
    """The whole build.

    Attributes:
        duration: what to expect of it, for people.
        vqvae_clips: the VQVAE hears the first so many utterances.
        vqvae_training: its recipe's section `reconstruct`, but for the data.
        least_right: the GPT's check: share of held-out tokens that it predicts.
        least_above: CLVP's check: how often a held-out text scores above another.
        most_told: the diffusion's check: mean squared error of the mel that it tells, in [−1, 1], on held-out speech.
        most_l1: the VQVAE's check: held-out mean absolute error in training units.
        notes: what was tried where a target was missed; the card shows them.
    """

    name: str
    duration: str
    seed: int
    corpus: CorpusPlan
    vqvae_clips: int
    vqvae: ModelConfig
    vqvae_training: Mapping[str, Any]
    most_l1: float
    gpt: GPTDimensions
    gpt_dropout: float
    gpt_plan: PartPlan
    least_right: float
    clvp: CLVPDimensions
    clvp_plan: PartPlan
    least_above: float
    diffusion: DiffusionDimensions
    diffusion_plan: PartPlan
    diffusion_crop_tokens: int
    most_told: float
    speaking: SpeakingPlan
    notes: tuple[str, ...] = ()


FULL = BuildPlan(
    name="pocket",
    duration="hours on two CPU cores",
    seed=7,
    corpus=CorpusPlan(n=12_400, n_test=400, n_validation=200),
    vqvae_clips=12_000,
    vqvae=ModelConfig(hidden_dim=128, codebook_size=1024, codebook_dim=128, num_resnet_blocks=4),
    vqvae_training={
        "steps": 15_000,
        "batch_size": 24,
        "crop_frames": 128,
        "learning_rate": 8e-4,
        "precision": "bf16",
        "codebook": {"decay": 0.97, "restart_below": 0.1},
        "validate_every": 300,
        "checkpoint_every": 300,
    },
    most_l1=0.1,
    gpt=GPTDimensions(
        n_layers=6,
        width=256,
        n_heads=4,
        n_codes=1024,
        max_text_tokens=100,
        max_mel_tokens=200,
        max_conditioning_inputs=1,
    ),
    gpt_dropout=0.1,
    gpt_plan=PartPlan(
        OptimizationConfig(
            steps=7_000,
            learning_rate=1e-3,
            warmup_steps=300,
            weight_decay=0.05,
            precision="bf16",
            validate_every=200,
            checkpoint_every=200,
        ),
        batch_size=32,
    ),
    least_right=0.3,
    clvp=CLVPDimensions(n_layers=3, width=128, n_heads=2, n_text_tokens=256, n_codes=1024),
    clvp_plan=PartPlan(
        OptimizationConfig(
            steps=2_000,
            learning_rate=1e-3,
            warmup_steps=200,
            precision="bf16",
            validate_every=200,
            checkpoint_every=200,
        ),
        batch_size=64,
    ),
    least_above=0.95,
    diffusion=DiffusionDimensions(n_layers=3, width=192, n_heads=4, n_mels=80, latent_width=256, n_codes=1),
    diffusion_plan=PartPlan(
        OptimizationConfig(
            steps=7_000,
            learning_rate=1e-3,
            warmup_steps=200,
            precision="bf16",
            validate_every=300,
            checkpoint_every=300,
        ),
        batch_size=24,
    ),
    diffusion_crop_tokens=32,
    most_told=0.0125,
    speaking=SpeakingPlan(
        Sampling(temperature=0.3, top_p=0.9, top_k=50, repetition_penalty=1.0, max_tokens=160),
        diffusion_steps=4,
        cond_free_k=0.0,
        vocoder_iterations=32,
        n_packed=40,
        n_tuning=200,
        n_copied=100,
        n_spoken=200,
        tries=8,
    ),
    notes=(
        "corpus_wer: Whisper tiny.en mishears some forty of the grammar's words in whatever recording, and awb, a"
        " Scottish voice, twice as often as the others; without these words the recordings are within the target"
        " (easy_wer)",
        "spoken_wer, chosen_wer: the GPT alone, through the VQVAE's own decoder, was at 0.20 on 40 other sentences."
        " From 2,000 to 7,000 steps it came down from 0.58; neither it nor the diffusion had begun to overfit, so"
        " longer training may help. A diffusion that tells the noise, as upstream's does, was far worse at equal steps,"
        " and more than four rendering steps did not help one of 900 steps (docs/experiments.md)",
    ),
)
"""What is shipped."""

_BRIEF = OptimizationConfig(
    steps=6, learning_rate=1e-3, warmup_steps=2, validate_every=3, checkpoint_every=2, schedule="constant"
)

TINY = BuildPlan(
    name="pocket-tiny",
    duration="less than a minute",
    seed=7,
    corpus=CorpusPlan(n=44, n_test=24, n_validation=4, max_words=8, voices=("slt", "rms")),
    vqvae_clips=16,
    vqvae=ModelConfig(hidden_dim=16, codebook_size=32, codebook_dim=8, num_resnet_blocks=1),
    vqvae_training={
        "steps": 20,
        "batch_size": 4,
        "crop_frames": 64,
        "learning_rate": 2e-3,
        "warmup_steps": 2,
        "validate_every": 10,
        "validation_share": 0.3,
        "checkpoint_every": 5,
    },
    most_l1=1.0,
    gpt=GPTDimensions(
        n_layers=1, width=32, n_heads=2, n_codes=32, max_text_tokens=100, max_mel_tokens=120, max_conditioning_inputs=1
    ),
    gpt_dropout=0.1,
    gpt_plan=PartPlan(_BRIEF, batch_size=4, conditioning_frames=32),
    least_right=0.0,
    clvp=CLVPDimensions(n_layers=1, width=32, n_heads=1, n_text_tokens=256, n_codes=32),
    clvp_plan=PartPlan(_BRIEF, batch_size=4, conditioning_frames=32),
    least_above=0.0,
    diffusion=DiffusionDimensions(n_layers=1, width=32, n_heads=2, n_mels=80, latent_width=32, n_codes=1),
    diffusion_plan=PartPlan(_BRIEF, batch_size=4, conditioning_frames=32),
    diffusion_crop_tokens=16,
    most_told=2.0,
    speaking=SpeakingPlan(
        Sampling(temperature=0.7, top_p=0.8, repetition_penalty=1.0, max_tokens=24),
        diffusion_steps=2,
        cond_free_k=0.0,
        vocoder_iterations=4,
        n_packed=2,
        n_tuning=4,
        n_copied=2,
        n_spoken=4,
        tries=2,
    ),
)
"""The same build with everything small: for tests, and to try it out. It does not speak."""
