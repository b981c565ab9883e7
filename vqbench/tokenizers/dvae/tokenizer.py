"""The VQVAE as a candidate: how clips of different lengths are batched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.tokenizers.dvae.network import DVAE

_PADDED_FRAMES = 64 * 1024
"""Mel frames, padding included, that one batch on an accelerator holds at most."""


class DVAETokenizer:
    """A `MelTokenizer` over a `DVAE`.

    On a CPU padding costs more than batching wins (0.85x of one clip at a time, sorted by length), so convolutions run
    clip by clip and only the quantiser is pooled. On an accelerator clips are sorted by length and padded; padding
    never changes a code, but where two are equally near within float32's rounding.

    Attributes:
        loaded: what was done to read it from its file, and whose mel norms were taken; None where nothing had to be.
    """

    def __init__(
        self, dvae: DVAE, mel_spec: MelSpec, device: torch.device | str = "cpu", loaded: str | None = None
    ) -> None:
        self.device = torch.device(device)
        self.dvae = dvae.eval().requires_grad_(False).to(self.device)
        self.mel_spec = mel_spec
        self.loaded = loaded

    @property
    def codebook_size(self) -> int:
        """Codes lie in [0, codebook_size)."""
        return self.dvae.dimensions.codebook_size

    @property
    def codebook(self) -> Tensor:
        """(codebook_size, codebook_dim) float32."""
        return self.dvae.codebook.embed.t()

    @property
    def token_rate_hz(self) -> float:
        """Tokens a second."""
        return self.mel_spec.frame_rate_hz / self.dvae.dimensions.frames_per_token

    @property
    def n_parameters(self) -> int:
        """Trained numbers, the codebook's buffers not counted."""
        return sum(parameter.numel() for parameter in self.dvae.parameters())

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits over what decides codes and mels: parameters, codebook and front end."""
        return state_digest(self.dvae, self.mel_spec)

    @torch.inference_mode()
    def latents(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """(n_mels, T) float32 each → (ceil(T / 4), codebook_dim) float32 each, on the tokenizer's device."""
        n_tokens = self.dvae.dimensions.n_tokens
        outputs = self._map(mels, self.dvae.latents, frames_per_step=1)
        return [z[:, : n_tokens(mel.shape[-1])].t() for z, mel in zip(outputs, mels, strict=True)]

    @torch.inference_mode()
    def quantize(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """(L, codebook_dim) each → codes (L,) int64 each, in one pass over all clips."""
        if not latents:
            return []
        codes = self.dvae.codebook.nearest(torch.cat(list(latents)))
        return list(torch.split(codes, [len(z) for z in latents]))

    @torch.inference_mode()
    def decode(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """codes (L,) int64 each → (n_mels, 4 L) float32 each."""
        factor = self.dvae.dimensions.frames_per_token
        outputs = self._map(codes, self.dvae.decode, frames_per_step=factor)
        return [mel[:, : factor * len(c)] for mel, c in zip(outputs, codes, strict=True)]

    def _map(
        self,
        clips: Sequence[Tensor],
        network: Callable[[Tensor, Tensor | None], Tensor],
        frames_per_step: int,
    ) -> list[Tensor]:
        """Runs a network over clips of different lengths; an answer may be longer than the clip's own.

        `frames_per_step` says how many mel frames one step of a clip stands for: memory follows the frames.
        """
        if not _pads_batches(self.device):
            return [network(clip[None], None)[0] for clip in clips]
        order = sorted(range(len(clips)), key=lambda i: clips[i].shape[-1])
        outputs: dict[int, Tensor] = {}
        for batch in _batches(order, [clip.shape[-1] * frames_per_step for clip in clips]):
            lengths = torch.tensor([clips[i].shape[-1] for i in batch], device=self.device)
            padded = torch.nn.utils.rnn.pad_sequence(
                [clips[i].to(self.device).movedim(-1, 0) for i in batch], batch_first=True
            ).movedim(1, -1)
            same = bool((lengths == lengths[0]).all())
            outputs.update(zip(batch, network(padded, None if same else lengths), strict=True))
        return [outputs[i] for i in range(len(clips))]


def _pads_batches(device: torch.device) -> bool:
    return device.type != "cpu"


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Cuts clips sorted by length into batches whose padded size stays bounded."""
    batches: list[list[int]] = []
    for i in order:
        if batches and lengths[i] * (len(batches[-1]) + 1) <= _PADDED_FRAMES:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def state_digest(dvae: DVAE, mel_spec: MelSpec) -> str:
    """Digest of what decides a VQVAE's codes and mels, whatever file it came from."""
    digest = hashlib.sha256(mel_spec.fingerprint.encode())
    for key, tensor in sorted(dvae.state_dict().items()):
        if key in ("codebook.cluster_size", "codebook.embed_avg"):
            continue  # they matter to further training only
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
