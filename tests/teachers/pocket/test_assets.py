"""A packed pocket TorToiSe speaks, and is refused where it is not what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vqbench.audio.io import load_waveform
from vqbench.engine import doctor
from vqbench.errors import CheckpointError, ManyErrors
from vqbench.teachers.pocket.assets import load_pocket, load_true_tokenizer, voices
from vqbench.teachers.tortoise.sampling import Sampling
from vqbench.training.pocket.plan import TINY

TEXTS = ("The old farmer found the golden key.", "Our cousin sold a bell.", "The judge lifted the lamp at midnight.")


def test_the_packed_teacher_speaks(package: Path) -> None:
    teacher = load_pocket("cpu", package)
    recordings: dict[str, list[torch.Tensor]] = {}
    for clip in voices(package):
        recordings.setdefault(clip.speaker or "", []).append(load_waveform(clip.path, 22_050))
    assert set(recordings) == set(TINY.corpus.voices)
    heard = teacher.voices(recordings)
    spoken = teacher.speak(TEXTS, [heard[0], heard[1], heard[0]], [0, 1, 2])
    for utterance in spoken:
        assert utterance.sample_rate_hz == 22_050
        assert len(utterance.waveform) == 1024 * len(utterance.codes)
        assert utterance.waveform.isfinite().all()
        assert len(utterance.codes) <= TINY.speaking.sampling.max_tokens
        assert (utterance.codes < TINY.vqvae.codebook_size).all()
    assert any(utterance.waveform.std() > 0 for utterance in spoken if len(utterance.codes) > 1)
    again = teacher.speak(TEXTS, [heard[0], heard[1], heard[0]], [0, 1, 2])
    assert all(torch.equal(a.codes, b.codes) for a, b in zip(spoken, again, strict=True))


def test_it_is_run_as_the_card_says_and_its_tokenizer_is_known(package: Path) -> None:
    teacher = load_pocket("cpu", package)
    assert teacher.sampling == Sampling(**json.loads((package / "card.json").read_text())["settings"]["sampling"])
    assert teacher.sampling == TINY.speaking.sampling
    assert teacher.tokenizer is not None
    assert teacher.tokenizer.digest == load_true_tokenizer("cpu", package).digest
    assert teacher.digest == load_pocket("cpu", package).digest


def test_the_digest_follows_the_settings(copy: Path) -> None:
    package = copy / "package"
    before = load_pocket("cpu", package).digest
    card = json.loads((package / "card.json").read_text())
    card["settings"]["diffusion_steps"] += 1
    (package / "card.json").write_text(json.dumps(card))
    assert load_pocket("cpu", package).digest != before


@pytest.mark.parametrize("part", ["vqvae", "gpt", "clvp", "diffusion"])
def test_a_tampered_part_is_refused_by_its_digest(part: str, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copy / f"package/{part}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"the {part} weights are not the ones that the card names") as caught:
        load_pocket("cpu", copy / "package")
    assert caught.value.where == str(path)
    monkeypatch.setattr(doctor, "SHIPPED", copy / "package")
    found = doctor.examine_pocket()
    assert (found.status, found.to_do) == ("missing", "reinstall vqbench")
    assert path.name in found.found


def test_all_missing_parts_are_named_at_once(copy: Path) -> None:
    for part in ("gpt", "clvp"):
        (copy / f"package/{part}.safetensors").unlink()
    with pytest.raises(ManyErrors, match=r"(?s)gpt.*missing.*clvp.*missing"):
        load_pocket("cpu", copy / "package")


def test_settings_of_another_version_are_refused(copy: Path) -> None:
    card = json.loads((copy / "package/card.json").read_text())
    card["settings"]["steps"] = card["settings"].pop("diffusion_steps")
    (copy / "package/card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="settings are not those of this vqbench"):
        load_pocket("cpu", copy / "package")


def test_the_doctor_finds_it_whole(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHIPPED", package)
    found = doctor.examine_pocket()
    assert (found.status, found.found.partition(",")[0]) == ("ok", "4 parts")
