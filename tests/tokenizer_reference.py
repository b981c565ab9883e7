"""The VQVAE once more, written the plain way: a reference for codes and a rival for benchmarks.

Straight from the published layer list: all distances (‖z‖² - 2 z·e + ‖e‖²), a one-hot lookup, one padded batch.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def reference_latents(state: dict[str, Tensor], mel: Tensor) -> Tensor:
    x = mel
    for i in (0, 1):
        x = F.relu(F.conv1d(x, state[f"encoder.{i}.0.weight"], state[f"encoder.{i}.0.bias"], stride=2, padding=1))
    i = 2
    while f"encoder.{i}.net.0.weight" in state:
        x = x + _residual(state, f"encoder.{i}", x)
        i += 1
    return F.conv1d(x, state[f"encoder.{i}.weight"], state[f"encoder.{i}.bias"])


def reference_codes(state: dict[str, Tensor], mel: Tensor) -> Tensor:
    z = reference_latents(state, mel)
    rows = z.permute(0, 2, 1).reshape(-1, z.shape[1])
    return reference_nearest(state["codebook.embed"], rows).view(z.shape[0], z.shape[2])


def reference_nearest(embed: Tensor, rows: Tensor) -> Tensor:
    distances = rows.pow(2).sum(1, keepdim=True) - 2 * rows @ embed + embed.pow(2).sum(0, keepdim=True)
    return (-distances).max(1)[1]


def reference_lookup(embed: Tensor, codes: Tensor) -> Tensor:
    one_hot = F.one_hot(codes, embed.shape[1]).to(embed.dtype)
    return (one_hot @ embed.t()).permute(0, 2, 1)


def reference_ema_update(
    codebook: dict[str, Tensor], rows: Tensor, codes: Tensor, decay: float = 0.99, eps: float = 1e-5
) -> None:
    """Moves a codebook's state, in place, as it is usually written: with a one-hot matrix (tokens x codes)."""
    embed, cluster_size, embed_avg = codebook["embed"], codebook["cluster_size"], codebook["embed_avg"]
    one_hot = F.one_hot(codes, len(cluster_size)).to(rows.dtype)
    cluster_size.mul_(decay).add_(one_hot.sum(0), alpha=1 - decay)
    embed_avg.mul_(decay).add_(rows.t() @ one_hot, alpha=1 - decay)
    total = cluster_size.sum()
    smoothed = (cluster_size + eps) / (total + len(cluster_size) * eps) * total
    embed.copy_(embed_avg / smoothed)


def reference_decode(state: dict[str, Tensor], codes: Tensor) -> Tensor:
    x = reference_lookup(state["codebook.embed"], codes)
    i = 0
    if "decoder.0.weight" in state:
        x = F.conv1d(x, state["decoder.0.weight"], state["decoder.0.bias"])
        i = 1
    while f"decoder.{i}.net.0.weight" in state:
        x = x + _residual(state, f"decoder.{i}", x)
        i += 1
    while f"decoder.{i}.0.conv.weight" in state:
        x = x.repeat_interleave(2, dim=2)
        x = F.relu(F.conv1d(x, state[f"decoder.{i}.0.conv.weight"], state[f"decoder.{i}.0.conv.bias"], padding=1))
        i += 1
    return F.conv1d(x, state[f"decoder.{i}.weight"], state[f"decoder.{i}.bias"])


def _residual(state: dict[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    for layer, padding in ((0, 1), (2, 1), (4, 0)):
        x = F.conv1d(x, state[f"{prefix}.net.{layer}.weight"], state[f"{prefix}.net.{layer}.bias"], padding=padding)
        if layer != 4:
            x = F.relu(x)
    return x
