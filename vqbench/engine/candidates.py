"""From a suite's line to a tokenizer: a checkpoint is loaded, a recipe is trained (once) and then loaded."""

from __future__ import annotations

import torch

from vqbench.engine.cache import Cache
from vqbench.progress import Progress
from vqbench.suite import Candidate
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.tokenizer.dvae_tokenizer import DVAETokenizer
from vqbench.training.recipe import load_recipe
from vqbench.training.trainer import train, training_clips, training_digest


def load_candidate(config: Candidate, cache: Cache, device: torch.device, progress: Progress) -> DVAETokenizer:
    """Brings a suite's candidate to the device.

    A recipe's training lives in the cache under the digest of all that decides its weights; a killed one is resumed.

    Raises:
        VqbenchError: where checkpoint, recipe or training clips are at fault.
    """
    if config.checkpoint is not None:
        return load_tokenizer(config.checkpoint, config.mel_norms, device)
    assert config.recipe is not None
    recipe = load_recipe(config.recipe)
    clips = training_clips(recipe)
    folder = cache.training_folder(training_digest(recipe, clips))
    return load_tokenizer(train(recipe, clips, folder, device, progress), device=device)
