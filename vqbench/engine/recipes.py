"""From recipes to what they read: teachers are opened, clips and pairs are found."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from vqbench.audio.io import file_digest
from vqbench.config.pairs import PairSourceConfig
from vqbench.config.recipe import Recipe
from vqbench.config.source import POCKET
from vqbench.data.corpora import load_clips
from vqbench.engine.cache import content_key
from vqbench.engine.teachers import find_sentences, listen, open_teacher, teacher_voices
from vqbench.progress import Progress
from vqbench.teachers.tortoise.pair_generation import PAIRS_VERSION
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.phases import Teaching
from vqbench.training.stream import pairs_digest
from vqbench.training.trainer import Sources, find_sources


class SourceFinder:
    """Finds what recipes read; what several of them share is read once, as the thousands of seeds of one recipe do."""

    def __init__(self, device: torch.device, progress: Progress) -> None:
        self._device, self._progress = device, progress
        self._teacher = functools.cache(self._open_teacher)
        self._pairs_digest = functools.cache(self._read_pairs)
        self._clips = functools.cache(load_clips)
        self._start = functools.cache(load_tokenizer)
        self._pocket = functools.cache(self._load_pocket)

    def __call__(self, recipe: Recipe) -> Sources:
        """Finds all that a recipe reads; nothing is made yet.

        Raises:
            VqbenchError: where teacher, checkpoint, clips or pairs are at fault.
        """
        pocket = self._pocket() if str(recipe.start) == POCKET else None
        pairs, teaching = None, None
        if recipe.teacher is not None:
            teaching = Teaching(self._teacher(recipe.teacher), (), tuple)
        if recipe.pairs is not None and recipe.pairs.folder is not None:
            pairs = self._pairs_digest(recipe.pairs.folder, recipe.pairs.limit)
        elif recipe.pairs is not None and teaching is not None:
            pairs, teaching = self._to_be_made(recipe.pairs, str(recipe.teacher), teaching.teacher)
        return find_sources(recipe, pairs, teaching, pocket, self._clips, self._start)

    def _to_be_made(self, pairs: PairSourceConfig, name: str, teacher: TortoiseTeacher) -> tuple[str, Teaching]:
        """The digest of what pairs are made of, and what the teacher shall say."""
        clips, sentences = teacher_voices(name, pairs.voices), str(pairs.sentences)
        content = {
            "version": PAIRS_VERSION,
            "sentences": sentences if sentences == POCKET else file_digest(Path(sentences)),
            "voices": [[clip.speaker, clip.sha256] for clip in clips],
        }
        said = find_sentences(sentences, pairs.seed)
        return content_key(content), Teaching(teacher, said, lambda: listen(teacher, clips, self._progress))

    def _open_teacher(self, name: str) -> TortoiseTeacher:
        return open_teacher(name, self._device)

    def _load_pocket(self) -> DVAETokenizer:
        from vqbench.teachers.pocket.assets import load_true_tokenizer

        return load_true_tokenizer(self._device)

    def _read_pairs(self, folder: str, limit: int | None) -> str:
        return pairs_digest(folder, limit, self._progress)
