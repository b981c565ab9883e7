"""What the pocket TorToiSe can do, on sentences and recordings that nothing was trained on: the figures of its card."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.io import load_waveform
from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.sentences import sentences
from vqbench.judges.asr import SpeechRecognizer
from vqbench.judges.speaker import SpeakerEncoder, similarity
from vqbench.judges.text import word_errors
from vqbench.progress import Progress
from vqbench.stats.estimate import estimate
from vqbench.stats.reductions import REDUCTIONS
from vqbench.tokenizer.dvae_tokenizer import DVAETokenizer
from vqbench.tokenizer.protocol import reconstruct
from vqbench.tortoise.clvp import score
from vqbench.tortoise.teacher import Teacher, Utterance

EVALUATION_SEED = 990_001
"""Of the sentences that the teacher is judged on; the corpus has another, and what occurs there is skipped."""

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """One figure of the card.

    Attributes:
        value: of all rows.
        ci_low: lower end of its 95 % interval over rows (sentences), NaN-free or None.
        ci_high: upper end.
        n: rows.
        target: what was aimed at.
        met: whether the value reaches it.
        about: what it is, for people.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    target: str
    met: bool
    about: str


def evaluate_tokenizer(
    tokenizer: DVAETokenizer, clips: Sequence[Clip], asr: SpeechRecognizer, encoder: SpeakerEncoder, progress: Progress
) -> dict[str, Figure]:
    """The corpus itself and the VQVAE's copies of it, as heard by the judges."""
    spec = tokenizer.mel_spec
    rate = spec.sample_rate_hz
    front_end, vocoder = MelFrontEnd(spec), GriffinLim(spec)
    waveforms = [load_waveform(clip.path, rate) for clip in clips]
    mels = [front_end(waveform) for waveform in waveforms]
    copies = []
    with progress.task("copying test utterances", len(clips)) as advance:
        for waveform, made in zip(waveforms, reconstruct(tokenizer, mels), strict=True):
            copies.append(vocoder(made.mel.cpu(), length=len(waveform)))
            advance()
    texts = [clip.text or "" for clip in clips]
    same = [
        similarity(encoder.embed(original, rate), encoder.embed(copy, rate))
        for original, copy in zip(waveforms, copies, strict=True)
    ]
    return {
        "corpus_wer": _wer(texts, asr.transcribe(waveforms, rate), 0.05, "the corpus's own test utterances"),
        "copy_wer": _wer(texts, asr.transcribe(copies, rate), 0.10, "the VQVAE's copies, by Griffin-Lim"),
        "copy_similarity": _mean(same, 0.8, "speaker similarity of a copy to its original"),
    }


def evaluate_teacher(
    teacher: Teacher,
    recordings: Mapping[str, Sequence[Tensor]],
    known: frozenset[str],
    n: int,
    asr: SpeechRecognizer,
    encoder: SpeakerEncoder,
    progress: Progress,
) -> dict[str, Figure]:
    """The whole way from text to waveform, on new sentences in all voices.

    Args:
        teacher: the pocket TorToiSe.
        recordings: of each speaker, waveforms at 22,050 Hz that nothing was trained on.
        known: sentences of the corpus, which are not asked for.
        n: sentences.
        asr: who listens for words.
        encoder: who listens for voices.
        progress: is told how far it is.
    """
    texts = new_sentences(known, n)
    voices = teacher.voices(recordings)
    chosen = [voices[i % len(voices)] for i in range(n)]
    began = time.perf_counter()
    spoken = teacher.speak(texts, chosen, list(range(n)), progress=progress)
    seconds = time.perf_counter() - began
    heard = asr.transcribe([_audible(u) for u in spoken], spoken[0].sample_rate_hz)
    own, other = _similarities(spoken, recordings, encoder)
    return {
        "spoken_wer": _wer(texts, heard, 0.20, "text → GPT → diffusion → vocoder, no choice by CLVP"),
        "own_similarity": _mean(own, 0.80, "speaker similarity to the speaker's own recordings"),
        "similarity_margin": _mean(
            [a - b for a, b in zip(own, other, strict=True)], 0.15, "the same, above the mean of the other speakers"
        ),
        "finished": _mean([float(u.finished) for u in spoken], 0.95, "share of utterances that ended by themselves"),
        "clvp_above": _clvp(teacher, spoken),
        "seconds_for_24": Figure(
            seconds * 24 / n, None, None, n, "< 60", seconds * 24 / n < 60, "time to speak 24 sentences, here"
        ),
    }


def new_sentences(known: frozenset[str], n: int, seed: int = EVALUATION_SEED) -> list[str]:
    """Sentences of the pocket's domain that are not in `known`."""
    return list(itertools.islice((text for text in sentences(seed, 12) if text not in known), n))


def _audible(utterance: Utterance) -> Tensor:
    """At least a tenth of a second, so that an utterance without tokens is heard as silence."""
    missing = utterance.sample_rate_hz // 10 - len(utterance.waveform)
    return torch.nn.functional.pad(utterance.waveform, (0, max(0, missing)))


def _similarities(
    spoken: Sequence[Utterance], recordings: Mapping[str, Sequence[Tensor]], encoder: SpeakerEncoder
) -> tuple[list[float], list[float]]:
    enrolled = {
        speaker: np.stack([encoder.embed(waveform, 22_050) for waveform in waveforms])
        for speaker, waveforms in recordings.items()
    }
    own, other = [], []
    for utterance in spoken:
        embedded = encoder.embed(_audible(utterance), utterance.sample_rate_hz)
        means = {
            speaker: float(np.mean([similarity(embedded, e) for e in embeddings]))
            for speaker, embeddings in enrolled.items()
        }
        own.append(means[utterance.speaker])
        other.append(float(np.mean([mean for speaker, mean in means.items() if speaker != utterance.speaker])))
    return own, other


def _clvp(teacher: Teacher, spoken: Sequence[Utterance]) -> Figure:
    """How often an utterance's own text scores above the next one's."""
    said = [u for u in spoken if len(u.codes)]
    texts = [teacher.text.encode(u.text) for u in said]
    codes = [u.codes for u in said]
    with teacher.clvp.loaded() as clvp:
        true, wrong = score(clvp, texts, codes), score(clvp, [*texts[1:], texts[0]], codes)
    return _mean((true > wrong).float().tolist(), 0.95, "CLVP scores an utterance's own text above another's")


def _wer(texts: Sequence[str], heard: Sequence[str], target: float, about: str) -> Figure:
    counted = [word_errors(text, hypothesis) for text, hypothesis in zip(texts, heard, strict=True)]
    errors = [float(sum(c[:3])) for c in counted]
    words = [float(c[3]) for c in counted]
    return _figure("ratio", [errors, words], f"<= {target}", lambda value: value <= target, about)


def _mean(values: Sequence[float], target: float, about: str) -> Figure:
    return _figure("mean", [[float(v) for v in values]], f">= {target}", lambda value: value >= target, about)


def _figure(
    reduction: str, columns: list[list[float]], target: str, reached: Callable[[float], bool], about: str
) -> Figure:
    statistic = REDUCTIONS[reduction].prepare(columns, {})
    estimated = estimate(statistic, clusters=None, resamples=_RESAMPLES, seed=0)
    low, high = estimated.interval(_CONFIDENCE) or (None, None)
    value = float(estimated.value)
    return Figure(value, low, high, len(columns[0]), target, bool(reached(value)), about)


def as_plain(figures: Mapping[str, Figure]) -> dict[str, dict[str, object]]:
    """For the card."""
    return {name: asdict(figure) for name, figure in figures.items()}
