"""Augmentation does what it says, within the front end's range, and the same for the same step."""

from __future__ import annotations

import math

import pytest
import torch

from vqbench.audio.mel import LOG_FLOOR, MelFrontEnd, MelSpec
from vqbench.config.training import AugmentConfig
from vqbench.training.augment import augment, frames_needed

SPEC = MelSpec()
NOTHING = AugmentConfig(share=1.0, warp=0, stretch=0, gain_db=0, equalizer_db=0)


def mels(n_frames: int, size: int = 6) -> torch.Tensor:
    torch.manual_seed(0)
    return MelFrontEnd()(0.1 * torch.randn(size, (n_frames - 1) * 256))


def run(mel: torch.Tensor, n_frames: int, config: AugmentConfig, seed: int = 0) -> torch.Tensor:
    return augment(mel, n_frames, config, SPEC, torch.Generator().manual_seed(seed))


def test_no_change_is_no_change() -> None:
    mel = mels(40)
    torch.testing.assert_close(run(mel, 40, NOTHING), mel, atol=1e-5, rtol=1e-5)


def test_only_a_share_is_changed() -> None:
    mel = mels(20, size=400)
    config = NOTHING.model_copy(update={"share": 0.3, "gain_db": 10.0})
    unchanged = torch.isclose(run(mel, 20, config), mel, atol=1e-5).all(2).all(1).float().mean()
    assert 0.6 < unchanged < 0.8


def test_gain_is_the_same_decibels_in_every_band() -> None:
    mel = mels(20)
    changed = run(mel, 20, NOTHING.model_copy(update={"gain_db": 7.0}))
    decibels = (changed - mel) * torch.tensor(SPEC.norms)[:, None] * 10 / math.log(10)
    audible = MelFrontEnd().power(mel) > 100 * LOG_FLOOR
    for clip, where in zip(decibels, audible, strict=True):
        heard = clip[where]
        assert heard.std() < 1e-3
        assert heard.abs().max() <= 7.001
    assert decibels[audible].abs().max() > 1


def test_nothing_falls_below_silence() -> None:
    config = AugmentConfig(share=1.0, gain_db=60.0)
    changed = run(mels(frames_needed(config, 30)), 30, config)
    assert (changed * torch.tensor(SPEC.norms)[:, None]).min() >= math.log(LOG_FLOOR) - 1e-4
    assert changed.isfinite().all()


def test_formants_move_by_the_warp() -> None:
    log_power = torch.full((200, 80, 10), -8.0)
    log_power[:, 40] = 0.0
    mel = log_power / torch.tensor(SPEC.norms)[:, None]
    changed = run(mel, 10, NOTHING.model_copy(update={"warp": 0.2})) * torch.tensor(SPEC.norms)[:, None]
    peaks = changed[:, :, 5].argmax(1)
    assert peaks.min() >= 40 / 1.2 - 1
    assert peaks.max() <= 40.5 / 0.8 + 1
    assert peaks.max() - peaks.min() > 8


@pytest.mark.parametrize("n_frames", [4, 32, 128])
def test_shape_and_repeatability(n_frames: int) -> None:
    config = AugmentConfig(share=0.5)
    mel = mels(frames_needed(config, n_frames))
    changed = run(mel, n_frames, config)
    assert changed.shape == (6, 80, n_frames)
    assert torch.equal(changed, run(mel, n_frames, config))
    assert not torch.equal(changed, run(mel, n_frames, config, seed=1))
