"""The VQVAE's codebook: nearest neighbour search and its exponential-moving-average update."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_ROWS_AT_A_TIME = 512
"""Latents whose distances to all codes are held at once: 512 x 8192 float32 are 17 MB, searched while still cached."""


class Quantizer(nn.Module):
    """A codebook under its official names and shapes (dimension first).

    The buffers move only when `ema_update` is called: encoding, decoding and evaluating never change them.
    """

    embed: Tensor
    cluster_size: Tensor
    embed_avg: Tensor

    def __init__(self, codebook_dim: int, codebook_size: int) -> None:
        super().__init__()
        embed = torch.randn(codebook_dim, codebook_size)
        self.register_buffer("embed", embed)
        self.register_buffer("cluster_size", torch.zeros(codebook_size))
        self.register_buffer("embed_avg", embed.clone())

    def nearest(self, latents: Tensor) -> Tensor:
        """Finds the code nearest in Euclidean distance; ties go to the smaller code.

        ‖z‖² is the same for every code and left out; the rest is one fused multiply-add per block of rows, so no
        (tokens x codes x dim) or one-hot tensor is ever made.

        Args:
            latents: (B, codebook_dim, L) or (N, codebook_dim) float.

        Returns:
            (B, L) or (N,) int64 in [0, codebook_size).
        """
        rows = latents.transpose(1, 2).reshape(-1, latents.shape[1]) if latents.ndim == 3 else latents
        squared = self.embed.square().sum(0)
        # Under autocast the distances would be rounded to bf16, and codes would flip.
        with torch.autocast(rows.device.type, enabled=False):
            codes = torch.cat(
                [
                    # Half the time of argmin on a CPU; the first of equal distances, too.
                    torch.addmm(squared, block, self.embed, alpha=-2).min(1).indices
                    for block in torch.split(rows.to(self.embed.dtype), _ROWS_AT_A_TIME)
                ]
            )
        return codes.view(latents.shape[0], latents.shape[2]) if latents.ndim == 3 else codes

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (B, L) int64 → vectors (B, codebook_dim, L)."""
        return torch.nn.functional.embedding(codes, self.embed.t()).transpose(1, 2)

    @torch.no_grad()
    def set_codes(self, vectors: Tensor, count: float) -> None:
        """Starts the codebook from `vectors` (codebook_size, codebook_dim), each used `count` times a step so far."""
        self.embed.copy_(vectors.t())
        self.embed_avg.copy_(vectors.t() * count)
        self.cluster_size.fill_(count)

    @torch.no_grad()
    def ema_update(
        self,
        latents: Tensor,
        codes: Tensor,
        decay: float = 0.99,
        eps: float = 1e-5,
        over_processes: Callable[[Tensor], Tensor] = lambda own: own,
    ) -> None:
        """Moves every code towards the mean of the latents it was nearest to.

        Args:
            latents: (N, codebook_dim) float.
            codes: (N,) int64, the nearest code of each.
            decay: share of the old average that is kept.
            eps: Laplace smoothing of the counts.
            over_processes: sums over all processes that train together.
        """
        size = self.cluster_size.shape[0]
        counts = torch.bincount(codes, minlength=size).to(self.cluster_size.dtype)
        sums = torch.zeros_like(self.embed).index_add_(1, codes, latents.to(self.embed.dtype).t().contiguous())
        counts, sums = over_processes(counts), over_processes(sums)
        self.cluster_size.mul_(decay).add_(counts, alpha=1 - decay)
        self.embed_avg.mul_(decay).add_(sums, alpha=1 - decay)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + eps) / (total + size * eps) * total
        torch.div(self.embed_avg, smoothed, out=self.embed)

    @torch.no_grad()
    def restart_dead(self, latents: Tensor, threshold: float, generator: torch.Generator) -> int:
        """Moves codes that are hardly used onto latents drawn from this batch.

        Args:
            latents: (N, codebook_dim) float.
            threshold: a code is dead when its running count is below this share of the mean count.
            generator: source of the draw, on the CPU.

        Returns:
            how many codes were restarted, at most N.
        """
        mean_count = self.cluster_size.mean()
        dead = (self.cluster_size < threshold * mean_count).nonzero().flatten()[: len(latents)]
        drawn = torch.randperm(len(latents), generator=generator)[: len(dead)].to(latents.device)
        vectors = latents[drawn].to(self.embed.dtype).t()
        self.embed[:, dead] = vectors
        self.embed_avg[:, dead] = vectors * mean_count
        self.cluster_size[dead] = mean_count
        return len(dead)


def kmeans(points: Tensor, k: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Lloyd's algorithm from points drawn at random; empty clusters start again on random points.

    Args:
        points: (N, D) float, N >= 1; where N < k the remaining centres repeat points with a small jitter.
        k: number of centres.
        iterations: rounds.
        generator: source of all randomness.

    Returns:
        (k, D) float.
    """
    n = len(points)
    order = torch.randperm(n, generator=generator)
    centres = points[order.repeat(-(-k // n))[:k]].clone()
    if n < k:
        centres += 1e-3 * points.std() * torch.randn(centres.shape, generator=generator)
        return centres
    search = Quantizer(points.shape[1], k).to(points.device)
    for _ in range(iterations):
        search.set_codes(centres, 1.0)
        codes = search.nearest(points)
        counts = torch.bincount(codes, minlength=k)
        centres = torch.zeros_like(centres).index_add_(0, codes, points) / counts.clamp_min(1)[:, None]
        empty = (counts == 0).nonzero().flatten()
        centres[empty] = points[torch.randint(n, (len(empty),), generator=generator)]
    return centres
