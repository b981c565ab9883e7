"""TorToiSe's published checkpoints, in a folder under their own names.

All files can be checked before the first one is loaded, by what their headers say: names, kinds, shapes. Weights stay
in the memory maps of their files, one model at a time: a process that runs the four in turn on a CPU peaks at 2.1 GB
(GPT 1.7, diffusion 1.2, CLVP 1.0, UnivNet 0.06, and 0.4 for Python and torch), most of which may be evicted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from vqbench.audio.io import file_digest
from vqbench.config.source import DVAE_FILE
from vqbench.errors import CheckpointError, raise_all
from vqbench.teachers.tortoise.clvp import CLVPDimensions, build_clvp
from vqbench.teachers.tortoise.diffusion import DiffusionDimensions, build_diffusion
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.vocoder import build_univnet
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.dvae.state_dict import misfits, not_finite, read_torch
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

GPT_FILE = "autoregressive.pth"
CLVP_FILE = "clvp2.pth"
DIFFUSION_FILE = "diffusion_decoder.pth"
VOCODER_FILE = "vocoder.pth"
TOKENIZER_FILE = DVAE_FILE
"""The VQVAE, which is withheld from most: optional, and the oracle where it is there."""

SOURCE = "the folder .models of the repository jbetker/tortoise-tts-v2 on huggingface.co"


@dataclass(frozen=True)
class OfficialSizes:
    """The sizes of the networks; the defaults are those of the published files (UnivNet has but one)."""

    gpt: GPTDimensions = field(default_factory=GPTDimensions)
    clvp: CLVPDimensions = field(default_factory=CLVPDimensions)
    diffusion: DiffusionDimensions = field(default_factory=DiffusionDimensions)


class OfficialCheckpoints:
    """A folder with `autoregressive.pth`, `clvp2.pth`, `diffusion_decoder.pth` and `vocoder.pth`.

    Nothing is read until it is asked for, and nothing is ever written.

    Args:
        folder: where the files lie; `dvae.pth` may lie there, too, and all else is left alone.
        sizes: of the networks.
    """

    def __init__(self, folder: Path, sizes: OfficialSizes | None = None) -> None:
        self.folder = folder
        self.sizes = sizes or OfficialSizes()
        self._builders: Mapping[str, Callable[[], nn.Module]] = {
            GPT_FILE: lambda: UnifiedVoice(self.sizes.gpt),
            CLVP_FILE: lambda: build_clvp(self.sizes.clvp),
            DIFFUSION_FILE: lambda: build_diffusion(self.sizes.diffusion),
            VOCODER_FILE: build_univnet,
        }

    def faults(self) -> list[CheckpointError]:
        """Checks all files by their headers; the weights themselves are not read.

        Returns:
            one error a faulty file, none where all is well.

        Raises:
            MissingExtraError: where tortoise-tts is not installed.
        """
        found = []
        for name in self._builders:
            try:
                self._open(name)
            except CheckpointError as error:
                found.append(error)
        return found

    def check(self) -> None:
        """Raises what `faults` finds.

        Raises:
            CheckpointError: one file is at fault.
            ManyErrors: several are.
            MissingExtraError: where tortoise-tts is not installed.
        """
        raise_all(self.faults())

    def digest(self) -> str:
        """Sixteen hex digits over the content of all files that decide what is spoken. Reads some four gigabytes.

        Raises:
            DataError: a file is missing or cannot be read.
        """
        digests = [file_digest(self.folder / name) for name in self._builders]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]

    def load_gpt(self, device: torch.device | str = "cpu") -> UnifiedVoice:
        """Loads `autoregressive.pth`, in evaluation mode.

        Raises:
            CheckpointError: for anything but a whole, finite checkpoint of this network.
        """
        gpt = self._load(GPT_FILE, device)
        assert isinstance(gpt, UnifiedVoice)
        return gpt

    def load_clvp(self, device: torch.device | str = "cpu") -> nn.Module:
        """Loads `clvp2.pth`, in evaluation mode. Raises: as `load_gpt`."""
        return self._load(CLVP_FILE, device)

    def load_diffusion(self, device: torch.device | str = "cpu") -> nn.Module:
        """Loads `diffusion_decoder.pth`, in evaluation mode. Raises: as `load_gpt`."""
        return self._load(DIFFUSION_FILE, device)

    def load_vocoder(self, device: torch.device | str = "cpu") -> nn.Module:
        """Loads the generator in `vocoder.pth`, in evaluation mode. Raises: as `load_gpt`."""
        return self._load(VOCODER_FILE, device)

    def load_tokenizer(self, device: torch.device | str = "cpu") -> DVAETokenizer | None:
        """Loads the true VQVAE, `dvae.pth`, or returns None where the folder has none.

        Raises:
            CheckpointError: for anything but a whole, finite VQVAE.
        """
        path = self.folder / TOKENIZER_FILE
        return load_tokenizer(path, device=device) if path.exists() else None

    def _load(self, name: str, device: torch.device | str) -> nn.Module:
        model, state = self._open(name)
        if broken := not_finite(state):
            raise CheckpointError(
                f"the weights hold NaN or infinity: {broken}", where=str(self.folder / name), fix=_DOWNLOAD
            )
        model.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True, assign=True)
        # UnivNet's own eval() returns nothing.
        return model.requires_grad_(False).to(device).train(False)

    def _open(self, name: str) -> tuple[nn.Module, dict[str, Tensor]]:
        """The network without weights, and the weights that fit it, still in their file."""
        path = self.folder / name
        with torch.device("meta"):
            model = self._builders[name]()
        wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        size = f"about {sum(t.nbytes for t in model.state_dict().values()) / 1e9:.2f} GB"
        if not path.is_file():
            raise CheckpointError("there is no such checkpoint file", where=str(path), expected=size, fix=_DOWNLOAD)
        state = _read(path, name, size)
        if faults := misfits(state, wanted):
            raise CheckpointError(
                f"the checkpoint does not fit: {faults}",
                where=str(path),
                expected=f"the {len(wanted)} tensors of {type(model).__name__} in TorToiSe's size",
                fix=_DOWNLOAD,
            )
        return model, state


_DOWNLOAD = f"download it from {SOURCE}"


def _read(path: Path, name: str, size: str) -> dict[str, Tensor]:
    """The state_dict of a file, in its memory map, without what was never part of the network."""
    where = str(path)
    try:
        content = read_torch(path, mapped=True)
    except CheckpointError as error:
        error.expected, error.fix = f"{size} of tensors: files that want more are never run", _DOWNLOAD
        raise
    if name == VOCODER_FILE and isinstance(content, Mapping):
        # UnivNet was published with its discriminator and optimisers.
        content = content.get("model_g")
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        expected = "a mapping of names to tensors" + (", below 'model_g'" if name == VOCODER_FILE else "")
        raise CheckpointError("the file holds no state_dict", where=where, expected=expected, fix=_DOWNLOAD)
    return {key: tensor for key, tensor in content.items() if name != GPT_FILE or not _is_causal_mask(str(key))}


def _is_causal_mask(key: str) -> bool:
    """Whether it is a mask, the same in every GPT-2, that older releases of transformers stored with the weights."""
    return key.startswith("gpt.h.") and key.endswith((".attn.bias", ".attn.masked_bias"))
