"""Who is at work on what: a claim on an entry of the cache, so that two runs never compute one value twice.

A claim is a small file in the cache that can be made but once, and names its owner. An owner is a file, too, which its
process keeps locked and touches now and then: of a process of this machine the lock tells whether it lives, of one of
another machine that shares the folder the touching does. What a dead owner claimed is anybody's.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vqbench.errors import DataError

BEAT_S = 10.0
"""How often an owner touches its file."""

STALE_S = 60.0
"""An owner on another machine that did not touch its file for so long is dead."""

_CLAIMS, _OWNERS = "claims", "owners"
"""Folders: the one in the cache, the other in that."""


class Claims:
    """The claims of one owner; as a context, what is left of them is given up in the end.

    Args:
        folder: of the cache.
        active: False claims nothing and waits for nobody.
    """

    def __init__(self, folder: Path, active: bool = True) -> None:
        self._folder, self._active = folder, active
        self._held: set[tuple[str, str]] = set()
        self._owner: _Owner | None = None
        self._depth = 0
        # Of each owner on another machine, its file's time and when it was first seen, by our own clock.
        self._seen: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Claims:
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self.release(list(self._held))
            if self._owner:
                self._owner.close()
                self._owner = None

    def take(self, places: Iterable[tuple[str, str]]) -> bool:
        """Claims all places, or none of them where one is another's.

        Raises:
            DataError: nothing can be written there.
        """
        if not self._active:
            return True
        taken: list[tuple[str, str]] = []
        for place in places:
            if place in self._held or not self._take(place):
                self.release(taken)
                return False
            taken.append(place)
            self._held.add(place)
        return True

    def release(self, places: Iterable[tuple[str, str]]) -> None:
        """Gives claims up; what is not held is left alone."""
        for place in places:
            if place in self._held:
                self._held.remove(place)
                with suppress(OSError):
                    self._path(*place).unlink()

    def _path(self, kind: str, key: str) -> Path:
        return self._folder / _CLAIMS / f"{kind}-{key}"

    def _take(self, place: tuple[str, str]) -> bool:
        path = self._path(*place)
        if self._owner is None:
            self._owner = _Owner(self._folder / _CLAIMS / _OWNERS)
        try:
            for _ in range(2):
                try:
                    with path.open("x", encoding="ascii") as stream:
                        stream.write(self._owner.name)
                    return True
                except FileExistsError:
                    if not self._take_away(path):
                        return False
        except OSError as error:
            raise DataError(f"nothing can be claimed in the cache: {error.strerror}", where=str(path)) from error
        return False

    def _take_away(self, path: Path) -> bool:
        """Removes the claim of a dead owner; True where the place may be free now."""
        try:
            name = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return True
        owner = self._folder / _CLAIMS / _OWNERS / name if name else path
        if self._lives(owner, name):
            return False
        removed = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        try:
            path.rename(removed)  # of several who try, one succeeds
        except FileNotFoundError:
            return True
        if removed.read_text(encoding="ascii", errors="replace") != name:
            # Another one was faster and has claimed it already: that claim is put back.
            with suppress(OSError):
                os.link(removed, path)
        removed.unlink()
        return True

    def _lives(self, owner: Path, name: str) -> bool:
        try:
            touched = owner.stat().st_mtime
        except FileNotFoundError:
            return False
        if name.startswith(_host()) and (locked := _is_locked(owner)) is not None:
            return locked
        # The clocks of two machines differ, so it is asked whether the time changes, by ours.
        known, since_s = self._seen.get(str(owner), (None, 0.0))
        if known != touched:
            self._seen[str(owner)] = touched, time.monotonic()
            return True
        return time.monotonic() - since_s < STALE_S


class _Owner:
    """This process, as others see it: a file that is locked and touched while it lives."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / self.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Leftovers of processes of this machine that were killed.
            for other in folder.glob(f"{_host()}-*"):
                if _is_locked(other) is False:
                    other.unlink(missing_ok=True)
            # Nobody sees it before it is locked.
            hidden = folder / f".{self.name}"
            self._handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            _lock(self._handle)
            hidden.rename(self._path)
        except OSError as error:
            raise DataError(f"nothing can be claimed in the cache: {error.strerror}", where=str(folder)) from error
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="claims", daemon=True)
        self._beating.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with suppress(OSError):
                os.utime(self._path)

    def close(self) -> None:
        """Ends it; what it still claims is anybody's from now on."""
        self._ended.set()
        self._beating.join()
        with suppress(OSError):
            self._path.unlink()
            # Where nothing was kept, nothing is left: folders go as long as they are empty.
            for folder in list(self._path.parents)[:3]:
                folder.rmdir()
        os.close(self._handle)


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _lock(handle: int) -> bool | None:
    """Locks a file until it is closed; False where another process has it, None where there are no such locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _is_locked(path: Path) -> bool | None:
    """Whether a process that lives has a file locked; None where that cannot be told."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # it is somebody else's
        return None
    try:
        free = _lock(handle)
        return None if free is None else not free
    finally:
        os.close(handle)
