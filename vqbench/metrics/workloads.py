"""What is timed of a candidate: its stages on real speech, batch size by batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd
from vqbench.errors import DataError
from vqbench.metrics.stages import STAGES, WAVEFORM_STAGES, timed_group
from vqbench.tokenizers.protocol import Codes, MelTokenizer, Tokenizer, can_decode, codes_of

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """What is timed: batches of `segment_s` of real speech, in `repetitions` blocks after `warmup` uncounted ones."""

    batch_sizes: tuple[int, ...]
    segment_s: float
    repetitions: int
    warmup: int

    @property
    def audio_s(self) -> float:
        """Speech that the largest batch takes, in seconds."""
        return max(self.batch_sizes) * self.segment_s


@dataclass(frozen=True)
class Entrant:
    """Who is timed.

    Attributes:
        name: in the tables.
        open: brings the tokenizer to its device; called again where too many are timed to hold them all.
        stages: what of it is timed, as `stages_of` says.
        waveforms: (N,) float32 each, real speech at the front end's rate; segments are cut from them end to end.
    """

    name: str
    open: Callable[[], MelTokenizer | Tokenizer]
    stages: Sequence[str]
    waveforms: Sequence[Tensor]


@dataclass(frozen=True)
class Workload:
    """One stage at one batch size, ready to be timed.

    Attributes:
        group: of its rows.
        audio_s: seconds of speech that one run works through.
        n_tokens: tokens that this speech is; None of a tokenizer that writes bits and no codes.
        run: does the work, and comes back when the device has done it; to be called in inference mode.
    """

    group: str
    audio_s: float
    n_tokens: int | None
    run: Callable[[], object]


@torch.inference_mode()
def workloads(
    tokenizer: MelTokenizer | Tokenizer, waveforms: Sequence[Tensor], load: Load, device: torch.device
) -> Iterator[Workload]:
    """Gives what is timed of one candidate, batch size by batch size, each with its stages.

    Args:
        tokenizer: what is timed.
        waveforms: as an `Entrant` has them.
        load: how much of it.
        device: where the tokenizer runs.
    """
    if isinstance(tokenizer, Tokenizer):
        yield from _of_waveforms(tokenizer, waveforms, load, device)
        return
    speech = _Speech(tokenizer, waveforms, load, device)
    front_end = speech.front_end
    for size in load.batch_sizes:
        batch = speech.segments(size)
        mels = list(front_end(batch))
        latents = tokenizer.latents(mels)
        codes = tokenizer.quantize(latents)
        work: dict[str, Callable[[], object]] = {
            "mel": partial(front_end, batch),
            "encode": partial(tokenizer.latents, mels),
            "quantize": partial(tokenizer.quantize, latents),
            "decode": partial(tokenizer.decode, codes),
            "end_to_end": partial(speech.end_to_end, batch),
        }
        audio_s, n_tokens = size * load.segment_s, sum(len(c) for c in codes)
        wait(device)
        for stage in STAGES:
            yield Workload(timed_group(stage, size), audio_s, n_tokens, partial(finish, work[stage], device))


def _of_waveforms(
    tokenizer: Tokenizer, waveforms: Sequence[Tensor], load: Load, device: torch.device
) -> Iterator[Workload]:
    """The stages of a tokenizer without a mel: encode, decode, and both; those that only encode have no other."""
    speech = _WaveformSpeech(tokenizer, waveforms, load)
    for size in load.batch_sizes:
        batch = speech.segments(size)
        codes = whole(codes_of(tokenizer, batch))
        work: dict[str, Callable[[], object]] = {"encode": partial(speech.encode, batch)}
        if can_decode(tokenizer):
            lengths = [len(one) for one in batch]
            work["decode"] = partial(speech.decode, codes, lengths)
            work["end_to_end"] = partial(speech.end_to_end, batch)
        audio_s = size * load.segment_s
        n_tokens = sum(len(row) for one in codes for row in one) if tokenizer.streams else None
        for stage, run in work.items():
            yield Workload(timed_group(stage, size), audio_s, n_tokens, partial(finish, run, device))


class _Speech:
    """Real speech on the device, end to end, from which batches are cut."""

    def __init__(self, tokenizer: MelTokenizer, waveforms: Sequence[Tensor], load: Load, device: torch.device) -> None:
        self.front_end = MelFrontEnd(tokenizer.mel_spec).to(device)
        self._tokenizer = tokenizer
        self._n_samples = round(load.segment_s * tokenizer.mel_spec.sample_rate_hz)
        self._samples = torch.cat(list(waveforms)).to(device)

    def segments(self, size: int) -> Tensor:
        """(size, n_samples) of speech, from its beginning again where it ends."""
        index = torch.arange(size * self._n_samples, device=self._samples.device) % len(self._samples)
        return self._samples[index].view(size, self._n_samples)

    def end_to_end(self, batch: Tensor) -> None:
        """Waveforms to decoded mels."""
        tokenizer = self._tokenizer
        tokenizer.decode(tokenizer.quantize(tokenizer.latents(list(self.front_end(batch)))))


class _WaveformSpeech:
    """Real speech, end to end, for a tokenizer of waveforms; it brings it to its device itself."""

    def __init__(self, tokenizer: Tokenizer, waveforms: Sequence[Tensor], load: Load) -> None:
        self._tokenizer = tokenizer
        self._n_samples = round(load.segment_s * tokenizer.sample_rate_hz)
        self._samples = torch.cat(list(waveforms))

    def segments(self, size: int) -> list[Tensor]:
        """(n_samples,) of speech each, from its beginning again where it ends."""
        index = torch.arange(size * self._n_samples) % len(self._samples)
        return list(self._samples[index].view(size, self._n_samples))

    def encode(self, batch: Sequence[Tensor]) -> list[Codes]:
        """Waveforms to codes."""
        return whole(self._tokenizer.encode(batch))

    def decode(self, codes: Sequence[Codes], lengths: Sequence[int]) -> None:
        """Codes to waveforms, of a tokenizer that can."""
        assert can_decode(self._tokenizer)
        whole(self._tokenizer.decode(codes, lengths))

    def end_to_end(self, batch: Sequence[Tensor]) -> None:
        """Waveforms to waveforms; likewise."""
        self.decode(self.encode(batch), [len(one) for one in batch])


def whole(rows: Sequence[T | DataError]) -> list[T]:
    """What was made of a batch, all of it: what fails is done sooner, and would be taken for speed.

    Raises:
        DataError: something failed.
    """
    made = []
    for row in rows:
        if isinstance(row, DataError):
            raise DataError(f"the speech that is timed cannot be coded: {row.problem}")
        made.append(row)
    return made


def stages_of(tokenizer: MelTokenizer | Tokenizer) -> tuple[str, ...]:
    """What of a tokenizer is timed."""
    if not isinstance(tokenizer, Tokenizer):
        return STAGES
    return WAVEFORM_STAGES if can_decode(tokenizer) else WAVEFORM_STAGES[:1]


def end_to_end(
    tokenizer: MelTokenizer | Tokenizer, waveforms: Sequence[Tensor], load: Load, device: torch.device, size: int
) -> Callable[[], object]:
    """All of what a candidate does with a batch of this size."""
    if isinstance(tokenizer, Tokenizer):
        of_waveforms = _WaveformSpeech(tokenizer, waveforms, load)
        return partial(of_waveforms.end_to_end, of_waveforms.segments(size))
    speech = _Speech(tokenizer, waveforms, load, device)
    return partial(speech.end_to_end, speech.segments(size))


def finish(work: Callable[[], object], device: torch.device) -> None:
    """Does it, and comes back when the device has done it."""
    work()
    wait(device)


def wait(device: torch.device) -> None:
    """Until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
