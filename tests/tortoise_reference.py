"""tortoise-tts's own GPT with random weights, large enough that its predictions differ, and ours on the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.tokens import MelVocabulary
from vqbench.teachers.tortoise.upstream import upstream_module

SMALL = GPTDimensions(
    n_layers=3, width=64, n_heads=4, n_text_tokens=40, n_codes=60, max_text_tokens=30, max_mel_tokens=50
)
VOCABULARY = MelVocabulary(n_codes=60, start=60, stop=61, calm=3, tail=(5, 5, 7))


def upstream_gpt(d: GPTDimensions, seed: int = 0, spread: float = 0.1) -> Any:
    """tortoise-tts's UnifiedVoice in eval mode; no weight is zero, as some are at the start of a training."""
    torch.manual_seed(seed)
    gpt = upstream_module("models.autoregressive").UnifiedVoice(
        layers=d.n_layers,
        model_dim=d.width,
        heads=d.n_heads,
        max_text_tokens=d.max_text_tokens,
        max_mel_tokens=d.max_mel_tokens,
        max_conditioning_inputs=d.max_conditioning_inputs,
        number_text_tokens=d.n_text_tokens,
        start_text_token=d.start_text,
        number_mel_codes=d.n_codes + 2,
        start_mel_token=d.start_mel,
        stop_mel_token=d.stop_mel,
        checkpointing=False,
    )
    for parameter in gpt.parameters():
        # At the small width this much noise makes neither a constant sequence nor near ties.
        parameter.data.add_(torch.randn_like(parameter), alpha=spread * (64 / d.width) ** 0.5)
    return gpt.eval().requires_grad_(False)


def same_weights(upstream: Any, d: GPTDimensions) -> UnifiedVoice:
    """Ours, on upstream's very tensors."""
    with torch.device("meta"):
        gpt = UnifiedVoice(d)
    gpt.load_state_dict(upstream.state_dict(), assign=True)
    return gpt.eval().requires_grad_(False)


def speak_upstream(
    upstream: Any, conditioning: Tensor, text: Sequence[int] | Tensor, n: int, kv_cache: bool = False, **settings: Any
) -> Tensor:
    """`inference_speech` for one voice and text: (rows, at most n) int64."""
    upstream.post_init_gpt2_config(kv_cache=kv_cache)
    with torch.no_grad():
        codes: Tensor = upstream.inference_speech(
            conditioning[None], torch.as_tensor(text)[None], max_generate_length=n, **settings
        )
    # The wrapper makes the mel embedding the transformer's own a second time, which a strict load would not know.
    del upstream.gpt.wte, upstream.inference_model
    return codes


def bare_head(upstream: Any, logits: Tensor) -> None:
    """Lets every next token have these logits (n_codes + 2,), whatever was read."""
    head: nn.Linear = upstream.mel_head
    head.weight.data.zero_()
    head.bias.data.copy_(logits)
