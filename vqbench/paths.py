"""Where a path written in a file may lead: inside the project, unless the writer asked for elsewhere; and the cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vqbench.errors import ConfigError

_ROOT_MARKS = ("pyproject.toml", ".git")


def project_root(folder: Path) -> Path:
    """The nearest folder from `folder` upwards that holds a `pyproject.toml` or `.git`, else the parent of `folder`.

    Suites and recipes lie in sibling folders, so without a project the parent is what they share.
    """
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _ROOT_MARKS):
            return candidate
    return folder.parent


def resolve_inside(base: Path, written: str, root: Path) -> Path:
    """Resolves a path that stands in a file, symbolic links included.

    A relative path is relative to `base` and must stay inside `root`: a suite or manifest from somebody else must not
    reach into the rest of the disk through `..` or a link. An absolute path, or one from `~`, is asking for elsewhere.

    Args:
        base: folder of the file that the path stands in.
        written: the path as written.
        root: the folder that may not be left, as `project_root` finds it.

    Returns:
        an absolute path; whether anything is there is the caller's question.

    Raises:
        ConfigError: for a relative path that leaves `root`, and for what cannot be a path.
    """
    if not written.strip():
        raise ConfigError("the path is empty")
    try:
        asked = Path(written).expanduser()
        resolved = (base / asked).resolve()
        root = root.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # An unknown ~user, a loop of links, a NUL byte, text that no file system can encode.
        raise ConfigError(f"{written!r} cannot be a path: {error}") from error
    if not asked.is_absolute() and not resolved.is_relative_to(root):
        raise ConfigError(
            f"{written!r} leads out of {root}, to {resolved}",
            expected=f"a path inside {root}",
            fix="write it as an absolute path, or from ~, if that is meant",
        )
    return resolved


CACHE_VARIABLE = "VQBENCH_CACHE"


def default_cache_folder() -> Path:
    """`$VQBENCH_CACHE`, or the system's folder for such things."""
    if written := os.environ.get(CACHE_VARIABLE):
        return Path(written).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vqbench"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "vqbench" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqbench"
