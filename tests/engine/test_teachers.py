"""The official TorToiSe as a teacher, from a folder of checkpoints: narrow networks of the official kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_teacher import hum

from vqbench.errors import ManyErrors
from vqbench.teachers.tortoise import folder as teachers
from vqbench.teachers.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.teachers.tortoise.diffusion import DiffusionDimensions, build_diffusion
from vqbench.teachers.tortoise.folder import official_teacher
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.official import OfficialCheckpoints, OfficialSizes
from vqbench.teachers.tortoise.sampling import Sampling
from vqbench.teachers.tortoise.teacher import Teacher
from vqbench.teachers.tortoise.vocoder import build_univnet

CPU = torch.device("cpu")
SIZES = OfficialSizes(
    gpt=GPTDimensions(n_layers=1, width=32, n_heads=2),
    clvp=CLVPDimensions(n_layers=1, width=64, n_heads=1),
    diffusion=DiffusionDimensions(n_layers=1, width=32, n_heads=2, latent_width=32),
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> OfficialCheckpoints:
    folder = tmp_path_factory.mktemp("official")
    torch.manual_seed(0)
    torch.save(UnifiedVoice(SIZES.gpt).state_dict(), folder / "autoregressive.pth")
    torch.save(build_clvp(SIZES.clvp).state_dict(), folder / "clvp2.pth")
    torch.save(build_diffusion(SIZES.diffusion).state_dict(), folder / "diffusion_decoder.pth")
    torch.save({"model_g": build_univnet().state_dict()}, folder / "vocoder.pth")
    return OfficialCheckpoints(folder, SIZES)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "OFFICIAL_STEPS", 2)


def say(teacher: Teacher) -> torch.Tensor:
    voice = teacher.voice([hum(110), hum(130)], "ann")
    texts = ["Hello there.", "The old farmer found the key."]
    spoken = teacher.speak(texts, [voice] * 2, [0, 1], Sampling(max_tokens=12))
    for utterance in spoken:
        assert utterance.sample_rate_hz == 24_000
        assert len(utterance.waveform) == len(utterance.codes) * 1024 * 24_000 // 22_050
        assert utterance.codes.max() < 8192
    return torch.cat([utterance.waveform for utterance in spoken])


def test_the_official_teacher_speaks_the_same_with_little_memory(
    checkpoints: OfficialCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = say(official_teacher(checkpoints, CPU))
    assert heard.std() > 0
    monkeypatch.setattr(teachers, "memory_bytes", lambda device: 4 << 30)
    loads: list[str] = []
    load_gpt = checkpoints.load_gpt
    monkeypatch.setattr(checkpoints, "load_gpt", lambda device: loads.append("gpt") or load_gpt(device))
    assert torch.equal(say(official_teacher(checkpoints, CPU)), heard)
    assert len(loads) == 3  # to hear the voice, to write, and for the latents


def test_the_digest_follows_weights_and_settings(
    checkpoints: OfficialCheckpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = official_teacher(checkpoints, CPU).digest
    assert digest == official_teacher(checkpoints, CPU).digest
    for path in checkpoints.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "clvp2.pth").unlink()
    torch.save(build_clvp(SIZES.clvp).state_dict(), tmp_path / "clvp2.pth")
    assert official_teacher(OfficialCheckpoints(tmp_path, SIZES), CPU).digest != digest
    monkeypatch.setattr(teachers, "OFFICIAL_STEPS", 3)
    assert official_teacher(checkpoints, CPU).digest != digest


def test_all_faults_of_a_folder_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ManyErrors, match=r"(?s)autoregressive\.pth.*clvp2\.pth.*diffusion_decoder\.pth.*vocoder\.pth"):
        teachers.open_folder(str(tmp_path), CPU)
