"""A training recipe: the YAML that says how a VQVAE candidate is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo

from vqbench.config import (
    ConfigFile,
    ConfigModel,
    Fault,
    FileName,
    Several,
    load_config,
    path_as_written,
    path_in_file,
    reject,
    section,
    shown,
)
from vqbench.data.source import DataSource
from vqbench.files import near_files

_Size = Annotated[int, Field(ge=1, le=65_536)]
_Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Weight = Annotated[float, Field(ge=0)]
_Beta = Annotated[float, Field(ge=0, lt=1)]

PAIRS_LAYERS = 2
"""What `model.num_layers` must be for pairs: a GPT's token stands for four mel frames."""


def _pairs(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path):
        raise reject(Fault((), f"expected a folder, got {shown(value)}"))
    path = path_in_file(str(value), info)
    if info.context is not None:
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
        except OSError as error:
            raise reject(Fault((), f"{shown(value)} cannot be read: {error.strerror}")) from None
        if not is_folder:
            there = f"{shown(value)} is a file" if is_file else f"there is no folder {shown(value)}{near_files(path)}"
            made = "vqbench pairs generate -o that folder makes it"
            raise reject(Fault((), there, expected=f"a folder of pairs at {path}", fix=made))
    return path


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
    """Share of the clips that is held out for validation; of pairs, the share of their training sentences."""


class TrainingSource(DataSource):
    """Clips to train on."""

    weight: float = Field(default=1.0, gt=0, le=1e6)
    """How often a frame of these clips is drawn, against a frame of a source of weight 1."""


class DistillationConfig(ConfigModel):
    """How an encoder learns a GPT's tokens from pairs. The codebook is unknown: a code is the moving average, by
    `training.codebook.decay`, of the latents of its tokens. Meanwhile the decoder learns by `training.loss`, from the
    tokens alone: the encoder has no part in that."""

    cross_entropy: float = Field(default=1.0, gt=0)
    """Weight of the cross-entropy over all codes. Never 0: the other part alone would bring all codes to one point."""

    vector_mse: _Weight = 0.25
    """Weight of the mean squared error between a latent and the vector of its token."""

    scale: float = Field(default=1.0, gt=0, le=1e6)
    """A code's logit is its squared distance from the latent, times minus this."""


class Recipe(ConfigFile):
    """How one candidate is trained."""

    name: FileName
    """Name of the candidate, used in file names."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of every random number."""

    data: Several[TrainingSource] = ()
    """What it learns to reconstruct, all sources together. An untrained candidate (steps: 0) needs none."""

    pairs: Annotated[Path, BeforeValidator(_pairs), PlainSerializer(path_as_written, return_type=str)] | None = None
    """Instead of data: a folder of a GPT's tokens and their waveforms that `vqbench pairs generate` wrote, relative to
    the recipe. The candidate learns to hear those tokens. Pairs of the split `test` are left alone."""

    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    """How it learns from pairs."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The sizes of the VQVAE."""

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The optimisation."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One kind of data where there are steps, crops that are whole tokens, and nothing that pairs forbid."""
        training, model = section(data, "training"), section(data, "model")
        crop, layers = TrainingConfig.value_in(training, "crop_frames"), ModelConfig.value_in(model, "num_layers")
        without_data = cls.value_in(data, "data") in ([], ())
        if data.get("pairs") is not None:
            if not without_data:
                yield Fault(("pairs",), "a recipe has either data or pairs, this one has both")
            if isinstance(layers, int) and layers != PAIRS_LAYERS:
                problem = f"tokens of {layers} layers are no GPT's tokens"
                yield Fault(("model", "num_layers"), problem, expected=f"{PAIRS_LAYERS} where there are pairs")
            if AugmentConfig.value_in(section(training, "augment"), "share") != 0:
                yield Fault(("training", "augment"), "changed speech would have other tokens than its pair says")
        elif "distillation" in data and section(data, "distillation"):
            yield Fault(("distillation",), "there are no pairs to distil from", fix="add `pairs: FOLDER`")
        elif without_data and TrainingConfig.value_in(training, "steps") != 0:
            expected = "a corpus or manifest, pairs, or training.steps: 0"
            yield Fault(("data",), "there is nothing to train on", expected=expected)
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
