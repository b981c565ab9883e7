"""Token agreement in a run: the teacher writes sequences once, every candidate hears them, and matches are counted.

What a candidate makes of one recording is cached; floors, ceilings and relabellings depend on all recordings together
and are cheap, so they are counted anew in every run.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import load_waveform, resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.corpora import load_clips
from vqbench.data.manifest import Clip
from vqbench.engine.cache import Cache, content_key
from vqbench.engine.hearing import Heard, Target, hear, with_distances
from vqbench.engine.systems import Candidate
from vqbench.engine.teachers import listen, new_sentences, open_teacher, teacher_voices
from vqbench.errors import CheckpointError, DataError
from vqbench.files import write_text
from vqbench.metrics.agreement import AGREEMENT_SPECS, Codes, GptSequence, agreement_columns
from vqbench.progress import Progress
from vqbench.results.plausibility import GPT_CODES
from vqbench.results.record import ClipRecord, MetricSpec, Table
from vqbench.stats.columns import columns_of
from vqbench.suite import Suite
from vqbench.threads import computed_on, one_thread
from vqbench.tokenizer.protocol import SpeechTokenizer
from vqbench.tortoise.pair_generation import PAIRS_VERSION, generate_pairs, pair_name
from vqbench.tortoise.pairs import read_pairs
from vqbench.tortoise.teacher import Teacher
from vqbench.tortoise.tokens import SAMPLES_PER_TOKEN

_WHOLE = "whole"
"""Says in a cached folder how many pairs were made once all of them were."""

TOKEN_RATE_HZ = MelSpec().sample_rate_hz / SAMPLES_PER_TOKEN

_SILENCE_DB = -40.0
"""A token is silent where its samples are so far below the loudest token of its recording."""

_NATURAL = ("raw", "floor", "without_silence", "relabelled", "top5", "codebook_distance", "mutual_information_share")
"""What is shown of recordings, where the true tokenizer's tokens stand in for the GPT's: its ceiling is 1."""

NATURAL_SPECS = tuple(
    replace(
        spec,
        name=f"token_agreement.natural.{spec.name.split('.')[1]}",
        group="token_agreement.natural",
        description=f"{spec.description}; true tokenizer for GPT, recordings",
        headline=spec.name == "token_agreement.raw",
        clip_set="natural",
        floor=spec.floor and "token_agreement.natural.floor",
        ceiling=None,
    )
    for spec in AGREEMENT_SPECS
    if spec.name.split(".")[1] in _NATURAL
)


@dataclass(frozen=True)
class AgreementData:
    """What all candidates of a run are held against.

    Attributes:
        written: what the GPT wrote, with its rendering.
        natural: recordings with the true tokenizer's tokens; none where it is not known.
        unscored: clip id → why a recording could not be read.
        ceiling: what the true tokenizer hears in each rendering; None where it is not known.
        teacher: who wrote.
        asked: utterances that it was asked for; those it was silent in, or repeated itself, are not in `written`.
    """

    written: tuple[Target, ...]
    natural: tuple[Target, ...]
    unscored: Mapping[str, str]
    ceiling: tuple[Codes, ...] | None
    teacher: Teacher
    asked: int

    @property
    def identity(self) -> dict[str, str | int]:
        """Who wrote, and how much."""
        found = {"teacher": self.teacher.name, "digest": self.teacher.digest}
        return {**found, "utterances": len(self.written), "left_out": self.asked - len(self.written)}

    @property
    def clips(self) -> tuple[ClipRecord, ...]:
        """The recordings, as a run lists them."""
        unread = [ClipRecord(clip_id, "", 0.0, "", None, "natural") for clip_id in self.unscored]
        return (*(t.clip for t in self.written), *(t.clip for t in self.natural), *unread)


@dataclass(frozen=True)
class Question:
    """What a suite asks of its teacher, all of it found and checked, nothing of it written yet.

    Attributes:
        teacher: who shall write.
        voices: recordings that tell it the voices.
        sentences: where its sentences come from: `pocket`, or a file.
        n: how many.
        seed: the suite's.
        natural: recordings for the true tokenizer; none where it is not known.
    """

    teacher: Teacher
    voices: tuple[Clip, ...]
    sentences: str
    n: int
    seed: int
    natural: tuple[Clip, ...]

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures that will be had."""
        return (*AGREEMENT_SPECS, *(NATURAL_SPECS if self.natural else ()))

    @property
    def clip_ids(self) -> Iterator[str]:
        """What the clips will be called, those among them that the GPT will be silent in."""
        yield from (_pair_id(pair_name(number)) for number in range(self.n))
        yield from (_natural_id(clip) for clip in self.natural)


def pose_question(suite: Suite, device: torch.device) -> Question:
    """Opens the teacher and finds its voices and the recordings.

    Raises:
        VqbenchError: where teacher, voices, sentences or recordings are at fault.
    """
    assert suite.teacher is not None and suite.data.pairs is not None
    teacher, config = open_teacher(suite.teacher, device), suite.data.pairs
    known = teacher.tokenizer is not None and suite.data.natural is not None
    return Question(
        teacher,
        tuple(teacher_voices(suite.teacher, config.voices)),
        config.sentences,
        config.n,
        suite.seed,
        tuple(load_clips(suite.data.natural)) if known and suite.data.natural is not None else (),
    )


def answer_question(question: Question, cache: Cache, progress: Progress) -> AgreementData:
    """Has the teacher write; what it wrote for the same question before is read from the cache.

    Raises:
        VqbenchError: a voice cannot be heard, or the teacher's weights give no speech.
    """
    natural: list[Target] = []
    unscored: dict[str, str] = {}
    true, device = question.teacher.tokenizer, question.teacher.device
    if question.natural:
        assert true is not None
        with progress.task("tokenising recordings", len(question.natural)) as advance:
            for clip in question.natural:
                try:
                    natural.append(_natural(clip, true))
                except DataError as error:
                    unscored[_natural_id(clip)] = error.problem
                advance()
    written = _written(question, cache, progress)
    ceiling = None if true is None else _ceiling(true, device, written, cache, progress)
    return AgreementData(tuple(written), tuple(natural), unscored, ceiling, question.teacher, question.n)


def measure_agreement(system: Candidate, data: AgreementData, cache: Cache, progress: Progress) -> Iterator[Table]:
    """One table for what the GPT wrote, and one for recordings where there are any."""
    tokenizer, n_codes = system.tokenizer, data.teacher.vocabulary.n_codes
    size = max(n_codes, tokenizer.codebook_size)
    # On recordings the true tokenizer's tokens are the target, so it is its own ceiling.
    itself = tuple(target.sequence.codes for target in data.natural)
    for group, targets, ceiling, unscored in (
        ("token_agreement", data.written, data.ceiling, {}),
        ("token_agreement.natural", data.natural, itself, data.unscored),
    ):
        if not targets and not unscored:
            continue
        found: list[Heard | str]
        if follows(tokenizer):
            found = hear(tokenizer, system.record.name, data.teacher.device, targets, cache, progress)
        else:
            other = f"writes {tokenizer.token_rate_hz:.2f} tokens a second, where the GPT writes {TOKEN_RATE_HZ:.2f}"
            found = [other] * len(targets)
        places = [place for place, row in enumerate(found) if isinstance(row, Heard)]
        scored = [targets[place] for place in places]
        encoded = with_distances([row for row in found if isinstance(row, Heard)], scored, tokenizer, n_codes)
        oracle = None if ceiling is None else [ceiling[place] for place in places]
        reasons = {target.clip.id: row for target, row in zip(targets, found, strict=True) if isinstance(row, str)}
        yield Table(
            candidate=system.record.name,
            group=group,
            row_ids=tuple(target.clip.id for target in scored),
            columns=columns_of(agreement_columns([target.sequence for target in scored], encoded, oracle, size)),
            constants={
                "codebook_size": float(size),
                "token_rate_hz": tokenizer.token_rate_hz,
                GPT_CODES: float(n_codes),
            },
            unscored={**unscored, **reasons},
        )


def follows(tokenizer: SpeechTokenizer) -> bool:
    """Whether a tokenizer writes as many tokens a second as the GPT, so that the two can be held side by side."""
    return math.isclose(tokenizer.token_rate_hz, TOKEN_RATE_HZ)


def _ceiling(
    true: SpeechTokenizer, device: torch.device, written: Sequence[Target], cache: Cache, progress: Progress
) -> tuple[Codes, ...]:
    codes = []
    for target, row in zip(written, hear(true, "true tokenizer", device, written, cache, progress), strict=True):
        if isinstance(row, str):
            raise CheckpointError(f"the teacher's own VQVAE: {row}", where=target.clip.id, expected="finite weights")
        codes.append(row.codes)
    return tuple(codes)


def _written(question: Question, cache: Cache, progress: Progress) -> list[Target]:
    teacher = question.teacher
    sentences = new_sentences(question.sentences, question.n, question.seed, "data.pairs.n")
    key = content_key(
        {
            "version": PAIRS_VERSION,
            "teacher": teacher.digest,
            "sampling": asdict(teacher.sampling),
            **computed_on(teacher.device),
            "packages": {package: metadata.version(package) for package in ("torch", "tortoise-tts", "soundfile")},
            "sentences": sentences,
            "voices": [[clip.speaker, clip.sha256] for clip in question.voices],
            "seed": question.seed,
        }
    )
    folder = cache.pairs_folder(key)
    if not (cache.read and _is_whole(folder)):
        if not cache.read or (folder / _WHOLE).exists():
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or not to be believed
        voices = listen(teacher, question.voices, progress)
        made = generate_pairs(teacher, sentences, voices, folder, question.n, question.seed, progress, test_share=1.0)
        write_text(folder / _WHOLE, str(made.n_test))
    return [
        _target(
            _pair_id(pair.id),
            _at_tokenizer_rate(pair.waveform(), pair.sample_rate_hz),
            pair.codes,
            pair.text,
            None,
            "pairs",
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


@one_thread()
def _natural(clip: Clip, tokenizer: SpeechTokenizer) -> Target:
    spec = tokenizer.mel_spec
    waveform = load_waveform(clip.path, spec.sample_rate_hz)
    with torch.inference_mode():
        (latents,) = tokenizer.latents([MelFrontEnd(spec)(waveform)])
        (codes,) = tokenizer.quantize([latents])
    return _target(_natural_id(clip), waveform, codes.cpu(), clip.text or clip.id, clip.speaker, "natural")


def _pair_id(name: str) -> str:
    return f"pairs/{name}"


def _natural_id(clip: Clip) -> str:
    return f"natural/{clip.id}"


def _target(clip_id: str, waveform: Tensor, codes: Tensor, text: str, speaker: str | None, clip_set: str) -> Target:
    digest = hashlib.sha256(waveform.numpy().tobytes() + codes.numpy().tobytes()).hexdigest()
    record = ClipRecord(clip_id, digest, len(waveform) / MelSpec().sample_rate_hz, text, speaker, clip_set)
    sequence = GptSequence(clip_id, codes.numpy(), _audible(waveform, len(codes)), text)
    return Target(record, waveform, sequence)


def _audible(waveform: Tensor, n_tokens: int) -> np.ndarray:
    """Which tokens' samples are louder than silence: (n_tokens,) bool."""
    padded = torch.nn.functional.pad(waveform, (0, max(0, n_tokens * SAMPLES_PER_TOKEN - len(waveform))))
    power = padded[: n_tokens * SAMPLES_PER_TOKEN].view(n_tokens, SAMPLES_PER_TOKEN).square().mean(1)
    loudest = power.max() if n_tokens else torch.tensor(0.0)
    return (power > loudest * 10 ** (_SILENCE_DB / 10)).numpy()


def _at_tokenizer_rate(waveform: Tensor, rate_hz: int) -> Tensor:
    wanted = MelSpec().sample_rate_hz
    return waveform if rate_hz == wanted else resample(waveform, rate_hz, wanted)
