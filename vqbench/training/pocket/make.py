"""From packages to what is shipped: the build, the package, and what the judges say of it.

Each of the three is only done where it was not done before, so the same command goes on from wherever it was left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqbench.data.recordings import load_clip
from vqbench.data.sentences import is_easily_heard
from vqbench.errors import VqbenchError
from vqbench.progress import Progress
from vqbench.teachers.pocket.assets import Settings, load_pocket, voices
from vqbench.teachers.pocket.card import check_parts, load_card, write_card
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.training.pocket.build import Built, build, held_out_part, make_tuning_speech, stages
from vqbench.training.pocket.evaluate import (
    Judges,
    as_plain,
    at_most,
    evaluate_corpus,
    evaluate_teacher,
    evaluate_tokenizer,
    new_sentences,
)
from vqbench.training.pocket.pack import calm_code, pack, source_digest
from vqbench.training.pocket.plan import BuildPlan

PACKAGE = "package"
"""The folder inside a build's that holds what is shipped."""

MOST_MEGABYTES = 40
"""That all weights may have together."""


def outline(plan: BuildPlan, folder: Path) -> str:
    """What a build will do, for people to read before it starts."""
    head = (
        f"{plan.name} in {folder}: {plan.duration} in all, and then the judges' listening;"
        " interrupted, the same command goes on"
    )
    return "\n".join(
        [head, *(f"  {_mark(stage.done)}  {stage.name:<9}  {stage.work}" for stage in stages(plan, folder))]
    )


def make_pocket(
    plan: BuildPlan, folder: Path, device: torch.device, judges: Judges, progress: Progress
) -> dict[str, Any]:
    """Builds, packs and judges a pocket TorToiSe, or does what is left of that.

    Args:
        plan: what to make.
        folder: where every stage keeps its work, and `PACKAGE` with the result.
        device: where to train and to speak.
        judges: who listens to the result.
        progress: shows how far each stage is.

    Returns:
        its card, figures and all.

    Raises:
        TrainingError: a stage failed its check, or the folder holds a build of another plan.
        MissingExtraError, DataError: where a voice, a program, a package or the disk is missing.
    """
    built = build(plan, folder, device, progress)
    package = folder / PACKAGE
    settings = choose_settings(plan, built)
    card = _packed(package, source_digest(plan, built, settings))
    if card is None:
        tuning = make_tuning_speech(plan, folder, built.corpus, progress)
        card = pack(plan, built, tuning, package, settings)
    if not card["figures"] or card["judges"] != judges.identity:
        figures = _judge(plan, built, package, card, device, judges, progress)
        write_card(package, {**card, "figures": figures, "judges": judges.identity})
        card = load_card(package)
    if card.get("notes") != list(plan.notes):
        write_card(package, {**card, "notes": list(plan.notes)})
        card = load_card(package)
    return card


def choose_settings(plan: BuildPlan, built: Built) -> Settings:
    """What the parts are run with: as planned, and silence as the VQVAE writes it."""
    speech, speaking = built.speech, plan.speaking
    return Settings(
        sampling=speaking.sampling,
        calm=calm_code([speech.codes[0][row] for row in range(speech.n_training)]),
        conditioning_frames=plan.gpt_plan.conditioning_frames,
        diffusion_steps=speaking.diffusion_steps,
        cond_free_k=speaking.cond_free_k,
        vocoder_iterations=speaking.vocoder_iterations,
    )


def _packed(package: Path, source: str) -> dict[str, Any] | None:
    """The card of a whole package that was made of this, or None."""
    try:
        card = load_card(package)
        check_parts(card, package)
    except VqbenchError:
        return None
    return card if card.get("source") == source else None


def _judge(
    plan: BuildPlan,
    built: Built,
    package: Path,
    card: Mapping[str, Any],
    device: torch.device,
    judges: Judges,
    progress: Progress,
) -> dict[str, dict[str, object]]:
    """Everything is measured on the package itself, with its weights as rounded as they are shipped."""
    teacher = load_pocket(device, package)
    assert teacher.tokenizer is not None
    recordings: dict[str, list[Tensor]] = {}
    for clip in voices(package):
        recordings.setdefault(clip.speaker or "", []).append(load_clip(clip, SAMPLE_RATE_HZ))
    known = frozenset(clip.text or "" for clip in built.corpus)
    texts = new_sentences(known, plan.speaking.n_spoken, plan.corpus.max_words)
    held_out, n = held_out_part(plan, built.corpus), plan.speaking.n_copied
    copied = [clip for clip in held_out if is_easily_heard(clip.text or "")][-n:]
    figures = evaluate_corpus(held_out[-n:], judges.asr)
    figures |= evaluate_tokenizer(teacher.tokenizer, copied, judges.asr, judges.encoder, progress)
    figures |= evaluate_teacher(teacher, recordings, texts, plan.speaking.tries, judges.asr, judges.encoder, progress)
    figures["megabytes"] = at_most(card["bytes"] / 1e6, MOST_MEGABYTES, "size of all weights together")
    return as_plain(figures)


def _mark(done: bool) -> str:
    return "done " if done else "to do"
