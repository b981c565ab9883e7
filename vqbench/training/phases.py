"""The phases of a recipe: each makes its objective of what came before, and has the loop minimise it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vqbench.audio.mel import MelSpec
from vqbench.config.recipe import Recipe
from vqbench.config.training import DistilConfig, OptimizationConfig, PairPhaseConfig, PseudoLabelConfig
from vqbench.data.manifest import Clip
from vqbench.errors import CheckpointError, DataError, TrainingError
from vqbench.files import has_sum, write_sum
from vqbench.progress import Progress
from vqbench.teachers.tortoise.pair_filter import filter_pairs
from vqbench.teachers.tortoise.pair_generation import generate_pairs, split_of
from vqbench.teachers.tortoise.pairs import find_shards
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.utterance import Voice
from vqbench.tokenizers.dvae.checkpoint import load_codebook, load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.crops import WeightedClip, load_corpus
from vqbench.training.distil import Distillation
from vqbench.training.finetune import finetune_gpt
from vqbench.training.held_out import HeldOutPairs
from vqbench.training.joint import Joint
from vqbench.training.log import write_log
from vqbench.training.loop import Objective, optimize
from vqbench.training.processes import all_processes_together, rank
from vqbench.training.pseudo_label import Labelled, Rounds
from vqbench.training.reconstruct import ReconstructionObjective
from vqbench.training.stream import PairStream

PSEUDO_LABEL = "pseudo_label"
"""The phase's name, and its folder's, with a folder a round in it."""

WEIGHTS = "weights.safetensors"
"""In a phase's folder: what it handed on, once it is done."""


@dataclass(frozen=True)
class Teaching:
    """A teacher, and what it shall say where pairs are made.

    Attributes:
        teacher: whose GPT it is.
        sentences: what is said.
        voices: listens to the voices; it may take a while.
    """

    teacher: TortoiseTeacher
    sentences: Iterable[str]
    voices: Callable[[], Sequence[Voice]]


class Phases:
    """Carries out the phases of one recipe, one after the other, on one VQVAE.

    Args:
        recipe: what to do.
        dvae: what to begin with.
        spec: its front end.
        teaching: the recipe's teacher, where it has one.
        folder: each phase has a folder below it.
        device: where to train.
        progress: shows how far each phase is.
        claim: called before anything is written.
    """

    def __init__(
        self,
        recipe: Recipe,
        dvae: DVAE,
        spec: MelSpec,
        teaching: Teaching | None,
        folder: Path,
        device: torch.device,
        progress: Progress,
        claim: Callable[[], None] = lambda: None,
    ) -> None:
        self.recipe, self.dvae, self.spec, self.teaching = recipe, dvae, spec, teaching
        self.folder, self.device, self.progress, self.claim = folder, device, progress, claim

    def reconstruct(self, clips: Sequence[WeightedClip]) -> None:
        """Trains from scratch, by reconstruction."""
        config = self.recipe.reconstruct
        assert config is not None
        if self._is_done("reconstruct") or not config.steps:
            return
        corpus = load_corpus(clips, self.spec, config.validation_share, self.progress, self._where)
        objective = ReconstructionObjective(config, self.dvae, corpus, self.recipe.seed)
        if not self._is_begun("reconstruct"):
            objective.start_codebook()
        self._train("reconstruct", objective, config)

    def distil(self) -> None:
        """Learns all pairs."""
        config = self.recipe.distil
        assert config is not None
        if self._is_done("distil") or not config.steps:
            return
        if config.codebook != "learned":
            self.dvae.codebook.set_codes(self._known_codebook(config.codebook), 1.0)
        self._distil("distil", config, self._pairs, begins=self.recipe.start is None)

    def refine(self) -> None:
        """Learns the best pairs."""
        config = self.recipe.refine
        assert config is not None
        if self._is_done("refine") or not config.steps:
            return
        best = self.folder / "pairs-best"
        source = self._pairs
        if rank() == 0 and not find_shards(best):
            if "://" in str(source):
                problem, fix = (
                    "pairs behind a URL cannot be filtered here",
                    "vqbench pairs filter makes a folder of them",
                )
                raise DataError(problem, where=str(source), fix=fix)
            self.claim()
            filter_pairs(Path(source), best, keep=config.best)
        all_processes_together(self.device)
        begins = self.recipe.distil is None and self.recipe.start is None
        self._distil("refine", config, best, begins=begins)

    def joint(self, clips: Sequence[WeightedClip]) -> None:
        """Trains encoder and decoder together, under the guard."""
        config = self.recipe.joint
        assert config is not None
        if self._is_done("joint") or not config.steps:
            return
        corpus = load_corpus(clips, self.spec, config.validation_share, self.progress, self._where)
        reconstruction = ReconstructionObjective(
            config, self.dvae, corpus, self.recipe.seed, moving_codebook=config.moving_codebook
        )
        if config.guard.kind == "freeze":
            self.dvae.encoder.requires_grad_(False)
        if self.recipe.pairs is None:
            self._train("joint", Joint(config, reconstruction, None, None), config)
            return
        distilled = self.recipe.distil or self.recipe.refine or DistilConfig()
        replay = distilled.model_copy(update={"accumulate": config.accumulate})
        with self._stream(self._pairs, replay.batch_size) as stream:
            held_out = self._held_out(stream)
            replayed = None
            if config.guard.kind == "replay":
                replayed = Distillation(replay, self.dvae, stream, held_out, learned=False)
            self._train("joint", Joint(config, reconstruction, held_out, replayed), config)

    def pseudo_label(self, clips: Sequence[Clip]) -> None:
        """Learns transcribed recordings in rounds: encoder and GPT label them, and the encoder learns the labels."""
        config = self.recipe.pseudo_label
        assert config is not None and self.teaching is not None
        if self._is_done(PSEUDO_LABEL) or not config.steps:
            return
        self.claim()
        rounds = Rounds(config, self.dvae, self.spec, self.teaching.teacher, clips, self.device, self.progress)
        for number in range(1, config.rounds + 1):
            phase = f"{PSEUDO_LABEL}/round-{number}"
            if not self._is_done(phase):
                labels = self.folder / phase / "labels"
                if rank() == 0:
                    rounds.label(labels)
                all_processes_together(self.device)
                self._learn_labels(phase, config, labels)
            if not rounds.goes_on(self.folder / phase / "labels"):
                break
        self.dvae.load_state_dict(rounds.best, strict=True)
        if rank() == 0:
            write_log(self.folder / PSEUDO_LABEL / "rounds.csv", rounds.rows)
            self._save(PSEUDO_LABEL, self.folder / PSEUDO_LABEL / WEIGHTS)
            write_sum(self.folder / PSEUDO_LABEL / WEIGHTS)
        all_processes_together(self.device)

    def _learn_labels(self, phase: str, config: PseudoLabelConfig, folder: Path) -> None:
        recipe = self.recipe
        with ExitStack() as open_streams:
            stream = open_streams.enter_context(
                PairStream(
                    folder,
                    self.spec,
                    batch_size=config.batch_size,
                    seed=recipe.seed,
                    held_out=lambda text, _: split_of(f"validation: {text}", config.validation_share) == "test",
                    progress=self.progress,
                )
            )
            held_out = HeldOutPairs(stream.held_out(), None, self.device)
            labels = Distillation(config, self.dvae, stream, held_out, learned=False)
            replayed = None
            if config.replay:
                known = recipe.distil or recipe.refine or DistilConfig()
                replay = known.model_copy(update={"accumulate": config.accumulate})
                pairs = open_streams.enter_context(self._stream(self._pairs, replay.batch_size))
                replayed = Distillation(replay, self.dvae, pairs, self._held_out(pairs), learned=False)
            self._train(phase, Labelled(labels, replayed, config.replay), config)

    def finetune(self, clips: Sequence[WeightedClip]) -> Path:
        """Trains the teacher's GPT on the tokens that the VQVAE writes; gives the file of its weights."""
        config = self.recipe.finetune
        assert config is not None and self.teaching is not None
        return finetune_gpt(
            config,
            self.teaching.teacher,
            DVAETokenizer(self.dvae, self.spec, self.device),
            [clip for clip, _ in clips],
            self.folder / "finetune",
            self.recipe.seed,
            self.progress,
        )

    def _distil(self, phase: str, config: PairPhaseConfig, pairs: str | Path, *, begins: bool) -> None:
        known = "learned" if self.recipe.distil is None else self.recipe.distil.codebook
        if not config.loss.l1 and not config.loss.l2:
            self.dvae.decoder.requires_grad_(False)
        with self._stream(pairs, config.batch_size) as stream:
            largest, size = len(stream.token_counts) - 1, self.dvae.dimensions.codebook_size
            if largest >= size:
                raise TrainingError(
                    f"the pairs hold the token {largest}, but the VQVAE has {size} codes",
                    where=self._where,
                    expected=f"a codebook_size of at least {largest + 1}",
                )
            objective = Distillation(config, self.dvae, stream, self._held_out(stream), learned=known == "learned")
            if begins and known == "learned" and not self._is_begun(phase):
                objective.start_codebook()
            self._train(phase, objective, config)

    @functools.cached_property
    def _pairs(self) -> str | Path:
        """The folder of pairs, made first where it shall be made."""
        source, seen = self.recipe.pairs, self.folder / "pairs"
        assert source is not None
        if source.folder is not None:
            return source.folder
        assert source.n is not None and self.teaching is not None
        if rank() == 0:
            self.claim()
            generate_pairs(
                self.teaching.teacher,
                self.teaching.sentences,
                self.teaching.voices(),
                seen,
                source.n,
                source.seed,
                self.progress,
                held_out_speakers=source.hold_out_speakers,
            )
        all_processes_together(self.device)
        return seen

    def _stream(self, folder: str | Path, batch_size: int) -> PairStream:
        source, recipe = self.recipe.pairs, self.recipe
        assert source is not None
        share, speakers = source.validation_share, frozenset(source.validation_speakers)

        def held_out(text: str, speaker: str) -> bool:
            # By other words than the split `test`, or no sentence left for training would be on this side.
            return speaker in speakers or split_of(f"validation: {text}", share) == "test"

        return PairStream(
            folder,
            self.spec,
            batch_size=batch_size,
            seed=recipe.seed,
            limit=source.limit,
            held_out=held_out,
            progress=self.progress,
        )

    def _held_out(self, stream: PairStream) -> HeldOutPairs:
        true = None if self.teaching is None else self.teaching.teacher.tokenizer
        return HeldOutPairs(stream.held_out(), None if true is None else true.dvae, self.device)

    def _known_codebook(self, known: str | Path) -> torch.Tensor:
        """(codebook_size, codebook_dim) float32."""
        size, dim = self.dvae.dimensions.codebook_size, self.dvae.dimensions.codebook_dim
        if known == "gpt":
            assert self.teaching is not None
            with self.teaching.teacher.gpt.loaded() as gpt:
                raw = gpt.mel_embedding.weight[: gpt.dimensions.n_codes].detach().float()
            # An embedding's values are small and far from 0 on average, where latents begin about 0 and at 1.
            codebook = (raw - raw.mean(0)) / raw.std()
        elif known == "teacher":
            assert self.teaching is not None
            if self.teaching.teacher.tokenizer is None:
                raise CheckpointError(
                    "the teacher's true VQVAE is not known", where=self._where, fix="codebook: learned, or gpt"
                )
            codebook = self.teaching.teacher.tokenizer.codebook.detach().float()
        else:
            codebook = load_codebook(Path(known))
        if tuple(codebook.shape) != (size, dim):
            raise CheckpointError(
                f"the codebook {known} has {codebook.shape[0]} codes of {codebook.shape[1]} values",
                where=self._where,
                expected=f"model.codebook_size {codebook.shape[0]} and model.codebook_dim {codebook.shape[1]}",
            )
        return codebook.to(self.device)

    def _train(self, phase: str, objective: Objective[Any], config: OptimizationConfig) -> None:
        folder = self.folder / phase
        save = functools.partial(self._save, phase)
        self.claim()
        optimize(self.dvae, objective, config, self.recipe.seed, folder, self.device, self.progress, phase, save)
        self.dvae.requires_grad_(True)
        if rank() == 0:
            save(folder / WEIGHTS)
            write_sum(folder / WEIGHTS)  # without it, what was saved counts as absent
            (folder / "state.pt").unlink(missing_ok=True)
        all_processes_together(self.device)

    def _save(self, phase: str, path: Path) -> None:
        said: dict[str, str | int | float] = {"recipe": self.recipe.name, "phase": phase, "seed": self.recipe.seed}
        save_checkpoint(path, self.dvae, self.spec, said)

    def _is_begun(self, phase: str) -> bool:
        return (self.folder / phase / "state.pt").exists()

    def _is_done(self, phase: str) -> bool:
        """Whether a phase was carried out before; what it handed on is then in the VQVAE."""
        weights = self.folder / phase / WEIGHTS
        if not has_sum(weights):
            return False
        self.dvae.load_state_dict(load_tokenizer(weights, device=self.device).dvae.state_dict(), strict=True)
        return True

    @property
    def _where(self) -> str:
        return str(self.recipe.path or self.recipe.name)
