"""Files as wholes: one that is there and can be read, and one that is written entirely or not at all."""

from __future__ import annotations

import difflib
import hashlib
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from vqbench.errors import DataError


def near_files(path: Path) -> str:
    """Returns ` (did you mean 'x'?)` for a file of a similar name beside a missing one, or an empty string."""
    try:
        names = {other.stem: other.name for other in islice(path.parent.iterdir(), 1000)}
    except OSError:
        return ""
    # Stems, since any two suites are alike in `.yaml`.
    near = difflib.get_close_matches(path.stem, names, n=1)
    return f" (did you mean {names[near[0]]!r}?)" if near else ""


def require_file(path: Path) -> None:
    """Checks that `path` is a regular file, so that reading it can neither hang (a pipe) nor never end (a device).

    Raises:
        DataError: for whatever else is there, or for nothing.
    """
    where = str(path)
    try:
        if path.is_dir():
            raise DataError("this is a folder", where=where, expected="a file")
        if not path.exists():
            raise DataError(f"there is no such file{near_files(path)}", where=where)
        if not path.is_file():
            raise DataError("this is not a regular file", where=where, expected="a file")
    except (OSError, ValueError) as error:  # ValueError: a NUL byte, or text that no file system can encode
        raise DataError(f"the file cannot be reached: {error}", where=where) from error


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, 64 hex digits, without holding the file in memory.

    Raises:
        DataError: no regular file, or it cannot be read.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            return digest_of(file)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error


def digest_of(file: BinaryIO) -> str:
    """The sha256 of what is left to read of an open file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def require_writable(path: Path) -> None:
    """Checks that a file can be written before the work is done that shall end in it; makes nothing.

    Raises:
        DataError: a folder is there, a file stands where a folder is needed, or permission is lacking.
    """
    try:
        if path.is_dir():
            raise DataError("this is a folder", where=str(path), expected="a file, or a place for one")
        above = next((folder for folder in path.parents if folder.exists()), Path())
        if not above.is_dir():
            raise DataError("this is a file, so nothing can be written below it", where=str(above), expected="a folder")
        if path.exists() and not path.is_file():
            if not os.access(path, os.W_OK):
                raise DataError("there is no permission to write here", where=str(path))
            return
        # Trying tells more than permissions do: root has them all, and yet some places take no files.
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise DataError(f"no file can be written here: {error.strerror}", where=str(path)) from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: a reader sees the old one or the new one, and a failed write leaves nothing behind.

    Missing folders are made. What is no regular file (a pipe, /dev/stdout) is written to directly.

    Raises:
        DataError: where the disk refuses.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        # In the same folder, because a rename is atomic only within one file system.
        unfinished = path.with_name(f".{_process()}-{secrets.token_hex(4)}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"the file cannot be written: {error.strerror}", where=str(path)) from error


def _process() -> str:
    """This machine and process, as a part of a file's name."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-{os.getpid()}"


def remove_leftovers(folder: Path) -> None:
    """Removes what processes of this machine that were killed left half-written in a folder, and below it."""
    host, _ = _process().split("-")
    for path in folder.rglob(f".{host}-*.partial"):
        process = path.name.split("-")[1]
        if process.isdecimal() and not _is_alive(int(process)):
            with suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Makes a folder, and keeps other processes that ask for the same from writing there until the block ends.

    What is still empty then is taken away again.

    Raises:
        DataError: another process is at work there, or the folder cannot be made.
    """
    require_writable(folder / "anything")
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"the folder cannot be made: {error.strerror}", where=str(folder)) from error
    try:
        with suppress(ImportError):  # where there is no such lock, there is none
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(
                    "another process is at work in this folder",
                    where=str(folder),
                    fix="wait, or choose another with -o",
                ) from error
            except OSError:  # a file system without locks
                pass
        remove_leftovers(folder)
        yield
    finally:
        os.close(handle)
        with suppress(OSError):  # what is not empty is kept
            for one in made:
                one.rmdir()


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8, atomically; a lone surrogate, which JSON may carry but UTF-8 has not, becomes `?`."""
    write_whole(path, text.encode("utf-8", errors="replace"))


def seal(content: bytes) -> bytes:
    """Puts a line with a checksum in front of a file's content, by which `unseal` tells damage."""
    return _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unseal(sealed: bytes) -> bytes:
    """The content that `seal` was given.

    Raises:
        DataError: it is not what was sealed.
    """
    head, _, content = sealed.partition(b"\n")
    if head != _SEAL + hashlib.sha256(content).hexdigest().encode():
        raise DataError("its checksum does not agree with its content", expected="the file as vqbench wrote it")
    return content


_SEAL = b"vqbench sha256 "


def write_sum(path: Path) -> None:
    """Writes the checksum of a finished file beside it, `NAME.sha256`, as sha256sum does."""
    write_whole(_sum_of(path), f"{file_digest(path)}  {path.name}\n".encode())


def has_sum(path: Path) -> bool:
    """Whether a file is there, and is the one whose checksum was written beside it."""
    try:
        written = _sum_of(path).read_bytes()[:64]
        return written.decode("ascii") == file_digest(path)
    except (DataError, OSError, UnicodeDecodeError):
        return False


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def remove(path: Path) -> None:
    """Removes a file; where there is none, it does nothing.

    Raises:
        DataError: where the disk refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"the file cannot be removed: {error.strerror}", where=str(path)) from error
