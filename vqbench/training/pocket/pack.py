"""From a finished build to what is shipped: weights in half precision, recordings, and the card."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from vqbench.audio.io import file_digest
from vqbench.data.manifest import Clip, write_manifest
from vqbench.data.sentences import is_easily_heard
from vqbench.teachers.pocket.assets import Settings, save_part
from vqbench.teachers.pocket.card import load_card, write_card
from vqbench.teachers.tortoise.clvp import build_clvp
from vqbench.teachers.tortoise.diffusion import build_diffusion
from vqbench.teachers.tortoise.gpt import UnifiedVoice
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.training.pocket.build import Built, held_out_part, plan_digest, training_part
from vqbench.training.pocket.plan import BuildPlan

CONDITIONING_PER_SPEAKER = 3
"""Recordings by which a voice is told."""

LICENCE = (
    "The weights are vqbench's own and under its licence. They were trained on speech made by Piper with the voice "
    "`joe` (CC0) and by flite with slt, rms and awb (CMU ARCTIC, free for any use)."
)


def pack(plan: BuildPlan, built: Built, tuning: Sequence[Clip], folder: Path, settings: Settings) -> dict[str, Any]:
    """Writes weights, recordings and the card without figures into `folder`.

    Args:
        plan: what was built.
        built: its parts.
        tuning: recordings of sentences that are not in the corpus.
        folder: what becomes `vqbench/teachers/pocket/data`.
        settings: what the parts are run with.

    Returns:
        the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built.vqvae, folder / "vqvae.safetensors")
    for name, module, dimensions, weights in (
        ("gpt", UnifiedVoice(plan.gpt), plan.gpt, built.gpt),
        ("clvp", build_clvp(plan.clvp), plan.clvp, built.clvp),
        ("diffusion", build_diffusion(plan.diffusion), plan.diffusion, built.diffusion),
    ):
        module.load_state_dict(load_file(weights), strict=True)
        save_part(folder / f"{name}.safetensors", module, dimensions)
    parts = {name: _part(folder / f"{name}.safetensors") for name in ("vqvae", "gpt", "clvp", "diffusion")}
    for name, check in built.checks.items():
        parts[name]["check"] = {key: round(value, 4) for key, value in check.items()}
    tokenizer = load_tokenizer(folder / "vqvae.safetensors")
    parts["vqvae"]["dimensions"] = asdict(tokenizer.dvae.dimensions)
    for name, dimensions in (("gpt", plan.gpt), ("clvp", plan.clvp), ("diffusion", plan.diffusion)):
        parts[name]["dimensions"] = asdict(dimensions)
    held_out = _chosen(held_out_part(plan, built.corpus), plan.speaking.n_packed)
    _copy_clips([*held_out, *(replace(clip, id=f"train-{clip.id}", split="train") for clip in tuning)], folder)
    used = training_part(plan, built.corpus)
    card: dict[str, Any] = {
        "name": plan.name,
        "plan": plan_digest(plan),
        "source": source_digest(plan, built, settings),
        "parts": parts,
        "bytes": sum(part["bytes"] for part in parts.values()),
        "settings": asdict(settings),
        "corpus": {
            "utterances": len(used),
            "hours": round(sum(clip.duration_s for clip in used) / 3600, 2),
            "held_out": plan.corpus.n_test,
            "voices": {voice: "Piper" if voice == "joe" else "flite" for voice in plan.corpus.voices},
            "sentences": f"vqbench.data.sentences, seed {plan.seed}, at most {plan.corpus.max_words} words",
        },
        "licence": LICENCE,
        "figures": {},
        "judges": {},
    }
    write_card(folder, card)
    return load_card(folder)


def source_digest(plan: BuildPlan, built: Built, settings: Settings) -> str:
    """Sixteen hex digits over all that a package is made of: the same ones make the same package."""
    weights = [file_digest(path) for path in (built.vqvae, built.gpt, built.clvp, built.diffusion)]
    content = [plan_digest(plan), asdict(plan.speaking), asdict(settings), weights]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def calm_code(speech_ends: Sequence[torch.Tensor]) -> int:
    """The code of silence: the one that utterances end on most often."""
    ends = torch.cat([codes[-2:] for codes in speech_ends]).long()
    return int(ends.bincount().argmax())


def _part(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    n_numbers = sum(tensor.numel() for tensor in load_file(path).values())
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "numbers": n_numbers,
    }


def _chosen(clips: Sequence[Clip], n_test: int) -> Iterator[Clip]:
    """Some recordings of each speaker to be conditioned on, and others to test on."""
    seen: dict[str | None, int] = {}
    so_far = 0
    for clip in clips:
        seen[clip.speaker] = seen.get(clip.speaker, 0) + 1
        if seen[clip.speaker] <= CONDITIONING_PER_SPEAKER:
            yield replace(clip, split="conditioning")
        elif so_far < n_test and is_easily_heard(clip.text or ""):
            so_far += 1
            yield replace(clip, split="test")


def _copy_clips(clips: Sequence[Clip], folder: Path) -> None:
    if (folder / "clips").exists():
        shutil.rmtree(folder / "clips")
    (folder / "clips").mkdir()
    copies = [replace(clip, path=folder / "clips" / f"{clip.id}{clip.path.suffix}") for clip in clips]
    for clip, copy in zip(clips, copies, strict=True):
        shutil.copyfile(clip.path, copy.path)
    write_manifest(folder / "clips.jsonl", copies)
