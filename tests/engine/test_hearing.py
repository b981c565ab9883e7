"""How far a token is from the true one, in codebooks that are not what they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.engine.hearing import Encoding, Target, with_distances
from vqbench.metrics.agreement import GptSequence
from vqbench.records.run import ClipRecord
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

CLIP = ClipRecord("pairs/000000", "", 1.0, "", None, "pairs")


def distances(codebook: Tensor, wanted: list[int], written: list[int], n_codes: int) -> list[float]:
    dvae = DVAE(Dimensions(codebook_size=len(codebook), codebook_dim=2, hidden_dim=8, num_resnet_blocks=1))
    dvae.codebook.embed.copy_(codebook.t())
    sequence = GptSequence("x", np.array(wanted), np.ones(len(wanted), dtype=bool), "x")
    heard = Encoding(np.array(written), np.zeros(len(wanted), dtype=np.int64))
    target = Target(CLIP, torch.zeros(1024 * len(wanted)), sequence)
    (row,) = with_distances([heard], [target], DVAETokenizer(dvae, MelSpec()), n_codes)
    return [float(distance) for distance in row.distances]


SQUARE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_distances_are_in_units_of_two_draws() -> None:
    # Each corner once: two draws are 0, 1, 1 or √2 apart.
    chance = (0 + 1 + 1 + 2**0.5) / 4
    found = distances(SQUARE, [0, 1, 2, 3], [0, 0, 1, 3], 4)
    assert found == pytest.approx([0, 1 / chance, 2**0.5 / chance, 0])


def test_codes_put_aside_are_as_far_as_chance_and_change_no_other_distance() -> None:
    parked = torch.cat([SQUARE, torch.full((1, 2), 500.0)])
    found = distances(parked, [0, 1, 2, 3, 4, 0], [0, 0, 1, 3, 0, 4], 5)
    assert found[4:] == [1.0, 1.0]
    usual = distances(SQUARE, [0, 1, 2, 3, 0], [0, 0, 1, 3, 0], 4)
    assert found[:4] == pytest.approx(usual[:4])


def test_codes_that_the_codebook_does_not_have_are_as_far_as_chance() -> None:
    assert distances(SQUARE, [7, 0], [0, 0], 8) == [1.0, 0.0]


def test_a_collapsed_codebook_is_not_near() -> None:
    same = torch.ones(4, 2)
    assert distances(same, [0, 1, 2, 2], [0, 0, 0, 2], 4) == [0.0, 1.0, 1.0, 0.0]
