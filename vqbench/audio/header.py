"""What the header of a recording says, whichever library reads it."""

from __future__ import annotations

from dataclasses import dataclass

from vqbench.errors import DataError

RATES_HZ = (1_000, 768_000)
"""A header outside this range is taken for a broken one: it would turn a second into gigabytes or into nothing."""

EXPECTED = "WAV, FLAC, Ogg, MP3 or what else libsndfile reads, or m4a, mp4, webm or AAC"


@dataclass(frozen=True)
class Header:
    """What a recording's header says; nothing is decoded, so it may promise what is not there.

    Attributes:
        rate_hz: sample rate.
        channels: at least 1.
        duration_s: above 0.
        container: e.g. `WAV`.
        notes: how it is read, where that is not as it stands.
    """

    rate_hz: int
    channels: int
    duration_s: float
    container: str
    notes: tuple[str, ...] = ()


def check_rate(rate_hz: int, where: str) -> None:
    """Refuses a rate that no recording has.

    Raises:
        DataError: outside `RATES_HZ`.
    """
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise DataError(f"the header claims a rate of {rate_hz} Hz", where=where)
