"""Both vocoders give as many samples as are asked for, and UnivNet upstream's."""

from __future__ import annotations

import pytest
import torch

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import DataError
from vqbench.teachers.tortoise.vocoder import GriffinLimVocoder, UnivNetVocoder, build_univnet

HOP = 256


@pytest.fixture(scope="module")
def univnet():
    torch.manual_seed(0)
    return UnivNetVocoder(build_univnet())


@pytest.fixture(scope="module")
def griffin_lim():
    return GriffinLimVocoder(GriffinLim(MelSpec(), iterations=4))


@pytest.fixture(params=["univnet", "griffin_lim"])
def vocoder_and_mel(request):
    vocoder = request.getfixturevalue(request.param)
    return vocoder, torch.randn(
        100 if request.param == "univnet" else 80, 6, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("length", [1, 5 * HOP, 6 * HOP - 1, 6 * HOP, 7 * HOP - 1])
def test_the_length_asked_for_is_what_comes(vocoder_and_mel, length):
    vocoder, mel = vocoder_and_mel
    samples, longest = vocoder(mel, length, seed=3), vocoder(mel, 7 * HOP - 1, seed=3)
    assert samples.shape == (length,)
    assert samples.dtype == torch.float32
    assert torch.equal(samples, longest[:length])
    assert not longest[6 * HOP :].any(), "silence where the mel has ended"
    assert longest[6 * HOP - 2], "and not before"


@pytest.mark.parametrize("length", [-1, 0, 7 * HOP])
def test_a_length_that_does_not_fit_the_mel_is_refused(vocoder_and_mel, length):
    vocoder, mel = vocoder_and_mel
    with pytest.raises(DataError, match=f"6 frames cannot become {length} samples"):
        vocoder(mel, length)


@pytest.mark.parametrize("damage", ["bands", "empty", "nan", "batch"])
def test_what_is_no_mel_is_refused(vocoder_and_mel, damage):
    vocoder, mel = vocoder_and_mel
    damaged = {"bands": mel[:-1], "empty": mel[:, :0], "nan": mel / 0 * 0, "batch": mel[None]}[damage]
    with pytest.raises(DataError):
        vocoder(damaged, 100)


def test_univnet_is_upstreams_inference(univnet):
    mel = torch.randn(100, 9, generator=torch.Generator().manual_seed(1))
    upstream = build_univnet()
    upstream.load_state_dict(univnet._generator.state_dict())
    upstream.eval(inference=True)
    torch.manual_seed(5)
    with torch.no_grad():
        expected = upstream.inference(mel[None])[0, 0]
    torch.testing.assert_close(univnet(mel, 9 * HOP, seed=5), expected, atol=1e-5, rtol=0)
    assert not torch.equal(univnet(mel, 9 * HOP, seed=6), univnet(mel, 9 * HOP, seed=5))


def test_griffin_lim_says_what_the_mel_says(griffin_lim):
    seconds = torch.arange(22_050) / 22_050
    waveform = 0.3 * torch.sin(2 * torch.pi * 220 * seconds) * torch.sin(2 * torch.pi * 3 * seconds)
    mel = MelFrontEnd()(waveform)
    again = MelFrontEnd()(griffin_lim(mel, len(waveform)))
    assert (again - mel).abs().mean() < 0.15
    assert torch.equal(griffin_lim(mel, 500, seed=1), griffin_lim(mel, 500, seed=2))


def test_rates_and_names(univnet, griffin_lim):
    assert (univnet.sample_rate_hz, griffin_lim.sample_rate_hz) == (24_000, 22_050)
    assert univnet.identity["vocoder"] == "univnet"
    assert griffin_lim.identity["iterations"] == 4
