"""From a suite's line to a tokenizer: a checkpoint is loaded, a recipe is trained (once) and then loaded."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vqbench.engine.cache import Cache
from vqbench.progress import Progress
from vqbench.suite import POCKET, Candidate
from vqbench.tokenizer.checkpoint import load_tokenizer
from vqbench.tokenizer.dvae_tokenizer import DVAETokenizer
from vqbench.training.recipe import load_recipe
from vqbench.training.trainer import train, training_clips, training_digest


def prepare_candidate(
    config: Candidate, cache: Cache, device: torch.device, progress: Progress
) -> Callable[[], DVAETokenizer]:
    """Reads all that a candidate is made of, and gives what brings it to the device: only that may take minutes.

    A recipe's training lives in the cache under the digest of all that decides its weights; a killed one is resumed.

    Raises:
        VqbenchError: where checkpoint, recipe or training clips are at fault.
    """
    if config.checkpoint is not None and str(config.checkpoint) == POCKET:
        from vqbench.pocket.assets import load_true_tokenizer

        true = load_true_tokenizer(device)
        return lambda: true
    if config.checkpoint is not None:
        tokenizer = load_tokenizer(config.checkpoint, config.mel_norms, device)
        return lambda: tokenizer
    assert config.recipe is not None
    recipe = load_recipe(config.recipe)
    clips = training_clips(recipe)
    # A GPU sums in another order, so what it trains is another candidate.
    folder = cache.training_folder(f"{training_digest(recipe, clips)}-{device.type}")
    return lambda: load_tokenizer(train(recipe, clips, folder, device, progress), device=device)
