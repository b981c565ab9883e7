"""A suite and recipes without faults, and the files that a project with them needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vqbench.config.models import ConfigFile
from vqbench.errors import ConfigError

Edit = tuple[str, str, int, str]
"""(what stands in the good file, what stands there instead, line of the fault, part of the message)"""

SUITE = """\
name: quick
seed: 0
data:
  speech: {corpus: tortoise-voices, split: test, limit: 24}
candidates:
  - {name: trained, checkpoint: ../candidates/trained.safetensors}
  - name: official
    checkpoint: dvae.pth
    mel_norms: mel_stats.pth
  - {name: brief, recipe: ../recipes/brief.yaml}
metrics: [reconstruction, codebook, speech, throughput]
references: [original, vocoded]
asr: {backend: faster-whisper, model: tiny.en, beam_size: 5, window: clip}
throughput: {batch_sizes: [1, 8], segment_s: 4.0, repetitions: 20, warmup: 2}
vocoder: {iterations: 32}
interval: {confidence: 0.95, resamples: 2000}
gate:
  - speech.wer <= baseline + 0.05
  - {rule: codebook.dead <= 80%, candidates: [trained]}
min_clips: 10
allow_unscored: 0
device: auto
"""

RECIPE = """\
name: brief
seed: 0
model: {hidden_dim: 192, codebook_size: 2048, codebook_dim: 128, num_layers: 2, num_resnet_blocks: 3, kernel_size: 3}
reconstruct:
  data:
    - {corpus: tortoise-voices, split: train}
    - {manifest: ../corpus/manifest.jsonl}
  steps: 8000
  batch_size: 24
  crop_frames: 128
  learning_rate: 6.0e-4
  schedule: cosine
  betas: [0.9, 0.96]
  loss: {l1: 1.0, l2: 0.5, commitment: 0.25}
  codebook: {decay: 0.97, restart_below: 0.1, restart_every: 20}
"""

WHOLE_RECIPE = """\
name: whole
seed: 1
teacher: pocket
model: {codebook_size: 1024}
pairs: {n: 500, sentences: ../corpus/sentences.txt, voices: {corpus: pocket}, seed: 3, hold_out_speakers: [awb]}
distil: {steps: 100, codebook: gpt, cross_entropy: 1.0, vector_mse: 0.25, scale: 1.0, decay: 0.99}
refine: {steps: 50, best: 0.25}
joint:
  data: [{corpus: tortoise-voices, split: train, weight: 20}]
  moving_codebook: false
  guard: {kind: replay, weight: 1.0, tolerance: 0.05}
finetune:
  data: [{manifest: ../corpus/manifest.jsonl, speakers: [ann]}]
  text_weight: 0.01
  dropout: 0.1
"""

FILES = (
    "pyproject.toml",
    "candidates/trained.safetensors",
    "suites/dvae.pth",
    "suites/mel_stats.pth",
    "corpus/manifest.jsonl",
    "corpus/sentences.txt",
)


def the_error(load: Callable[[Path], ConfigFile], path: Path) -> ConfigError:
    """The one error of a file that writes nothing beside it."""
    before = {other: other.stat().st_mtime_ns for other in path.parents[1].rglob("*")}
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert {other: other.stat().st_mtime_ns for other in path.parents[1].rglob("*")} == before
    return caught.value
