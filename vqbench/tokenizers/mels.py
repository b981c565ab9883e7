"""A VQVAE on mels and a vocoder as one tokenizer of waveforms: the only place that knows of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelFrontEnd
from vqbench.errors import DataError
from vqbench.tokenizers.protocol import Codes, MelTokenizer, Stream, bits_of, encode


class MelCodec:
    """Waveform → mel → codes → mel → waveform.

    Args:
        vqvae: between the mels.
        vocoder: makes waveforms of mels.
    """

    licence: str | None = None

    def __init__(self, vqvae: MelTokenizer, vocoder: GriffinLim) -> None:
        self._vqvae, self._vocoder = vqvae, vocoder
        self._front_end = MelFrontEnd(vqvae.mel_spec)

    @property
    def sample_rate_hz(self) -> int:
        """The front end's."""
        return self._vqvae.mel_spec.sample_rate_hz

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The VQVAE's one codebook."""
        return (Stream(self._vqvae.token_rate_hz, self._vqvae.codebook_size),)

    @property
    def digest(self) -> str:
        """The VQVAE's: the vocoder is the suite's."""
        return self._vqvae.digest

    @property
    def n_parameters(self) -> int:
        """The VQVAE's."""
        return self._vqvae.n_parameters

    def bits(self, codes: Codes) -> float:
        """log2 of the codebook's size for each token."""
        return bits_of(codes, self.streams)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
        """(N,) float32 each → codes (L,) int64 each, in a tuple of one."""
        mels = [self._front_end(waveform) for waveform in waveforms]
        return [(codes.cpu(),) for codes in encode(self._vqvae, mels)]

    @torch.inference_mode()
    def decode(self, codes: Sequence[Codes], lengths: Sequence[int]) -> list[Tensor | DataError]:
        """Codes → (length,) float32 each."""
        mels = self._vqvae.decode([one for (one,) in codes])
        return [self._vocode(mel.cpu(), length) for mel, length in zip(mels, lengths, strict=True)]

    def _vocode(self, mel: Tensor, length: int) -> Tensor | DataError:
        n_frames = length // self._vqvae.mel_spec.hop_length + 1
        try:
            waveform: Tensor = self._vocoder(mel[:, :n_frames], length=length)
        except DataError as error:
            return error
        return waveform
