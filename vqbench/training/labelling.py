"""Labels recordings: their tokens, as an encoder and a teacher's GPT find them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vqbench.audio.io import encode_waveform
from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.errors import DataError
from vqbench.notes import tell
from vqbench.progress import Progress
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.decoding import Joining, decode_jointly, log_posterior
from vqbench.teachers.tortoise.pair_generation import split_of
from vqbench.teachers.tortoise.pairs import shard_path
from vqbench.teachers.tortoise.shards import Pair, Shard, ShardHeader, write_shard
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.tokens import SAMPLES_PER_TOKEN
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

PER_SHARD = 64
"""Recordings that are labelled and kept together: what an interruption costs at most."""

LABELS_VERSION = 1
"""Raised whenever the same VQVAE, GPT and recordings would give other labels."""

CONDITIONING = 3
"""Recordings of a speaker that tell the GPT the voice."""


@dataclass(frozen=True)
class Transcribed:
    """A recording that can be labelled.

    Attributes:
        clip: it.
        text: (T,) int64, its transcript as the GPT reads it.
        wrong_text: (T',) int64, that of another recording of like length.
        voice: (width,) float32, its speaker's, as the GPT hears it.
    """

    clip: Clip
    text: Tensor
    wrong_text: Tensor
    voice: Tensor


def is_held_out(clip: Clip, share: float) -> bool:
    """Whether a recording is only validated with, by a hash of its sentence, as in fine-tuning."""
    return split_of(f"validation: {clip.text}", share) == "test"


def find_utterances(clips: Sequence[Clip], teacher: TortoiseTeacher, progress: Progress) -> list[Transcribed]:
    """Recordings that the teacher's GPT can read, in order; those that are left out are counted and told.

    Args:
        clips: with transcripts and speakers.
        teacher: whose GPT it is.
        progress: shows how far the listening is.

    Raises:
        DataError: a clip has no transcript or speaker, or none is left.
    """
    faults = [clip.id for clip in clips if not clip.text or not clip.speaker]
    if faults:
        raise DataError(
            f"{len(faults)} recordings have no transcript or no speaker, the first is {faults[0]}",
            expected="text and speaker of each: the GPT is asked how likely tokens are of that text in that voice",
        )
    with teacher.gpt.loaded() as gpt:
        most_s = gpt.dimensions.max_mel_tokens * SAMPLES_PER_TOKEN / SAMPLE_RATE_HZ
    readable: list[tuple[Clip, Tensor]] = []
    for clip in clips:
        try:
            text = teacher.encode(clip.text or "")
        except DataError:
            continue
        if clip.duration_s < most_s:
            readable.append((clip, text))
    if len(readable) < len(clips):
        tell(
            f"pseudo_label: {len(clips) - len(readable)} of {len(clips)} recordings are left out, longer than the "
            f"{most_s:.1f} s or the text that the teacher's GPT can read"
        )
    if not readable:
        raise DataError("no recording is left to label", expected="shorter recordings, with transcripts")
    voices = tell_voices([clip for clip, _ in readable], teacher, progress)
    wrong = _wrong_texts([text for _, text in readable])
    return [
        Transcribed(clip, text, other, voices[clip.speaker or ""])
        for (clip, text), other in zip(readable, wrong, strict=True)
    ]


def tell_voices(clips: Sequence[Clip], teacher: TortoiseTeacher, progress: Progress) -> dict[str, Tensor]:
    """What a GPT hears of each speaker, (width,) float32: the mean over the first `CONDITIONING` recordings.

    Args:
        clips: each with its speaker.
        teacher: whose GPT listens.
        progress: shows how far it is.

    Raises:
        DataError: one of these recordings cannot be read.
    """
    chosen: dict[str, list[Clip]] = {}
    for clip in clips:
        of_speaker = chosen.setdefault(clip.speaker or "", [])
        if len(of_speaker) < CONDITIONING:
            of_speaker.append(clip)
    with progress.task("listening to voices", sum(map(len, chosen.values()))) as advance:
        recordings: dict[str, list[Tensor]] = {}
        for speaker, of_speaker in chosen.items():
            for clip in of_speaker:
                recordings.setdefault(speaker, []).append(load_clip(clip, SAMPLE_RATE_HZ))
                advance()
    return teacher.heard_by_gpt(recordings)


def _wrong_texts(texts: Sequence[Tensor]) -> list[Tensor]:
    """For each text that of the next longer recording with another one, so that lengths are alike."""
    order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), texts[place].tolist()))
    wrong = {}
    for at, place in enumerate(order):
        others = (order[(at + step) % len(order)] for step in range(1, len(order)))
        wrong[place] = next((texts[o] for o in others if not torch.equal(texts[o], texts[place])), texts[place])
    return [wrong[place] for place in range(len(texts))]


class Labeller:
    """Labels recordings with an encoder and a teacher's GPT.

    Args:
        tokenizer: its encoder hears.
        teacher: its GPT says what is likely.
        joining: how they are weighed.
    """

    def __init__(self, tokenizer: DVAETokenizer, teacher: TortoiseTeacher, joining: Joining) -> None:
        self._tokenizer, self._teacher, self._joining = tokenizer, teacher, joining
        self._front_end = MelFrontEnd(tokenizer.mel_spec)

    def waveform(self, clip: Clip) -> Tensor:
        """A recording at the tokenizer's rate, (N,) float32."""
        return load_clip(clip, self._front_end.spec.sample_rate_hz)

    @torch.inference_mode()
    def labels(
        self, waveforms: Sequence[Tensor], utterances: Sequence[Transcribed], *, wrong: bool = False
    ) -> list[Tensor]:
        """Codes (L,) int64 of each recording, by the right transcript, or by a wrong one."""
        latents = self._tokenizer.latents([self._front_end(waveform) for waveform in waveforms])
        emissions = [log_posterior(rows, self._tokenizer.codebook, self._joining.scale) for rows in latents]
        texts = [one.wrong_text if wrong else one.text for one in utterances]
        codes: list[Tensor] = []
        size = max(1, self._teacher.batch_size)
        with self._teacher.gpt.loaded() as gpt:
            for at in range(0, len(emissions), size):
                part = slice(at, at + size)
                voices = torch.stack([one.voice for one in utterances[part]])
                codes += decode_jointly(
                    gpt, voices, texts[part], emissions[part], self._joining, self._teacher.vocabulary
                )
        return codes

    def write(
        self, utterances: Sequence[Transcribed], folder: Path, settings: Mapping[str, object], progress: Progress
    ) -> None:
        """Labels all recordings into shards of pairs; those that are there already, of the same settings, are kept.

        Args:
            utterances: what to label.
            folder: of the shards.
            settings: JSON values of all that decides the labels.
            progress: shows how far it is.
        """
        parts = [utterances[at : at + PER_SHARD] for at in range(0, len(utterances), PER_SHARD)]
        missing = [n for n, part in enumerate(parts) if not _is_there(shard_path(folder, n), part, settings)]
        known = len(utterances) - sum(len(parts[n]) for n in missing)
        with progress.task("labelling recordings", len(utterances), known) as advance:
            for n in missing:
                part = sorted(parts[n], key=lambda one: one.clip.duration_s)
                waveforms = [self.waveform(one.clip) for one in part]
                labels = self.labels(waveforms, part)
                made = {
                    one.clip.id: self._pair(one, waveform, codes)
                    for one, waveform, codes in zip(part, waveforms, labels, strict=True)
                }
                pairs = [made[one.clip.id] for one in parts[n]]
                write_shard(shard_path(folder, n), pairs, ShardHeader(dict(settings)))
                advance(len(part))

    def _pair(self, utterance: Transcribed, waveform: Tensor, codes: Tensor) -> Pair:
        clip, rate_hz = utterance.clip, self._front_end.spec.sample_rate_hz
        return Pair(
            id=clip.id,
            text=clip.text or "",
            speaker=clip.speaker or "",
            split="train",
            codes=codes,
            flac=encode_waveform(waveform, rate_hz, clip.id),
            sample_rate_hz=rate_hz,
            clvp=0.0,
            seed=0,
            finished=True,
            teacher=self._teacher.digest,
        )


def _is_there(path: Path, part: Sequence[Transcribed], settings: Mapping[str, object]) -> bool:
    """Whether a shard holds the labels of these recordings, made by these settings."""
    if not path.exists():
        return False
    try:
        with Shard(path) as shard:
            ids = [pair.id for pairs in shard.row_groups(waveforms=False) for pair in pairs]
            return shard.header.settings == dict(settings) and ids == [one.clip.id for one in part]
    except DataError:
        return False
