"""What a teacher's GPT is asked of each recording: in whose voice, and beside which wrong text and voice."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.engine.rows import Row, finite
from vqbench.errors import DataError
from vqbench.metrics.likelihood import TokenLikelihood, likelihood_cells
from vqbench.records.rows import Measured
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Voice

VOICE_RECORDINGS = 3
"""Of so many other recordings, at most, the GPT hears a speaker's voice."""

_ALIKE = 5
"""The wrong text is drawn from so many that are nearest in length."""

VoiceOf = tuple[Clip, ...]
"""The recordings that a voice is heard in."""


@dataclass(frozen=True)
class Asking:
    """A recording, and what the GPT is told of it.

    Attributes:
        clip: with its text.
        voice: other recordings of its speaker.
        wrong_text: what another recording says; None where all say the same.
        wrong_voice: recordings of another speaker; None where there is but one.
    """

    clip: Clip
    voice: VoiceOf
    wrong_text: str | None
    wrong_voice: VoiceOf | None

    @property
    def content(self) -> dict[str, object]:
        """All that decides the answer, besides tokens and teacher."""
        wrong = None if self.wrong_voice is None else [one.sha256 for one in self.wrong_voice]
        return {
            "clip": self.clip.sha256,
            "text": self.clip.text,
            "voice": [one.sha256 for one in self.voice],
            "wrong_text": self.wrong_text,
            "wrong_voice": wrong,
        }


def make_askings(clips: Sequence[Clip], seed: int) -> dict[str, Asking | DataError]:
    """Finds what the GPT is asked.

    A recording is never heard as its own voice: its tokens would be given away.

    Args:
        clips: the recordings of a suite.
        seed: draws wrong texts and voices.

    Returns:
        by the clips' ids, in their order; of some, why they cannot be asked about.
    """
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.speaker:
            by_speaker.setdefault(clip.speaker, []).append(clip)
    found: dict[str, Asking | DataError] = {}
    for clip in clips:
        draw = random.Random(f"{seed} {clip.id}")
        others = [one for one in by_speaker.get(clip.speaker or "", []) if one.sha256 != clip.sha256]
        if not clip.text:
            found[clip.id] = DataError("has no transcript for the GPT to be told")
        elif not clip.speaker:
            found[clip.id] = DataError("names no speaker, so that nobody knows whose voice the GPT should be told")
        elif not others:
            found[clip.id] = DataError(f"is the only recording of {clip.speaker}: there is no other to tell the voice")
        else:
            voice = tuple(others[:VOICE_RECORDINGS])
            found[clip.id] = Asking(clip, voice, _wrong_text(clip, clips, draw), _wrong_voice(clip, by_speaker, draw))
    return found


def _wrong_text(clip: Clip, clips: Sequence[Clip], draw: random.Random) -> str | None:
    assert clip.text is not None
    length, own = len(clip.text), clip.text.casefold()
    texts = sorted({one.text for one in clips if one.text and one.text.casefold() != own})
    return draw.choice(sorted(texts, key=lambda text: abs(len(text) - length))[:_ALIKE]) if texts else None


def _wrong_voice(clip: Clip, by_speaker: Mapping[str, Sequence[Clip]], draw: random.Random) -> VoiceOf | None:
    others = sorted(name for name in by_speaker if name != clip.speaker)
    return tuple(by_speaker[draw.choice(others)][:VOICE_RECORDINGS]) if others else None


class Inquiry:
    """A teacher, untouched, and what it is asked of each recording.

    Args:
        teacher: whose GPT is asked.
        clips: the recordings.
        seed: draws wrong texts and voices.
        writer: who writes tokens in the run, of its own; None where nobody does.

    Attributes:
        askings: by the clips' ids, in their order; of some, why they cannot be asked about.
        group: the figures.
    """

    def __init__(
        self, teacher: TortoiseTeacher, clips: Sequence[Clip], seed: int, writer: TortoiseTeacher | None
    ) -> None:
        self.teacher = teacher
        self.askings = make_askings(clips, seed)
        self.group = TokenLikelihood(teacher.digest, teacher.tokenizer is not None, writer is not None)
        self._voices: dict[tuple[str, ...], Voice] = {}

    def ask(self, asking: Asking, codes: Tensor) -> Row:
        """Asks for the tokens that somebody wrote of a recording.

        All that is asked of a recording is one batch, whoever else is asked about: batches round in their own way.

        Args:
            asking: what the GPT is told of it.
            codes: (L,) int64.

        Returns:
            a row, or why there is none: codes that the GPT does not know or has no room for, a text or a recording that
            cannot be read.
        """
        text = asking.clip.text or ""
        try:
            right = self._voice(asking.voice)
            told = [(text, right)]
            if asking.wrong_text is not None:
                told.append((asking.wrong_text, right))
            if asking.wrong_voice is not None:
                told.append((text, self._voice(asking.wrong_voice)))
            texts, voices = [one for one, _ in told], [voice for _, voice in told]
            with torch.inference_mode():
                answers = iter(self.teacher.likelihood(texts, voices, [codes] * len(told)))
        except DataError as error:
            return error
        of_right = next(answers)
        of_text = None if asking.wrong_text is None else next(answers)
        of_voice = None if asking.wrong_voice is None else next(answers)
        return finite(Measured(likelihood_cells(codes, of_right, of_text, of_voice, self.teacher.vocabulary.n_codes)))

    def _voice(self, recordings: VoiceOf) -> Voice:
        key = tuple(one.sha256 for one in recordings)
        if key not in self._voices:
            waveforms = [load_clip(one, SAMPLE_RATE_HZ) for one in recordings]
            (self._voices[key],) = self.teacher.voices({recordings[0].speaker or "": waveforms})
        return self._voices[key]
