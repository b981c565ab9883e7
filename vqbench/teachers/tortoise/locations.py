"""Where shards lie: on the local disk, or at any URL that fsspec knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from vqbench.errors import DataError

Location = str | Path
"""A local path, or the URL of something on another file system: `s3://bucket/pairs`."""


def is_url(location: Location) -> bool:
    """Whether a location is meant as a URL."""
    return isinstance(location, str) and "://" in location


def faults_of(location: Location) -> tuple[type[Exception], ...]:
    """What reading can raise; the file systems that fsspec knows have errors of their own."""
    return (
        (Exception,)
        if is_url(location)
        else (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError)
    )


def reach(location: Location) -> tuple[Any, str]:
    """The fsspec file system that a URL leads to, or None for a local path; and the path there."""
    if not is_url(location):
        return None, str(location)
    try:
        files, path = fsspec.core.url_to_fs(location)
        return files, path
    except ImportError as error:
        raise DataError(
            "a package that this address needs is not installed", where=str(location), fix=first_line(error)
        ) from error
    except Exception as error:
        raise DataError(
            f"this address leads nowhere: {first_line(error)}",
            where=str(location),
            expected="a local path, or a URL that fsspec knows: s3://…, gs://…, https://…",
        ) from error


def first_line(error: Exception) -> str:
    """What an error says first, or what it is called."""
    return (str(error) or type(error).__name__).splitlines()[0]
