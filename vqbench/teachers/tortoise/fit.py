"""How well speech fits its text, by the teacher's own CLVP, and how far CLVP finds it from recordings.

CLVP reads tokens. Those that a GPT wrote mean something else for every candidate, so it is given those that the
teacher's true VQVAE hears in the waveform: all candidates, and people, are judged by one measure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.io import resample
from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.errors import ConfigError, DataError
from vqbench.judges.protocol import CLIP_SET, Asked, Heard, no_voice
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec
from vqbench.stats.energy import distances
from vqbench.teachers.tortoise.clvp import speech_latents, text_latents
from vqbench.teachers.tortoise.official import TOKENIZER_FILE
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.tokens import settle
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

_DECIMALS = 4
"""Of an embedding's numbers, as rows keep them: distances of some 1 change by less than 0.001."""

_VERSION = 1

Embedding = NDArray[np.float64]


class SpeechFit:
    """CLVP's score of each utterance against its text, and the energy distance of its speech embeddings to recordings'.

    Why not the Fréchet distance of tts-scores: with tens of utterances it measures how many there are. A quarter of it
    and more is bias at 48 utterances, most at 12, where covariances are singular, and a bootstrap adds the bias again.
    The energy distance compares the same two sets of embeddings, sees any difference of their distributions and not of
    mean and covariance alone, and is right on average at any size.

    Nobody is compared with a recording of the very sentence that is said.

    Args:
        teacher: whose CLVP listens.
        tokenizer: the teacher's true VQVAE.
        recordings: what speech is to be like; they are heard when there is first something to judge.
        clip_set: of what is judged.
    """

    def __init__(
        self, teacher: TortoiseTeacher, tokenizer: DVAETokenizer, recordings: Sequence[Clip], clip_set: str = CLIP_SET
    ) -> None:
        self._teacher = teacher
        self._tokenizer = tokenizer
        self._front_end = MelFrontEnd(tokenizer.mel_spec)
        self._recordings = recordings
        self._reference: _Reference | None = None
        self.name = f"{clip_set}.clvp"
        self.specs = self.specs_for(clip_set)

    @classmethod
    def specs_for(cls, clip_set: str) -> tuple[MetricSpec, ...]:
        """Score and distance."""
        return tuple(
            MetricSpec(
                name=f"{clip_set}.clvp_{name}",
                group=f"{clip_set}.clvp",
                columns=columns,
                reduction=reduction,
                unit="",
                higher_is_better=name == "score",
                version=_VERSION,
                description=description,
                clip_set=clip_set,
            )
            for name, columns, reduction, description in (
                (
                    "score",
                    ("score",),
                    "mean",
                    "cosine of CLVP's embeddings of sentence and speech, mean over utterances",
                ),
                (
                    "distance",
                    ("embedding", "from_recordings"),
                    "energy_distance",
                    "energy distance of CLVP's speech embeddings to those of the enrolment recordings",
                ),
            )
        )

    @classmethod
    def check(cls, asked: Asked) -> None:
        """Sees to it that there is a teacher whose VQVAE is known, by which CLVP reads what is heard."""
        if not isinstance(asked.teacher, TortoiseTeacher):
            raise ConfigError(
                "CLVP is a TorToiSe's, and there is none",
                where=asked.where,
                fix="leave out clvp, or add `teacher: pocket`",
            )
        if asked.teacher.tokenizer is None:
            raise ConfigError(
                f"CLVP reads the tokens of the teacher's VQVAE, which {asked.teacher.name} does not have",
                where=asked.where,
                fix=f"leave out clvp, or put {TOKENIZER_FILE} into the teacher's folder",
            )

    @classmethod
    def make(cls, asked: Asked) -> SpeechFit:
        """Nothing is loaded before it listens."""
        cls.check(asked)
        assert isinstance(asked.teacher, TortoiseTeacher) and asked.teacher.tokenizer is not None
        return cls(asked.teacher, asked.teacher.tokenizer, asked.recordings, asked.clip_set)

    @property
    def identity(self) -> Mapping[str, object]:
        """The teacher, its VQVAE, and what it compares with."""
        return {
            "version": _VERSION,
            "teacher": self._teacher.digest,
            "tokenizer": self._tokenizer.digest,
            "device": self._teacher.device.type,
            "recordings": [clip.sha256 for clip in self._recordings],
        }

    @torch.no_grad()
    def measure(self, heard: Sequence[Heard]) -> list[Measured | DataError]:
        """One row an utterance, in order; one without a voice gives its error instead.

        Raises:
            DataError: a recording cannot be read.
        """
        if not heard:
            return []
        with self._teacher.clvp.loaded() as clvp:
            if self._reference is None:
                rate = self._tokenizer.mel_spec.sample_rate_hz
                latents = [self._speech(clvp, load_clip(clip, rate), rate) for clip in self._recordings]
                self._reference = _Reference.of(np.stack([_kept(latent) for latent in latents]))
            return [no_voice(one) or self._row(clvp, one, self._reference) for one in heard]

    def _row(self, clvp: Any, heard: Heard, reference: _Reference) -> Measured | DataError:
        try:
            ids = self._teacher.encode(heard.text)
        except DataError as error:
            return error
        text = text_latents(clvp, [ids.to(self._teacher.device)])[0]
        speech = self._speech(clvp, heard.waveform, heard.sample_rate_hz)
        embedding = _kept(speech)
        others = np.array([clip.sha256 != heard.recording for clip in self._recordings])
        return Measured(
            {
                "score": float(speech @ text),
                "embedding": tuple(embedding.tolist()),
                "from_recordings": reference.beyond(embedding, others),
            }
        )

    def _speech(self, clvp: Any, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        """CLVP's embedding of what is heard, (width,) of length 1. One by one: no row depends on its neighbours."""
        mel = self._front_end(resample(waveform, sample_rate_hz, self._tokenizer.mel_spec.sample_rate_hz))
        (codes,) = self._tokenizer.quantize(self._tokenizer.latents([mel]))
        if self._teacher.scores_padding:
            vocabulary, missing = self._teacher.vocabulary, self._teacher.sampling.max_tokens - len(codes)
            codes = settle(F.pad(codes, (0, max(0, missing)), value=vocabulary.stop)[None], vocabulary)[0]
        latents: Tensor = speech_latents(clvp, [codes])
        return latents[0]


def _kept(latent: Tensor) -> Embedding:
    return latent.double().cpu().numpy().round(_DECIMALS)


@dataclass(frozen=True)
class _Reference:
    """The recordings' embeddings (n, D), and the mean distance between two of them; NaN where there is only one."""

    embeddings: Embedding
    apart: float

    @classmethod
    def of(cls, embeddings: Embedding) -> _Reference:
        n = len(embeddings)
        return cls(embeddings, distances(embeddings).sum() / (n * (n - 1)) if n > 1 else math.nan)

    def beyond(self, embedding: Embedding, others: NDArray[np.bool_]) -> tuple[float, ...]:
        """2 mean ‖x − Y‖ − E‖Y − Y'‖, with x held against some of the Y; nothing where they are too few."""
        if math.isnan(self.apart) or not others.any():
            return ()
        to_others = np.linalg.norm(self.embeddings[others] - embedding, axis=1).mean()
        return (float(2 * to_others - self.apart),)
