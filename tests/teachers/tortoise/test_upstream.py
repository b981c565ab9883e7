"""tortoise-tts's modules import with and without torchaudio, whose two functions are replaced faithfully."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vqbench.audio.mel import MelFrontEnd
from vqbench.errors import MissingExtraError
from vqbench.teachers.tortoise.upstream import MelSpectrogram, resample, upstream_module

GOLDEN = np.load(Path(__file__).with_name("golden_torchaudio_resample.npz"))
USES_TORCHAUDIO = "tortoise.models.arch_util"


@pytest.fixture
def torchaudio_is(tmp_path, monkeypatch):
    """Puts a torchaudio of the given source in place of the installed one, if any, and forgets who imported it."""

    def install(source: str) -> None:
        (tmp_path / "torchaudio").mkdir()
        (tmp_path / "torchaudio" / "__init__.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        for name in ("torchaudio", USES_TORCHAUDIO):
            # Set before it is removed, so that what the test imports is forgotten at its end.
            monkeypatch.setitem(sys.modules, name, None)
            monkeypatch.delitem(sys.modules, name)

    return install


@pytest.mark.parametrize(
    "source", ["raise ImportError('libcudart.so.12 not found')", "raise OSError('built for another torch')"]
)
def test_a_torchaudio_that_fails_is_stood_in_for_during_the_import_alone(torchaudio_is, source):
    torchaudio_is(source)
    front_end = upstream_module("models.arch_util").TorchMelSpectrogram()
    assert isinstance(front_end.mel_stft, MelSpectrogram)
    assert "torchaudio" not in sys.modules
    with pytest.raises((ImportError, OSError)):
        __import__("torchaudio")


def test_a_torchaudio_that_loads_is_used(torchaudio_is):
    torchaudio_is("class transforms: MelSpectrogram = None")
    assert upstream_module("models.arch_util").torchaudio is sys.modules["torchaudio"]


def test_all_that_the_official_model_is_made_of_imports():
    for name in ("autoregressive", "clvp", "diffusion_decoder", "vocoder"):
        assert upstream_module(f"models.{name}").__name__ == f"tortoise.models.{name}"
    assert upstream_module("utils.audio").TACOTRON_MEL_MAX > 2


@pytest.mark.parametrize(("absent", "package"), [("tortoise", "tortoise-tts"), ("einops", "einops")])
def test_a_missing_package_is_named_with_what_brings_it(monkeypatch, absent, package):
    monkeypatch.setitem(sys.modules, absent, None)
    for name in [name for name in sys.modules if name.startswith("tortoise.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=f"'{package}', which is not installed") as caught:
        upstream_module("models.clvp")
    assert "pip install" in caught.value.fix


def test_upstreams_mel_is_the_one_the_vqvae_reads():
    waveform = torch.rand(2, 5000, generator=torch.Generator().manual_seed(0)) - 0.5
    upstream = upstream_module("models.arch_util").TorchMelSpectrogram()(waveform)
    torch.testing.assert_close(upstream, MelFrontEnd()(waveform), atol=1e-5, rtol=0)


def test_mel_settings_that_are_not_provided_are_refused():
    with pytest.raises(NotImplementedError):
        MelSpectrogram(sample_rate=22050, n_fft=1024, win_length=800, hop_length=256, f_min=0, f_max=8000, n_mels=80)


@pytest.mark.parametrize(("old", "new"), [(22_050, 24_000), (24_000, 22_050), (48_000, 22_050)])
def test_resampling_is_torchaudios(old, new):
    waveform = torch.from_numpy(GOLDEN["waveform"]).float() / 32768
    expected = torch.from_numpy(GOLDEN[f"{old}_{new}"])
    torch.testing.assert_close(resample(waveform, old, new), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(resample(waveform.expand(2, 3, -1), old, new)[1, 2], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_samples", [1, 2, 146, 147, 148, 1000])
def test_resampled_lengths_are_rounded_up(n_samples):
    assert resample(torch.zeros(n_samples), 22_050, 24_000).shape == (-(-n_samples * 160 // 147),)


def test_one_rate_changes_nothing():
    waveform = torch.rand(50)
    assert resample(waveform, 22_050, 22_050) is waveform
