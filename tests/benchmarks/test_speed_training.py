"""A training step of the VQVAE at its official size, and what the training loop costs beside the steps themselves.

The step: ours, as `optimize` takes it, against the way published trainers write it. Eight crops of a second: an eighth
of what the design's 32 crops of 2 s hold, so that a run of it ends in half a minute. What a step does once, whatever
the batch, weighs more in it: the optimiser, and the codebook's update.

The loop: `optimize` against a bare loop over batches that were prepared beforehand, at the size of the recipes, which
train in bf16: there a step is short, and whatever is not part of it weighs most. Validations and checkpoints come as
seldom as in a recipe, none of them in a timed step.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Semaphore
from time import perf_counter
from typing import Any

import pytest
import torch
from hearable_pairs import pair, tones, write_pairs
from small_trainings import log_of
from tokenizer_reference import reference_ema_update, reference_nearest
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vqbench.audio.io import encode_waveform
from vqbench.audio.mel import MelSpec
from vqbench.config.training import DistilConfig, OptimizationConfig, ReconstructConfig
from vqbench.progress import Advance, Silent
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.training.crops import Corpus
from vqbench.training.distil import Distillation
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.loop import optimize
from vqbench.training.reconstruct import ReconstructionObjective
from vqbench.training.stream import MelTokens, PairStream

SEED = 3
SMALL = Dimensions(codebook_size=64, codebook_dim=16, hidden_dim=16, num_resnet_blocks=1)

_BUDGET_S = 8.0
"""Rounds of a contender end by then, but for three."""

Pass = Callable[[Any], tuple[Tensor, Callable[[], object]]]
"""A batch → its loss, and the codebook's update, which is due after the optimiser's."""


class _Over(BaseException):
    """Breaks a loop off."""


class Turns:
    """Has a benchmark time a loop step by step, though the loop is never left: a round is one step.

    It is the loop's progress. After each step the loop waits until the benchmark, in another thread, asks for the next;
    so nothing is timed that comes before the first step or after the last. The loop stays in the main thread, where
    trainings run: malloc serves other threads otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._asked, self._taken = Semaphore(0), Semaphore(0)
        self._over = False

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        yield self._wait

    def _wait(self, steps: int = 1, note: str = "") -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._taken.release()
        self._asked.acquire()
        if self._over:
            raise _Over

    def _take(self) -> None:
        self._asked.release()
        self._await()

    def _await(self) -> None:
        self._taken.acquire()
        assert not self._over, "the loop ended by itself"

    def time(self, benchmark: Any, loop: Callable[[], object], warmup_rounds: int, rounds: int) -> None:
        """Times up to `rounds` steps of a loop, after its first ones, and breaks it off."""

        def timing() -> None:
            self._await()
            try:
                started = perf_counter()
                self._take()
                # A CPU that has no bf16 takes seconds for a step in it.
                most = int(_BUDGET_S / (perf_counter() - started))
                benchmark.pedantic(self._take, warmup_rounds=warmup_rounds, rounds=max(3, min(rounds, most)))
            finally:
                self._over = True
                self._asked.release()

        with ThreadPoolExecutor(1) as pool:
            timed = pool.submit(timing)
            try:
                loop()
            except _Over:
                pass
            finally:
                self._over = True
                self._taken.release()
            timed.result()


def plain_steps(
    dvae: DVAE, one_pass: Pass, batches: Iterable[Any], config: OptimizationConfig, *, fused: bool
) -> Iterator[Tensor]:
    """Trains without anything around it; gives the loss of each step."""
    parameters = [parameter for parameter in dvae.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, config.learning_rate, config.betas, weight_decay=config.weight_decay, fused=fused or None
    )
    device = dvae.codebook.embed.device.type
    for batch in batches:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            loss, update_codebook = one_pass(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        update_codebook()
        yield loss.detach()


def untrained(dimensions: Dimensions, device: torch.device) -> DVAE:
    """Codes compete as a trained codebook's do: they lie where the latents are."""
    torch.manual_seed(0)
    dvae = DVAE(dimensions)
    with torch.no_grad():
        rows = dvae.latents(torch.rand(8, 80, 128)).transpose(1, 2).flatten(0, 1)
        codes = rows.mean(0) + rows.std(0) * torch.randn(dimensions.codebook_size, dimensions.codebook_dim)
        dvae.codebook.set_codes(codes, 0.1)
    return dvae.to(device)


def reconstruction(dvae: DVAE, config: ReconstructConfig, n_clips: int) -> ReconstructionObjective:
    """Of clips of some 3 s, which overlap to take less memory; nothing is held out."""
    recording = torch.rand(80, 1300, generator=torch.Generator().manual_seed(1))
    clips = tuple(recording[:, i % 1000 :][:, : 200 + i % 100] for i in range(n_clips))
    return ReconstructionObjective(config, dvae, Corpus(clips, (1.0,) * n_clips, (), MelSpec()), SEED)


def first_crops(objective: ReconstructionObjective, n: int) -> list[Tensor]:
    """What `optimize` draws for the first `n` steps."""
    draws = (torch.Generator().manual_seed((SEED << 32) + step) for step in range(n))
    return [objective.batches(step, draw, 0, 1)[0] for step, draw in enumerate(draws)]


def mel_loss(config: ReconstructConfig, mel: Tensor, reconstruction: Tensor, commitment: Tensor) -> Tensor:
    weights = config.loss
    error = weights.l1 * F.l1_loss(reconstruction, mel) + weights.l2 * F.mse_loss(reconstruction, mel)
    return error + weights.commitment * commitment


@dataclass
class Training:
    """One training, as `optimize` does it and without anything around it.

    Attributes:
        objective: of `optimize`.
        batches: for the plain loop, over and over again.
        one_pass: the plain one.
        fused: whether the plain loop has the fused optimiser, too.
    """

    objective: ReconstructionObjective | Distillation
    batches: Sequence[Any]
    one_pass: Pass
    fused: bool

    def check(self, batch: Any) -> None:
        """Both minimise the same; `batch` is the first one as the objective has it."""
        config, device = self.objective.config, self.objective.dvae.codebook.embed.device
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss, _ = self.one_pass(self.batches[0])
            terms = self.objective.loss(batch, torch.Generator())
        assert sum(term.weight * term.mean.item() for term in terms) == pytest.approx(loss.item(), rel=1e-5)

    def time(self, benchmark: Any, whole: bool, folder: Path, warmup_rounds: int, rounds: int) -> None:
        objective, config = self.objective, self.objective.config
        device = objective.dvae.codebook.embed.device
        turns = Turns(device)

        def ours() -> None:
            optimize(objective.dvae, objective, config, SEED, folder, device, turns)

        def plain() -> None:
            batches = itertools.cycle(self.batches)
            with turns.task("", 0) as advance:
                for _ in plain_steps(objective.dvae, self.one_pass, batches, config, fused=self.fused):
                    advance()

        turns.time(benchmark, ours if whole else plain, warmup_rounds, rounds)


# A step


def published_pass(dvae: DVAE, config: ReconstructConfig, mel: Tensor) -> tuple[Tensor, Callable[[], object]]:
    """As DL-Art-School and coqui train it, but for our L1: all distances, and a one-hot matrix (tokens x codes)."""
    codebook = dvae.codebook.state_dict()
    z = dvae.encoder(mel)
    rows = z.detach().transpose(1, 2).reshape(-1, z.shape[1])
    codes = reference_nearest(codebook["embed"], rows)
    quantized = F.embedding(codes.view(len(z), -1), codebook["embed"].t()).transpose(1, 2)
    commitment = (quantized - z).pow(2).mean()
    reconstruction = dvae.decoder(z + (quantized - z).detach())
    loss = mel_loss(config, mel, reconstruction, commitment)
    return loss, lambda: reference_ema_update(codebook, rows, codes, config.codebook.decay)


def step_config(size: int, n_frames: int, **changes: Any) -> ReconstructConfig:
    """No code is started again: published trainers have nothing of the kind."""
    return ReconstructConfig(
        **{
            "data": [{"manifest": __file__}],
            "batch_size": size,
            "crop_frames": n_frames,
            "warmup_steps": 0,
            "schedule": "constant",
            "codebook": {"decay": 0.99, "restart_below": 0.0},
            **changes,
        }
    )


@pytest.mark.parametrize("clip_norm", [0.01, 1000.0], ids=["clipped", "not clipped"])
def test_both_take_the_same_steps(clip_norm: float, device, tmp_path: Path) -> None:
    config = step_config(4, 32, steps=3, validate_every=1, clip_norm=clip_norm, learning_rate=1e-3, weight_decay=1.0)
    ours = untrained(SMALL, device)
    plain = copy.deepcopy(ours)
    objective = reconstruction(ours, config, 9)
    batches = first_crops(objective, config.steps)
    losses = list(plain_steps(plain, lambda mel: published_pass(plain, config, mel), batches, config, fused=False))
    optimize(ours, objective, config, SEED, tmp_path, device, Silent())

    logged = [float(row["loss"]) for row in log_of(tmp_path)[1:]]
    assert logged == pytest.approx([loss.item() for loss in losses], rel=1e-4)
    for (name, our), their in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad, rtol=1e-3, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
        torch.testing.assert_close(our, their, rtol=1e-3, atol=1e-5)
    norms = [torch.cat([p.grad.flatten() for p in dvae.parameters()]).norm().item() for dvae in (ours, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert (norms[0] == pytest.approx(clip_norm, rel=1e-3)) == (clip_norm < 1)
    for name, buffer in ours.codebook.named_buffers():
        torch.testing.assert_close(buffer, plain.codebook.get_buffer(name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("contender", ["ours", "plain"])
def test_step(benchmark, contender: str, measured: bool, device, tmp_path: Path) -> None:
    dimensions, size, n_frames = (Dimensions(), 8, 88) if measured else (SMALL, 2, 16)
    benchmark.group = f"training step, {size} crops of {n_frames} frames, {device.type}"
    config = step_config(size, n_frames)
    objective = reconstruction(untrained(dimensions, device), config, 40)
    crops = first_crops(objective, 8)
    training = Training(objective, crops, lambda mel: published_pass(objective.dvae, config, mel), fused=False)
    training.check(crops[0])
    training.time(benchmark, contender == "ours", tmp_path, warmup_rounds=1, rounds=6)


# The loop around it


def bare_pass(dvae: DVAE, config: ReconstructConfig, mel: Tensor) -> tuple[Tensor, Callable[[], object]]:
    result = dvae(mel)
    with torch.autocast(mel.device.type, enabled=False):
        loss = mel_loss(config, mel, result.reconstruction, result.commitment)

    def update() -> None:
        rows = result.latents.transpose(1, 2).flatten(0, 1)
        dvae.codebook.ema_update(rows, result.codes.flatten(), config.codebook.decay)

    return loss, update


def bare_hearing(
    dvae: DVAE, config: DistilConfig, batch: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Callable[[], object]]:
    mel, n_frames, codes, n_tokens = batch
    embed = dvae.codebook.embed
    latents = dvae.latents(mel, n_frames)[..., : codes.shape[1]]
    with torch.autocast(mel.device.type, enabled=False):
        asked = torch.arange(codes.shape[1], device=codes.device) < n_tokens[:, None]
        rows, tokens = latents.float().transpose(1, 2)[asked], codes[asked]
        logits = config.scale * (2 * rows @ embed - embed.square().sum(0))
        loss = config.cross_entropy * F.cross_entropy(logits, tokens)
        loss = loss + config.vector_mse * F.mse_loss(rows, embed.t()[tokens])
    return loss, lambda: dvae.codebook.ema_update(rows.detach(), tokens, config.decay, eps=0.0)


@pytest.mark.parametrize("contender", ["bare loop", "optimize"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_reconstruction(benchmark, contender: str, precision: str, measured: bool, device, tmp_path: Path) -> None:
    """As recipes/fresh.yaml: 3,000 clips."""
    benchmark.group = f"reconstruction, {precision}, {device.type}"
    dimensions = Dimensions(codebook_size=1024, codebook_dim=128, hidden_dim=128) if measured else SMALL
    size, n_frames, n_clips = (24, 128, 3000) if measured else (2, 16, 9)
    config = ReconstructConfig(
        data=[{"manifest": __file__}],
        steps=6000,
        batch_size=size,
        crop_frames=n_frames,
        precision=precision,
        validate_every=300,
        checkpoint_every=300,
    )
    objective = reconstruction(untrained(dimensions, device), config, n_clips)
    crops = first_crops(objective, 8)
    training = Training(objective, crops, lambda mel: bare_pass(objective.dvae, config, mel), fused=True)
    training.check(crops[0])
    training.time(benchmark, contender == "optimize", tmp_path, warmup_rounds=3, rounds=40)


@pytest.mark.parametrize("contender", ["bare loop", "optimize"])
@pytest.mark.parametrize("read", ["in memory", "read and decoded"])
def test_distillation(benchmark, contender: str, read: str, measured: bool, device, tmp_path: Path) -> None:
    """As recipes/distilled.yaml; all utterances are as long as one of the pocket TorToiSe's is on average.

    Pairs are read and decoded in the first epoch, and in all others where they are more than memory holds.
    """
    benchmark.group = f"distillation, pairs {read}, {device.type}"
    dimensions = Dimensions(codebook_size=1024, codebook_dim=128, hidden_dim=128, num_resnet_blocks=4)
    size, n_tokens, warmup_rounds, rounds = 12, 80, 8, 40
    if not measured:
        dimensions, size, n_tokens = SMALL, 2, 8
    n_steps = 8 if read == "in memory" else warmup_rounds + rounds + 4
    config = DistilConfig(
        batch_size=size, precision="bf16", loss={"l1": 0, "l2": 0}, validate_every=250, checkpoint_every=250
    )
    folder = write_synthetic_pairs(tmp_path / "pairs", size * n_steps, n_tokens, dimensions.codebook_size)
    dvae = untrained(dimensions, device)
    dvae.decoder.requires_grad_(False)
    with open_stream(folder, size) as stream:
        objective = Distillation(config, dvae, stream, HeldOutPairs([], None, device), learned=True)
        heard = [objective.batches(step, torch.Generator().manual_seed(step), 0, 1)[0] for step in range(3)]
        batches = [padded(batch, device) for batch in heard]
        training = Training(objective, batches, lambda batch: bare_hearing(dvae, config, batch), fused=True)
        training.check(heard[0])
        training.time(benchmark, contender == "optimize", tmp_path / "out", warmup_rounds, rounds)


def write_synthetic_pairs(folder: Path, n: int, n_tokens: int, n_codes: int) -> Path:
    """Few waveforms under many names, or writing them would take longer than the benchmark."""
    draw = torch.Generator().manual_seed(0)
    flacs = [encode_waveform(tones(number, n_tokens), 22_050, "a pair") for number in range(8)]
    made = pair(0)
    return write_pairs(
        folder,
        [
            replace(
                made,
                id=f"{number:06d}",
                codes=torch.randint(n_codes, (n_tokens,), generator=draw),
                flac=flacs[number % len(flacs)],
            )
            for number in range(n)
        ],
        per_shard=64,
    )


def open_stream(folder: Path, size: int) -> PairStream:
    return PairStream(
        folder, MelSpec(), batch_size=size, seed=SEED, held_out=lambda text, speaker: False, progress=Silent()
    )


def padded(batch: Sequence[MelTokens], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mels and their lengths, codes and theirs."""
    mel = pad_sequence([pair.mel.t() for pair in batch], batch_first=True).transpose(1, 2)
    codes = pad_sequence([pair.codes for pair in batch], batch_first=True)
    n_frames = torch.tensor([pair.mel.shape[-1] for pair in batch])
    n_tokens = torch.tensor([len(pair.codes) for pair in batch])
    return mel.to(device), n_frames.to(device), codes.to(device), n_tokens.to(device)
