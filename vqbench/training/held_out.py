"""Held-out pairs: how far a VQVAE in training writes the GPT's tokens, between floor and ceiling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vqbench.tokenizers.dvae.network import DVAE
from vqbench.training.reconstruct import perplexity
from vqbench.training.stream import MelTokens

_AT_ONCE = 16


class HeldOutPairs:
    """Pairs that nothing is trained on.

    Args:
        pairs: whole; none where nothing is held out.
        true: the teacher's own VQVAE, whose agreement is the ceiling; None where it is withheld.
        device: where they are heard.
    """

    def __init__(self, pairs: Sequence[MelTokens], true: DVAE | None, device: torch.device) -> None:
        self._device = device
        # Like lengths together: less padding.
        self._pairs = sorted(pairs, key=lambda pair: pair.mel.shape[-1])
        if not pairs:
            return
        tokens = torch.cat([pair.codes for pair in self._pairs])
        counts = torch.bincount(tokens)
        self._expected = perplexity(counts)
        self._bounds = {"floor": (counts.max() / counts.sum()).item()}
        if true is not None:
            self._bounds["ceiling"] = self._agreement(true)[0]

    @torch.no_grad()
    def figures(self, dvae: DVAE) -> dict[str, float]:
        """Agreement, its floor (the best constant) and ceiling, what is left of the mel, and how codes are used.

        Returns:
            nothing where no pair is held out; `ceiling` and `normalised` only where the true VQVAE is known.
        """
        if not self._pairs:
            return {}
        agreement, l1, usage = self._agreement(dvae)
        heard = perplexity(usage)
        found = {"agreement": agreement, **self._bounds}
        if "ceiling" in found and found["ceiling"] > found["floor"]:
            found["normalised"] = (agreement - found["floor"]) / (found["ceiling"] - found["floor"])
        return {**found, "l1": l1, "perplexity": heard, "perplexity_share": heard / self._expected}

    def _agreement(self, dvae: DVAE) -> tuple[float, float, Tensor]:
        """Share of tokens heard as they were written, L1 of the mel through the codes heard, and their histogram."""
        agreed = n_tokens = n_values = 0
        error = 0.0
        usage = torch.zeros(dvae.dimensions.codebook_size, dtype=torch.int64, device=self._device)
        per_token = dvae.dimensions.frames_per_token
        for start in range(0, len(self._pairs), _AT_ONCE):
            pairs = self._pairs[start : start + _AT_ONCE]
            mel = pad_sequence([pair.mel.t() for pair in pairs], batch_first=True).transpose(1, 2).to(self._device)
            n_frames = torch.tensor([pair.mel.shape[-1] for pair in pairs], device=self._device)
            codes = dvae.encode(mel, n_frames)
            decoded = dvae.decode(codes, -(-n_frames // per_token))
            for pair, heard, told in zip(pairs, codes, decoded, strict=True):
                n, length = len(pair.codes), pair.mel.shape[-1]
                agreed += int((heard[:n] == pair.codes.to(self._device)).sum())
                n_tokens += n
                usage += torch.bincount(heard[:n], minlength=len(usage))
                error += float((told[:, :length] - pair.mel.to(self._device)).abs().sum())
                n_values += pair.mel.numel()
        return agreed / n_tokens, error / n_values, usage
