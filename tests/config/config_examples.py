"""A suite and a recipe without faults, and the files that a project with them needs."""

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
asr: {backend: faster-whisper, model: tiny.en, beam_size: 1, window: clip}
throughput: {batch_sizes: [1, 8], segment_s: 4.0, repetitions: 10, warmup: 2}
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
data:
  - {corpus: tortoise-voices, split: train}
  - {manifest: ../corpus/manifest.jsonl}
model: {hidden_dim: 192, codebook_size: 2048, codebook_dim: 128, num_layers: 2, num_resnet_blocks: 3, kernel_size: 3}
training:
  steps: 8000
  batch_size: 24
  crop_frames: 128
  learning_rate: 6.0e-4
  schedule: cosine
  betas: [0.9, 0.96]
  loss: {l1: 1.0, l2: 0.5, commitment: 0.25}
  codebook: {decay: 0.97, restart_below: 0.1, restart_every: 20}
"""

FILES = (
    "pyproject.toml",
    "candidates/trained.safetensors",
    "suites/dvae.pth",
    "suites/mel_stats.pth",
    "corpus/manifest.jsonl",
)
