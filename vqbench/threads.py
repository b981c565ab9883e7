"""How many threads a figure was computed with, and the measuring that does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes in one thread meanwhile; also a decorator.

    More threads sum in another order. The last digits of a mel differ then, and a word of what is heard now and then:
    whatever is measured is the same with any number of threads because it is measured in one.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def computed_on(device: torch.device) -> dict[str, str | int]:
    """What rounding depends on where all threads are used (learning and speaking), for the keys of what is kept.

    >>> computed_on(torch.device("cuda", 0))
    {'device': 'cuda'}
    """
    return {"device": device.type} if device.type != "cpu" else {"device": "cpu", "threads": torch.get_num_threads()}
