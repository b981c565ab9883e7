"""The suites' ASR against the usual call, a clip at a time with five beams in a window of 30 s."""

from __future__ import annotations

import pytest
from torch import Tensor

from vqbench.audio.io import load_waveform
from vqbench.data.corpora import corpus_clips
from vqbench.judges.asr.recognizer import Backend, SpeechRecognizer, load_recognizer
from vqbench.judges.asr.text import word_errors
from vqbench.judges.asr.whisper_base import Window

RATE_HZ = 16_000
CONTENDERS: dict[str, tuple[Backend, int, Window]] = {
    "openai-whisper, beam 5, a clip at a time in 30 s": ("openai-whisper", 5, "full"),
    "faster-whisper, beam 5, a clip at a time in 30 s": ("faster-whisper", 5, "full"),
    "the suites': faster-whisper, beam 5, sorted, clip + 8 s": ("faster-whisper", 5, "clip"),
    "faster-whisper, greedy, sorted, clip + 8 s": ("faster-whisper", 1, "clip"),
}


@pytest.mark.parametrize("contender", CONTENDERS)
def test_asr(benchmark, contender: str, measured: bool) -> None:
    benchmark.group = "transcripts of the human test clips" if measured else "transcripts of two clips"
    clips = sorted(corpus_clips("tortoise-voices", "test"), key=lambda clip: clip.duration_s)
    clips = clips if measured else clips[:2]
    waveforms = [load_waveform(clip.path, RATE_HZ) for clip in clips]
    backend, beam_size, window = CONTENDERS[contender]
    recognizer = load_recognizer(backend, "tiny.en", beam_size, window, "cpu")
    texts = benchmark.pedantic(_transcribe, (recognizer, waveforms, window), rounds=3 if measured else 1)
    counts = [word_errors(clip.text or "", text) for clip, text in zip(clips, texts, strict=True)]
    assert sum(sum(count[:3]) for count in counts) < 0.2 * sum(count.n_reference for count in counts)


def _transcribe(recognizer: SpeechRecognizer, waveforms: list[Tensor], window: Window) -> list[str]:
    if window == "clip":
        return recognizer.transcribe(waveforms, RATE_HZ)
    return [text for waveform in waveforms for text in recognizer.transcribe([waveform], RATE_HZ)]
