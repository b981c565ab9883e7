"""The short window, which the suites use, understands their clips as well as Whisper's own 30 s, which take longer."""

from __future__ import annotations

from vqbench.audio.io import load_waveform
from vqbench.data.corpora import corpus_clips
from vqbench.judges.asr.recognizer import load_recognizer
from vqbench.judges.asr.text import word_errors
from vqbench.judges.asr.whisper_base import Window
from vqbench.stats.columns import column_of
from vqbench.stats.estimate import Estimate, estimate
from vqbench.stats.reductions import REDUCTIONS

MARGIN = 0.02
"""What a release may lose in WER; recovered and drifted differ by a third."""


def wer(window: Window) -> Estimate:
    clips = [*corpus_clips("pocket", "test"), *corpus_clips("tortoise-voices")]
    recognizer = load_recognizer("faster-whisper", "tiny.en", beam_size=5, window=window, device="cpu")
    heard = recognizer.transcribe([load_waveform(clip.path, 16_000) for clip in clips], 16_000)
    counts = [word_errors(clip.text or "", text) for clip, text in zip(clips, heard, strict=True)]
    errors, words = [float(sum(count[:3])) for count in counts], [float(count.n_reference) for count in counts]
    return estimate(REDUCTIONS["ratio"].prepare([column_of(errors), column_of(words)], {}))


def test_both_windows_have_the_same_wer_within_a_margin() -> None:
    """The whole interval of the paired difference lies within the margin: that it holds 0 would say little."""
    short, full = wer("clip"), wer("full")
    low, high = (short - full).interval(0.95) or (-1, 1)
    assert -MARGIN < low < high < MARGIN
    assert short.value < 0.1
