"""What the phases of a recipe are told: the sections of its YAML, each with its defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo, model_validator

from vqbench.config.models import (
    ConfigModel,
    Fault,
    Several,
    path_as_written,
    section,
)
from vqbench.config.source import DataSource, weights_file

_Size = Annotated[int, Field(ge=1, le=65_536)]
_Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Weight = Annotated[float, Field(ge=0)]
_Beta = Annotated[float, Field(ge=0, lt=1)]


class LossConfig(ConfigModel):
    """Weights of the loss's parts. L1 and L2 are taken on normalised log mels."""

    l1: _Weight = 1.0
    """Weight of the mean absolute error of the mel."""

    l2: _Weight = 0.5
    """Weight of the mean squared error of the mel."""

    commitment: _Weight = 0.25
    """Weight of the squared distance from the latents to their codes."""


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


MOST_WARMUP_STEPS = 100
"""So long the learning rate rises at most where nobody says."""


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class OptimizationConfig(ConfigModel):
    """What the training loop does, whatever is trained: AdamW throughout."""

    steps: int = Field(default=8000, ge=0, le=1_000_000_000)
    """Optimiser steps."""

    learning_rate: float = Field(default=6.0e-4, gt=0, le=1)
    """The highest learning rate, reached after the warm-up."""

    warmup_steps: int = Field(default=MOST_WARMUP_STEPS, ge=0, le=1_000_000_000, json_schema_extra=_without_default)
    """Steps over which the learning rate rises from 0; left out, a tenth of `steps`, and 100 at most."""

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
    """Steps between two checkpoints, from which a killed training goes on."""

    accumulate: _Size = 1
    """Parts that a step's batch is cut into, one after the other: less memory, the same step."""

    average: float = Field(default=0.0, ge=0, lt=1)
    """Share of the old average that a step keeps, in a moving average of the weights; it is what is validated and kept.
    With 0 it is the weights themselves."""

    keep: Literal["last", "best"] = Field(default="last", title="choice")
    """Which weights the phase hands on: the last, or those that validated best."""

    @model_validator(mode="before")
    @classmethod
    def _warm_up(cls, data: Any) -> Any:
        """Fills in a warm-up that fits the steps."""
        if isinstance(data, Mapping) and "warmup_steps" not in data:
            steps = cls.value_in(data, "steps")
            if isinstance(steps, int):
                return {**data, "warmup_steps": min(MOST_WARMUP_STEPS, max(0, steps) // 10)}
        return data

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """A learning rate that arrives before the training is over."""
        steps, warmup = cls.value_in(data, "steps"), data.get("warmup_steps")
        if isinstance(steps, int) and isinstance(warmup, int) and 0 < steps <= warmup:
            yield Fault(
                ("warmup_steps",),
                f"the learning rate would rise for {warmup:,} steps, and the training ends after {steps:,}",
                expected=f"fewer than steps, say {steps // 10:,}",
                fix="leave it out, which is a tenth of steps, or train longer",
            )


class VQVAEPhaseConfig(OptimizationConfig):
    """What all phases that train a VQVAE share."""

    batch_size: _Size = 24
    """Crops, or utterances, a step: over all processes together."""

    crop_frames: int = Field(default=128, ge=1, le=65_536)
    """Mel frames of a crop, a multiple of 2**num_layers; of pairs, the most of an utterance that is heard at once."""

    loss: LossConfig = Field(default_factory=LossConfig)
    """The loss of the mel; in distillation, without l1 and l2 the decoder is not trained."""


class TrainingSource(DataSource):
    """Clips to train on."""

    weight: float = Field(default=1.0, gt=0, le=1e6)
    """How often a frame of these clips is drawn, against a frame of a source of weight 1."""


class ReconstructConfig(VQVAEPhaseConfig):
    """Training from scratch, by the VQVAE's own objective: the mel through the codes, and the commitment to them."""

    data: Several[TrainingSource] = Field(min_length=1)
    """What it learns to reconstruct, all sources together."""

    codebook: CodebookConfig = Field(default_factory=CodebookConfig)
    """The codebook's start, moving average and restarts."""

    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """Random changes of the crops."""

    validation_share: float = Field(default=0.02, ge=0, le=0.5)
    """Share of the clips that is held out for validation."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Something to reconstruct by, too."""
        yield from super().cross_faults(data)
        loss = section(data, "loss")
        if LossConfig.value_in(loss, "l1") == 0 and LossConfig.value_in(loss, "l2") == 0:
            yield Fault(("loss", "l1"), "l1 and l2 are both 0", expected="a weight above 0 for one of them")


def _codebook_source(value: Any, info: ValidationInfo) -> Any:
    return value if value in ("learned", "gpt", "teacher") else weights_file(value, info)


def _codebook_as_written(value: str | Path, info: SerializationInfo) -> str:
    return path_as_written(value, info) if isinstance(value, Path) else value


class PairPhaseConfig(VQVAEPhaseConfig):
    """The encoder learns to hear, in what was rendered from tokens, the tokens that were written. Apart from it the
    decoder learns, by `loss`, to turn the tokens into mels."""

    batch_size: _Size = 12
    """Utterances a step, over all processes together."""

    crop_frames: int = Field(default=512, ge=1, le=65_536)
    """The most mel frames of an utterance that are heard at once, a multiple of 2**num_layers."""

    cross_entropy: _Weight = 1.0
    """Weight of the cross-entropy over all codes."""

    vector_mse: _Weight = 0.25
    """Weight of the mean squared error between a latent and the vector of its token."""

    scale: float = Field(default=1.0, gt=0, le=1e6)
    """A code's logit is its squared distance from the latent, times minus this."""

    decay: float = Field(default=0.99, ge=0, lt=1)
    """Of a learned codebook, the share of the old average that a step keeps."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Something to hear by, too."""
        yield from super().cross_faults(data)
        if cls.value_in(data, "cross_entropy") == 0 and cls.value_in(data, "vector_mse") == 0:
            problem = "cross_entropy and vector_mse are both 0"
            yield Fault(("cross_entropy",), problem, expected="a weight above 0 for one of them")


class DistilConfig(PairPhaseConfig):
    """Learns all pairs."""

    codebook: Annotated[str | Path, BeforeValidator(_codebook_source), PlainSerializer(_codebook_as_written)] = (
        "learned"
    )
    """`learned`: a code is the moving average of the latents of its tokens. Or known, and then it stays as it is:
    `gpt`, the teacher's own embedding of its tokens; `teacher`, its true codebook, where that is known; or a
    checkpoint's."""


class RefineConfig(PairPhaseConfig):
    """Distillation goes on, on the pairs alone that CLVP takes for the best; so does a codebook that is learned."""

    best: float = Field(default=0.25, gt=0, le=1)
    """Share of the finished training pairs that is kept, those of the highest CLVP scores."""


class GuardConfig(ConfigModel):
    """What keeps a VQVAE writing the GPT's tokens while it learns something else."""

    kind: Literal["freeze", "replay", "regularise", "none"] = Field(default="replay", title="guard")
    """`freeze`: encoder and codebook do not change. `replay`: every step hears pairs, too, and distils. `regularise`:
    the latents of real speech stay near those of the encoder that the phase began with. `none`: it may drift."""

    weight: _Weight = 1.0
    """Weight of the guard's loss beside the reconstruction's."""

    tolerance: float = Field(default=0.05, ge=0, le=1)
    """The phase ends where agreement on held-out pairs has fallen by more than this since it began; what is handed on
    reconstructs best among those that had not fallen so far."""


class JointConfig(ReconstructConfig):
    """Encoder and decoder together, by reconstruction, on real speech, with a guard that keeps the GPT's tokens."""

    learning_rate: float = Field(default=1.0e-4, gt=0, le=1)
    """The highest learning rate, reached after the warm-up."""

    moving_codebook: bool = False
    """Whether the codebook moves after the latents, by `codebook`. A codebook that moves is not the GPT's any more."""

    guard: GuardConfig = Field(default_factory=GuardConfig)
    """What keeps it from drifting."""

    keep: Literal["last", "best"] = Field(default="best", title="choice")
    """Which weights the phase hands on: the last, or those that validated best."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """As of reconstruction; and a guard that is not contradicted."""
        yield from super().cross_faults(data)
        guard = section(data, "guard")
        kind = GuardConfig.value_in(guard, "kind")
        if data.get("moving_codebook") is True and kind == "freeze":
            yield Fault(("moving_codebook",), "the guard `freeze` keeps the codebook", fix="leave one of them out")
        if (
            data.get("keep") == "last"
            and kind in ("replay", "regularise")
            and GuardConfig.value_in(guard, "tolerance") != 1
        ):
            problem = "where the guard ends the phase, the last weights are those that drifted"
            yield Fault(("keep",), problem, expected="best, or a guard with `tolerance: 1`, which never ends it")


class PseudoLabelConfig(PairPhaseConfig):
    """Rounds of expectation-maximisation on transcribed recordings: encoder and the teacher's GPT label them together,
    the encoder learns the labels, the decoder the recordings, and pairs are replayed."""

    data: Several[DataSource] = Field(min_length=1)
    """Recordings with transcripts and speakers; their tokens are not known to anybody."""

    rounds: int = Field(default=2, ge=1, le=100)
    """So many times, at most, recordings are labelled and learnt."""

    steps: int = Field(default=500, ge=0, le=1_000_000_000)
    """Optimiser steps of a round."""

    learning_rate: float = Field(default=1.0e-4, gt=0, le=1)
    """The highest learning rate, reached after the warm-up."""

    gpt_weight: _Weight = 1.0
    """Weight of the GPT's log-probabilities beside the encoder's, where recordings are labelled."""

    posterior_scale: float = Field(default=0.3, gt=0, le=1e6)
    """How sure the encoder is of what it hears where recordings are labelled: a code's logit is its squared distance
    from the latent, times minus this."""

    beams: int = Field(default=4, ge=1, le=256)
    """Sequences that are followed at once where recordings are labelled."""

    replay: _Weight = 1.0
    """Weight of the loss on pairs beside the loss on labels; with 0 no pairs are heard."""

    least_gain: float = Field(default=0.0, ge=0, le=100)
    """Rounds end where the GPT's cross-entropy of the encoder's own tokens of held-out recordings has not fallen by at
    least this, in nats a token."""

    validation_share: float = Field(default=0.05, gt=0, le=0.5)
    """Share of the recordings' sentences that is held out, to see what rounds gain."""


class FinetuneConfig(OptimizationConfig):
    """The teacher's GPT learns the tokens that the finished VQVAE writes, by the published settings."""

    data: Several[TrainingSource] = Field(min_length=1)
    """Speech with transcripts and speakers."""

    steps: int = Field(default=500, ge=0, le=1_000_000_000)
    """Optimiser steps."""

    batch_size: _Size = 128
    """Utterances a step, over all processes together."""

    learning_rate: float = Field(default=1.0e-5, gt=0, le=1)
    """The highest learning rate, reached after the warm-up."""

    schedule: Literal["cosine", "constant"] = Field(default="constant", title="schedule")
    """The learning rate after the warm-up: down to 0 along a cosine, or constant."""

    text_weight: _Weight = 0.01
    """Weight of the text's loss beside the tokens' loss."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels left out at random."""

    gradient_checkpointing: bool = False
    """Layers are computed again on the way back, instead of being kept in memory."""

    validation_share: float = Field(default=0.02, ge=0, le=0.5)
    """Share of the clips that is held out for validation."""
