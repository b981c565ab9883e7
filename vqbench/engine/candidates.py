"""From a suite's line to a tokenizer: a checkpoint is loaded, a recipe is trained (once) and then loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from vqbench.config.candidate import CandidateConfig
from vqbench.config.recipe import load_recipe
from vqbench.config.source import POCKET
from vqbench.engine.cache import Cache
from vqbench.engine.recipes import SourceFinder
from vqbench.errors import ManyErrors, VqbenchError, raise_all
from vqbench.progress import Progress
from vqbench.registries import TOKENIZERS
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.process import Process
from vqbench.tokenizers.protocol import Tokenizer
from vqbench.training.trainer import train, training_digest


def check_recipes(candidates: Iterable[CandidateConfig]) -> None:
    """Reads the recipes of all candidates, with their changes, before anything that takes time is begun.

    Raises:
        ConfigError: all faults at once, each with its candidate and recipe.
    """
    faults: list[VqbenchError] = []
    # The seeds of one family have the same faults.
    for name, config in {config.family or config.name: config for config in candidates}.items():
        if config.recipe is None:
            continue
        try:
            load_recipe(config.recipe, config.change)
        except VqbenchError as error:
            for fault in error.errors if isinstance(error, ManyErrors) else (error,):
                fault.where = f"candidate {name}: {fault.where}"
                faults.append(fault)
    raise_all(faults)


@dataclass(frozen=True)
class Bring:
    """Brings a candidate's tokenizer to the device, each time anew.

    Attributes:
        load: does it.
        training: what names its training in the cache; None where there is none.
        train: trains it, where that was not done yet, which may take long, and gives what `load_trained` reads.
    """

    load: Callable[[], DVAETokenizer | Tokenizer]
    training: str | None = None
    train: Callable[[], Path] | None = None


def load_trained(weights: Path, device: torch.device) -> Bring:
    """What brings a candidate that is trained."""
    return Bring(partial(load_tokenizer, weights, device=device))


def prepare_candidate(
    config: CandidateConfig, find: SourceFinder, cache: Cache, device: torch.device, progress: Progress
) -> Bring:
    """Finds all that a candidate is made of; a checkpoint is read only when it is brought.

    A recipe's training lives in the cache under the digest of all that decides its weights; a killed one is resumed.

    Raises:
        VqbenchError: where recipe or training clips are at fault.
    """
    if config.command is not None:
        return Bring(partial(Process, config.command))
    if config.tokenizer is not None:
        opened = TOKENIZERS.load(config.tokenizer)
        return Bring(partial(opened.open, config.options or {}, device))
    if config.checkpoint is not None and str(config.checkpoint) == POCKET:
        from vqbench.teachers.pocket.assets import load_true_tokenizer

        return Bring(partial(load_true_tokenizer, device))
    if config.checkpoint is not None:
        return Bring(partial(load_tokenizer, config.checkpoint, config.mel_norms, device))
    assert config.recipe is not None
    recipe = load_recipe(config.recipe, config.change)
    sources = find(recipe)
    # A GPU sums in another order, so what it trains is another candidate.
    folder = cache.training_folder(f"{training_digest(recipe, sources)}-{device.type}")
    make = partial(train, recipe, sources, folder, device, progress)
    return Bring(lambda: load_tokenizer(make(), device=device), folder.name, make)
