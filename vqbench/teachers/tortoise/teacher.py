"""A whole TorToiSe, the official or the pocket's: text and a voice become tokens, a CLVP score and a waveform.

Everything is batched, and nothing that an utterance is depends on its neighbours, beyond floating-point rounding: each
one draws from its own seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from vqbench.errors import CheckpointError, DataError
from vqbench.files import file_digest
from vqbench.progress import Progress, Silent
from vqbench.teachers.protocol import Foretold
from vqbench.teachers.tortoise.batches import RenderedBatch, chunks, derived, rendered_tokens, voice_digest
from vqbench.teachers.tortoise.clvp import score
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.diffusion import DiffusionDecoder
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.teachers.tortoise.lazy_model import LazyModel
from vqbench.teachers.tortoise.likelihood import foretell
from vqbench.teachers.tortoise.sampling import Sampling, sample
from vqbench.teachers.tortoise.tokens import MelVocabulary, settle, speech_tokens, waveform_samples
from vqbench.teachers.tortoise.utterance import Utterance, Voice, Written
from vqbench.teachers.tortoise.vocoder import Vocoder
from vqbench.tokenizers.dvae.state_dict import misfits, read_torch
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

TEACHER_VERSION = 1
"""Raised whenever the same parts would say something else; it is in every teacher's digest."""

_TYPICAL_TOKENS = 128
"""Up to this length a batch is rendered at its full size; longer ones in smaller batches, as attention grows."""


class TextEncoding(Protocol):
    """What turns a text into the GPT's text tokens: `TextEncoder`."""

    def encode(self, text: str) -> Tensor:
        """Encodes a text: (T,) int64."""


@dataclass(frozen=True)
class TortoiseTeacher:
    """The parts of a TorToiSe and how they fit.

    Attributes:
        name: how people call it.
        digest: sixteen hex digits over whatever decides its utterances.
        gpt: writes the tokens.
        clvp: scores them.
        diffusion: makes the GPT's latents a mel.
        vocoder: makes the mel a waveform.
        text: encodes texts.
        vocabulary: what the GPT's ids mean.
        mel_frames: how many mel frames the diffusion makes of so many tokens.
        gpt_mel: a recording (N,) float32 at 22,050 Hz → the mel that the GPT's conditioning encoder reads.
        diffusion_mel: likewise for the diffusion's.
        max_text_tokens: the longest text that its GPT reads, the stop counted.
        sampling: how its GPT is sampled, where nothing else is asked for.
        scores_padding: CLVP reads all `max_tokens` tokens, silence included, as in tortoise-tts; else the spoken ones.
        batch_size: rows that the GPT writes at a time; the diffusion renders as many short ones.
        device: where its parts are.
        tokenizer: the true VQVAE, where it is known.
    """

    name: str
    digest: str
    gpt: LazyModel[UnifiedVoice]
    clvp: LazyModel[nn.Module]
    diffusion: LazyModel[DiffusionDecoder]
    vocoder: LazyModel[Vocoder]
    text: TextEncoding
    vocabulary: MelVocabulary
    mel_frames: Callable[[int], int]
    gpt_mel: Callable[[Tensor], Tensor]
    diffusion_mel: Callable[[Tensor], Tensor]
    max_text_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    scores_padding: bool = False
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tokenizer: DVAETokenizer | None = None

    def encode(self, text: str) -> Tensor:
        """Encodes a text for the GPT, (T,) int64.

        Raises:
            DataError: it cannot be encoded, or is too long.
        """
        ids = self.text.encode(text)
        if len(ids) > self.max_text_tokens:
            raise DataError(
                f"the text {text[:40]!r}… has {len(ids)} tokens",
                expected=f"at most {self.max_text_tokens}, which the teacher's GPT can read",
                fix="split it into sentences",
            )
        return ids

    def voice(self, waveforms: Sequence[Tensor], speaker: str) -> Voice:
        """Listens to one speaker: see `voices`."""
        return self.voices({speaker: waveforms})[0]

    @torch.no_grad()
    def voices(self, recordings: Mapping[str, Sequence[Tensor]]) -> list[Voice]:
        """Listens to speakers.

        Args:
            recordings: of each speaker, at least one (N,) float32 in [-1, 1] at 22,050 Hz.

        Returns:
            a voice for each, in order; several recordings are averaged.

        Raises:
            DataError: a speaker has no recording, or an empty one.
        """
        for speaker, waveforms in recordings.items():
            if not waveforms:
                raise DataError(f"there is no recording of speaker {speaker!r}", expected="at least one")
        heard_by_gpt = self.heard_by_gpt(recordings)
        heard_by_diffusion = self._hear_by_diffusion(recordings)
        return [
            Voice(speaker, heard_by_gpt[speaker].cpu(), heard_by_diffusion[speaker].cpu(), voice_digest(waveforms))
            for speaker, waveforms in recordings.items()
        ]

    def speak(
        self,
        texts: Sequence[str],
        voices: Sequence[Voice],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        k: int = 1,
        progress: Progress | None = None,
    ) -> list[Utterance]:
        """Says each text in the voice, and by the seed, at its side.

        Args:
            texts: what to say.
            voices: as many.
            seeds: as many.
            sampling: left out, the teacher's own.
            k: how many times the GPT writes each; the one that CLVP likes best is rendered.
            progress: is told of tokens and waveforms.

        Returns:
            as many utterances, in order; each says the seed that makes it again with k = 1.

        Raises:
            DataError: a text cannot be encoded, or is too long.
            ConfigError: the GPT cannot be sampled so.
            CheckpointError: the weights give no numbers.
        """
        progress = progress or Silent()
        repeated = [i for i in range(len(texts)) for _ in range(k)]
        tries = self.write(
            [texts[i] for i in repeated],
            [voices[i] for i in repeated],
            [derived(seed, attempt) for seed in seeds for attempt in range(k)],
            sampling,
            progress,
        )
        best = [max(tries[i : i + k], key=lambda written: written.clvp) for i in range(0, len(tries), k)]
        return self.render(best, progress)

    @torch.no_grad()
    def write(
        self,
        texts: Sequence[str],
        voices: Sequence[Voice],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        progress: Progress | None = None,
    ) -> list[Written]:
        """Writes the tokens of each text and scores them. Arguments and errors as for `speak`."""
        if not len(texts) == len(voices) == len(seeds):
            raise ValueError(f"{len(texts)} texts, {len(voices)} voices and {len(seeds)} seeds are no rows")
        encoded = [self.encode(text) for text in texts]
        sampled, finished = self._sample(encoded, voices, seeds, sampling or self.sampling, progress or Silent())
        settled = settle(sampled, self.vocabulary)
        codes = [self._spoken(row, calmed) for row, calmed in zip(sampled, settled, strict=True)]
        clvp = self._score(encoded, codes, settled if self.scores_padding else codes)
        return [
            Written(*row) for row in zip(texts, voices, seeds, codes, finished.tolist(), clvp.tolist(), strict=True)
        ]

    @torch.no_grad()
    def render(self, written: Sequence[Written], progress: Progress | None = None) -> list[Utterance]:
        """Makes waveforms of tokens, in batches of utterances that are rendered at the same length.

        Each is followed by silence while it is rendered, so that the diffusion can end it, and cut back afterwards.

        Raises:
            DataError: a mel or waveform came out as NaN.
        """
        progress = progress or Silent()
        mels = self._mels(written, self._latents(written), progress)
        waveforms, rate_hz = self._vocode(written, mels, progress)
        return [
            Utterance(row.text, row.voice.speaker, row.codes, waveform, rate_hz, row.clvp, row.finished, row.seed)
            for row, waveform in zip(written, waveforms, strict=True)
        ]

    def likelihood(self, texts: Sequence[str], voices: Sequence[Voice], codes: Sequence[Tensor]) -> list[Foretold]:
        """How well its GPT foretells codes in a text and a voice, each given those before it.

        Args:
            texts: what is said.
            voices: as many.
            codes: as many, (L,) int64 each.

        Raises:
            DataError: a text cannot be encoded or is too long, or there are more codes than the GPT has positions, or
                some that it does not know.
        """
        if not len(texts) == len(voices) == len(codes):
            raise ValueError(f"{len(texts)} texts, {len(voices)} voices and {len(codes)} codes are no rows")
        encoded = [self.encode(text) for text in texts]
        found: dict[int, Foretold] = {}
        with self.gpt.loaded() as gpt:
            most, n_codes = gpt.dimensions.max_mel_tokens, gpt.dimensions.n_codes
            for row in codes:
                if len(row) > most:
                    raise DataError(f"there are {len(row)} codes", expected=f"at most the GPT's {most} positions")
                # Above them are the GPT's start and stop: it would answer, with figures of something else.
                if len(row) and (int(row.min()) < 0 or int(row.max()) >= n_codes):
                    raise DataError(f"there are codes {int(row.min())} to {int(row.max())}", expected=f"[0, {n_codes})")
            # Similar lengths together: less padding.
            for rows in chunks(sorted(range(len(codes)), key=lambda i: len(codes[i])), self.batch_size):
                heard = [voices[i].gpt.to(self.device) for i in rows]
                told = foretell(gpt, heard, [encoded[i] for i in rows], [codes[i] for i in rows])
                found.update(zip(rows, told, strict=True))
        return [found[i] for i in range(len(codes))]

    def tuned(self, weights: Path) -> TortoiseTeacher:
        """The same teacher, but for its GPT's weights, which a file brings; see `vqbench.training.finetune`.

        Its voices are heard anew by `voices`: the GPT's ear is tuned, too.

        Raises:
            CheckpointError: the file is damaged, or of another GPT.
        """
        digest = hashlib.sha256(f"{self.digest} {file_digest(weights)}".encode()).hexdigest()[:16]
        with self.gpt.loaded() as taught:
            dimensions = taught.dimensions

        def load() -> UnifiedVoice:
            content = read_torch(weights)
            state = content if isinstance(content, Mapping) else {}
            gpt = UnifiedVoice(dimensions)
            if faults := misfits(state, {key: tuple(tensor.shape) for key, tensor in gpt.state_dict().items()}):
                raise CheckpointError(f"these are no weights of this teacher's GPT: {faults}", where=str(weights))
            gpt.load_state_dict(state, strict=True)
            return gpt.to(self.device).eval().requires_grad_(False)

        return replace(self, name=f"{self.name}, tuned", digest=digest, gpt=self.gpt.another(load))

    @torch.no_grad()
    def heard_by_gpt(self, recordings: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        """What its GPT alone hears of each speaker, (D,) float32 on its device; `recordings` as for `voices`."""
        with self.gpt.loaded() as gpt:
            return {
                speaker: gpt.conditioning(self._stack([self.gpt_mel(waveform) for waveform in waveforms])).mean(0)
                for speaker, waveforms in recordings.items()
            }

    def _hear_by_diffusion(self, recordings: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        with self.diffusion.loaded() as diffusion:
            return {
                speaker: diffusion.conditioning(self._stack([self.diffusion_mel(waveform) for waveform in waveforms]))
                for speaker, waveforms in recordings.items()
            }

    def _stack(self, rows: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(rows)).to(self.device)

    def _sample(
        self,
        texts: Sequence[Tensor],
        voices: Sequence[Voice],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Progress,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, max_tokens) int64, filled up with stop, and whether each row came to its end, (B,) bool."""
        codes = torch.full((len(texts), sampling.max_tokens), self.vocabulary.stop)
        finished = torch.zeros(len(texts), dtype=torch.bool)
        # Similar lengths together: less padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with progress.task("writing tokens", len(texts)) as advance, self.gpt.loaded() as gpt:
            for rows in chunks(order, self.batch_size):
                sampled = sample(
                    gpt,
                    self._stack([voices[i].gpt for i in rows]),
                    [texts[i] for i in rows],
                    [seeds[i] for i in rows],
                    sampling,
                    self.vocabulary,
                )
                codes[rows], finished[rows] = sampled.codes.cpu(), sampled.finished.cpu()
                advance(len(rows))
        # A second start means nothing that could be spoken: the row ends there, unfinished.
        restarted = codes == self.vocabulary.start
        ended = (restarted.cumsum(1) > 0) | (codes == self.vocabulary.stop)
        return codes.masked_fill(ended, self.vocabulary.stop), finished & ~restarted.any(1)

    def _spoken(self, sampled: Tensor, settled: Tensor) -> Tensor:
        n_written = int((sampled != self.vocabulary.stop).sum())
        return sampled[: min(n_written, speech_tokens(settled, self.vocabulary))]

    def _score(self, texts: Sequence[Tensor], codes: Sequence[Tensor], read: Sequence[Tensor] | Tensor) -> Tensor:
        scores = torch.full((len(codes),), -math.inf)
        order = sorted((i for i in range(len(codes)) if len(codes[i])), key=lambda i: len(read[i]))
        with self.clvp.loaded() as clvp:
            for rows in chunks(order, self.batch_size):
                on_device = [texts[i].to(self.device) for i in rows], [read[i].to(self.device) for i in rows]
                scores[rows] = score(clvp, *on_device).float().cpu()
        if scores.isnan().any():
            raise CheckpointError("CLVP's scores are not numbers", where=self.name, expected="finite weights")
        return scores

    def _latents(self, written: Sequence[Written]) -> list[RenderedBatch]:
        """Batches of utterances that are rendered at the same length, those without codes left out."""
        batches = []
        with self.gpt.loaded() as gpt:
            lengths = [rendered_tokens(len(row.codes), gpt.dimensions.max_mel_tokens) for row in written]
            for length in sorted(set(lengths)):
                of_this_length = [i for i, row in enumerate(written) if len(row.codes) and lengths[i] == length]
                size = max(1, min(self.batch_size, self.batch_size * _TYPICAL_TOKENS**2 // length**2))
                for rows in chunks(of_this_length, size):
                    texts = [self.text.encode(written[i].text) for i in rows]
                    codes = torch.full((len(rows), length), self.vocabulary.calm)
                    for row, i in zip(codes, rows, strict=True):
                        row[: len(written[i].codes)] = written[i].codes
                    latents = gpt.latents(
                        self._stack([written[i].voice.gpt for i in rows]),
                        nn.utils.rnn.pad_sequence(texts, batch_first=True).to(self.device),
                        codes.to(self.device),
                        torch.tensor([len(text) for text in texts], device=self.device),
                    )
                    batches.append(RenderedBatch(rows, latents))
        return batches

    def _mels(
        self, written: Sequence[Written], batches: Sequence[RenderedBatch], progress: Progress
    ) -> dict[int, Tensor]:
        mels: dict[int, Tensor] = {}
        n_rows = sum(len(batch.rows) for batch in batches)
        with progress.task("rendering mels", n_rows) as advance, self.diffusion.loaded() as diffusion:
            for batch in batches:
                rendered = diffusion.render(
                    batch.latents,
                    self._stack([written[i].voice.diffusion for i in batch.rows]),
                    [written[i].seed for i in batch.rows],
                    self.mel_frames(batch.latents.shape[1]),
                )
                mels.update(zip(batch.rows, rendered, strict=True))
                advance(len(batch.rows))
        return mels

    def _vocode(
        self, written: Sequence[Written], mels: Mapping[int, Tensor], progress: Progress
    ) -> tuple[list[Tensor], int]:
        waveforms = [torch.zeros(0) for _ in written]
        with progress.task("vocoding", len(mels)) as advance, self.vocoder.loaded() as vocoder:
            for i, mel in mels.items():
                n_tokens = len(written[i].codes)
                length = waveform_samples(n_tokens) * vocoder.sample_rate_hz // SAMPLE_RATE_HZ
                # One token more than is heard, so that the end is not the edge of the vocoder's input.
                heard = mel[:, : self.mel_frames(n_tokens + 1)]
                waveforms[i] = vocoder(heard, length, written[i].seed).cpu().clamp(-1, 1)
                if not waveforms[i].isfinite().all():
                    raise DataError(f"the waveform of {written[i].text!r} holds NaN", where=self.name)
                advance()
            return waveforms, vocoder.sample_rate_hz
