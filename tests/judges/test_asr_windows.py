"""The short window, which the suites use, understands their clips as well as Whisper's own 30 s, which take longer."""

from __future__ import annotations

import pytest

from vqbench.audio.io import load_waveform
from vqbench.data.corpora import corpus_clips
from vqbench.data.source import CorpusName
from vqbench.judges.asr import load_recognizer
from vqbench.judges.text import word_errors
from vqbench.judges.whisper_base import Window
from vqbench.stats.columns import column_of
from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.reductions import REDUCTIONS

MARGIN = 0.03
"""Far below what tells candidates apart: recovered and drifted differ by a third in WER."""


def wer(corpus: CorpusName, window: Window) -> Estimate:
    clips = corpus_clips(corpus, "test")
    recognizer = load_recognizer("faster-whisper", "tiny.en", beam_size=5, window=window, device="cpu")
    heard = recognizer.transcribe([load_waveform(clip.path, 16_000) for clip in clips], 16_000)
    counts = [word_errors(clip.text or "", text) for clip, text in zip(clips, heard, strict=True)]
    errors, words = [float(sum(count[:3])) for count in counts], [float(count.n_reference) for count in counts]
    return estimate(REDUCTIONS["ratio"].prepare([column_of(errors), column_of(words)], {}))


@pytest.mark.parametrize("corpus", ["pocket", "tortoise-voices"])
def test_both_windows_have_the_same_wer(corpus: CorpusName) -> None:
    short, full = wer(corpus, "clip"), wer(corpus, "full")
    low, high = (short - full).interval(0.95) or (1, -1)
    assert low <= 0 <= high
    assert abs(short.value - full.value) < MARGIN
    assert short.value < 0.1
