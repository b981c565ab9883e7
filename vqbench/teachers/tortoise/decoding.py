"""Reads tokens out of recordings with an encoder and the GPT together.

An encoder says how likely each code is of what it hears, p(z_t | x); the GPT how likely it is to be said there,
p(z_t | z_<t, text, voice). The search looks for the tokens that maximise

    sum_t log p(z_t | x) + weight · sum_t log p(z_t | z_<t, text, voice) + weight · log p(stop | z, text, voice)

as hybrid speech recognisers join an acoustic model and a language model (Bourlard and Morgan 1994). The encoder alone
is `weight: 0`, whose best sequence is each token's nearest code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqbench.errors import CheckpointError, ConfigError
from vqbench.teachers.tortoise.gpt import KeyValueCache, UnifiedVoice
from vqbench.teachers.tortoise.sampling import read_prefixes
from vqbench.teachers.tortoise.tokens import MelVocabulary


@dataclass(frozen=True)
class Joining:
    """How encoder and GPT are joined.

    Attributes:
        weight: of the GPT's log-probabilities beside the encoder's; 0 leaves the GPT out.
        scale: how sharp the encoder's distribution is: a code's logit is its squared distance from the latent times
            minus this. An encoder that is trained by cross-entropy is surer of what it hears than it is right.
        beams: sequences that are followed at once.
    """

    weight: float = 1.0
    scale: float = 0.3
    beams: int = 4

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.scale > 0 and self.beams >= 1):
            raise ConfigError(
                f"encoder and GPT cannot be joined like this: {self}",
                expected="weight at least 0, scale above 0, beams at least 1",
            )


def log_posterior(latents: Tensor, codebook: Tensor, scale: float) -> Tensor:
    """Log-probabilities of the codes, by how near each one is: softmax of -scale · ‖latent - code‖².

    Args:
        latents: (L, D) float.
        codebook: (K, D) float.
        scale: above 0.

    Returns:
        (L, K) float32.
    """
    codes = codebook.float()
    # The latent's own square is the same for all codes, and leaves with the softmax.
    logits = scale * (2 * latents.float() @ codes.t() - codes.square().sum(1))
    return logits.log_softmax(1)


@torch.no_grad()
def decode_jointly(
    gpt: UnifiedVoice,
    conditioning: Tensor,
    texts: Sequence[Tensor],
    emissions: Sequence[Tensor],
    joining: Joining,
    vocab: MelVocabulary,
) -> list[Tensor]:
    """Beam search for the tokens of recordings that encoder and GPT together find likeliest.

    All rows go on together, the longest first, on the KV cache that sampling has. Nothing is drawn.

    Args:
        gpt: in eval mode.
        conditioning: (B, width), a voice for each recording.
        texts: B times (T,) int64: what is said in each.
        emissions: B times (L, K) float32, log-probabilities by the encoder; K is at most the GPT's codes.
        joining: how the two are weighed, and how many beams there are.
        vocab: the GPT's.

    Returns:
        codes (L,) int64 of each recording, on the CPU.

    Raises:
        ConfigError: a recording has more tokens than the GPT has positions, or more codes than it can write.
        CheckpointError: the GPT's logits are not numbers.
    """
    if not joining.weight:
        return [emission.argmax(1).cpu() for emission in emissions]
    _check(gpt, emissions, vocab)
    order = sorted(range(len(emissions)), key=lambda row: -len(emissions[row]))
    found: dict[int, Tensor] = {row: torch.empty(0, dtype=torch.int64) for row in order if not len(emissions[row])}
    order = [row for row in order if row not in found]
    if order:
        search = _Search(gpt, conditioning, texts, [emissions[row] for row in order], order, joining, vocab)
        found.update(zip(order, search.run(), strict=True))
    return [found[row] for row in range(len(emissions))]


class _Search:
    """The beams of several recordings, which stand in rows: those of recording i from i · beams on.

    Recordings are sorted by length, so that those which are over leave at the end.
    """

    def __init__(
        self,
        gpt: UnifiedVoice,
        conditioning: Tensor,
        texts: Sequence[Tensor],
        emissions: Sequence[Tensor],
        order: Sequence[int],
        joining: Joining,
        vocab: MelVocabulary,
    ) -> None:
        self.gpt, self.emissions, self.joining, self.vocab = gpt, emissions, joining, vocab
        self.device = conditioning.device
        beams, longest = joining.beams, len(emissions[0])
        rows = [row for row in order for _ in range(beams)]
        self.cache: KeyValueCache
        # Room for one more than is written: the stop is read off after the last token.
        self.cache, self.hidden, self.visible = read_prefixes(
            gpt, conditioning[rows], [texts[row] for row in rows], longest + 1, vocab
        )
        self.prefix = self.cache.length
        self.padded = not bool(self.visible.all())
        self.scores = torch.full((len(order), beams), -torch.inf, dtype=emissions[0].dtype, device=self.device)
        self.scores[:, 0] = 0.0  # all beams of a recording are alike before the first token
        self.codes = torch.zeros(len(order), beams, longest, dtype=torch.int64, device=self.device)

    def run(self) -> list[Tensor]:
        """The codes of each recording."""
        found: list[Tensor] = []
        n = len(self.emissions)
        for place in range(len(self.emissions[0]) + 1):
            logits = self.gpt.mel_head(self.gpt.final_norm(self.hidden))
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            written = self.joining.weight * logits.log_softmax(1).view(n, self.joining.beams, -1)
            if written.isnan().any():
                raise CheckpointError("the GPT's logits are not numbers", expected="finite weights")
            going_on = sum(len(emission) > place for emission in self.emissions[:n])
            for row in reversed(range(going_on, n)):
                # Over: of the beams, the one after which the GPT would most likely stop.
                best = int((self.scores[row] + written[row, :, self.vocab.stop]).argmax())
                found.append(self.codes[row, best, :place].cpu())
            n = going_on
            if not n:
                break
            self._extend(n, place, written[:n])
        return found[::-1]

    def _extend(self, n: int, place: int, written: Tensor) -> None:
        """Goes on by one token in the n recordings that are not over."""
        beams = self.joining.beams
        heard = torch.stack([emission[place] for emission in self.emissions[:n]]).to(self.device)
        n_codes = heard.shape[1]
        together = self.scores[:n, :, None] + heard[:, None, :] + written[:, :, :n_codes]
        best = together.flatten(1).topk(beams)
        parents, tokens = best.indices // n_codes, best.indices % n_codes
        self.scores = best.values
        self.codes = self.codes[:n].gather(1, parents[:, :, None].expand(-1, -1, self.codes.shape[2]))
        self.codes[:, :, place] = tokens
        rows = (parents + beams * torch.arange(n, device=self.device)[:, None]).flatten()
        self.cache.keep(rows, since=self.prefix)
        self.visible = self.visible[: len(rows)]
        embedded = self.gpt.mel_embedding(tokens.flatten()) + self.gpt.mel_pos_embedding.emb.weight[place + 1]
        mask = self.visible[:, None, None, : self.cache.length + 1] if self.padded else None
        self.hidden = self.cache.advance(embedded[:, None], mask)[:, -1]


def _check(gpt: UnifiedVoice, emissions: Sequence[Tensor], vocab: MelVocabulary) -> None:
    most = gpt.dimensions.max_mel_tokens
    for emission in emissions:
        if len(emission) > most:
            raise ConfigError(f"a recording has {len(emission)} tokens", expected=f"at most the GPT's {most} positions")
        if emission.shape[1] > vocab.n_codes:
            raise ConfigError(
                f"the encoder has {emission.shape[1]} codes",
                expected=f"at most the {vocab.n_codes} that the GPT writes",
            )
