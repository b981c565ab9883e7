"""The vocoder on real speech, against a plain Griffin-Lim on torch.stft and torch.istft, and at its edges."""

import math
from dataclasses import replace

import pytest
import torch
from audio_reference import plain_griffin_lim

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.io import load_waveform
from vqbench.audio.mel import LOG_FLOOR, MelFrontEnd, MelSpec
from vqbench.data.corpora import corpus_clips
from vqbench.errors import CheckpointError, DataError

SPEC = MelSpec()
FRONT_END = MelFrontEnd(SPEC)
VOCODER = GriffinLim(SPEC)
SPEECH = {
    clip.id: load_waveform(clip.path, SPEC.sample_rate_hz)[: 3 * SPEC.sample_rate_hz]
    for clip in corpus_clips("tortoise-voices")
    if clip.id in ("lj/1", "train_daws/1", "train_grace/2", "train_lescault/lescault_new3")
}


def decibels_off(mel: torch.Tensor, other: torch.Tensor, front_end: MelFrontEnd = FRONT_END) -> float:
    """Mean absolute difference of the mel powers in dB."""
    return float(10 * (front_end.power(mel).log10() - front_end.power(other).log10()).abs().mean())


@pytest.mark.parametrize("clip", SPEECH)
def test_speech_comes_back_with_its_mel(clip):
    waveform = SPEECH[clip]
    mel = FRONT_END(waveform)
    rendered = VOCODER(mel, length=len(waveform))
    assert rendered.shape == waveform.shape
    again = FRONT_END(rendered)
    assert decibels_off(again, mel) < 1.0
    assert (again - mel).abs().mean() < 0.05


def test_iterations_and_momentum_pay():
    mel = FRONT_END(SPEECH["lj/1"])
    plain, few, many = (
        decibels_off(FRONT_END(GriffinLim(SPEC, iterations, momentum)(mel)), mel)
        for iterations, momentum in ((8, 0.0), (8, 0.99), (32, 0.99))
    )
    assert many < few < plain


def test_phases_equal_a_plain_implementations():
    waveform = SPEECH["train_grace/2"]
    mel = FRONT_END(waveform)
    expected = plain_griffin_lim(VOCODER.power_spectrum(mel).sqrt(), len(waveform), 8, 0.99)
    rendered = GriffinLim(SPEC, iterations=8)(mel, length=len(waveform))
    assert (rendered - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("clip", SPEECH)
def test_the_spectrum_is_a_power_spectrum_of_that_mel(clip):
    mel = FRONT_END(SPEECH[clip])
    power = VOCODER.power_spectrum(mel)
    assert power.shape == (513, mel.shape[1])
    assert (power >= 0).all()
    assert not power[372:].any()  # from 8 kHz on
    again = (FRONT_END.filters @ power).clamp_min(LOG_FLOOR).log() / FRONT_END.norms[:, None]
    assert decibels_off(again, mel) < 0.03


def test_the_same_mel_gives_the_same_samples_whatever_came_before():
    first, second = (FRONT_END(SPEECH[clip]) for clip in ("lj/1", "train_daws/1"))
    torch.manual_seed(1)
    rendered = VOCODER(first)
    VOCODER(second)
    torch.manual_seed(2)
    assert torch.equal(VOCODER(first), rendered)
    assert torch.equal(GriffinLim(SPEC)(first), rendered)


def test_loudness_passes_through():
    mel = FRONT_END(SPEECH["lj/1"]).clamp(max=torch.tensor(1e-3).log() / FRONT_END.norms[:, None])
    louder = mel + math.log(100) / FRONT_END.norms[:, None]
    quiet, loud = VOCODER(mel), VOCODER(louder)
    assert (loud - 10 * quiet).norm() < 0.01 * loud.norm()


def test_a_tone_keeps_its_pitch():
    tone = 0.3 * torch.sin(2 * math.pi * 440 * torch.arange(22_050) / 22_050)
    spectrum = torch.fft.rfft(VOCODER(FRONT_END(tone), length=22_050)).abs()
    assert abs(int(spectrum.argmax()) - 440) < 22  # a band at 440 Hz is some 30 Hz wide


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 5, 8, 100])
def test_every_length_of_a_mel_comes_back(n_frames):
    noise = torch.randn(n_frames * 256, generator=torch.Generator().manual_seed(0)) * 0.1
    shortest = max(1, (n_frames - 1) * 256)
    for length in (shortest, shortest + 1, n_frames * 256 - 128, n_frames * 256 - 1):
        mel = FRONT_END(noise[:length])
        rendered = VOCODER(mel, length=length)
        assert rendered.shape == (length,)
        assert rendered.isfinite().all()
        assert FRONT_END(rendered).shape == mel.shape
    assert VOCODER(mel).shape == (shortest,)


def test_silence_stays_silent():
    assert not VOCODER(FRONT_END(torch.zeros(5_000))).any()
    assert not VOCODER(FRONT_END(torch.zeros(1)), length=1).any()
    half = torch.cat([SPEECH["lj/1"], torch.zeros(22_050)])
    rendered = VOCODER(FRONT_END(half), length=len(half))
    assert rendered[-20_000:].abs().max() < 1e-3
    assert rendered[:-22_050].abs().max() > 0.1


def test_very_loud_mels_are_rendered_while_float32_can_hold_them():
    loud = (torch.full((80, 10), 80.0) / FRONT_END.norms[:, None]).contiguous()
    assert VOCODER(loud).isfinite().all()
    with pytest.raises(DataError, match="overflows"):
        VOCODER(loud * 2)


def with_value(value: float) -> torch.Tensor:
    mel = FRONT_END(torch.zeros(5_000))
    mel[3, 7] = value
    return mel


@pytest.mark.parametrize(
    ("mel", "length", "message"),
    [
        (with_value(math.nan), None, "band 3 of frame 7 of the mel is nan"),
        (with_value(math.inf), None, "band 3 of frame 7 of the mel is inf"),
        (with_value(-math.inf), None, "band 3 of frame 7 of the mel is -inf"),
        (torch.zeros(80, 0), None, r"shape \(80, 0\)"),
        (torch.zeros(80, 0), 100, r"shape \(80, 0\)"),
        (torch.zeros(79, 10), None, r"shape \(79, 10\)"),
        (torch.zeros(1, 80, 10), None, r"shape \(1, 80, 10\)"),
        (torch.zeros(80), None, r"shape \(80,\)"),
        (torch.tensor(0.0), None, r"shape \(\)"),
        (torch.zeros(80, 10), 9 * 256 - 1, "a mel of 10 frames cannot become 2303 samples"),
        (torch.zeros(80, 10), 10 * 256, "a mel of 10 frames cannot become 2560 samples"),
        (torch.zeros(80, 1), 0, "a mel of 1 frames cannot become 0 samples"),
    ],
)
def test_what_cannot_be_rendered_says_why(mel, length, message):
    with pytest.raises(DataError, match=message):
        VOCODER(mel, length=length)


@pytest.mark.parametrize(
    "change",
    [{"hop_length": 300}, {"hop_length": 512}, {"sample_rate_hz": 24_000, "f_max_hz": 12_000.0}, {"n_fft": 2048}],
)
def test_other_front_ends_come_back_too(change):
    front_end = MelFrontEnd(replace(SPEC, **change))
    waveform = SPEECH["train_grace/2"]
    mel = front_end(waveform)
    again = front_end(GriffinLim(front_end.spec)(mel, length=len(waveform)))
    assert decibels_off(again, mel, front_end) < 1.7


def test_a_hop_that_leaves_gaps_is_refused():
    with pytest.raises(CheckpointError, match="hop of 513"):
        GriffinLim(replace(SPEC, hop_length=513))


def test_identity_tells_apart_what_sounds_different():
    others = [GriffinLim(SPEC, iterations=16), GriffinLim(SPEC, momentum=0.5)]
    assert all(other.identity != VOCODER.identity for other in others)
    assert GriffinLim(SPEC).identity == VOCODER.identity
