"""What was assumed, skipped or mended on the way from a file to a figure, one line each.

Whoever reads a file calls `tell`; whoever answers the user opens `collected`, shows the lines and keeps them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger(__name__)
_LOGGER.setLevel(logging.INFO)


def tell(line: str) -> None:
    """Says a line to whoever collects them; to nobody where nobody does."""
    _LOGGER.info("%s", line)


class _Collector(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        # The same file is read for several purposes.
        if line not in self.lines:
            self.lines.append(line)
            self._show(line)


@contextmanager
def collected(show: Callable[[str], None] = lambda line: None) -> Iterator[list[str]]:
    """Collects the lines that are told while the block runs, each once, and shows each as it comes.

    >>> with collected() as lines:
    ...     tell("3 clips have no text")
    ...     tell("3 clips have no text")
    >>> lines
    ['3 clips have no text']
    """
    collector = _Collector(show)
    _LOGGER.addHandler(collector)
    try:
        yield collector.lines
    finally:
        _LOGGER.removeHandler(collector)
