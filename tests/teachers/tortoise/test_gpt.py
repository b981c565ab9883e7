"""Our GPT is tortoise-tts's: the same keys, and the same numbers on the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from tortoise_reference import SMALL, same_weights, upstream_gpt

from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice

# The official width and heads; two layers show what thirty would, in a test's time.
WIDE = GPTDimensions(n_layers=2)


@pytest.fixture(scope="module", params=[SMALL, WIDE], ids=["small", "wide"])
def pair(request: pytest.FixtureRequest) -> tuple[object, UnifiedVoice]:
    upstream = upstream_gpt(request.param)
    return upstream, same_weights(upstream, request.param)


def inputs(d: GPTDimensions) -> tuple[Tensor, Tensor, Tensor]:
    """Voice, text and codes of two rows."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, d.width, generator=generator),
        torch.randint(1, d.n_text_tokens, (2, 11), generator=generator),
        torch.randint(d.n_codes, (2, 23), generator=generator),
    )


def test_every_key_and_shape_is_the_official_one() -> None:
    with torch.device("meta"):
        ours = UnifiedVoice().state_dict()
        theirs = upstream_gpt(GPTDimensions()).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    assert sum(value.numel() for value in ours.values()) == 421_526_786


def test_weights_go_there_and_back_strictly() -> None:
    theirs, ours = upstream_gpt(SMALL, seed=1), UnifiedVoice(SMALL)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(upstream_gpt(SMALL, seed=2).state_dict(), strict=True)


def test_logits_are_upstreams(pair) -> None:
    upstream, gpt = pair
    conditioning, text, codes = inputs(gpt.dimensions)
    heard: list[Tensor] = []
    hook = upstream.text_head.register_forward_hook(lambda module, args, output: heard.append(output))
    text_lengths, wav_lengths = torch.full((2,), text.shape[1]), torch.full((2,), codes.shape[1] * 1024)
    text_loss, mel_loss, mel = upstream(conditioning, text, text_lengths, codes.clone(), wav_lengths)
    hook.remove()

    logits = gpt(conditioning, text, codes)
    torch.testing.assert_close(logits.text, heard[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits.mel, mel.transpose(1, 2), atol=1e-4, rtol=1e-4)
    # The losses are those of predicting each next token, the stop token last (twice, as upstream pads).
    d = gpt.dimensions
    ends = F.pad(codes, (0, 2), value=d.stop_mel)
    torch.testing.assert_close(F.cross_entropy(logits.mel.transpose(1, 2), ends), mel_loss)
    torch.testing.assert_close(F.cross_entropy(logits.text.transpose(1, 2), F.pad(text, (0, 2))), text_loss)
    # Random weights that predicted the same everywhere would prove little.
    assert logits.mel.std(1).mean() > 0.1


def test_latents_are_upstreams(pair) -> None:
    upstream, gpt = pair
    conditioning, text, codes = inputs(gpt.dimensions)
    lengths = torch.full((2,), text.shape[1]), torch.full((2,), codes.shape[1] * 1024)
    theirs = upstream(conditioning, text, lengths[0], codes.clone(), lengths[1], return_latent=True, clip_inputs=False)
    latents = gpt.latents(conditioning, text, codes)
    assert latents.shape == (2, codes.shape[1], gpt.dimensions.width)
    torch.testing.assert_close(latents, theirs, atol=1e-4, rtol=1e-4)


def test_conditioning_is_upstreams(pair) -> None:
    upstream, gpt = pair
    clips = torch.randn(2, 3, 80, 57, generator=torch.Generator().manual_seed(2))
    ours = gpt.conditioning(clips.flatten(0, 1)).view(2, 3, -1)
    torch.testing.assert_close(ours[:, 0], upstream.get_conditioning(clips[:, 0]), atol=1e-4, rtol=1e-4)
    # A voice is the mean over its clips.
    torch.testing.assert_close(ours.mean(1), upstream.get_conditioning(clips), atol=1e-4, rtol=1e-4)


def test_a_shorter_text_is_what_it_is_alone() -> None:
    gpt = same_weights(upstream_gpt(SMALL), SMALL).double()
    conditioning, text, codes = inputs(SMALL)
    conditioning, lengths = conditioning.double(), torch.tensor([11, 6])
    padded = text * (torch.arange(11) < lengths[:, None])
    together = gpt(conditioning, padded, codes, lengths)
    latents = gpt.latents(conditioning, padded, codes, lengths)
    for row, n in enumerate(lengths.tolist()):
        voice, words, sounds = conditioning[row : row + 1], text[row : row + 1, :n], codes[row : row + 1]
        alone = gpt(voice, words, sounds)
        torch.testing.assert_close(together.mel[row], alone.mel[0])
        torch.testing.assert_close(together.text[row, : n + 2], alone.text[0])
        torch.testing.assert_close(latents[row], gpt.latents(voice, words, sounds)[0])
    # Without the lengths the padding is read, as upstream reads it.
    assert not torch.allclose(gpt(conditioning, padded, codes).mel[1], together.mel[1], atol=1e-3)


def test_a_batch_padded_as_upstream_pads_is_upstreams() -> None:
    upstream = upstream_gpt(SMALL)
    gpt = same_weights(upstream, SMALL)
    conditioning, text, codes = inputs(SMALL)
    padded = text * (torch.arange(11) < torch.tensor([[11], [6]]))
    wav_lengths = torch.full((2,), codes.shape[1] * 1024)
    _, _, mel = upstream(conditioning, padded, torch.tensor([11, 6]), codes.clone(), wav_lengths)
    torch.testing.assert_close(gpt(conditioning, padded, codes).mel, mel.transpose(1, 2), atol=1e-4, rtol=1e-4)
