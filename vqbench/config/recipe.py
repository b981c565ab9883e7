"""A training recipe: the YAML that says how one candidate is made, phase by phase.

The phases are the essay's, in its order: pairs are made, the encoder is distilled and the decoder pre-trained, both are
refined on the better part of the pairs, trained together on real speech, and the GPT is fine-tuned to what has changed.
`pseudo_label` is not the essay's: between the last two, the GPT helps the encoder to learn recordings.
A recipe has those of them that it names. `reconstruct` stands in for the first ones where there is no GPT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from vqbench.config.models import (
    ConfigFile,
    ConfigModel,
    Fault,
    FileName,
    load_config,
    section,
)
from vqbench.config.pairs import PairSourceConfig
from vqbench.config.source import POCKET, Checkpoint, MelNorms, TeacherName
from vqbench.config.training import (
    DistilConfig,
    FinetuneConfig,
    JointConfig,
    PseudoLabelConfig,
    ReconstructConfig,
    RefineConfig,
    VQVAEPhaseConfig,
)

_Size = Annotated[int, Field(ge=1, le=65_536)]

PAIRS_LAYERS = 2
"""What `model.num_layers` must be for pairs: a GPT's token stands for four mel frames."""

VQVAE_PHASES: Mapping[str, type[VQVAEPhaseConfig]] = {
    "reconstruct": ReconstructConfig,
    "distil": DistilConfig,
    "refine": RefineConfig,
    "joint": JointConfig,
    "pseudo_label": PseudoLabelConfig,
}
"""The phases that train the VQVAE, in the order in which they run."""


class ModelConfig(ConfigModel):
    """The sizes of the VQVAE; the number of mel bands is the front end's."""

    hidden_dim: _Size = 192
    """Channels after the first convolution; every further layer doubles them."""

    codebook_size: int = Field(default=2048, ge=2, le=1_048_576)
    """Number of codes."""

    codebook_dim: _Size = 128
    """Length of a code's vector."""

    num_layers: int = Field(default=2, ge=1, le=8)
    """Convolutions of stride 2: a token stands for 2**num_layers mel frames."""

    num_resnet_blocks: int = Field(default=3, ge=0, le=64)
    """Residual blocks in the encoder, and as many in the decoder."""

    kernel_size: int = Field(default=3, ge=1, le=63)
    """Width of the convolutions, an odd number of frames."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """An odd kernel."""
        kernel = data.get("kernel_size")
        if isinstance(kernel, int) and kernel % 2 == 0:
            yield Fault(("kernel_size",), f"expected an odd number, got {kernel}")


class Recipe(ConfigFile):
    """How one candidate is made. Without any phase it is the untrained network, or `start` as it is."""

    name: FileName
    """Name of the candidate, used in file names."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of every random number, but for those of pairs."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The sizes of the VQVAE."""

    start: Checkpoint | None = None
    """A checkpoint whose VQVAE is trained on, in place of `model`; it is only read. Or `pocket`."""

    mel_norms: MelNorms | None = None
    """The mel norms that `start` was trained on, where it needs them named, as of a suite's candidate; what is trained
    keeps them."""

    teacher: TeacherName | None = None
    """Whose tokens are learnt: `pocket`, or a folder with TorToiSe's official checkpoints."""

    pairs: PairSourceConfig | None = None
    """What the teacher's GPT wrote, and how it sounds. Pairs of the split `test` are left alone."""

    reconstruct: ReconstructConfig | None = None
    """Training by reconstruction, from scratch."""

    distil: DistilConfig | None = None
    """The encoder learns the tokens of all pairs, the decoder their sound."""

    refine: RefineConfig | None = None
    """The same on the best pairs."""

    joint: JointConfig | None = None
    """Encoder and decoder together, on real speech."""

    pseudo_label: PseudoLabelConfig | None = None
    """The encoder learns transcribed recordings, which it labels together with the teacher's GPT, in rounds."""

    finetune: FinetuneConfig | None = None
    """The teacher's GPT learns the candidate's tokens."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Phases that have what they need, crops that are whole tokens, and one kind of beginning."""
        model = section(data, "model")
        layers = ModelConfig.value_in(model, "num_layers")
        named = [phase for phase in VQVAE_PHASES if data.get(phase) is not None]
        if data.get("start") is not None and "model" in data:
            yield Fault(("model",), "the sizes are those of `start`", fix="leave one of them out")
        if data.get("mel_norms") is not None and data.get("start") in (None, POCKET):
            problem = "mel norms belong to the checkpoint in `start`; the pocket's has its own"
            yield Fault(("mel_norms",), problem, fix="leave them out, or name a checkpoint")
        if data.get("reconstruct") is not None and (data.get("start") is not None or "distil" in named):
            expected = "`joint`, which trains on what is there by reconstruction"
            yield Fault(("reconstruct",), "it begins from scratch, and something is there already", expected=expected)
        for phase in ("distil", "refine"):
            if phase in named and data.get("pairs") is None:
                yield Fault((phase,), "there are no pairs to learn from", fix="add `pairs: {folder: …}` or `{n: …}`")
        if "refine" in named and section(data, "pairs").get("limit") is not None:
            fix = "leave one of them out, or make a folder of as many pairs"
            yield Fault(("pairs", "limit"), "`refine` chooses from all pairs of the folder", fix=fix)
        guard = JointConfig.value_in(section(data, "joint"), "guard")
        kind = guard.get("kind", "replay") if isinstance(guard, Mapping) else getattr(guard, "kind", None)
        if "joint" in named and data.get("pairs") is None and kind != "none":
            fix = "add pairs to watch, or `guard: {kind: none}`"
            yield Fault(("joint",), "a guard watches agreement with pairs, and there are none", fix=fix)
        if "joint" in named and len(named) == 1 and data.get("start") is None:
            yield Fault(("joint",), "there is nothing to train on with", fix="add `distil`, or `start: CHECKPOINT`")
        if "pseudo_label" in named:
            yield from _faults_of_labelling(data, named)
        if data.get("pairs") is not None:
            if data.get("start") is None and isinstance(layers, int) and layers != PAIRS_LAYERS:
                problem = f"tokens of {layers} layers are no GPT's tokens"
                yield Fault(("model", "num_layers"), problem, expected=f"{PAIRS_LAYERS} where there are pairs")
            if section(data, "pairs").get("n") is not None and data.get("teacher") is None:
                yield Fault(
                    ("pairs", "n"), "there is no teacher to make them", fix="add `teacher: pocket`, or a folder"
                )
        if section(data, "distil").get("codebook") in ("gpt", "teacher") and data.get("teacher") is None:
            yield Fault(("distil", "codebook"), "there is no teacher to take it from", fix="add `teacher: pocket`")
        if data.get("finetune") is not None and data.get("teacher") is None:
            yield Fault(("finetune",), "there is no teacher whose GPT it is", fix="add `teacher: pocket`, or a folder")
        for phase in named if data.get("start") is None else ():
            crop = VQVAE_PHASES[phase].value_in(section(data, phase), "crop_frames")
            if isinstance(crop, int) and isinstance(layers, int) and 1 <= layers <= 8 and crop > 0 and crop % 2**layers:
                problem = f"crops of {crop} frames are not whole tokens"
                yield Fault((phase, "crop_frames"), problem, expected=f"a multiple of 2**num_layers = {2**layers}")

    @property
    def steps(self) -> int:
        """Optimiser steps of all phases together."""
        phases = [getattr(self, phase) for phase in (*VQVAE_PHASES, "finetune")]
        return sum(phase.steps * getattr(phase, "rounds", 1) for phase in phases if phase is not None)


def _faults_of_labelling(data: Mapping[str, Any], named: Sequence[str]) -> Iterator[Fault]:
    """What labelling needs: a GPT, an encoder that hears something already, and pairs where they are replayed."""
    if data.get("teacher") is None:
        yield Fault(("pseudo_label",), "there is no teacher whose GPT labels", fix="add `teacher: pocket`, or a folder")
    if len(named) == 1 and data.get("start") is None:
        yield Fault(("pseudo_label",), "there is no encoder to begin with", fix="add `distil`, or `start: CHECKPOINT`")
    replay = PseudoLabelConfig.value_in(section(data, "pseudo_label"), "replay")
    if data.get("pairs") is None and replay != 0:
        yield Fault(("pseudo_label",), "there are no pairs to replay", fix="add `pairs: {folder: …}`, or `replay: 0`")


def load_recipe(path: Path, change: Mapping[str, Any] | None = None) -> Recipe:
    """Reads a recipe; every fault is reported at once.

    Args:
        path: the recipe's file.
        change: what is otherwise than in the file, by the rules of `load_config`.

    Raises:
        ConfigError: for one fault, with file and line.
        ManyErrors: for several.
    """
    return load_config(path, Recipe, change)
