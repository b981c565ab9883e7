"""Same question, same answer; another question, another key; nothing damaged is believed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vqbench.engine.cache import Cache, content_key, default_cache_folder


def test_a_key_depends_on_content_not_on_order() -> None:
    assert content_key({"a": 1, "b": [1.5, "x"]}) == content_key({"b": [1.5, "x"], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert content_key({"a": 1}) != content_key({"a": "1"})
    with pytest.raises(TypeError):
        content_key({"a": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_key({"a": float("nan")})


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    key = content_key({"a": 1})
    assert cache.get("rows", key) is None
    cache.put("rows", key, {"x": [1, 2], "y": "ü"})
    assert cache.get("rows", key) == {"x": [1, 2], "y": "ü"}
    assert cache.get("other", key) is None
    assert [p.suffix for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".json"]


def test_no_cache_writes_but_does_not_read(tmp_path: Path) -> None:
    Cache(tmp_path, read=False).put("rows", "ab12", {"x": 1})
    assert Cache(tmp_path, read=False).get("rows", "ab12") is None
    assert Cache(tmp_path).get("rows", "ab12") == {"x": 1}


@pytest.mark.parametrize(
    "content", [b"", b'{"x": 1', b"[1]", b"\xff\xfe", b"null", b"{}", b'{"value": {}}', b"[" * 100_000]
)
def test_a_damaged_entry_counts_as_absent(content: bytes, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("rows", "ab12", {"x": 1})
    (path,) = (p for p in tmp_path.rglob("*.json"))
    path.write_bytes(content)
    assert cache.get("rows", "ab12") is None
    cache.put("rows", "ab12", {"x": 2})
    assert cache.get("rows", "ab12") == {"x": 2}


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def test_an_entry_that_is_damaged_and_still_json_counts_as_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("rows", "ab12", {"errors": 12.5, "texts": {"a": "b"}, "codes": [1, 2]})
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 2):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            assert cache.get("rows", "ab12") in (None, {"errors": 12.5, "texts": {"a": "b"}, "codes": [1, 2]})
    path.write_bytes(whole.replace(b"12.5", b"13.5"))
    assert cache.get("rows", "ab12") is None
    path.write_bytes(whole)
    assert cache.get("rows", "ab12") is not None


def test_entries_that_changed_places_count_as_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("rows", "ab12", {"x": 1})
    cache.put("rows", "cd34", {"x": 2})
    one, other = entries(tmp_path)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert cache.get("rows", "ab12") is None
    assert cache.get("rows", "cd34") is None


def test_writers_and_readers_at_once_see_whole_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    value = {"codes": list(range(5000))}
    cache.put("rows", "ab12", value)
    seen = []

    def write() -> None:
        for _ in range(50):
            cache.put("rows", "ab12", value)

    def read() -> None:
        for _ in range(50):
            seen.append(cache.get("rows", "ab12"))

    threads = [threading.Thread(target=target) for target in (write, write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 100
    assert all(one == value for one in seen)


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
