"""A training recipe: the YAML that says how a VQVAE candidate is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from vqbench.config import ConfigFile, ConfigModel, Fault, FileName, Several, load_config, section
from vqbench.data.source import DataSource

_Size = Annotated[int, Field(ge=1, le=65_536)]
_Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Weight = Annotated[float, Field(ge=0)]
_Beta = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(ConfigModel):
    """The sizes of the VQVAE; the number of mel bands is the front end's."""

    hidden_dim: _Size = 192
    """Channels after the first convolution; every further layer doubles them."""

    codebook_size: int = Field(default=2048, ge=2, le=1_048_576)
    """Number of codes."""

    codebook_dim: _Size = 128
    """Length of a code's vector."""

    num_layers: int = Field(default=2, ge=1, le=8)
    """Convolutions of stride 2: a token stands for 2**num_layers mel frames."""

    num_resnet_blocks: int = Field(default=3, ge=0, le=64)
    """Residual blocks in the encoder, and as many in the decoder."""

    kernel_size: int = Field(default=3, ge=1, le=63)
    """Width of the convolutions, an odd number of frames."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """An odd kernel."""
        kernel = data.get("kernel_size")
        if isinstance(kernel, int) and kernel % 2 == 0:
            yield Fault(("kernel_size",), f"expected an odd number, got {kernel}")


class LossConfig(ConfigModel):
    """Weights of the loss's parts. L1 and L2 are taken on normalised log mels."""

    l1: _Weight = 1.0
    """Weight of the mean absolute error of the mel."""

    l2: _Weight = 0.5
    """Weight of the mean squared error of the mel."""

    commitment: _Weight = 0.25
    """Weight of the squared distance from the latents to their codes."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Something to reconstruct by."""
        if cls.value_in(data, "l1") == 0 and cls.value_in(data, "l2") == 0:
            yield Fault(("l1",), "l1 and l2 are both 0", expected="a weight above 0 for one of them")


class CodebookConfig(ConfigModel):
    """How the codebook starts and moves."""

    decay: float = Field(default=0.97, ge=0, lt=1)
    """Share of the old average that a step keeps."""

    kmeans_iterations: int = Field(default=10, ge=0, le=1000)
    """Rounds of k-means that place the first codes."""

    restart_below: float = Field(default=0.1, ge=0, le=1)
    """A code whose running count is below this share of the mean count is dead, and starts again on a latent."""

    restart_every: _Steps = 20
    """Steps between two searches for dead codes."""


class AugmentConfig(ConfigModel):
    """Random changes of the crops, so that a few voices stand for many. Without a share nothing is changed."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the crops that are changed."""

    warp: float = Field(default=0.12, ge=0, le=0.5)
    """Formants move by up to this share of their frequency."""

    stretch: float = Field(default=0.2, ge=0, le=0.5)
    """Tempo changes by up to this share."""

    gain_db: float = Field(default=7.0, ge=0, le=60)
    """Louder or softer by up to this."""

    equalizer_db: float = Field(default=2.0, ge=0, le=30)
    """Standard deviation of the slowest wave of the equaliser; faster ones are smaller."""


class OptimizationConfig(ConfigModel):
    """What the training loop does, whatever is trained: AdamW throughout."""

    steps: int = Field(default=8000, ge=0, le=1_000_000_000)
    """Optimiser steps."""

    learning_rate: float = Field(default=6.0e-4, gt=0, le=1)
    """The highest learning rate, reached after the warm-up."""

    warmup_steps: int = Field(default=100, ge=0, le=1_000_000_000)
    """Steps over which the learning rate rises from 0."""

    schedule: Literal["cosine", "constant"] = Field(default="cosine", title="schedule")
    """The learning rate after the warm-up: down to 0 along a cosine, or constant."""

    weight_decay: float = Field(default=0.01, ge=0, le=1)
    """AdamW's decoupled weight decay."""

    betas: Annotated[tuple[_Beta, _Beta], Field(strict=False)] = (0.9, 0.96)
    """AdamW's two averaging constants."""

    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are scaled down to it."""

    precision: Literal["fp32", "bf16"] = Field(default="fp32", title="precision")
    """fp32, or bf16 autocast."""

    validate_every: _Steps = 500
    """Steps between two validations."""

    checkpoint_every: _Steps = 500
    """Steps between two checkpoints."""


class TrainingConfig(OptimizationConfig):
    """How a VQVAE is trained; with 0 steps it stays untrained."""

    batch_size: _Size = 24
    """Crops a step."""

    crop_frames: int = Field(default=128, ge=1, le=65_536)
    """Mel frames of a crop, a multiple of 2**num_layers."""

    loss: LossConfig = Field(default_factory=LossConfig)
    """The loss."""

    codebook: CodebookConfig = Field(default_factory=CodebookConfig)
    """The codebook's start, moving average and restarts."""

    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """Random changes of the crops."""

    validation_share: float = Field(default=0.02, ge=0, le=0.5)
    """Share of the clips that is held out for validation."""


class TrainingSource(DataSource):
    """Clips to train on."""

    weight: float = Field(default=1.0, gt=0, le=1e6)
    """How often a frame of these clips is drawn, against a frame of a source of weight 1."""


class Recipe(ConfigFile):
    """How one candidate is trained."""

    name: FileName
    """Name of the candidate, used in file names."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of every random number."""

    data: Several[TrainingSource] = ()
    """What it is trained on, all sources together. An untrained candidate (steps: 0) needs none."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The sizes of the VQVAE."""

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The optimisation."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Data where there are steps, and crops that are whole tokens."""
        training, model = section(data, "training"), section(data, "model")
        if cls.value_in(data, "data") in ([], ()) and TrainingConfig.value_in(training, "steps") != 0:
            yield Fault(
                ("data",), "there is nothing to train on", expected="a corpus or manifest, or training.steps: 0"
            )
        crop, layers = TrainingConfig.value_in(training, "crop_frames"), ModelConfig.value_in(model, "num_layers")
        if isinstance(crop, int) and isinstance(layers, int) and 1 <= layers <= 8 and crop > 0 and crop % 2**layers:
            yield Fault(
                ("training", "crop_frames"),
                f"crops of {crop} frames are not whole tokens",
                expected=f"a multiple of 2**num_layers = {2**layers}",
            )


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe; every fault is reported at once.

    Raises:
        ConfigError: for one fault, with file and line.
        ManyErrors: for several.
    """
    return load_config(path, Recipe)
