"""CLVP's scores are upstream's, for rows of any lengths in one batch."""

from __future__ import annotations

import math

import pytest
import torch

from vqbench.teachers.tortoise.clvp import (
    CLVPDimensions,
    build_clvp,
    contrastive_loss,
    score,
    speech_latents,
    text_latents,
)
from vqbench.teachers.tortoise.upstream import upstream_module

SMALL = CLVPDimensions(n_layers=2, width=64, n_heads=2, n_text_tokens=40, n_codes=100)


@pytest.fixture(scope="module")
def clvp():
    torch.manual_seed(0)
    return build_clvp(SMALL).eval()


def rows(below: int, *lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(below)
    return [torch.randint(0, below, (length,), generator=generator) for length in lengths]


def test_ragged_rows_score_as_upstream_scores_each_alone(clvp):
    texts, codes = rows(40, 5, 9, 1), rows(100, 30, 1, 12)
    with torch.no_grad():
        alone = torch.cat([clvp(text[None], code[None]) for text, code in zip(texts, codes, strict=True)])
    torch.testing.assert_close(score(clvp, texts, codes), alone, atol=1e-6, rtol=1e-5)
    assert alone.std() > 1e-3, "else any score would do"


def test_a_row_does_not_hear_its_neighbours(clvp):
    texts, codes = rows(40, 5, 9), rows(100, 30, 70)
    with_one = score(clvp, texts, codes)[0]
    with_another = score(clvp, [texts[0], texts[1][:2]], [codes[0], codes[1][:3]])[0]
    torch.testing.assert_close(with_one, with_another, atol=1e-6, rtol=1e-5)


def test_the_loss_is_upstreams_where_all_rows_are_of_one_length(clvp):
    texts, codes = rows(40, 7, 7, 7), rows(100, 20, 20, 20)
    expected = clvp(torch.stack(texts), torch.stack(codes), return_loss=True)
    torch.testing.assert_close(contrastive_loss(clvp, texts, codes), expected, atol=1e-6, rtol=1e-5)


def test_latents_have_length_one(clvp):
    for latents in (text_latents(clvp, rows(40, 3, 8)), speech_latents(clvp, rows(100, 9, 2))):
        assert latents.shape == (2, 64)
        torch.testing.assert_close(latents.norm(dim=-1), torch.ones(2))


def test_training_tells_texts_apart():
    torch.manual_seed(1)
    clvp = build_clvp(SMALL)
    texts, codes = rows(40, 4, 6, 5, 8), rows(100, 10, 14, 9, 20)
    optimiser = torch.optim.Adam(clvp.parameters(), 1e-3)
    for _ in range(30):
        loss = contrastive_loss(clvp, texts, codes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert contrastive_loss(clvp.eval(), texts, codes) < 0.5 * math.log(4)
    own, others = score(clvp, texts, codes), score(clvp, texts, codes[1:] + codes[:1])
    assert (own > others).all()


def test_the_default_sizes_are_those_that_upstream_loads_the_official_file_into():
    with torch.device("meta"):
        upstream = upstream_module("models.clvp").CLVP(
            dim_text=768,
            dim_speech=768,
            dim_latent=768,
            num_text_tokens=256,
            text_enc_depth=20,
            text_seq_len=350,
            text_heads=12,
            num_speech_tokens=8192,
            speech_enc_depth=20,
            speech_heads=12,
            speech_seq_len=430,
            use_xformers=True,
        )
        ours = build_clvp()
    assert {key: t.shape for key, t in ours.state_dict().items()} == {
        key: t.shape for key, t in upstream.state_dict().items()
    }
