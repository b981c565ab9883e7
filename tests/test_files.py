"""Whether a file can be written is known before the work that shall end in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vqbench.errors import DataError
from vqbench.files import has_sum, require_writable, seal, unseal, write_sum, write_text


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a file, a folder, and a pipe."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["new", "file", "folder/new", "a/b/c/new", "folder/../new", "./new"])
def test_what_can_be_written_is_written(place: Path, name: str) -> None:
    for path in (Path(name), place / name):
        before = sorted(place.rglob("*"))
        require_writable(path)
        assert sorted(place.rglob("*")) == before
    write_text(Path(name), "new")
    assert (place / name).read_text() == "new"


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("folder", "folder", "this is a folder"),
        (".", ".", "this is a folder"),
        ("file/new", "file", "this is a file"),
        ("file/a/b/new", "file", "this is a file"),
        ("pipe/new", "pipe", "this is a file"),
        (f"{'x' * 300}/new", f"{'x' * 300}/new", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_known_before(place: Path, name: str, where: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        require_writable(Path(name))
    assert caught.value.where == where
    with pytest.raises(DataError):
        write_text(Path(name), "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission(place: Path) -> None:
    (place / "folder").chmod(0o500)
    with pytest.raises(DataError, match="no permission") as caught:
        require_writable(Path("folder/a/new"))
    assert caught.value.where == "folder"


@pytest.mark.parametrize("name", ["pipe", "/dev/null"])
def test_pipes_and_devices_can_be_written(place: Path, name: str) -> None:
    require_writable(Path(name))


def test_what_was_sealed_comes_back_or_is_refused() -> None:
    sealed = seal(b"some\ncontent")
    assert unseal(sealed) == b"some\ncontent"
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(DataError, match="checksum"):
            unseal(bytes(damaged))
    for cut in (b"", b"x", sealed[:-1], b"some\ncontent"):
        with pytest.raises(DataError, match="checksum"):
            unseal(cut)


def test_a_file_has_its_sum_only_while_it_is_the_one_that_was_finished(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    assert not has_sum(path)
    path.write_bytes(b"weights")
    assert not has_sum(path)
    write_sum(path)
    assert has_sum(path)
    assert (tmp_path / "weights.bin.sha256").read_text() == f"{hashlib.sha256(b'weights').hexdigest()}  weights.bin\n"
    path.write_bytes(b"weightz")
    assert not has_sum(path)
    path.unlink()
    assert not has_sum(path)
