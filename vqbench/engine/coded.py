"""Tokenizers of waveforms in a suite: opened before anything is measured, since they decide what figures there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vqbench.audio.mel import MelSpec
from vqbench.config.candidate import CandidateConfig, place_of
from vqbench.config.suite import Suite
from vqbench.errors import ConfigError, VqbenchError, raise_all
from vqbench.metrics.streams import Reference
from vqbench.notes import tell
from vqbench.tokenizers.protocol import Tokenizer, can_decode


def check_coded(suite: Suite, candidates: Sequence[CandidateConfig], open_one: Callable[[str], Tokenizer]) -> None:
    """Opens each, and tells how its copies are measured.

    Args:
        suite: whose they are.
        candidates: those that are tokenizers of waveforms.
        open_one: opens one by its name.

    Raises:
        VqbenchError: all that cannot be opened, each with its line.
    """
    faults: list[VqbenchError] = []
    for config in candidates:
        try:
            tokenizer = open_one(config.name)
        except VqbenchError as error:
            place = place_of(suite.path, config)
            error.where = f"{place}: {error.where}" if error.where else place
            faults.append(error)
            continue
        rate_hz, heard_hz = tokenizer.sample_rate_hz, MelSpec().sample_rate_hz
        if not can_decode(tokenizer):
            tell(f"{config.name} only encodes: what is measured on copies is not measured of it")
        elif rate_hz != heard_hz:
            tell(f"{config.name} works at {rate_hz:,} Hz; its copies are measured at {heard_hz:,} Hz, as everybody's")
    raise_all(faults)


def open_reference(suite: Suite, config: CandidateConfig, open_it: Callable[[], Tokenizer]) -> Reference:
    """Makes a tokenizer of waveforms the one whose codes the others' are held against.

    Args:
        suite: which names it.
        config: as it is named.
        open_it: opens it, now and whenever it is needed.

    Raises:
        ConfigError: it writes no codes, or it is asked about other clips than the recordings of `data.speech`.
    """
    where = place_of(suite.path, config)
    tokenizer = open_it()
    if not tokenizer.streams:
        raise ConfigError(
            f"{config.name} writes bits and no codes, so that nobody's can be held against them",
            where=where,
            fix="name another reference",
        )
    if suite.data.natural or suite.data.pairs:
        raise ConfigError(
            f"{config.name} is no VQVAE on mels: its codes are held against others' on data.speech alone",
            where=where,
            fix="leave out data.natural and data.pairs, or name a VQVAE as the reference",
        )
    return Reference(config.name, tokenizer, open_it)
