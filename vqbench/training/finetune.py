"""The GPT's own objective: predict every code of an utterance, and its text, from what came before."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from vqbench.config.training import FinetuneConfig
from vqbench.data.manifest import Clip
from vqbench.errors import CheckpointError, DataError, raise_all
from vqbench.files import has_sum, write_sum, write_whole
from vqbench.progress import Progress
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.teachers.tortoise.pair_generation import split_of
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.protocol import MelTokenizer
from vqbench.training.loop import Term, optimize
from vqbench.training.processes import all_processes_together, rank
from vqbench.training.reconstruct import in_parts
from vqbench.training.speech import Batches, Speech, read_speech

TEXT_WEIGHT = 0.01
"""Weight of the text loss beside the mel loss, as TorToiSe's fine-tuning has it."""

GPT_WEIGHTS = "autoregressive.pth"
"""What a fine-tuned GPT is saved as: TorToiSe's own name, and its own keys."""

_COUNTS = "tokens.json"
"""Beside it, how often each token of the training speech was written; the stops last."""

_LATE, _TOO_EARLY = 0.75, 0.5
"""What `late_fall` looks at: the last quarter of a training, or as much more of its second half as was validated."""

_IGNORED = -100


def finetune_gpt(
    config: FinetuneConfig,
    teacher: TortoiseTeacher,
    tokenizer: MelTokenizer,
    clips: Sequence[Clip],
    folder: Path,
    seed: int,
    progress: Progress,
) -> Path:
    """Trains a teacher's GPT on the tokens that a VQVAE writes, or goes on, or finds that it is done.

    Args:
        config: how.
        teacher: whose GPT it is; nothing of it is changed.
        tokenizer: writes the tokens of the training speech.
        clips: speech with transcripts and speakers.
        folder: for state, log, `tokens.json` and, in the end, `autoregressive.pth`, which tortoise-tts loads.
        seed: of every draw.
        progress: shows how far it is.

    Returns:
        the file of its weights.

    Raises:
        CheckpointError: the VQVAE has codes that the GPT cannot write.
        DataError: a clip cannot be read or has no transcript (several: ManyErrors), or none is left to train on.
        TrainingError: the loss diverged.
    """
    path, device = folder / GPT_WEIGHTS, teacher.device
    if has_sum(path):
        _drop_others(folder)
        return path
    require_writable_codes(tokenizer.codebook_size, teacher)
    with teacher.gpt.loaded() as taught:
        gpt = UnifiedVoice(taught.dimensions, config.dropout).to(device)
        gpt.load_state_dict({key: tensor.float() for key, tensor in taught.state_dict().items()}, strict=True)
    gpt.gpt.recompute = config.gradient_checkpointing
    speech = _speech(config, teacher, tokenizer, clips, gpt.dimensions.max_mel_tokens, progress)
    n_frames = teacher.gpt_mel(torch.zeros(tokenizer.mel_spec.sample_rate_hz)).shape[-1]
    batches = Batches(speech, min(config.batch_size, speech.n_training), device, n_frames)

    if rank() == 0:
        _keep_counts(folder, speech, tokenizer.codebook_size)

    def save(file: Path) -> None:
        content = io.BytesIO()
        torch.save({key: tensor.detach().cpu() for key, tensor in gpt.state_dict().items()}, content)
        write_whole(file.with_suffix(".pth"), content.getvalue())

    objective = NextToken(gpt, batches, config.text_weight, config.accumulate)
    optimize(gpt.train(), objective, config, seed, folder, device, progress, "finetune", save)
    if rank() == 0:
        save(path)
        write_sum(path)  # without it, what was saved counts as absent
        (folder / "state.pt").unlink(missing_ok=True)
        _drop_others(folder)
    all_processes_together(device)
    return path


def count_tokens(
    config: FinetuneConfig,
    teacher: TortoiseTeacher,
    tokenizer: MelTokenizer,
    clips: Sequence[Clip],
    folder: Path,
    progress: Progress,
) -> list[int]:
    """How often each token is written of the speech that a GPT was trained on; the last count is that of the stops.

    Arguments and errors as for `finetune_gpt`, which leaves the counts in its folder; else they are taken again.
    """
    path, size = folder / _COUNTS, tokenizer.codebook_size
    if has_sum(path):
        counts: list[int] = json.loads(path.read_text(encoding="utf-8"))
        return counts
    with teacher.gpt.loaded() as gpt:
        most = gpt.dimensions.max_mel_tokens
    return _keep_counts(folder, _speech(config, teacher, tokenizer, clips, most, progress), size)


def late_fall(folder: Path) -> float | None:
    """By which share the cross-entropy of the codes of validation speech fell in the last quarter of a training.

    It is told by the log: from the last validation before that quarter began, but in the second half, to the end.

    Args:
        folder: as for `finetune_gpt`, which is done.

    Returns:
        a share, below 0 where it rose; None where nothing was validated then.
    """
    try:
        rows = list(csv.DictReader(io.StringIO((folder / "log.csv").read_text(encoding="utf-8"))))
        course = [(int(row["step"]), float(row["validation_mel"])) for row in rows if row.get("validation_mel")]
    except (OSError, ValueError, KeyError):
        return None
    end = course[-1][0] if course else 0
    before = [nats for step, nats in course if _TOO_EARLY * end <= step <= _LATE * end]
    return 1 - course[-1][1] / before[-1] if end and before else None


def _keep_counts(folder: Path, speech: Speech, codebook_size: int) -> list[int]:
    codes = speech.codes[0]
    written = codes.flat[: int(codes.starts[speech.n_training])].long()
    counts: list[int] = [*torch.bincount(written, minlength=codebook_size).tolist(), speech.n_training]
    write_whole(folder / _COUNTS, json.dumps(counts).encode())
    write_sum(folder / _COUNTS)
    return counts


def _drop_others(folder: Path) -> None:
    """A GPT is large: beside the one that is handed on, neither the last nor the one that validated best is kept."""
    for name in ("best.pth", "last.pth"):
        (folder / name).unlink(missing_ok=True)


def require_writable_codes(codebook_size: int, teacher: TortoiseTeacher, where: str | None = None) -> None:
    """Checks that a teacher's GPT has a token for each code.

    Raises:
        CheckpointError: the VQVAE has codes that the GPT cannot write.
    """
    if codebook_size > teacher.vocabulary.n_codes:
        raise CheckpointError(
            f"the VQVAE has {codebook_size} codes, the teacher's GPT {teacher.vocabulary.n_codes}",
            where=where,
            expected="no more codes than the GPT can write",
        )


def require_transcripts(clips: Sequence[Clip]) -> None:
    """Checks that there is a text for each clip.

    Raises:
        DataError: there is none (several: ManyErrors).
    """
    raise_all([DataError("the clip has no transcript", where=clip.id) for clip in clips if not clip.text])


def clips_that_fit(clips: Sequence[Clip], most_s: float) -> list[Clip]:
    """Those that a GPT which can write so many seconds can be tuned on."""
    return [clip for clip in clips if clip.duration_s < most_s]


def is_held_out(clip: Clip, validation_share: float) -> bool:
    """Whether a clip is validated with, by a hash of its sentence."""
    return split_of(f"validation: {clip.text}", validation_share) == "test"


def _speech(
    config: FinetuneConfig,
    teacher: TortoiseTeacher,
    tokenizer: MelTokenizer,
    clips: Sequence[Clip],
    max_tokens: int,
    progress: Progress,
) -> Speech:
    """The clips that the GPT can read, tokenised, those that are held out last."""
    require_transcripts(clips)
    most_s = max_tokens / tokenizer.token_rate_hz
    fitting = clips_that_fit(clips, most_s)
    # Held out by sentence, as of pairs: what somebody else says in training is not held out.
    held_out = [is_held_out(clip, config.validation_share) for clip in fitting]
    if all(held_out):
        raise DataError(
            f"no clip is left to fine-tune on: {len(clips)} clips, {len(clips) - len(fitting)} of them longer than the "
            f"{most_s:.1f} s that the GPT can write, {sum(held_out)} held out",
            fix="give more clips, or shorter ones",
        )
    ordered = [
        clip for side in (False, True) for clip, is_held in zip(fitting, held_out, strict=True) if is_held == side
    ]
    return read_speech(ordered, tokenizer, teacher.encode, sum(held_out), progress)


@dataclass(frozen=True)
class Utterances:
    """Some utterances, and who says them.

    Attributes:
        rows: which.
        phase: of their codes.
        crops: (S, n_mels, frames) float32, one recording a speaker.
        which: (B,) int64, whose crop each utterance has.
    """

    rows: list[int]
    phase: int
    crops: Tensor
    which: Tensor


class NextToken:
    """Cross-entropy of codes and text, each utterance up to its stop token."""

    best = ("mel", False)

    def __init__(
        self, gpt: UnifiedVoice, batches: Batches, text_weight: float = TEXT_WEIGHT, accumulate: int = 1
    ) -> None:
        self.gpt, self._batches, self.text_weight, self.accumulate = gpt, batches, text_weight, accumulate

    def batches(self, step: int, draw: torch.Generator, rank: int, world: int) -> Sequence[Utterances]:
        """Utterances of like length; of all processes together, the voices are those of the whole batch."""
        rows, phase = self._batches.draw(draw)
        crops, which = self._batches.conditioning(rows, draw)
        # A corpus smaller than a batch is a batch, and each process has what falls to it.
        own = torch.arange(len(rows)).tensor_split(world)[rank]
        return [
            Utterances([rows[i] for i in part.tolist()], phase, crops, which[part.to(which.device)])
            for part in in_parts(own, self.accumulate)
        ]

    def counts(self, batch: Utterances) -> Mapping[str, int]:
        """Every token counts alike, each utterance's stop among them."""
        speech = self._batches.speech
        return {
            "codes": sum(len(speech.codes[batch.phase][row]) + 1 for row in batch.rows),
            "text": sum(len(speech.texts[row]) + 1 for row in batch.rows),
        }

    def loss(self, batch: Utterances, draw: torch.Generator) -> list[Term]:
        """Cross-entropies in nats, and the share of codes that were foretold."""
        d = self.gpt.dimensions
        text, text_lengths = self._batches.texts(batch.rows)
        codes, code_lengths = self._batches.codes(batch.rows, batch.phase, d.stop_mel)
        logits = self.gpt(self.gpt.conditioning(batch.crops)[batch.which], text, codes, text_lengths)
        mel_logits, mel_targets = logits.mel[:, :-1], _targets(codes, code_lengths, d.stop_mel)
        mel = F.cross_entropy(mel_logits.transpose(1, 2).float(), mel_targets, ignore_index=_IGNORED)
        text_targets = _targets(text, text_lengths, 0)
        text_loss = F.cross_entropy(logits.text[:, :-1].transpose(1, 2).float(), text_targets, ignore_index=_IGNORED)
        asked = mel_targets != _IGNORED
        right = (mel_logits.detach().argmax(-1) == mel_targets)[asked].float().mean()
        return [
            Term("mel", mel, 1.0, of="codes"),
            Term("text", text_loss, self.text_weight, of="text"),
            Term("right", right, of="codes"),
        ]

    def updated(self, step: int, draw: torch.Generator, fabric: Fabric) -> dict[str, float]:
        """Nothing but the weights changes."""
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The same on the held-out utterances; nothing where there are none."""
        held_out = self._batches.validation()
        if not held_out:
            return {}
        self.gpt.eval()
        draw, size = torch.Generator().manual_seed(0), self._batches.size
        figures = []
        for start in range(0, len(held_out), size):
            rows = held_out[start : start + size]
            terms = self.loss(Utterances(rows, 0, *self._batches.conditioning(rows, draw)), draw)
            figures.append(({term.name: term.mean.item() for term in terms}, len(rows)))
        self.gpt.train()
        return {name: sum(f[name] * n for f, n in figures) / len(held_out) for name in ("mel", "right")}


def _targets(tokens: Tensor, lengths: Tensor, stop: int) -> Tensor:
    """What comes after each position: (B, N) → (B, N + 1), a stop after the last token and nothing asked beyond.

    >>> _targets(torch.tensor([[5, 6], [7, 9]]), torch.tensor([2, 1]), stop=9).tolist()
    [[5, 6, 9], [7, 9, -100]]
    """
    shifted = F.pad(tokens, (0, 1), value=stop)
    at = torch.arange(shifted.shape[1], device=tokens.device)
    shifted = shifted.masked_fill(at == lengths[:, None], stop)
    return shifted.masked_fill(at > lengths[:, None], _IGNORED)
