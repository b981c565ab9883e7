"""What tokenizers hear in recordings whose tokens are known: their codes, and how near they came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.engine.cache import content_key
from vqbench.errors import DataError
from vqbench.metrics.agreement import Codes, Encoded, GptSequence
from vqbench.records.run import ClipRecord
from vqbench.threads import one_thread
from vqbench.tokenizers.protocol import MelTokenizer, Tokenizer, codes_of

_VERSION = 3

_PARKED = 10.0
"""A code so many times farther out than the median code is none that a latent could become: it was put aside."""


@dataclass(frozen=True)
class Target:
    """A recording, at `MelSpec`'s rate, and the tokens that should be found in it."""

    clip: ClipRecord
    waveform: Tensor
    sequence: GptSequence


@dataclass(frozen=True)
class Encoding:
    """What a tokenizer made of a recording.

    Attributes:
        codes: (n,) what it wrote.
        ranks: (min(n, true tokens),) how many codes were nearer to the latent than the true one; None where nothing is
            known of latents.
    """

    codes: Codes
    ranks: Codes | None


KIND = "heard"
"""Under which it is kept."""


def heard_key(digest: str, device: torch.device, clip: ClipRecord) -> str:
    """Names what the tokenizer of a digest makes of a recording."""
    identity = {
        "version": _VERSION,
        "tokenizer": digest,
        # Rounding differs between devices, and with it a code now and then.
        "device": device.type,
        "packages": {package: metadata.version(package) for package in ("torch", "soundfile", "soxr")},
    }
    return content_key({**identity, "clip": clip.sha256})


def pack_heard(heard: Encoding) -> dict[str, object]:
    """As it is kept."""
    return {"codes": heard.codes.tolist(), "ranks": None if heard.ranks is None else heard.ranks.tolist()}


def unpack_heard(known: Mapping[str, Any]) -> Encoding:
    """What was kept."""
    ranks = known["ranks"]
    return Encoding(np.asarray(known["codes"], np.int64), None if ranks is None else np.asarray(ranks, np.int64))


@one_thread()
@torch.inference_mode()
def mel_of(target: Target, mel_spec: MelSpec) -> Tensor:
    """A recording as a front end reads it, (n_mels, T) float32."""
    waveform = target.waveform
    if mel_spec.sample_rate_hz != MelSpec().sample_rate_hz:
        waveform = resample(waveform, MelSpec().sample_rate_hz, mel_spec.sample_rate_hz)
    mel: Tensor = MelFrontEnd(mel_spec)(waveform)
    return mel


@one_thread()
def hear(tokenizer: MelTokenizer, targets: Sequence[Target], mels: Sequence[Tensor]) -> list[Encoding | str]:
    """What a tokenizer makes of each recording, or why it makes nothing of it; `mels` are those of its front end."""
    return list(_encode(tokenizer, targets, mels))


@one_thread()
@torch.inference_mode()
def hear_waveforms(tokenizer: Tokenizer, targets: Sequence[Target]) -> list[Encoding | str]:
    """The same of a tokenizer of waveforms with one stream, which reads them at its own rate."""
    own_hz, rate_hz = tokenizer.sample_rate_hz, MelSpec().sample_rate_hz
    waveforms = [one.waveform if own_hz == rate_hz else resample(one.waveform, rate_hz, own_hz) for one in targets]
    written = codes_of(tokenizer, waveforms)
    return [one.problem if isinstance(one, DataError) else Encoding(one[0].cpu().numpy(), None) for one in written]


@torch.inference_mode()
def _encode(tokenizer: MelTokenizer, targets: Sequence[Target], mels: Sequence[Tensor]) -> Iterator[Encoding | str]:
    latents = tokenizer.latents(mels)
    codes = tokenizer.quantize(latents)
    codebook = tokenizer.codebook
    for target, found, written in zip(targets, latents, codes, strict=True):
        if not found.isfinite().all():
            yield "the encoder's latents are not finite"
            continue
        n = min(len(target.sequence.codes), len(written))
        wanted = torch.from_numpy(target.sequence.codes[:n]).to(found.device)
        known = wanted < len(codebook)
        distances = torch.cdist(found[:n].float(), codebook)
        true = distances.gather(1, wanted.clamp_max(len(codebook) - 1)[:, None])
        # Where the codebook has no such code, every code is nearer.
        ranks = torch.where(known, (distances < true).sum(1), len(codebook))
        # The nearest code is the one that was written, whatever rounding says of a tie.
        ranks = torch.where(wanted == written[:n], 0, ranks)
        yield Encoding(written.cpu().numpy(), ranks.cpu().numpy())


@one_thread()
def with_distances(
    heard: Sequence[Encoding], targets: Sequence[Target], tokenizer: MelTokenizer, n_codes: int
) -> list[Encoded]:
    """Adds the distances between what was written and what should have been, in units of chance.

    A code that the codebook does not have, or has put aside, is as far as chance; so is any other code than the true
    one where all codes are the same.

    Args:
        heard: what the tokenizer made of each recording.
        targets: the recordings.
        tokenizer: whose codebook measures.
        n_codes: codes that the GPT may write.
    """
    codebook = tokenizer.codebook.detach().float().cpu()
    counts = np.zeros(max(n_codes, len(codebook)))
    for target in targets:
        np.add.at(counts, target.sequence.codes, 1)
    there = _in_place(codebook)
    chance = _mean_distance(codebook, torch.from_numpy(np.where(there, counts[: len(codebook)], 0)).float())
    there = np.append(there, np.zeros(len(counts) - len(codebook), dtype=bool))
    rows = []
    for row, target in zip(heard, targets, strict=True):
        n = min(len(row.codes), len(target.sequence.codes))
        wanted, written = target.sequence.codes[:n], row.codes[:n]
        known = there[wanted] & there[written]
        vectors = codebook[np.where(known, wanted, 0)]
        distances = (vectors - codebook[np.where(known, written, 0)]).norm(dim=1).numpy().astype(np.float64)
        relative = distances / chance if chance > 0 else (wanted != written).astype(np.float64)
        rows.append(Encoded(row.codes, row.ranks, np.where(known, relative, 1.0)))
    return rows


def _in_place(codebook: Tensor) -> np.ndarray:
    """Which codes lie where latents do: (codebook size,) bool."""
    far = (codebook - codebook.median(0).values).norm(dim=1)
    there: np.ndarray = (far <= _PARKED * far.median()).numpy()
    return there


def _mean_distance(codebook: Tensor, counts: Tensor) -> float:
    """Mean Euclidean distance between two codes drawn independently by their counts."""
    used = counts.nonzero().flatten()
    if len(used) == 0:
        return 0.0
    share = counts[used] / counts[used].sum()
    rows = torch.split(used, 1024)
    total = sum(
        float(share_part @ (torch.cdist(codebook[part], codebook[used]) @ share))
        for part, share_part in zip(rows, torch.split(share, 1024), strict=True)
    )
    return float(total)
