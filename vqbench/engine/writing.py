"""Who writes the tokens that candidates are held against: a teacher's GPT; on recordings, the suite's reference, or
the teacher's true tokenizer. Tokens are written once, whoever asks for them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import resample
from vqbench.audio.mel import MelSpec
from vqbench.data.recordings import load_clip
from vqbench.engine.agreement import AgreementData, Truth
from vqbench.engine.cache import Place, content_key
from vqbench.engine.hearing import Encoding, Target
from vqbench.engine.plan import Plan
from vqbench.engine.question import TRUE, Question, Writing, pair_id
from vqbench.engine.teachers import listen, new_sentences
from vqbench.errors import CheckpointError, DataError
from vqbench.files import write_text
from vqbench.metrics.agreement import Codes, GptSequence
from vqbench.progress import Progress, Silent
from vqbench.records.run import ClipRecord
from vqbench.teachers.tortoise.pair_generation import PAIRS_VERSION, generate_pairs
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.teachers.tortoise.tokens import SAMPLES_PER_TOKEN
from vqbench.threads import computed_on
from vqbench.tokenizers.protocol import MelTokenizer

_WHOLE = "whole"
"""Says in a cached folder how many pairs were made once all of them were."""

_SILENCE_DB = -40.0
"""A token is silent where its samples are so far below the loudest token of its recording."""

_AT_ONCE = 32
"""Recordings that are read and tokenised together."""


class Hear(Protocol):
    """Has a tokenizer make something of recordings, as far as that is not known."""

    def __call__(
        self, name: str, tokenizer: MelTokenizer, targets: Sequence[Target], progress: Progress
    ) -> Sequence[Encoding | str]:
        """What it makes of each, or why nothing; `name` is what people call it."""


def answer_question(question: Question, truth: Truth | None, hear: Hear, plan: Plan) -> AgreementData:
    """Has the teacher write, and the reference; what was written for the same question before is in the cache.

    Args:
        question: what is asked.
        truth: who writes the tokens of recordings.
        hear: has tokenizers hear.
        plan: where pairs are kept, and who else makes them; shows how far it is.

    Raises:
        VqbenchError: a voice cannot be heard, or the teacher's weights give no speech.
    """
    natural, unscored = _natural(question, truth, hear, plan.progress) if truth else ([], {})
    written = _written(question.writing, plan) if question.writing else []
    true = question.teacher.tokenizer if question.teacher else None
    ceiling = None if true is None else _ceiling(true, written, hear, plan.progress)
    return AgreementData(question, tuple(written), tuple(natural), unscored, ceiling, truth)


def _ceiling(true: MelTokenizer, written: Sequence[Target], hear: Hear, progress: Progress) -> tuple[Codes, ...]:
    codes = []
    for target, row in zip(written, hear(TRUE, true, written, progress), strict=True):
        if isinstance(row, str):
            raise CheckpointError(f"the teacher's own VQVAE: {row}", where=target.clip.id, expected="finite weights")
        codes.append(row.codes)
    return tuple(codes)


def _written(writing: Writing, plan: Plan) -> list[Target]:
    teacher = writing.teacher
    sentences = new_sentences(writing.sentences, writing.n, writing.seed, "data.pairs.n")
    key = content_key(
        {
            "version": PAIRS_VERSION,
            "teacher": teacher.digest,
            "sampling": asdict(teacher.sampling),
            **computed_on(teacher.device),
            "packages": {package: metadata.version(package) for package in ("torch", "tortoise-tts", "soundfile")},
            "sentences": sentences,
            "voices": [[clip.speaker, clip.sha256] for clip in writing.voices],
            "seed": writing.seed,
        }
    )
    cache, progress = plan.cache, plan.progress
    folder = cache.pairs_folder(key)
    with plan.alone(Place("pairs", key)):
        if not (cache.read and _is_whole(folder)):
            if not cache.read or (folder / _WHOLE).exists():
                shutil.rmtree(folder, ignore_errors=True)  # damaged, or not to be believed
            voices = listen(teacher, writing.voices, progress)
            made = generate_pairs(teacher, sentences, voices, folder, writing.n, writing.seed, progress, test_share=1.0)
            write_text(folder / _WHOLE, str(made.n_test))
    return [
        _target(
            ClipRecord(pair_id(pair.id), "", 0.0, pair.text, None, "pairs"),
            _at_tokenizer_rate(pair.waveform(), pair.sample_rate_hz),
            pair.codes.numpy(),
            SAMPLES_PER_TOKEN,
        )
        for pair in read_pairs(folder)
    ]


def _is_whole(folder: Path) -> bool:
    """Whether all pairs that were made are still there to be read."""
    try:
        n_made = int((folder / _WHOLE).read_text(encoding="utf-8"))
        return sum(1 for _ in read_pairs(folder, waveforms=False)) == n_made
    except (OSError, ValueError, DataError):
        return False


def _natural(question: Question, truth: Truth, hear: Hear, progress: Progress) -> tuple[list[Target], dict[str, str]]:
    """Recordings with their tokens; and clip id → why there are none, of the others."""
    targets: list[Target] = []
    unscored: dict[str, str] = {}
    if not question.natural:
        return targets, unscored
    samples = round(MelSpec().sample_rate_hz / truth.tokenizer.token_rate_hz)
    with progress.task("tokenising recordings", len(question.natural)) as advance:
        for start in range(0, len(question.natural), _AT_ONCE):
            clips, blank = question.natural[start : start + _AT_ONCE], []
            for clip in clips:
                record = question.natural_record(clip)
                try:
                    waveform = load_clip(clip, MelSpec().sample_rate_hz)
                except DataError as error:
                    unscored[record.id] = error.problem
                    continue
                blank.append(_target(record, waveform, np.empty(0, np.int64), samples))
            heard = hear(truth.name, truth.tokenizer, blank, Silent())
            for target, row in zip(blank, heard, strict=True):
                if isinstance(row, str):
                    unscored[target.clip.id] = f"{truth.name}: {row}"
                else:
                    targets.append(_target(target.clip, target.waveform, row.codes, samples))
            advance(len(clips))
    return targets, unscored


def _target(clip: ClipRecord, waveform: Tensor, codes: Codes, samples: int) -> Target:
    """A recording, (N,) at `MelSpec`'s rate, with tokens of so many samples each."""
    digest = hashlib.sha256(waveform.numpy().tobytes() + codes.tobytes()).hexdigest()
    record = replace(clip, sha256=digest, duration_s=len(waveform) / MelSpec().sample_rate_hz)
    return Target(record, waveform, GptSequence(clip.id, codes, _audible(waveform, len(codes), samples), clip.text))


def _audible(waveform: Tensor, n_tokens: int, samples: int) -> np.ndarray:
    """Which tokens' samples are louder than silence: (n_tokens,) bool."""
    padded = torch.nn.functional.pad(waveform, (0, max(0, n_tokens * samples - len(waveform))))
    power = padded[: n_tokens * samples].view(n_tokens, samples).square().mean(1)
    loudest = power.max() if n_tokens else torch.tensor(0.0)
    return (power > loudest * 10 ** (_SILENCE_DB / 10)).numpy()


def _at_tokenizer_rate(waveform: Tensor, rate_hz: int) -> Tensor:
    wanted = MelSpec().sample_rate_hz
    return waveform if rate_hz == wanted else resample(waveform, rate_hz, wanted)
