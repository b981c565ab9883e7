"""On the shipped weights and on the official size, with real speech: padding and company change no code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizer_reference import reference_codes, reference_latents

from vqbench.audio.io import load_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.corpora import corpus_clips
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.network import DVAE
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import encode

CHECKPOINTS = Path(__file__).parents[3] / "suites/checkpoints"


@pytest.fixture(scope="module")
def mels() -> list[torch.Tensor]:
    front_end = MelFrontEnd()
    with torch.inference_mode():
        return [front_end(load_waveform(clip.path, 22_050)) for clip in corpus_clips("tortoise-voices", "test")]


@pytest.mark.parametrize("name", ["trained", "small"])
def test_shipped_weights_give_the_same_codes_alone_pooled_and_padded(
    name: str, mels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(CHECKPOINTS / f"{name}.safetensors")
    state = tokenizer.dvae.state_dict()
    alone = torch.cat([reference_codes(state, mel[None])[0] for mel in mels])
    latents = torch.cat([reference_latents(state, mel[None])[0].t() for mel in mels])
    assert len(alone) > 2000
    assert_same_but_for_ties(torch.cat(encode(tokenizer, mels)), alone, latents, tokenizer.dvae.codebook.embed)

    monkeypatch.setattr("vqbench.tokenizers.dvae.tokenizer._pads_batches", lambda device: True)
    assert_same_but_for_ties(torch.cat(encode(tokenizer, mels)), alone, latents, tokenizer.dvae.codebook.embed)
    padded = tokenizer.decode(torch.split(alone, [-(-mel.shape[-1] // 4) for mel in mels]))
    monkeypatch.undo()
    for a, b in zip(tokenizer.decode(torch.split(alone, [c.shape[-1] // 4 for c in padded])), padded, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def assert_same_but_for_ties(
    codes: torch.Tensor, expected: torch.Tensor, latents: torch.Tensor, embed: torch.Tensor
) -> None:
    """Another order of summation may only decide between codes that are equally near, within float32's rounding."""
    differ = codes != expected
    assert differ.sum() <= 2
    near, other = ((latents[differ] - embed[:, c[differ]].t()).norm(dim=1) for c in (expected, codes))
    torch.testing.assert_close(near, other, rtol=1e-4, atol=0)


def test_official_size_gives_the_same_codes_padded(mels: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    dvae = DVAE().eval().requires_grad_(False).double()
    clips = [mel[:, : 60 + 37 * i].double() for i, mel in enumerate(mels[:5])]
    # Random encoders write tiny latents; a codebook drawn from them makes codes that compete.
    with torch.inference_mode():
        z = torch.cat([dvae.latents(mel[None].double())[0].t() for mel in mels[5:8]])
    spread = z[torch.randint(len(z), (8192,))] + 0.3 * z.std(0) * torch.randn(8192, z.shape[1], dtype=torch.float64)
    dvae.codebook.set_codes(spread, 1.0)
    tokenizer = DVAETokenizer(dvae, MelSpec())
    alone = encode(tokenizer, clips)
    monkeypatch.setattr("vqbench.tokenizers.dvae.tokenizer._pads_batches", lambda device: True)
    padded = encode(tokenizer, clips)
    assert len(torch.cat(alone).unique()) > 20
    assert all(torch.equal(a, b) for a, b in zip(alone, padded, strict=True))
