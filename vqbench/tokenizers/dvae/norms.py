"""Which mel norms a checkpoint was trained on, where it does not say so itself.

Only vqbench's own files carry their front end. With wrong norms a VQVAE reads mels that it never saw: it still writes
codes and mels, and every figure is wrong. So what is taken is always said, and XTTS's are never guessed.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vqbench.audio.mel import MelSpec, tortoise_mel_norms
from vqbench.config.source import MEL_STATS_FILE, TORTOISE_NORMS
from vqbench.errors import CheckpointError
from vqbench.tokenizers.dvae.state_dict import not_plain, read_torch

TORTOISE_CODES = 8192
"""Codes of TorToiSe's VQVAE."""

XTTS_CODES = (1024, 8194)
"""Codes of XTTS's VQVAEs: version 2, and what an early recipe trained."""

_MAX_FILE_BYTES = 1 << 20
"""Eighty numbers take two kilobytes."""


def find_norms(checkpoint: Path, named: Path | None, codebook_size: int) -> tuple[tuple[float, ...], str]:
    """Finds the mel norms of a checkpoint that does not carry them.

    Args:
        checkpoint: its file, as it was named: what lies beside a link comes before what lies beside its target.
        named: a torch file with the divisors, or `tortoise`; None where nobody names any.
        codebook_size: its codes.

    Returns:
        the divisors, and where they come from, in words.

    Raises:
        CheckpointError: they are XTTS's and not to be had, or the file is at fault.
    """
    if named is not None:
        return read_norms(named)
    for place in (checkpoint, checkpoint.resolve()):
        beside = place.with_name(MEL_STATS_FILE)
        if beside.is_file():
            return read_norms(beside)[0], f"{MEL_STATS_FILE} beside it"
    if codebook_size in XTTS_CODES:
        raise CheckpointError(
            f"its mel norms are not known: {codebook_size:,} codes are XTTS's, whose norms are not TorToiSe's",
            where=str(checkpoint),
            expected=f"XTTS's {MEL_STATS_FILE} beside it, or named",
            fix=f"`mel_norms: {MEL_STATS_FILE}`; or `mel_norms: {TORTOISE_NORMS}`, if it was trained on TorToiSe's",
        )
    known = codebook_size == TORTOISE_CODES
    return tortoise_mel_norms(), f"TorToiSe's, {'as it has its 8,192 codes' if known else 'assumed'}"


def read_norms(named: Path) -> tuple[tuple[float, ...], str]:
    """Reads mel norms that somebody named: the divisors, and their name.

    Raises:
        CheckpointError: the file is missing, or no row of floats.
    """
    if str(named) == TORTOISE_NORMS:
        return tortoise_mel_norms(), "TorToiSe's, named"
    where = str(named)
    if not named.is_file():
        raise CheckpointError("there is no such mel norms file", where=where)
    if named.stat().st_size > _MAX_FILE_BYTES:
        problem = f"the file of {named.stat().st_size:,} bytes cannot be mel norms"
        raise CheckpointError(problem, where=where, expected="a tensor of 80 floats, some two kilobytes")
    loaded = read_torch(named)
    if not isinstance(loaded, Tensor) or not_plain({"": loaded}) or loaded.ndim != 1:
        raise CheckpointError("the mel norms are not a row of numbers", where=where, expected="a tensor of 80 floats")
    return tuple(loaded.double().tolist()), named.name


def need_a_file(spec: MelSpec, codebook_size: int) -> bool:
    """Whether a checkpoint without a header must have its norms beside it to be read on the right ones."""
    return spec.norms != tortoise_mel_norms() or codebook_size in XTTS_CODES
