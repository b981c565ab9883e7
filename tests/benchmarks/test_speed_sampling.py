"""Writing tokens at the official width: ours against tortoise-tts's `inference_speech` at the settings of its `tts`.

Two of the thirty layers, so that upstream's default, which reads the whole sequence again for each token, ends in
minutes. Its cache is no equal setting: it puts every token but the first at another position than the training did.
"""

from __future__ import annotations

import pytest
import torch
from tortoise_reference import SMALL, same_weights, speak_upstream, upstream_gpt

from vqbench.teachers.tortoise.gpt import GPTDimensions
from vqbench.teachers.tortoise.sampling import Sampling, sample
from vqbench.teachers.tortoise.tokens import MelVocabulary

SETTINGS = {"do_sample": True, "temperature": 0.8, "top_p": 0.8, "repetition_penalty": 2.0, "length_penalty": 1.0}


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize(
    "contender", ["tortoise-tts", "tortoise-tts, its cache", "one voice and text", "all different"]
)
def test_sampling(benchmark, contender: str, batch: int, measured: bool, device, finished) -> None:
    d = GPTDimensions(n_layers=2) if measured else SMALL
    n_text, n = (50, 32) if measured else (6, 8)
    benchmark.group = f"sample {n} tokens, batch {batch}, width {d.width}, {device.type}"
    vocabulary = MelVocabulary(d.n_codes, d.start_mel, d.stop_mel, calm=3, tail=())
    upstream = upstream_gpt(d, spread=0.02)
    # Nobody stops early, so all write the same number of tokens.
    upstream.mel_head.bias.data[d.stop_mel] = -100
    upstream.to(device)
    gpt = same_weights(upstream, d)
    voices = torch.randn(batch, d.width, device=device)
    texts = [torch.randint(1, d.n_text_tokens, (n_text,)) for _ in range(batch)]
    if contender != "all different":
        voices, texts = voices[:1].expand(batch, -1), texts[:1] * batch

    def theirs(kv_cache: bool) -> torch.Tensor:
        text = texts[0].to(device)
        return speak_upstream(upstream, voices[0], text, n, kv_cache, num_return_sequences=batch, **SETTINGS)

    def ours() -> torch.Tensor:
        return sample(gpt, voices, texts, range(batch), Sampling(max_tokens=n), vocabulary).codes

    contenders = {"tortoise-tts": lambda: theirs(False), "tortoise-tts, its cache": lambda: theirs(True)}
    work = finished(contenders.get(contender, ours))
    codes = benchmark.pedantic(work, rounds=2 if contender == "tortoise-tts" else 5, warmup_rounds=1)
    assert codes.shape == (batch, n)
    assert not (codes == d.stop_mel).any()
    if batch > 1:
        assert not torch.equal(codes[0], codes[1])
