"""Token agreement in a run: the teacher writes sequences once, every candidate hears them, and matches are counted.

What a candidate makes of one recording is cached; floors, ceilings and relabellings depend on all recordings together
and are cheap, so they are counted anew in every run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import load_waveform, resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.corpora import load_clips
from vqbench.data.manifest import Clip
from vqbench.engine.cache import Cache, content_key
from vqbench.engine.systems import Candidate
from vqbench.engine.teachers import find_sentences, listen, open_teacher, teacher_voices
from vqbench.errors import DataError
from vqbench.files import write_text
from vqbench.metrics.agreement import AGREEMENT_SPECS, Codes, Encoded, GptSequence, agreement_columns
from vqbench.progress import Progress
from vqbench.results.record import ClipRecord, MetricSpec, Table
from vqbench.suite import POCKET, Suite
from vqbench.tokenizer.protocol import SpeechTokenizer
from vqbench.tortoise.pair_generation import generate_pairs, split_of
from vqbench.tortoise.pairs import read_pairs
from vqbench.tortoise.teacher import Teacher
from vqbench.tortoise.tokens import SAMPLES_PER_TOKEN

_HEARD = "heard"
_HEARING_VERSION = 1
_SILENCE_DB = -40.0
"""A token is silent where its samples are so far below the loudest token of its recording."""

_AT_ONCE = 32

_SENTENCE_SEED = 1_000_003
"""Added to a suite's seed: other sentences than the pocket TorToiSe was trained on."""

_NATURAL = ("raw", "floor", "without_silence", "relabelled", "top5", "codebook_distance", "mutual_information_share")
"""What is shown of human recordings, where the true tokenizer's tokens stand in for the GPT's: its ceiling is 1."""

NATURAL_SPECS = tuple(
    replace(
        spec,
        name=f"token_agreement.natural.{spec.name.split('.')[1]}",
        group="token_agreement.natural",
        description=f"{spec.description}; true tokenizer for GPT, human recordings",
        headline=spec.name == "token_agreement.raw",
        clip_set="natural",
    )
    for spec in AGREEMENT_SPECS
    if spec.name.split(".")[1] in _NATURAL
)


@dataclass(frozen=True)
class Target:
    """A recording and the tokens that a candidate should find in it."""

    clip: ClipRecord
    waveform: Tensor
    sequence: GptSequence


@dataclass(frozen=True)
class AgreementData:
    """What all candidates of a run are held against.

    Attributes:
        written: what the GPT wrote, with its rendering.
        natural: human recordings with the true tokenizer's tokens; none where it is not known.
        unscored: clip id → why a human recording could not be read.
        ceiling: what the true tokenizer hears in each rendering; None where it is not known.
        teacher: who wrote.
    """

    written: tuple[Target, ...]
    natural: tuple[Target, ...]
    unscored: Mapping[str, str]
    ceiling: tuple[Codes, ...] | None
    teacher: Teacher

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
        natural: human recordings for the true tokenizer; none where it is not known.
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


def pose_question(suite: Suite, device: torch.device) -> Question:
    """Opens the teacher and finds its voices and the human recordings.

    Raises:
        VqbenchError: where teacher, voices, sentences or recordings are at fault.
    """
    assert suite.teacher is not None and suite.data.pairs is not None
    teacher, config = open_teacher(suite.teacher, device), suite.data.pairs
    known = teacher.tokenizer is not None and suite.data.natural is not None
    return Question(
        teacher,
        tuple(teacher_voices(suite.teacher, config.voices)),
        str(config.sentences),
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
    for clip in question.natural:
        assert true is not None
        try:
            natural.append(_natural(clip, true))
        except DataError as error:
            unscored[f"natural/{clip.id}"] = error.problem
    written = _written(question, cache, progress)
    ceiling = None if true is None else _codes(_hear(true, "true tokenizer", device, written, cache, progress))
    return AgreementData(tuple(written), tuple(natural), unscored, ceiling, question.teacher)


def measure_agreement(system: Candidate, data: AgreementData, cache: Cache, progress: Progress) -> Iterator[Table]:
    """One table for what the GPT wrote, and one for human recordings where there are any."""
    tokenizer, n_codes = system.tokenizer, data.teacher.vocabulary.n_codes
    size = max(n_codes, tokenizer.codebook_size)
    # On human recordings the true tokenizer's tokens are the target, so it is its own ceiling.
    itself = tuple(target.sequence.codes for target in data.natural)
    for group, targets, ceiling, unscored in (
        ("token_agreement", data.written, data.ceiling, {}),
        ("token_agreement.natural", data.natural, itself, data.unscored),
    ):
        if not targets and not unscored:
            continue
        heard = _hear(tokenizer, system.record.name, data.teacher.device, targets, cache, progress)
        sequences = [target.sequence for target in targets]
        yield Table(
            candidate=system.record.name,
            group=group,
            row_ids=tuple(target.clip.id for target in targets),
            columns=agreement_columns(sequences, _encoded(heard, targets, tokenizer, n_codes), ceiling, size),
            constants={"codebook_size": float(size), "token_rate_hz": tokenizer.token_rate_hz},
            unscored=dict(unscored),
        )


def _written(question: Question, cache: Cache, progress: Progress) -> list[Target]:
    teacher = question.teacher
    own = question.sentences == POCKET
    key = content_key(
        {
            "teacher": teacher.digest,
            "device": teacher.device.type,
            "sentences": POCKET if own else _digest(Path(question.sentences)),
            "voices": [[clip.speaker, clip.sha256] for clip in question.voices],
            "n": question.n,
            "seed": question.seed,
        }
    )
    folder = cache.pairs_folder(key)
    whole = folder / "whole"
    if not (cache.read and whole.exists()):
        generate_pairs(
            teacher,
            _sentences(question),
            listen(teacher, question.voices, progress),
            folder,
            question.n,
            question.seed,
            progress,
            test_share=1.0,
        )
        write_text(whole, "")
    return [
        _target(
            f"pairs/{pair.id}",
            _at_tokenizer_rate(pair.waveform(), pair.sample_rate_hz),
            pair.codes,
            pair.text,
            None,
            "pairs",
        )
        for pair in read_pairs(folder)
    ]


def _sentences(question: Question) -> Iterable[str]:
    """The sentences of a file, or those of the pocket's that no `vqbench pairs generate` trains on, by their hash."""
    found = find_sentences(question.sentences, _SENTENCE_SEED + question.seed)
    return (text for text in found if split_of(text) == "test") if question.sentences == POCKET else found


def _natural(clip: Clip, tokenizer: SpeechTokenizer) -> Target:
    spec = tokenizer.mel_spec
    waveform = load_waveform(clip.path, spec.sample_rate_hz)
    with torch.inference_mode():
        (latents,) = tokenizer.latents([MelFrontEnd(spec)(waveform)])
        (codes,) = tokenizer.quantize([latents])
    return _target(f"natural/{clip.id}", waveform, codes.cpu(), clip.text or clip.id, clip.speaker, "natural")


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


def _hear(
    tokenizer: SpeechTokenizer,
    name: str,
    device: torch.device,
    targets: Sequence[Target],
    cache: Cache,
    progress: Progress,
) -> list[Mapping[str, Any]]:
    """What a tokenizer makes of each recording: its codes, and where each true code ranks among its neighbours."""
    identity = {
        "version": _HEARING_VERSION,
        "tokenizer": tokenizer.digest,
        # Rounding differs between devices, and with it a code now and then.
        "device": device.type,
        "packages": {package: metadata.version(package) for package in ("torch", "soundfile", "soxr")},
    }
    keys = [content_key({**identity, "clip": target.clip.sha256}) for target in targets]
    rows: dict[int, Mapping[str, Any]] = {
        place: known for place, key in enumerate(keys) if (known := cache.get(_HEARD, key)) is not None
    }
    missing = [place for place in range(len(targets)) if place not in rows]
    if missing:
        front_end = MelFrontEnd(tokenizer.mel_spec)
        with progress.task(f"{name}: hearing tokens", len(missing)) as advance:
            for start in range(0, len(missing), _AT_ONCE):
                places = missing[start : start + _AT_ONCE]
                fresh = _encode(tokenizer, front_end, [targets[place] for place in places])
                for place, row in zip(places, fresh, strict=True):
                    rows[place] = row
                    cache.put(_HEARD, keys[place], row)
                advance(len(places))
    return [rows[place] for place in range(len(targets))]


def _codes(heard: Sequence[Mapping[str, Any]]) -> tuple[Codes, ...]:
    return tuple(np.asarray(row["codes"], dtype=np.int64) for row in heard)


@torch.inference_mode()
def _encode(tokenizer: SpeechTokenizer, front_end: MelFrontEnd, targets: Sequence[Target]) -> list[dict[str, Any]]:
    mels = []
    for target in targets:
        waveform, spec = target.waveform, front_end.spec
        if spec.sample_rate_hz != MelSpec().sample_rate_hz:
            waveform = resample(waveform, MelSpec().sample_rate_hz, spec.sample_rate_hz)
        mels.append(front_end(waveform))
    latents = tokenizer.latents(mels)
    codes = tokenizer.quantize(latents)
    codebook = tokenizer.codebook
    rows: list[dict[str, Any]] = []
    for target, found, written in zip(targets, latents, codes, strict=True):
        n = min(len(target.sequence.codes), len(written))
        wanted = torch.from_numpy(target.sequence.codes[:n]).to(found.device)
        known = wanted < len(codebook)
        distances = torch.cdist(found[:n].float(), codebook)
        true = distances.gather(1, wanted.clamp_max(len(codebook) - 1)[:, None])
        # Where the codebook has no such code, every code is nearer.
        ranks = torch.where(known, (distances < true).sum(1), len(codebook))
        # The nearest code is the one that was written, whatever rounding says of a tie.
        ranks = torch.where(wanted == written[:n], 0, ranks)
        rows.append({"codes": written.tolist(), "ranks": ranks.tolist()})
    return rows


def _encoded(
    heard: Sequence[Mapping[str, Any]], targets: Sequence[Target], tokenizer: SpeechTokenizer, n_codes: int
) -> list[Encoded]:
    """Adds the distances between what was written and what should have been, in units of chance."""
    codebook = tokenizer.codebook.detach().float().cpu()
    counts = np.zeros(max(n_codes, len(codebook)))
    for target in targets:
        np.add.at(counts, target.sequence.codes, 1)
    chance = _mean_distance(codebook, torch.from_numpy(counts[: len(codebook)]).float())
    rows = []
    for row, target in zip(heard, targets, strict=True):
        codes = np.asarray(row["codes"], dtype=np.int64)
        n = min(len(codes), len(target.sequence.codes))
        wanted = target.sequence.codes[:n]
        known = wanted < len(codebook)
        vectors = codebook[np.where(known, wanted, 0)]
        distances = (vectors - codebook[codes[:n]]).norm(dim=1).numpy().astype(np.float64)
        # A code that the codebook does not have is as far as chance.
        relative = np.where(known, distances / chance if chance > 0 else 0.0, 1.0)
        rows.append(Encoded(codes, np.asarray(row["ranks"], dtype=np.int64), relative))
    return rows


def _mean_distance(codebook: Tensor, counts: Tensor) -> float:
    """Mean Euclidean distance between two codes drawn independently by their counts."""
    used = counts.nonzero().flatten()
    if len(used) == 0:
        return 0.0
    share = counts[used] / counts[used].sum()
    rows = torch.split(used, 1024)
    total = sum(
        float(share_part @ (torch.cdist(codebook[part], codebook[used]) @ share))
        for part, share_part in zip(rows, torch.split(share, 1024), strict=True)
    )
    return float(total)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
