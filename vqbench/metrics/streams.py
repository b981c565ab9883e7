"""Agreement of tokenizers of waveforms, stream by stream: whether a candidate writes the codes of the reference.

Nothing is known of such a codebook but its size, so there are no ranks and no distances. Chance stands beside: what the
best constant would agree, and mutual information, which is corrected for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.errors import DataError
from vqbench.metrics.agreement import AGREEMENT_SPECS
from vqbench.metrics.base import Output, Rendering
from vqbench.records.reference import NATURAL, WRITTEN
from vqbench.records.rows import Measured
from vqbench.records.run import CandidateRecord
from vqbench.tokenizers.protocol import Codes, Tokenizer, codes_of

_VERSION = 1

_FIGURES = ("raw", "floor", "floor_unigram", "edit_rate", "mutual_information_bits", "mutual_information_share")


class Reference:
    """A tokenizer whose codes the others' are held against; each recording is encoded once.

    Args:
        name: as the suite has it.
        open_tokenizer: brings the tokenizer, when it is first needed.
        tokenizer: the same, now, for what it says of itself.
    """

    def __init__(self, name: str, tokenizer: Tokenizer, open_tokenizer: Callable[[], Tokenizer]) -> None:
        self.name, self.digest, self.streams = name, tokenizer.digest, tokenizer.streams
        self._open = open_tokenizer
        self._codes: dict[str, Codes | DataError] = {}

    def codes(self, clip: Clip) -> Codes | DataError:
        """What it writes of a recording, or why nothing."""
        if clip.sha256 not in self._codes:
            tokenizer = self._open()
            try:
                (self._codes[clip.sha256],) = codes_of(tokenizer, [load_clip(clip, tokenizer.sample_rate_hz)])
            except DataError as error:
                self._codes[clip.sha256] = error
        return self._codes[clip.sha256]


class StreamAgreement:
    """One stream of a candidate beside the same of the reference.

    Args:
        reference: whose codes they are held against.
        stream: counted from 0; names count from 1, where there are several.
    """

    def __init__(self, reference: Reference, stream: int) -> None:
        self.reference = reference
        self.stream = stream
        several = len(reference.streams) > 1
        self.needs: Output = "streams" if several else "codes"
        self.name = f"{NATURAL}.q{stream + 1}" if several else NATURAL
        self.specs = tuple(
            replace(
                spec,
                name=f"{self.name}.{spec.name.removeprefix(f'{WRITTEN}.')}",
                group=self.name,
                description=spec.description.replace("the GPT", reference.name),
                headline=spec.name == f"{WRITTEN}.raw" and not stream,
                clip_set="speech",
                floor=f"{self.name}.floor" if spec.name == f"{WRITTEN}.raw" else None,
                ceiling=None,
            )
            for spec in AGREEMENT_SPECS
            if spec.name.removeprefix(f"{WRITTEN}.") in _FIGURES
        )

    @property
    def identity(self) -> Mapping[str, object]:
        """Whose codes they are held against."""
        return {"version": _VERSION, "reference": self.reference.digest, "stream": self.stream}

    def constants_of(self, record: CandidateRecord) -> Mapping[str, float]:
        """Of the larger of the two codebooks."""
        ours = self.reference.streams[self.stream]
        theirs = record.streams[self.stream][1] if self.stream < len(record.streams) else record.codebook_size or 0
        return {"codebook_size": float(max(ours.codebook_size, theirs)), "token_rate_hz": ours.rate_hz}

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """One row a recording, in order; both are cut at the end to what they have in common."""
        return [self._row(rendering) for rendering in renderings]

    def _row(self, rendering: Rendering) -> Measured | DataError:
        target = self.reference.codes(rendering.clip)
        if isinstance(target, DataError):
            return DataError(f"{self.reference.name}: {target.problem}")
        streams = rendering.streams or (() if rendering.codes is None else (rendering.codes,))
        if len(streams) != len(target):
            return DataError(f"writes {len(streams)} streams, where {self.reference.name} writes {len(target)}")
        own, wanted = streams[self.stream].cpu(), target[self.stream]
        if abs(len(own) - len(wanted)) > _MOST_APART:
            problem = f"writes {len(own)} codes of this recording, where {self.reference.name} writes {len(wanted)}"
            return DataError(problem)
        return Measured(_cells(own, wanted))


_MOST_APART = 2
"""Sequences of one rate differ at most by what their ends make of a started frame."""


def _cells(own: Tensor, wanted: Tensor) -> dict[str, float | tuple[float, ...]]:
    n = min(len(own), len(wanted))
    own, wanted = own[:n].to(torch.int64), wanted[:n].to(torch.int64)
    return {
        "matches": float((own == wanted).sum()),
        "tokens": float(n),
        "edits": float(Levenshtein.distance(wanted.tolist(), own.tolist())),
        "gpt_codes": tuple(wanted.tolist()),
        "codes": tuple(own.tolist()),
    }
