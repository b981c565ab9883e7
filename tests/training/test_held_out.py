"""How far held-out pairs are heard as they were written, between what a constant gets and what the true VQVAE gets."""

from __future__ import annotations

import copy
import math
from collections import Counter

import pytest
import torch
from hearable_pairs import N_TRUE_CODES, pairs, true_vqvae

from vqbench.audio.mel import MelFrontEnd
from vqbench.tokenizers.dvae.network import DVAE
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.stream import MelTokens

CPU = torch.device("cpu")


def heard(n: int = 6) -> list[MelTokens]:
    """Mels of different lengths, with the very tokens that the true VQVAE hears in them."""
    mels = [MelFrontEnd()(pair.waveform()) for pair in pairs()[:n]]
    return [MelTokens(mel, true_vqvae().encode(mel[None])[0].clone()) for mel in mels]


def misheard(wrong: int) -> list[MelTokens]:
    """The same, but for the first tokens of each, which are others."""
    return [
        MelTokens(pair.mel, torch.cat([(pair.codes[:wrong] + 1) % N_TRUE_CODES, pair.codes[wrong:]]))
        for pair in heard()
    ]


def swapped(a: int, b: int) -> DVAE:
    """The true VQVAE with two codes in each other's place."""
    dvae = copy.deepcopy(true_vqvae())
    dvae.codebook.embed[:, [a, b]] = dvae.codebook.embed[:, [b, a]].clone()
    return dvae


def test_agreement_lies_between_floor_and_ceiling_as_worked_out_by_hand() -> None:
    written = misheard(wrong=2)
    tokens = Counter(torch.cat([pair.codes for pair in written]).tolist())
    (common, n_common), (other, _) = tokens.most_common(2)
    n = tokens.total()
    # The true VQVAE misses two tokens a pair; with two codes swapped, it misses what it heard as one of the two as
    # well, but for those that were taken for the other one.
    missed = [0, 0]
    for pair, truth in zip(written, heard(), strict=True):
        for token, said in zip(pair.codes.tolist(), truth.codes.tolist(), strict=True):
            missed[0] += token != said
            missed[1] += token != {common: other, other: common}.get(said, said)
    assert missed[0] == 2 * len(written)

    figures = HeldOutPairs(written, true_vqvae(), CPU).figures(swapped(common, other))
    floor, ceiling, agreement = n_common / n, (n - missed[0]) / n, (n - missed[1]) / n
    assert figures["floor"] == pytest.approx(floor)
    assert figures["ceiling"] == pytest.approx(ceiling)
    assert figures["agreement"] == pytest.approx(agreement)
    assert figures["normalised"] == pytest.approx((agreement - floor) / (ceiling - floor))
    assert figures["agreement"] < figures["ceiling"]


@pytest.mark.parametrize("wrong", [0, 3])
def test_the_true_vqvae_is_at_its_own_ceiling(wrong: int) -> None:
    figures = HeldOutPairs(misheard(wrong), true_vqvae(), CPU).figures(true_vqvae())
    assert figures["normalised"] == 1.0
    assert figures["agreement"] == figures["ceiling"]
    assert (figures["agreement"] == 1.0) == (wrong == 0)


def test_what_is_left_of_the_mel_and_how_codes_are_used() -> None:
    dvae, written = swapped(0, 1), heard()
    figures = HeldOutPairs(written, None, CPU).figures(dvae)
    alone = [dvae.encode(pair.mel[None]) for pair in written]
    told = [dvae.decode(codes)[0, :, : pair.mel.shape[-1]] for codes, pair in zip(alone, written, strict=True)]
    error = torch.cat([(mel - pair.mel).flatten() for mel, pair in zip(told, written, strict=True)]).abs().mean()
    assert figures["l1"] == pytest.approx(error.item(), rel=1e-4)

    def perplexity(rows: list[torch.Tensor]) -> float:
        counts = Counter(torch.cat([row.flatten() for row in rows]).tolist())
        return math.exp(-sum(c / counts.total() * math.log(c / counts.total()) for c in counts.values()))

    assert figures["perplexity"] == pytest.approx(perplexity(alone), rel=1e-6)
    expected = perplexity([pair.codes for pair in written])
    assert figures["perplexity_share"] == pytest.approx(figures["perplexity"] / expected, rel=1e-6)


def test_without_the_true_vqvae_there_is_no_ceiling() -> None:
    figures = HeldOutPairs(heard(), None, CPU).figures(true_vqvae())
    assert {"agreement", "floor", "l1"} < figures.keys()
    assert not {"ceiling", "normalised"} & figures.keys()


def test_a_ceiling_that_is_no_higher_than_the_floor_normalises_nothing() -> None:
    constant = [MelTokens(pair.mel, torch.zeros_like(pair.codes)) for pair in heard()]
    figures = HeldOutPairs(constant, true_vqvae(), CPU).figures(true_vqvae())
    assert figures["floor"] == 1.0 > figures["ceiling"]
    assert "normalised" not in figures


def test_nothing_held_out_is_nothing_found() -> None:
    assert HeldOutPairs([], true_vqvae(), CPU).figures(true_vqvae()) == {}
