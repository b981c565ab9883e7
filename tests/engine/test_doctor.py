"""The doctor says what is there, what is not, and what to do; one broken thing hides no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vqbench.cli import app
from vqbench.engine import doctor
from vqbench.engine.doctor import examine, examine_cache, is_fit


@pytest.fixture(scope="module")
def findings():  # type: ignore[no-untyped-def]
    return examine()


def test_this_machine_is_fit(findings) -> None:  # type: ignore[no-untyped-def]
    assert is_fit(findings)
    found = {finding.what: finding for finding in findings}
    assert found["torch"].status == "ok"
    assert found["human clips (tortoise-voices)"].found == "26 clips of 10 speakers"
    assert "CPU" in found["device"].found or "GB" in found["device"].found


def test_whatever_is_not_ok_says_what_to_do(findings) -> None:  # type: ignore[no-untyped-def]
    assert all(finding.to_do for finding in findings if finding.status == "missing")


def test_a_missing_and_a_broken_package_are_named_and_the_rest_is_examined(tmp_path: Path) -> None:
    (tmp_path / "soxr").mkdir()
    (tmp_path / "soxr/__init__.py").write_text("import pkg_resources_that_is_gone")
    script = (
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'jiwer': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "from vqbench.engine.doctor import examine, is_fit\n"
        "f = examine()\n"
        "print(is_fit(f))\n"
        "for x in f: print(x.status, x.what, '|', x.found, '|', x.to_do)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "False"
    assert "missing jiwer | not installed | pip install 'vqbench[bench]'" in lines
    assert any(
        line.startswith("missing soxr") and "pkg_resources" in line and "setuptools<81" in line for line in lines
    )
    assert any(line.startswith("ok torch") for line in lines)
    assert any(line.startswith("note flite") for line in lines)


def test_an_unwritable_cache_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQBENCH_CACHE", "/proc/nowhere")
    cache = examine_cache()
    assert cache.status == "missing"
    assert "VQBENCH_CACHE" in cache.to_do


def test_a_pocket_tortoise_that_did_not_come_along_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHIPPED", tmp_path)
    found = doctor.examine_pocket()
    assert found.status == "note"
    assert "vqbench pocket build" in found.to_do
    (tmp_path / "card.json").write_text("{")
    assert doctor.examine_pocket().status == "missing"


def test_what_pocket_build_needs_is_examined(findings) -> None:  # type: ignore[no-untyped-def]
    found = {finding.what: finding for finding in findings}
    for voice in ("flite", "Piper and its voice joe"):
        assert found[voice].status == "ok" or "pocket build" in found[voice].found


def test_every_faulty_checkpoint_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "clvp2.pth").write_bytes(b"no checkpoint")
    found = list(doctor.examine_checkpoints(tmp_path))
    assert [finding.status for finding in found] == ["missing"] * 4
    names = ("autoregressive.pth", "clvp2.pth", "diffusion_decoder.pth", "vocoder.pth")
    for finding, name in zip(found, names, strict=True):
        assert name in finding.found
        assert finding.to_do.startswith("download it from")
    assert "13 bytes" in found[1].found


def test_whole_checkpoints_are_told_from_their_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vqbench.teachers.tortoise.official.OfficialCheckpoints.faults", lambda self: [])
    (found,) = doctor.examine_checkpoints(tmp_path)
    assert found.status == "ok"
    assert "without the VQVAE, dvae.pth" in found.found


def test_the_command_looks_at_the_folder_that_is_named(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["doctor", "--teacher", str(tmp_path / "nowhere"), "--json"])
    assert shown.exit_code == 1
    (found,) = [f for f in json.loads(shown.stdout) if f["what"] == "TorToiSe's checkpoints"]
    assert found["status"] == "missing"
    assert "there is no such folder" in found["found"]


def test_whisper_base_is_found_before_and_after_it_is_joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("vqbench.judges.asr.packaged.is_packaged", lambda name: True)
    before = doctor._multilingual_recognizer()
    assert before.status == "ok"
    assert before.found.startswith("installed; joined when it is first needed")
    folder = Path(before.found.split(" in ")[1])
    folder.mkdir(parents=True)
    assert doctor._multilingual_recognizer().found == str(folder)
    monkeypatch.setattr("vqbench.judges.asr.packaged.is_packaged", lambda name: False)
    missing = doctor._multilingual_recognizer()
    assert (missing.status, missing.to_do) == ("note", "pip install 'vqbench[offline]'")
