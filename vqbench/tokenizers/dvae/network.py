"""TorToiSe's 1-D VQVAE ("DVAE"), whose state_dict is the official one key for key.

Layer sizes, order and names follow the published checkpoint (`dvae.pth`); the implementation is our own. XTTS uses the
same network with another codebook size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqbench.errors import CheckpointError
from vqbench.tokenizers.dvae.quantizer import Quantizer


@dataclass(frozen=True)
class Dimensions:
    """The sizes of a VQVAE; the defaults are the official checkpoint's (51.6 M parameters)."""

    n_mels: int = 80
    codebook_size: int = 8192
    codebook_dim: int = 512
    hidden_dim: int = 512
    num_layers: int = 2
    num_resnet_blocks: int = 3
    kernel_size: int = 3

    def __post_init__(self) -> None:
        if min(self.n_mels, self.codebook_dim, self.hidden_dim, self.num_layers) < 1 or self.codebook_size < 2:
            raise CheckpointError(f"a VQVAE cannot have these sizes: {self}", expected="all sizes positive")
        if self.num_resnet_blocks < 0 or self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise CheckpointError(f"a VQVAE cannot have these sizes: {self}", expected="an odd kernel_size")

    @property
    def frames_per_token(self) -> int:
        """Mel frames that one token stands for: each of the layers halves the rate (4)."""
        return 1 << self.num_layers

    def n_tokens(self, n_frames: int) -> int:
        """Tokens of a mel of `n_frames`: ceil(n_frames / frames_per_token)."""
        return -(-n_frames // self.frames_per_token)

    @classmethod
    def of_state_dict(cls, state: Mapping[str, Tensor]) -> Dimensions:
        """Reads the sizes from a checkpoint's shapes.

        Raises:
            CheckpointError: where a key is missing that the sizes stand in.
        """
        strided = _count(state, "encoder.{}.0.weight")
        blocks = _count(state, "encoder.{}.net.0.weight", start=strided)
        last = f"encoder.{strided + blocks}.weight"
        for key in ("encoder.0.0.weight", "codebook.embed", last):
            if key not in state:
                raise CheckpointError(
                    f"this is no VQVAE checkpoint: the key {key!r} is missing",
                    expected="the keys of TorToiSe's dvae.pth: encoder.*, decoder.*, codebook.embed",
                )
        first, embed = state["encoder.0.0.weight"], state["codebook.embed"]
        if first.ndim != 3 or embed.ndim != 2:
            raise CheckpointError(
                f"encoder.0.0.weight has shape {tuple(first.shape)} and codebook.embed {tuple(embed.shape)}",
                expected="(hidden, n_mels, kernel) and (codebook_dim, codebook_size)",
            )
        return cls(
            n_mels=first.shape[1],
            codebook_size=embed.shape[1],
            codebook_dim=embed.shape[0],
            hidden_dim=first.shape[0],
            num_layers=strided,
            num_resnet_blocks=blocks,
            kernel_size=first.shape[2],
        )


def _count(state: Mapping[str, Tensor], pattern: str, start: int = 0) -> int:
    n = 0
    while pattern.format(start + n) in state:
        n += 1
    return n


class ResidualBlock(nn.Module):
    """conv3 → ReLU → conv3 → ReLU → conv1, added to its input."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.net = nn.Sequential(
            nn.Conv1d(channels, channels, kernel_size, padding=padding),
            nn.ReLU(),
            nn.Conv1d(channels, channels, kernel_size, padding=padding),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → the same shape."""
        deeper: Tensor = self.net(x)
        return x + deeper


class UpsampledConv(nn.Module):
    """Nearest-neighbour doubling, then a convolution (the official decoder has no transposed convolutions)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, T) → (B, out_channels, 2 T)."""
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled


@dataclass(frozen=True)
class TrainingPass:
    """What one forward pass leaves for the losses and the codebook's update.

    Attributes:
        reconstruction: (B, n_mels, T) float32.
        latents: (B, codebook_dim, L) float32, detached.
        codes: (B, L) int64.
        commitment: scalar, mean squared distance of the latents to their codes.
    """

    reconstruction: Tensor
    latents: Tensor
    codes: Tensor
    commitment: Tensor


class DVAE(nn.Module):
    """Encoder, quantiser and decoder over normalised log mels.

    Shapes: mel (B, n_mels, T) ↔ codes (B, ceil(T / 4)) int64 in [0, codebook_size).
    """

    def __init__(self, dimensions: Dimensions | None = None) -> None:
        super().__init__()
        d = self.dimensions = dimensions or Dimensions()
        widths = [d.hidden_dim * 2**i for i in range(d.num_layers)]
        inner = widths[-1]
        encoder: list[nn.Module] = [
            nn.Sequential(nn.Conv1d(i, o, d.kernel_size, stride=2, padding=d.kernel_size // 2), nn.ReLU())
            for i, o in pairwise([d.n_mels, *widths])
        ]
        encoder += [ResidualBlock(inner, d.kernel_size) for _ in range(d.num_resnet_blocks)]
        encoder += [nn.Conv1d(inner, d.codebook_dim, 1)]

        # Without residual blocks the official network has no 1x1 convolution either: the codebook feeds the upsampling.
        entry = inner if d.num_resnet_blocks else d.codebook_dim
        decoder: list[nn.Module] = [nn.Conv1d(d.codebook_dim, inner, 1)] if d.num_resnet_blocks else []
        decoder += [ResidualBlock(inner, d.kernel_size) for _ in range(d.num_resnet_blocks)]
        decoder += [
            nn.Sequential(UpsampledConv(i, o, d.kernel_size), nn.ReLU()) for i, o in pairwise([entry, *widths[::-1]])
        ]
        decoder += [nn.Conv1d(widths[0], d.n_mels, 1)]

        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self.codebook = Quantizer(d.codebook_dim, d.codebook_size)

    def latents(self, mel: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Encodes mels to what the quantiser reads.

        Args:
            mel: (B, n_mels, T) float32, log-mel / norms.
            n_frames: (B,) int64, the true lengths where `mel` is a padded batch. A padded clip then gets the very codes
            that
                it gets alone; without this its last two or three tokens change.

        Returns:
            (B, codebook_dim, ceil(T / 4)) float32; columns beyond a clip's own length are meaningless.
        """
        return self.encoder(mel) if n_frames is None else _run_padded(self.encoder, mel, n_frames)

    @torch.inference_mode()
    def encode(self, mel: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """(B, n_mels, T) → codes (B, ceil(T / 4)) int64; see `latents` for `n_frames`."""
        return self.codebook.nearest(self.latents(mel, n_frames))

    @torch.inference_mode()
    def decode(self, codes: Tensor, n_tokens: Tensor | None = None) -> Tensor:
        """codes (B, L) int64 → mel (B, n_mels, 4 L) float32; `n_tokens` (B,) are true lengths, as in `latents`.

        Raises:
            IndexError: for a code outside [0, codebook_size).
        """
        return self.mels(codes, n_tokens)

    def mels(self, codes: Tensor, n_tokens: Tensor | None = None) -> Tensor:
        """Decodes as `decode` does, and leaves the decoder's gradient."""
        vectors = self.codebook.lookup(codes)
        return self.decoder(vectors) if n_tokens is None else _run_padded(self.decoder, vectors, n_tokens)

    def forward(self, mel: Tensor) -> TrainingPass:
        """One training pass over mel (B, n_mels, T), T a multiple of `frames_per_token`."""
        z = self.encoder(mel).float()
        codes = self.codebook.nearest(z.detach())
        quantized = self.codebook.lookup(codes)
        # Straight through: the decoder reads the codebook's vectors, the encoder gets the decoder's gradient.
        reconstruction = self.decoder(z + (quantized - z).detach()).float()
        return TrainingPass(reconstruction, z.detach(), codes, commitment=F.mse_loss(z, quantized))


def _run_padded(layers: nn.Sequential, x: Tensor, length: Tensor) -> Tensor:
    """Runs an encoder or decoder over a padded batch as if each clip were alone.

    After every activation, what lies beyond a clip's end is set to zero: a convolution pads a lone clip with zeros,
    too, but in a padded batch biases would have filled that place.
    """
    x = _zero_beyond(x, length)
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            h = x
            for part in layer.net:
                h = part(h)
                if isinstance(part, nn.ReLU):
                    h = _zero_beyond(h, length)
            x = x + h
        else:
            before = x.shape[-1]
            x = layer(x)
            if x.shape[-1] > before:
                length = length * 2
            elif x.shape[-1] < before or isinstance(layer, nn.Sequential):
                length = (length + 1) // 2
        x = _zero_beyond(x, length)
    return x


def _zero_beyond(x: Tensor, length: Tensor) -> Tensor:
    return x * (torch.arange(x.shape[-1], device=x.device) < length[:, None]).unsqueeze(1)
