"""Writes mel tokens with a GPT: many rows at once, each of them what it would have been alone.

The distribution is that of tortoise-tts's `inference_speech` on transformers 4.31 without its cache: repetition
penalty, temperature, top-k, top-p, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vqbench.errors import CheckpointError, ConfigError, DataError
from vqbench.teachers.tortoise.gpt import KeyValueCache, UnifiedVoice, causal
from vqbench.teachers.tortoise.tokens import OFFICIAL, MelVocabulary

PREFIX_ID = 1
"""The id that upstream's `generate` sees wherever voice and text stand, so the repetition penalty falls on code 1."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the defaults are what tortoise-tts's `tts` does.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: draws among the likeliest tokens that together just reach this probability.
        top_k: draws among so many of the likeliest tokens, 0 for all. 50 is the default of transformers, which
            tortoise-tts never sets.
        repetition_penalty: divides the positive logits of tokens already written, and multiplies the negative ones.
            Code 1 and the start token count as written from the beginning, as they do upstream.
        max_tokens: a row that has not stopped by then is unfinished.
    """

    temperature: float = 0.8
    top_p: float = 0.8
    top_k: int = 50
    repetition_penalty: float = 2.0
    max_tokens: int = 500

    def __post_init__(self) -> None:
        possible = self.temperature >= 0 and 0 < self.top_p <= 1 and self.repetition_penalty > 0
        if not possible or self.top_k < 0 or self.max_tokens < 1:
            raise ConfigError(
                f"tokens cannot be drawn like this: {self}",
                expected="temperature and top_k >= 0, 0 < top_p <= 1, repetition_penalty > 0, max_tokens >= 1",
            )


@dataclass(frozen=True)
class Sampled:
    """What a GPT wrote.

    Attributes:
        codes: (B, max_tokens) int64, from a row's first stop on nothing but stop. The width is that of upstream's
            padding, so that `settle` puts a tail where upstream does, whatever the neighbours.
        finished: (B,) bool, whether the row stopped by itself.
    """

    codes: Tensor
    finished: Tensor


def sample(
    gpt: UnifiedVoice,
    conditioning: Tensor,
    texts: Sequence[Tensor],
    seeds: Sequence[int],
    sampling: Sampling | None = None,
    vocab: MelVocabulary = OFFICIAL,
) -> Sampled:
    """Draws one sequence of tokens a row.

    A row depends on its own voice, text and seed alone: shorter texts are padded on the left and the padding is masked,
    and each row draws from its own generator. Neighbours change it by floating-point rounding at most. Rows with the
    same voice and text are read once. A row that stops leaves the batch.

    Args:
        gpt: in eval mode.
        conditioning: (B, width), a voice for each row.
        texts: B times (T,) int64, as `TextEncoder` gives them.
        seeds: B integers.
        sampling: the defaults where None.
        vocab: the GPT's.

    Raises:
        ConfigError: more tokens are asked for than the GPT has positions, or the vocabulary is another GPT's.
        DataError: a text is longer than that.
        CheckpointError: the GPT's logits are not numbers.
    """
    sampling = sampling or Sampling()
    _check(gpt, texts, sampling, vocab)
    device = conditioning.device
    written = torch.full((len(texts), 2 + sampling.max_tokens), PREFIX_ID, device=device)
    written[:, 1] = vocab.start
    # One uniform number a token, drawn before anything else: no neighbour and no device can shift them.
    uniform = [
        torch.rand(sampling.max_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    if texts:
        with torch.inference_mode():
            _write(gpt, conditioning, texts, torch.stack(uniform).to(device), written, sampling, vocab)
    codes = written[:, 2:]
    ended = (codes == vocab.stop).cumsum(1) > 0
    return Sampled(codes.masked_fill(ended, vocab.stop), ended.any(1))


def _check(gpt: UnifiedVoice, texts: Sequence[Tensor], sampling: Sampling, vocab: MelVocabulary) -> None:
    most = gpt.dimensions
    if vocab.n_codes != most.n_codes:
        raise ConfigError(f"the vocabulary has {vocab.n_codes} codes", expected=f"the GPT's {most.n_codes}")
    if sampling.max_tokens > most.max_mel_tokens:
        raise ConfigError(
            f"max_tokens is {sampling.max_tokens}", expected=f"at most the GPT's {most.max_mel_tokens} positions"
        )
    longest = max((len(text) for text in texts), default=0)
    if longest > most.max_text_tokens:
        raise DataError(
            f"a text has {longest} tokens",
            expected=f"at most the GPT's {most.max_text_tokens} positions",
            fix="split it into sentences",
        )


def _write(
    gpt: UnifiedVoice,
    conditioning: Tensor,
    texts: Sequence[Tensor],
    uniform: Tensor,
    written: Tensor,
    sampling: Sampling,
    vocab: MelVocabulary,
) -> None:
    """Fills `written` (B, 2 + max_tokens) from its third column on, as far as each row goes."""
    cache, hidden, visible = read_prefixes(gpt, conditioning, texts, sampling.max_tokens, vocab)
    padded = not bool(visible.all())
    # The rows that still write: row i of the cache belongs to row rows[i] of `written`.
    rows = torch.arange(len(texts), device=written.device)
    sane = torch.ones((), dtype=torch.bool, device=written.device)
    for n in range(sampling.max_tokens):
        logits = gpt.mel_head(gpt.final_norm(hidden))
        sane &= ~logits.isnan().any()
        tokens = _draw(_penalised(logits, written[rows], sampling.repetition_penalty), uniform[rows, n], sampling)
        written[rows, 2 + n] = tokens
        stopped = tokens == vocab.stop
        if stopped.any():
            staying = _closed_up(stopped)
            cache.keep(staying)
            rows, tokens, visible = rows[staying], tokens[staying], visible[staying]
        if len(rows) == 0 or n + 1 == sampling.max_tokens:
            break
        embedded = gpt.mel_embedding(tokens) + gpt.mel_pos_embedding.emb.weight[n + 1]
        mask = visible[:, None, None, : cache.length + 1] if padded else None
        hidden = cache.advance(embedded[:, None], mask)[:, -1]
    if not sane:
        raise CheckpointError(
            "the GPT's logits are not numbers",
            expected="finite weights, and a precision that holds their products",
        )


def read_prefixes(
    gpt: UnifiedVoice, conditioning: Tensor, texts: Sequence[Tensor], max_tokens: int, vocab: MelVocabulary
) -> tuple[KeyValueCache, Tensor, Tensor]:
    """Reads voice, text and start token of each row.

    Returns:
        the cache, with room for all tokens; the last position's states (B, width); which positions hold something,
        (B, room) bool.
    """
    first, source = _distinct(conditioning, texts)
    prefixes = [gpt.prefix(conditioning[row : row + 1], texts[row][None].to(conditioning.device))[0] for row in first]
    embedded = pad_sequence([prefix.flip(0) for prefix in prefixes], batch_first=True).flip(1)
    start = gpt.mel_embedding.weight[vocab.start] + gpt.mel_pos_embedding.emb.weight[0]
    embedded = torch.cat([embedded, start.expand(len(first), 1, -1)], dim=1)

    n = embedded.shape[1]
    room = n + max_tokens - 1
    lengths = torch.tensor([1 + len(prefix) for prefix in prefixes], device=embedded.device)
    visible = torch.arange(room, device=embedded.device) >= n - lengths[:, None]
    cache = KeyValueCache(gpt.gpt, len(first), n, embedded)
    hidden = cache.advance(embedded, causal(visible[:, :n], n))[:, -1]
    return cache.spread(source, room), hidden[source], visible[source]


def _distinct(conditioning: Tensor, texts: Sequence[Tensor]) -> tuple[list[int], Tensor]:
    """The first row of each pair of voice and text, and for each row which of these it repeats, (B,) int64."""
    seen: dict[tuple[bytes, bytes], int] = {}
    first: list[int] = []
    source: list[int] = []
    # As float64 and not as it is, since numpy knows no bfloat16.
    for row, (voice, text) in enumerate(zip(conditioning.double().cpu(), texts, strict=True)):
        key = voice.numpy().tobytes(), text.cpu().numpy().tobytes()
        if key not in seen:
            seen[key] = len(first)
            first.append(row)
        source.append(seen[key])
    return first, torch.tensor(source, device=conditioning.device)


def _closed_up(stopped: Tensor) -> Tensor:
    """The rows that did not stop, (A,) int64; only the last ones move, into the gaps, so that little is copied.

    >>> _closed_up(torch.tensor([False, True, False, False])).tolist()
    [0, 3, 2]
    """
    staying = (~stopped).nonzero()[:, 0]
    n = len(staying)
    order = torch.arange(n, device=stopped.device)
    order[stopped[:n]] = staying[staying >= n]
    return order


def _penalised(logits: Tensor, written: Tensor, penalty: float) -> Tensor:
    """Logits (A, V) in at least float32, those of the ids in `written` (A, N) made less likely."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    seen = logits.gather(1, written)
    return logits.scatter(1, written, torch.where(seen < 0, seen * penalty, seen / penalty))


def _draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One token a row, (A,) int64, where the uniform number (A,) float64 in [0, 1) falls in the distribution."""
    if sampling.temperature == 0:
        return logits.argmax(1)
    k = min(sampling.top_k or logits.shape[1], logits.shape[1])
    likeliest, tokens = (logits / sampling.temperature).topk(k)
    p = likeliest.softmax(1)
    # A token is out where the likelier ones already reach top_p; the first never is.
    p = p.masked_fill(p.cumsum(1) - p >= sampling.top_p, 0.0)
    # In float64 the product stays below the total, so the count stays below the number of tokens left.
    cumulative = p.cumsum(1, dtype=torch.float64)
    chosen = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1, keepdim=True)
    return tokens.gather(1, chosen)[:, 0]
