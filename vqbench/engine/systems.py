"""What is heard side by side: the candidates, the original audio, and the vocoder's own ceiling.

A system gives every clip back as a `Rendering`; metrics never know which kind of system made it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Protocol

import torch
from torch import Tensor

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.io import resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.errors import DataError
from vqbench.metrics.base import Output, Rendering
from vqbench.records.run import CandidateRecord
from vqbench.threads import one_thread
from vqbench.tokenizers.protocol import Codes, MelTokenizer, Tokenizer, can_decode, codes_of, reconstruct

RENDERING_VERSION = 2
"""Raised whenever the same system would render the same clip otherwise."""


@dataclass(frozen=True)
class Recording:
    """A clip as a front end reads it: waveform (N,) float32 and mel (n_mels, T) float32."""

    clip: Clip
    waveform: Tensor
    mel: Tensor


class System(Protocol):
    """One row of the table."""

    @property
    def record(self) -> CandidateRecord:
        """How results name it."""

    @property
    def mel_spec(self) -> MelSpec:
        """The front end that it reads."""

    @property
    def identity(self) -> Mapping[str, object]:
        """All that decides its renderings."""

    @property
    def gives(self) -> frozenset[Output]:
        """What its renderings hold."""

    def render(self, recordings: Sequence[Recording]) -> list[Rendering | DataError]:
        """One rendering a recording, in order, or why there is none."""


@one_thread()
def read_recording(clip: Clip, front_end: MelFrontEnd) -> Recording:
    """Loads a clip and computes its mel.

    Raises:
        DataError: for audio that cannot be read.
    """
    waveform = load_clip(clip, front_end.spec.sample_rate_hz)
    with torch.inference_mode():
        return Recording(clip, waveform, front_end(waveform))


class Original:
    """The recordings themselves: what the judges make of real speech."""

    gives: frozenset[Output] = frozenset({"waveform"})

    def __init__(self, mel_spec: MelSpec) -> None:
        self.mel_spec = mel_spec
        self.record = CandidateRecord("original", "reference", "original", "the recordings themselves")
        self.identity = _identity("original", mel_spec)

    def render(self, recordings: Sequence[Recording]) -> list[Rendering | DataError]:
        """The waveform as it is."""
        return [Rendering(r.clip, r.waveform, r.mel, waveform_hat=r.waveform) for r in recordings]


class Vocoded:
    """Mel and back without any VQVAE: the best that a candidate could sound through this vocoder."""

    gives: frozenset[Output] = frozenset({"waveform", "mel"})

    def __init__(self, mel_spec: MelSpec, vocoder: GriffinLim) -> None:
        self.mel_spec = mel_spec
        self._vocoder = vocoder
        self.record = CandidateRecord(
            "vocoded",
            "reference",
            "vocoded",
            "mel and back without a VQVAE: the vocoder's ceiling",
            mel_spec.fingerprint,
        )
        self.identity = _identity("vocoded", mel_spec, vocoder=dict(vocoder.identity))

    @one_thread()
    def render(self, recordings: Sequence[Recording]) -> list[Rendering | DataError]:
        """The mel as it is, vocoded."""
        return [_vocode(self._vocoder, r, r.mel, None) for r in recordings]


class MelCandidate:
    """A tokenizer: mel → codes → mel → vocoder."""

    gives: frozenset[Output] = frozenset({"waveform", "mel", "codes", "bits"})

    def __init__(
        self,
        name: str,
        source: str,
        tokenizer: MelTokenizer,
        vocoder: GriffinLim,
        device: torch.device,
        family: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.mel_spec = tokenizer.mel_spec
        self._vocoder = vocoder
        self.record = CandidateRecord(
            name=name,
            role="candidate",
            digest=tokenizer.digest,
            source=source,
            front_end=tokenizer.mel_spec.fingerprint,
            codebook_size=tokenizer.codebook_size,
            token_rate_hz=tokenizer.token_rate_hz,
            n_parameters=tokenizer.n_parameters,
            family=family,
        )
        self.identity = _identity(
            "tokenizer",
            tokenizer.mel_spec,
            vocoder=dict(vocoder.identity),
            digest=tokenizer.digest,
            # Rounding differs between devices, and with it a code now and then.
            device=device.type,
        )

    @one_thread()
    def render(self, recordings: Sequence[Recording]) -> list[Rendering | DataError]:
        """Encodes and decodes all clips together, then vocodes each."""
        reconstructions = reconstruct(self.tokenizer, [r.mel for r in recordings])
        rendered = []
        for recording, made in zip(recordings, reconstructions, strict=True):
            row = _vocode(self._vocoder, recording, made.mel.cpu(), made.codes.cpu())
            if isinstance(row, Rendering):
                row = replace(row, bits=len(made.codes) * math.log2(self.tokenizer.codebook_size))
            rendered.append(row)
        return rendered


class WaveformCandidate:
    """A tokenizer of waveforms: waveform → codes → waveform, at its own sample rate; some give no waveform back.

    Judges hear what it gives back at `MelSpec`'s rate, as they hear everybody.
    """

    def __init__(self, name: str, source: str, tokenizer: Tokenizer, device: torch.device) -> None:
        self.tokenizer = tokenizer
        self.mel_spec = MelSpec()
        streams = tokenizer.streams
        (only,) = streams if len(streams) == 1 else (None,)
        of_codes: frozenset[Output] = frozenset({"codes"} if only else {"streams"} if streams else ())
        of_copies: frozenset[Output] = frozenset({"waveform", "copy"} if can_decode(tokenizer) else ())
        self.gives: frozenset[Output] = of_codes | of_copies | {"bits"}
        self.record = CandidateRecord(
            name=name,
            role="candidate",
            digest=tokenizer.digest,
            source=source,
            codebook_size=only and only.codebook_size,
            token_rate_hz=only and only.rate_hz,
            streams=() if only else tuple((stream.rate_hz, stream.codebook_size) for stream in streams),
            n_parameters=tokenizer.n_parameters,
        )
        self.identity = _identity(
            "waveform tokenizer",
            self.mel_spec,
            digest=tokenizer.digest,
            # As of `Candidate`.
            device=device.type,
        )

    @one_thread()
    def render(self, recordings: Sequence[Recording]) -> list[Rendering | DataError]:
        """Encodes all clips together, and decodes them where it can."""
        rate_hz = self.tokenizer.sample_rate_hz
        waveforms = [
            recording.waveform
            if rate_hz == self.mel_spec.sample_rate_hz
            # Read again, and not resampled from what VQVAEs hear: it may know of more, or of less.
            else load_clip(recording.clip, rate_hz)
            for recording in recordings
        ]
        written = codes_of(self.tokenizer, waveforms)
        codes = {place: one for place, one in enumerate(written) if not isinstance(one, DataError)}
        copies: dict[int, Tensor | DataError] = {}
        if can_decode(self.tokenizer):
            lengths = [len(waveforms[place]) for place in codes]
            decoded = self.tokenizer.decode(list(codes.values()), lengths)
            fitting = (_of_length(*both) for both in zip(decoded, lengths, strict=True))
            copies = dict(zip(codes, fitting, strict=True))
        return [
            one if isinstance(one, DataError) else self._rendering(recording, one, copies.get(place))
            for place, (recording, one) in enumerate(zip(recordings, written, strict=True))
        ]

    def _rendering(self, recording: Recording, codes: Codes, copy: Tensor | DataError | None) -> Rendering | DataError:
        if isinstance(copy, DataError):
            return copy
        heard = None
        if copy is not None:
            heard = resample(copy, self.tokenizer.sample_rate_hz, self.mel_spec.sample_rate_hz)
            n = len(recording.waveform)
            # Rates that do not divide each other leave a sample more or less.
            heard = torch.nn.functional.pad(heard, (0, max(0, n - len(heard))))[:n]
        return Rendering(
            clip=recording.clip,
            waveform=recording.waveform,
            mel=recording.mel,
            waveform_hat=heard,
            codes=codes[0] if self.record.codebook_size else None,
            streams=codes if self.record.streams else (),
            bits=self.tokenizer.bits(codes),
        )


def _of_length(copy: Tensor | DataError, length: int) -> Tensor | DataError:
    if isinstance(copy, DataError):
        return copy
    if copy.shape != (length,):
        return DataError(f"gave a waveform of shape {tuple(copy.shape)} back, where ({length},) was asked for")
    return copy if copy.isfinite().all() else DataError("the decoded waveform holds NaN or infinity")


def _identity(system: str, mel_spec: MelSpec, **more: object) -> Mapping[str, object]:
    """What decides a system's renderings, the packages that decode and compute included."""
    packages = {name: metadata.version(name) for name in ("torch", "soundfile", "soxr")}
    return {
        "system": system,
        "version": RENDERING_VERSION,
        "front_end": mel_spec.fingerprint,
        "packages": packages,
        **more,
    }


def _vocode(vocoder: GriffinLim, recording: Recording, mel_hat: Tensor, codes: Tensor | None) -> Rendering | DataError:
    if not mel_hat.isfinite().all():
        return DataError("the reconstructed mel holds NaN or infinity")
    try:
        waveform_hat = vocoder(mel_hat, length=len(recording.waveform))
    except DataError as error:
        return error
    if not waveform_hat.isfinite().all():
        return DataError("the vocoded waveform holds NaN or infinity: the reconstructed mel is far out of range")
    return Rendering(recording.clip, recording.waveform, recording.mel, waveform_hat, mel_hat, codes)
