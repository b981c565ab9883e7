"""Learns from recordings whose tokens nobody knows: encoder and GPT label them together, and the encoder learns that.

This is expectation-maximisation over the tokens of transcribed recordings. In the E-step the teacher's GPT, which knows
what may be said in a text and a voice, corrects what the encoder hears (`teachers/tortoise/decoding`); in the M-step
the encoder is trained on these labels by cross-entropy, the decoder on the recordings' own mels, with the GPT's pairs
replayed. No true token is needed: only recordings with transcripts, which whoever recovers an encoder has in plenty.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.training import PseudoLabelConfig
from vqbench.data.manifest import Clip
from vqbench.errors import TrainingError
from vqbench.notes import tell
from vqbench.progress import Progress
from vqbench.teachers.tortoise.decoding import Joining
from vqbench.teachers.tortoise.likelihood import foretell
from vqbench.teachers.tortoise.pairs import read_pairs
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.network import DVAE
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.distil import Distillation
from vqbench.training.labelling import LABELS_VERSION, Labeller, Transcribed, find_utterances, is_held_out
from vqbench.training.loop import Term
from vqbench.training.stream import MelTokens

Batch = tuple[list[MelTokens], list[MelTokens]]
"""Labelled recordings, and pairs where they are replayed."""


@dataclass(frozen=True)
class RoundFigures:
    """Where the VQVAE stands after some rounds, on recordings that it is not trained on.

    Attributes:
        nats: cross-entropy of the encoder's own tokens by the untouched GPT, a token.
        l1: mean absolute error of the recordings' mels through encoder and decoder.
        labels_agree: share of the encoder's own tokens that encoder and GPT together would leave as they are.
        same_under_wrong_text: share of labels that stay when the GPT is given a wrong transcript. They are heard in the
            sound; labels that are only what the GPT likes in a text change with it.
    """

    nats: float
    l1: float
    labels_agree: float
    same_under_wrong_text: float

    @property
    def collapsed(self) -> bool:
        """Whether labels follow the text more than the sound."""
        return self.same_under_wrong_text < COLLAPSED


COLLAPSED = 0.25
"""Where a wrong transcript leaves fewer labels than this as they are, they no longer depend on the sound."""


@torch.inference_mode()
def look(
    labeller: Labeller,
    tokenizer: DVAETokenizer,
    teacher: TortoiseTeacher,
    utterances: Sequence[Transcribed],
    progress: Progress,
) -> RoundFigures:
    """Measures a VQVAE on held-out recordings.

    Args:
        labeller: with this very VQVAE.
        tokenizer: it.
        teacher: whose GPT is asked.
        utterances: held out.
        progress: shows how far it is.
    """
    front_end = MelFrontEnd(tokenizer.mel_spec)
    nats = error = 0.0
    n_asked = n_cells = n_tokens = agree = same = 0
    with progress.task("looking at held-out recordings", len(utterances)) as advance:
        for at in range(0, len(utterances), teacher.batch_size):
            part = utterances[at : at + teacher.batch_size]
            waveforms = [labeller.waveform(one.clip) for one in part]
            mels = [front_end(waveform) for waveform in waveforms]
            own = [codes.cpu() for codes in tokenizer.quantize(tokenizer.latents(mels))]
            told = tokenizer.decode(own)
            right = labeller.labels(waveforms, part)
            wrong = labeller.labels(waveforms, part, wrong=True)
            with teacher.gpt.loaded() as gpt:
                found = foretell(gpt, [one.voice for one in part], [one.text for one in part], own)
            nats += sum(float(row.nats.sum()) for row in found)
            n_asked += sum(len(row.nats) for row in found)
            for codes, by_right, by_wrong, mel, mel_hat in zip(own, right, wrong, mels, told, strict=True):
                agree += int((codes == by_right).sum())
                same += int((by_right == by_wrong).sum())
                n_tokens += len(codes)
                error += float((mel_hat.cpu()[:, : mel.shape[-1]] - mel).abs().sum())
                n_cells += mel.numel()
            advance(len(part))
    return RoundFigures(nats / n_asked, error / n_cells, agree / n_tokens, same / n_tokens)


class Rounds:
    """What the rounds of one training have come to.

    Args:
        config: how recordings are labelled, and when rounds end.
        dvae: the VQVAE that is trained, as it is before the first round.
        spec: its front end.
        teacher: whose GPT labels.
        clips: recordings with transcripts and speakers.
        device: where the VQVAE is.
        progress: shows how far it is.

    Attributes:
        rows: of the log, one a round; round 0 is before the first.
        best: the weights to hand on: the last that were no worse than those before.
    """

    def __init__(
        self,
        config: PseudoLabelConfig,
        dvae: DVAE,
        spec: MelSpec,
        teacher: TortoiseTeacher,
        clips: Sequence[Clip],
        device: torch.device,
        progress: Progress,
    ) -> None:
        self._config, self._teacher, self._progress = config, teacher, progress
        self._dvae, self._spec, self._device = dvae, spec, device
        self._utterances = find_utterances(clips, teacher, progress)
        self._held_out = [one for one in self._utterances if is_held_out(one.clip, config.validation_share)]
        if not self._held_out or len(self._held_out) == len(self._utterances):
            raise TrainingError(
                f"{len(self._held_out)} of {len(self._utterances)} recordings to label are held out",
                expected="some to learn, and some to see what is gained",
                fix="give more recordings, or another validation_share",
            )
        self.rows: list[dict[str, float]] = []
        self.best = _copy(dvae)
        self._figures = self._look()
        self._before: Path | None = None

    def label(self, folder: Path) -> None:
        """Labels all recordings by the VQVAE as it is now."""
        tokenizer = self._tokenizer()
        settings = {
            "labels": LABELS_VERSION,
            "encoder": tokenizer.digest,
            "teacher": self._teacher.digest,
            "joining": asdict(self._joining),
            "texts": hashlib.sha256(json.dumps([one.clip.text for one in self._utterances]).encode()).hexdigest(),
        }
        Labeller(tokenizer, self._teacher, self._joining).write(self._utterances, folder, settings, self._progress)

    def goes_on(self, labels: Path) -> bool:
        """Looks at what a round gained; says whether another one is worth its time.

        Args:
            labels: of this round.
        """
        before, self._figures = self._figures, self._look(labels)
        number, gain = len(self.rows) - 1, before.nats - self._figures.nats
        if self._figures.collapsed:
            tell(
                f"pseudo_label: round {number} collapsed: a wrong transcript leaves only "
                f"{self._figures.same_under_wrong_text:.0%} of the labels as they are, so they are no longer heard in "
                f"the sound; the round before is kept"
            )
            return False
        if gain < self._config.least_gain or gain <= 0:
            kept = "the round before" if gain <= 0 else "it"
            tell(f"pseudo_label: round {number} gained {gain:.3f} nats a token of held-out recordings; {kept} is kept")
        if gain <= 0:
            return False
        self.best, self._before = _copy(self._dvae), labels
        return gain >= self._config.least_gain

    def _look(self, labels: Path | None = None) -> RoundFigures:
        tokenizer = self._tokenizer()
        labeller = Labeller(tokenizer, self._teacher, self._joining)
        found = look(labeller, tokenizer, self._teacher, self._held_out, self._progress)
        row: dict[str, float] = {"round": len(self.rows), **asdict(found)}
        if labels is not None and self._before is not None:
            row["labels_changed"] = changed_share(_codes(labels), _codes(self._before))
        self.rows.append(row)
        return found

    def _tokenizer(self) -> DVAETokenizer:
        # A copy: a tokenizer takes the gradients off its network, and its digest is taken once.
        return DVAETokenizer(copy.deepcopy(self._dvae), self._spec, self._device)

    @property
    def _joining(self) -> Joining:
        return Joining(self._config.gpt_weight, self._config.posterior_scale, self._config.beams)


def _copy(dvae: DVAE) -> dict[str, Tensor]:
    return {key: tensor.detach().clone() for key, tensor in dvae.state_dict().items()}


def _codes(folder: Path) -> list[Tensor]:
    return [pair.codes for pair in read_pairs(folder, waveforms=False)]


def changed_share(labels: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """Share of labels that are other than those of the round before."""
    n = sum(len(row) for row in labels)
    return sum(int((row != old).sum()) for row, old in zip(labels, before, strict=True)) / max(1, n)


class Labelled:
    """Distillation of labelled recordings, and of the GPT's own pairs beside them, so that these are not forgotten.

    Args:
        labels: distillation of the labels.
        replayed: of the pairs; None where none are replayed.
        weight: of the pairs' loss beside the labels'.
    """

    def __init__(self, labels: Distillation, replayed: Distillation | None, weight: float) -> None:
        self.labels, self.replayed, self.weight = labels, replayed, weight
        self.best = labels.best

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Batch]:
        """Labelled recordings, each part with its share of the pairs."""
        labelled = self.labels.batches(step, draw, rank, world)
        pairs: Sequence[list[MelTokens]] = [[]] * len(labelled)
        if self.replayed is not None:
            pairs = self.replayed.batches(step, draw, rank, world)
        return list(zip(labelled, pairs, strict=True))

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Those of both, by names of their own."""
        labelled, pairs = batch
        counts = dict(self.labels.counts(labelled))
        if self.replayed is not None:
            counts |= {f"pairs_{name}": n for name, n in self.replayed.counts(pairs).items()}
        return counts

    def loss(self, batch: Batch, draw: torch.Generator) -> list[Term]:
        """The labels' terms, and the pairs' by their weight."""
        labelled, pairs = batch
        terms = self.labels.loss(labelled, draw)
        if self.replayed is not None:
            terms += [
                replace(term, name=f"pairs_{term.name}", weight=self.weight * term.weight, of=f"pairs_{term.of}")
                for term in self.replayed.loss(pairs, draw)
            ]
        return terms

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> Mapping[str, float]:
        """The codebook stays: its codes are the GPT's by now."""
        return {}

    def validate(self) -> Mapping[str, float]:
        """Agreement with the labels of held-out recordings, and with held-out pairs."""
        found = dict(self.labels.validate())
        if self.replayed is not None:
            found |= {f"pairs_{name}": value for name, value in self.replayed.validate().items()}
        return found
