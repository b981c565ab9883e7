"""What the pocket TorToiSe can do, on sentences and recordings that nothing was trained on: the figures of its card."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.data.sentences import HARD_TO_HEAR, is_easily_heard, sentences
from vqbench.errors import DataError
from vqbench.judges.asr.recognizer import SpeechRecognizer
from vqbench.judges.asr.text import word_errors
from vqbench.judges.speaker.encoder import SpeakerEncoder, similarity
from vqbench.progress import Progress
from vqbench.stats.columns import column_of
from vqbench.stats.estimate import estimate
from vqbench.stats.reductions import REDUCTIONS
from vqbench.teachers.tortoise.clvp import score
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Utterance
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import reconstruct

EVALUATION_VERSION = 2
"""Raised whenever the same TorToiSe would get other figures."""

EVALUATION_SEED = 990_001
"""Of the sentences that the teacher is judged on; the corpus has another, and what occurs there is skipped."""

TIMED = 24
"""Sentences whose time is taken."""

_EASY = f"without the {len(HARD_TO_HEAR)} words that the ASR mishears in good recordings"

_RESAMPLES = 2000
_CONFIDENCE = 0.95

_Case = TypeVar("_Case")
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Judges:
    """Who listens: for words, and for voices."""

    asr: SpeechRecognizer
    encoder: SpeakerEncoder

    @property
    def identity(self) -> dict[str, dict[str, str | int | float]]:
        """Equal identities hear the same."""
        heard_by = {"asr": dict(self.asr.identity), "speaker_encoder": dict(self.encoder.identity)}
        return {"evaluation": {"version": EVALUATION_VERSION}, **heard_by}


@dataclass(frozen=True)
class Figure:
    """One figure of the card.

    Attributes:
        value: of all rows that were scored; None where none was.
        ci_low: lower end of its 95 % interval over rows (sentences), None where there is none.
        ci_high: upper end.
        n: rows that were scored.
        target: what was aimed at.
        met: whether the value reaches it, and every row was scored.
        about: what it is, for people.
        unscored: why each of the other rows was not.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    target: str
    met: bool
    about: str
    unscored: tuple[str, ...] = ()


def evaluate_corpus(clips: Sequence[Clip], asr: SpeechRecognizer) -> dict[str, Figure]:
    """The corpus's own recordings as heard by the ASR, whatever they say.

    Raises:
        DataError: a clip cannot be read.
    """
    heard = asr.transcribe([load_clip(clip, SAMPLE_RATE_HZ) for clip in clips], SAMPLE_RATE_HZ)
    about = "WER of the corpus's own recordings, all kinds of sentences"
    return {"corpus_wer": _wer([clip.text or "" for clip in clips], heard, 0.05, about)}


def evaluate_tokenizer(
    tokenizer: DVAETokenizer, clips: Sequence[Clip], asr: SpeechRecognizer, encoder: SpeakerEncoder, progress: Progress
) -> dict[str, Figure]:
    """Recordings of the corpus and the VQVAE's copies of them, as heard by the judges.

    Args:
        tokenizer: the VQVAE.
        clips: recordings of sentences without the words that an ASR mishears anyway.
        asr: who listens for words.
        encoder: who listens for voices.
        progress: is told how far it is.

    Raises:
        DataError: a clip cannot be read, or a copy is no sound.
    """
    spec = tokenizer.mel_spec
    rate = spec.sample_rate_hz
    front_end, vocoder = MelFrontEnd(spec), GriffinLim(spec)
    waveforms = [load_clip(clip, rate) for clip in clips]
    mels = [front_end(waveform) for waveform in waveforms]
    copies = []
    with progress.task("copying test recordings", len(clips)) as advance:
        for waveform, made in zip(waveforms, reconstruct(tokenizer, mels), strict=True):
            copies.append(vocoder(made.mel.cpu(), length=len(waveform)))
            advance()
    texts = [clip.text or "" for clip in clips]

    def alike(pair: tuple[Tensor, Tensor]) -> float:
        original, copy = (encoder.embed(waveform, rate) for waveform in pair)
        return similarity(original, copy)

    same = _tried(alike, zip(waveforms, copies, strict=True), [clip.id for clip in clips])
    return {
        "easy_wer": _wer(texts, asr.transcribe(waveforms, rate), 0.05, f"WER of the corpus's recordings, {_EASY}"),
        "copy_wer": _wer(
            texts, asr.transcribe(copies, rate), 0.10, f"WER of the VQVAE's copies of these, by Griffin-Lim, {_EASY}"
        ),
        "copy_similarity": _mean(same, 0.80, "speaker similarity of a copy to its original"),
    }


def evaluate_teacher(
    teacher: TortoiseTeacher,
    recordings: Mapping[str, Sequence[Tensor]],
    texts: Sequence[str],
    tries: int,
    asr: SpeechRecognizer,
    encoder: SpeakerEncoder,
    progress: Progress,
) -> dict[str, Figure]:
    """The whole way from text to waveform, in all voices.

    Args:
        teacher: the pocket TorToiSe.
        recordings: of each speaker, waveforms at 22,050 Hz that nothing was trained on.
        texts: at least one, new to it, without words that an ASR mishears anyway; the voices take turns.
        tries: how often the GPT writes each where CLVP chooses.
        asr: who listens for words.
        encoder: who listens for voices.
        progress: is told how far it is.

    Raises:
        DataError: a recording has no voice, or what was spoken is no sound.
    """
    voices = teacher.voices(recordings)
    chosen = [voices[i % len(voices)] for i in range(len(texts))]
    seeds = list(range(len(texts)))
    began = time.perf_counter()
    spoken = teacher.speak(texts[:TIMED], chosen[:TIMED], seeds[:TIMED], progress=progress)
    seconds = (time.perf_counter() - began) * TIMED / len(spoken)
    if len(texts) > TIMED:
        spoken += teacher.speak(texts[TIMED:], chosen[TIMED:], seeds[TIMED:], progress=progress)
    best = teacher.speak(texts, chosen, seeds, k=tries, progress=progress)
    heard, heard_best = (asr.transcribe([_audible(u) for u in said], said[0].sample_rate_hz) for said in (spoken, best))
    similarities = _similarities(spoken, recordings, encoder)
    margins = [row if isinstance(row, str) else row[0] - row[1] for row in similarities]
    return {
        "spoken_wer": _wer(texts, heard, 0.20, f"WER of text → GPT → diffusion → vocoder, {_EASY}"),
        "chosen_wer": _wer(texts, heard_best, 0.20, f"the same, of {tries} tries the one that CLVP likes best"),
        "own_similarity": _mean(
            [row if isinstance(row, str) else row[0] for row in similarities],
            0.80,
            "speaker similarity of what is spoken to the speaker's own recordings",
        ),
        "similarity_margin": _mean(margins, 0.15, "the same, above the mean similarity to the other speakers"),
        "finished": _mean([float(u.finished) for u in spoken], 0.95, "share of utterances that ended by themselves"),
        "clvp_above": _mean(_above(teacher, spoken), 0.95, "CLVP scores an utterance's own text above another's"),
        "seconds_for_24": at_most(
            seconds, 60, f"seconds to speak {TIMED} sentences on {_machine(teacher.device)}", n=min(TIMED, len(texts))
        ),
    }


def new_sentences(known: frozenset[str], n: int, max_words: int, seed: int = EVALUATION_SEED) -> list[str]:
    """Sentences of the pocket's domain that are not in `known`."""
    return list(
        itertools.islice(
            (text for text in sentences(seed, max_words) if is_easily_heard(text) and text not in known), n
        )
    )


def at_most(value: float, target: float, about: str, n: int = 1) -> Figure:
    """A figure that is measured once and has no interval."""
    return Figure(value, None, None, n, f"<= {target:g}", value <= target, about)


def as_plain(figures: Mapping[str, Figure]) -> dict[str, dict[str, object]]:
    """For the card."""
    return {name: asdict(figure) for name, figure in figures.items()}


def _audible(utterance: Utterance) -> Tensor:
    """At least a tenth of a second, so that an utterance without tokens is heard as silence."""
    missing = utterance.sample_rate_hz // 10 - len(utterance.waveform)
    return F.pad(utterance.waveform, (0, max(0, missing)))


def _tried(measure: Callable[[_Case], _Row], cases: Iterable[_Case], names: Iterable[str]) -> list[_Row | str]:
    """What was measured of each case, or why it could not be."""
    rows: list[_Row | str] = []
    for case, name in zip(cases, names, strict=True):
        try:
            rows.append(measure(case))
        except DataError as error:
            rows.append(f"{name}: {error.problem}")
    return rows


def _similarities(
    spoken: Sequence[Utterance], recordings: Mapping[str, Sequence[Tensor]], encoder: SpeakerEncoder
) -> list[tuple[float, float] | str]:
    """Of each utterance, the mean similarity to its speaker and to the others, or why there is none."""
    enrolled = {
        speaker: [encoder.embed(waveform, SAMPLE_RATE_HZ) for waveform in waveforms]
        for speaker, waveforms in recordings.items()
    }

    def compare(utterance: Utterance) -> tuple[float, float]:
        embedded = encoder.embed(_audible(utterance), utterance.sample_rate_hz)
        means = {
            speaker: float(np.mean([similarity(embedded, one) for one in embeddings]))
            for speaker, embeddings in enrolled.items()
        }
        own = means.pop(utterance.speaker)
        return own, float(np.mean(list(means.values())))

    return _tried(compare, spoken, [repr(utterance.text) for utterance in spoken])


def _above(teacher: TortoiseTeacher, spoken: Sequence[Utterance]) -> list[float | str]:
    """Whether an utterance's own text scores above the next one's, 1 or 0; silence has no score."""
    said = [u for u in spoken if len(u.codes)]
    silent: list[float | str] = [f"{u.text!r}: no tokens were written" for u in spoken if not len(u.codes)]
    if len(said) < 2:
        return [*silent, *(f"{u.text!r}: there is no other text" for u in said)]
    texts, codes = [teacher.text.encode(u.text) for u in said], [u.codes for u in said]
    with teacher.clvp.loaded() as clvp:
        own, other = score(clvp, texts, codes), score(clvp, [*texts[1:], texts[0]], codes)
    return [*silent, *(own > other).float().tolist()]


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    n_threads = torch.get_num_threads()
    return f"a CPU with {n_threads} thread{'s' if n_threads > 1 else ''}"


def _wer(texts: Sequence[str], heard: Sequence[str], target: float, about: str) -> Figure:
    counted = [word_errors(text, hypothesis) for text, hypothesis in zip(texts, heard, strict=True)]
    columns = [[float(sum(c[:3])) for c in counted], [float(c.n_reference) for c in counted]]
    return _figure("ratio", columns, (), f"<= {target:g}", lambda value: value <= target, about)


def _mean(rows: Sequence[float | str], target: float, about: str) -> Figure:
    """Of the rows that are numbers; the others say why they are none."""
    scored, unscored = [row for row in rows if not isinstance(row, str)], [row for row in rows if isinstance(row, str)]
    return _figure("mean", [scored], unscored, f">= {target:g}", lambda value: value >= target, about)


def _figure(
    reduction: str,
    columns: list[list[float]],
    unscored: Sequence[str],
    target: str,
    reached: Callable[[float], bool],
    about: str,
) -> Figure:
    n = len(columns[0])
    if not n:
        return Figure(None, None, None, 0, target, False, about, tuple(unscored))
    statistic = REDUCTIONS[reduction].prepare([column_of(column) for column in columns], {})
    estimated = estimate(statistic, clusters=None, resamples=_RESAMPLES, seed=0)
    low, high = estimated.interval(_CONFIDENCE) or (None, None)
    value = float(estimated.value)
    return Figure(value, low, high, n, target, reached(value) and not unscored, about, tuple(unscored))
