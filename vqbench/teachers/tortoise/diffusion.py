"""From the GPT's latents to a mel, by TorToiSe's diffusion decoder.

Network and noise schedule are tortoise-tts's. Upstream renders one utterance at a time; here rows of one length share a
batch, and each draws its noise from its own seed, so that a mel does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqbench.audio.mel import LOG_FLOOR, MelSpec
from vqbench.errors import ConfigError
from vqbench.teachers.tortoise.upstream import upstream_module

TRAINED_STEPS = 4000
"""Steps of the linear noise schedule that TorToiSe's decoder was trained on; rendering takes some of them."""

_LOUDEST_LOG_POWER = 7.0
"""The loudest band of real recordings, scaled to a peak of 1, reached 6.9 in `MelSpec`'s log powers."""


@dataclass(frozen=True)
class MelRange:
    """Which mel values become −1 and 1, the range in which the diffusion works (and to which it clips).

    One number for all bands, or one a band. Bands may run downwards: `MelSpec` divides by negative norms.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of_spec(cls, spec: MelSpec) -> MelRange:
        """The range of a VQVAE's front end: from its silence to louder than speech."""
        return cls(
            tuple(math.log(LOG_FLOOR) / norm for norm in spec.norms),
            tuple(_LOUDEST_LOG_POWER / norm for norm in spec.norms),
        )

    def to_unit(self, mel: Tensor) -> Tensor:
        """Scales a mel: (…, n_mels, T) → the same shape, in [−1, 1] where the mel is in range."""
        low, high = self._bounds(mel)
        return 2 * (mel - low) / (high - low) - 1

    def from_unit(self, unit: Tensor) -> Tensor:
        """Undoes `to_unit`."""
        low, high = self._bounds(unit)
        return (unit + 1) / 2 * (high - low) + low

    def _bounds(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (torch.tensor(bound, device=mel.device)[:, None] for bound in (self.low, self.high))
        return low, high


TACOTRON_RANGE = MelRange((-11.512925148010254,), (2.3143386840820312,))
"""The range of the official decoder's mels: 100 bands at 24 kHz, natural log of magnitudes."""


@dataclass(frozen=True)
class DiffusionDimensions:
    """The sizes of a diffusion decoder; the defaults are those of the official `diffusion_decoder.pth`.

    Attributes:
        n_layers: diffusion layers with attention; three without follow.
        width: channels inside; a conditioning latent has twice as many.
        n_heads: of each attention.
        n_mels: bands of the mel that it makes and of the conditioning mel that it reads.
        latent_width: of the GPT whose latents it reads.
        n_codes: rows of the table for codes, which it may read in place of latents (upstream's has one too many).
    """

    n_layers: int = 10
    width: int = 1024
    n_heads: int = 16
    n_mels: int = 100
    latent_width: int = 1024
    n_codes: int = 8193


def build_diffusion(
    dimensions: DiffusionDimensions | None = None,
    *,
    dropout: float = 0.0,
    layer_drop: float = 0.0,
    unconditioned: float = 0.0,
) -> nn.Module:
    """Builds tortoise-tts's diffusion decoder with random weights, in training mode.

    Args:
        dimensions: its sizes; left out, the official ones.
        dropout: inside the residual blocks, in training.
        layer_drop: chance that a layer is skipped, in training.
        unconditioned: share of training rows without conditioning, which teaches what guidance needs (upstream: 0.1).

    Raises:
        MissingExtraError: where tortoise-tts is not installed.
    """
    sizes = dimensions or DiffusionDimensions()
    model: nn.Module = upstream_module("models.diffusion_decoder").DiffusionTts(
        model_channels=sizes.width,
        num_layers=sizes.n_layers,
        in_channels=sizes.n_mels,
        out_channels=2 * sizes.n_mels,
        in_latent_channels=sizes.latent_width,
        in_tokens=sizes.n_codes,
        num_heads=sizes.n_heads,
        dropout=dropout,
        layer_drop=layer_drop,
        unconditioned_percentage=unconditioned,
    )
    # Upstream always runs the first layer in full precision, but under autocast hands it half-precision numbers.
    first = model.get_submodule("layers.0")
    first.register_forward_pre_hook(lambda _, inputs: tuple(x.float() for x in inputs))
    return model


Predicted = Literal["noise", "mel"]
"""What the network was trained to tell from a noisy mel: upstream's tells the noise. Telling the mel itself is the same
process, learnt in far fewer steps."""


Sampler = Literal["ancestral", "ddim"]
"""How a mel is rendered step by step: `ancestral` adds new noise at each step, as upstream does; `ddim` adds none (Song
et al. 2021, eta = 0), and a network that tells the mel does well with two to eight such steps."""


def noise_schedule(steps: int = TRAINED_STEPS, predicted: Predicted = "noise") -> Any:
    """Builds upstream's `SpacedDiffusion` over `steps` of the trained ones: all of them to train, fewer to render.

    Raises:
        ConfigError: fewer than two steps, or more than were trained.
        MissingExtraError: where tortoise-tts is not installed.
    """
    if not 2 <= steps <= TRAINED_STEPS:
        raise ConfigError(f"the diffusion cannot take {steps} steps", expected=f"2 to {TRAINED_STEPS}")
    upstream = upstream_module("utils.diffusion")
    return upstream.SpacedDiffusion(
        use_timesteps=upstream.space_timesteps(TRAINED_STEPS, [steps]),
        betas=upstream.get_named_beta_schedule("linear", TRAINED_STEPS),
        model_mean_type="epsilon" if predicted == "noise" else "start_x",
        model_var_type="learned_range",
        loss_type="mse",
    )


@dataclass(frozen=True)
class DiffusionLoss:
    """The terms of `training_loss`, each () float32."""

    told: Tensor
    """Mean squared error of what the network tells, the noise or the mel."""
    variance: Tensor
    """The variational bound in bits a value, which trains the learned variances alone."""
    mel: Tensor
    """Mean squared error of the mel that the auxiliary head reads off the conditioning."""

    @property
    def total(self) -> Tensor:
        """The sum, which is minimised."""
        return self.told + self.variance + self.mel


def training_loss(
    model: Any,
    schedule: Any,
    unit_mel: Tensor,
    latents: Tensor,
    conditioning: Tensor,
    generator: torch.Generator,
) -> DiffusionLoss:
    """Computes upstream's training loss at one random step a row.

    Args:
        model: from `build_diffusion`.
        schedule: from `noise_schedule()`.
        unit_mel: (B, n_mels, T) float32, `MelRange.to_unit` of the true mels.
        latents: (B, L, latent_width) float32 of the GPT, stretched over all T frames; or (B, L) int64 tokens.
        conditioning: (B, 2 · width) float32, the model's `get_conditioning` of mels of the same voices.
        generator: on the CPU; draws steps and noise. What the network drops comes from torch's own state.
    """
    # Without this the layers would leave an autocast that their caller asked for.
    model.enable_fp16 = torch.is_autocast_enabled(unit_mel.device.type)
    steps = torch.randint(0, schedule.num_timesteps, (len(unit_mel),), generator=generator)
    noise = torch.randn(unit_mel.shape, generator=generator)
    terms = schedule.training_losses(
        model,
        unit_mel,
        steps.to(unit_mel.device),
        model_kwargs={
            "aligned_conditioning": latents,
            "conditioning_latent": conditioning,
            "return_code_pred": True,
        },
        noise=noise.to(unit_mel.device),
    )
    (mel,) = terms["extra_outputs"]
    return DiffusionLoss(terms["mse"].mean(), terms["vb"].mean(), F.mse_loss(mel, unit_mel))


class DiffusionDecoder:
    """Renders mels from GPT latents.

    Args:
        model: from `build_diffusion`; put into evaluation mode.
        mel_range: of the mels that it was trained on.
        steps: of the `TRAINED_STEPS`, evenly spaced (upstream's presets: 30, 80, 200, 400).
        cond_free_k: how far the conditioned noise is pushed away from the unconditioned one at the last step, less so
            before; 0 halves the work. Upstream's presets: 2.
        temperature: of the first noise; 0 sounds bland.
        predicted: what the network tells.
        sampler: how it is rendered.
    """

    def __init__(
        self,
        model: Any,
        mel_range: MelRange,
        *,
        steps: int = 80,
        cond_free_k: float = 2.0,
        temperature: float = 1.0,
        predicted: Predicted = "noise",
        sampler: Sampler = "ancestral",
    ) -> None:
        self.model = model.eval()
        self.mel_range = mel_range
        self.cond_free_k = cond_free_k
        self.temperature = temperature
        self.sampler = sampler
        self._schedule = noise_schedule(steps, predicted)

    @torch.no_grad()
    def conditioning(self, mels: Tensor) -> Tensor:
        """Computes what the decoder knows of a voice.

        Args:
            mels: (clips, n_mels, S) float32 of one voice, from `vqbench.teachers.tortoise.conditioning`.

        Returns:
            (2 · width,) float32.
        """
        latent: Tensor = self.model.get_conditioning(mels[None])[0]
        return latent

    @torch.no_grad()
    def render(self, latents: Tensor, conditioning: Tensor, seeds: Sequence[int], n_frames: int) -> Tensor:
        """Renders rows of one length.

        Each row is what upstream's `p_sample_loop` (or `ddim_sample_loop`) makes of it alone after
        `torch.manual_seed(seed)`, up to rounding.

        Args:
            latents: (B, L, latent_width) float32, stretched evenly over the frames.
            conditioning: (B, 2 · width) float32.
            seeds: B of them; the noise is drawn on the CPU and therefore the same on every device.
            n_frames: mel frames of every row.

        Returns:
            (B, n_mels, n_frames) float32, as the mels that the decoder was trained on.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = (self.model.in_channels, n_frames)

        def draw_noise() -> Tensor:
            return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(latents.device)

        aligned = self.model.timestep_independent(latents, conditioning, n_frames, False)
        unit_mel = draw_noise() * self.temperature
        n_steps = self._schedule.num_timesteps
        for step in reversed(range(n_steps)):
            model = self._guided(aligned, self.cond_free_k * (1 - step / n_steps))
            at = torch.full((len(unit_mel),), step, device=unit_mel.device)
            if self.sampler == "ddim":
                # Upstream draws noise even where it then takes none of it.
                with torch.random.fork_rng(devices=[at.device] if at.is_cuda else []):
                    unit_mel = self._schedule.ddim_sample(model, unit_mel, at)["sample"]
                continue
            out = self._schedule.p_mean_variance(model, unit_mel, at)
            unit_mel = out["mean"]
            if step > 0:
                unit_mel = unit_mel + torch.exp(0.5 * out["log_variance"]) * draw_noise()
        return self.mel_range.from_unit(unit_mel)

    def _guided(self, aligned: Tensor, k: float) -> Any:
        """The model under guidance of strength `k`: upstream's own allows one row only."""

        def conditioned(noisy: Tensor, steps: Tensor) -> Tensor:
            out: Tensor = self.model(noisy, steps, precomputed_aligned_embeddings=aligned)
            return out

        def guided(noisy: Tensor, steps: Tensor) -> Tensor:
            free = self.model.unconditioned_embedding.expand_as(aligned)
            both = self.model(
                torch.cat([noisy, noisy]),
                torch.cat([steps, steps]),
                precomputed_aligned_embeddings=torch.cat([aligned, free]),
            )
            with_conditioning, without = both.chunk(2)
            told, variance = with_conditioning.chunk(2, dim=1)
            return torch.cat([(1 + k) * told - k * without[:, : told.shape[1]], variance], dim=1)

        return guided if self.cond_free_k else conditioned
