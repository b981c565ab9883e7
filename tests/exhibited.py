"""A run with something to hear and to see: real recordings, copies through the vocoder, their mels, and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from builders import make_run, summarised

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.io import encode_waveform, load_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.judging.evidence import Evidence
from vqbench.records.exhibits import (
    MEL_FLOOR_DB,
    Exhibit,
    Exhibits,
    Mel,
    Relabelling,
    Shown,
    Take,
    pack_whole,
    save_exhibits,
    sound_name,
)
from vqbench.records.run import ClipRecord, MetricSpec, Run, Table
from vqbench.records.store import save_run
from vqbench.records.transcripts import Transcript, save_transcripts
from vqbench.stats.columns import Ragged

RECORDINGS = ("012012.flac", "012044.flac")
SPEAKERS = ("original", "good", "fair")
"""Whose takes there are, in order; the first is the recording."""

_AGREEMENT = MetricSpec(
    name="token_agreement.raw",
    group="token_agreement",
    columns=("matches", "tokens"),
    reduction="ratio",
    unit="",
    higher_is_better=True,
    version=1,
    description="share of tokens that are the GPT's own",
    headline=True,
    clip_set="pairs",
)


def exhibited_run(**options) -> Run:
    """`builders.make_run` with the GPT's tokens and everybody's beside them."""
    run = make_run(references=("original", "mel_round_trip"), **options)
    n = 12
    drawn = np.random.default_rng(3)
    lengths = drawn.integers(20, 60, n)
    written = drawn.integers(0, 40, lengths.sum())
    clips = tuple(
        ClipRecord(f"pairs/{i:03d}", f"{i:064x}", lengths[i] / 21.5, f"the GPT says {i}", None, "pairs")
        for i in range(n)
    )
    row_of = np.repeat(np.arange(n), lengths)
    tables = []
    for name, share in (("good", 0.8), ("fair", 0.4), ("untrained", 0.02)):
        codes = np.where(drawn.random(len(written)) < share, written, (written + 7) % 40)
        matches = np.bincount(row_of[codes == written], minlength=n).astype(float)
        columns = {
            "matches": matches,
            "tokens": lengths.astype(float),
            "gpt_codes": Ragged(written, lengths),
            "codes": Ragged(codes, lengths),
        }
        tables.append(Table(name, "token_agreement", tuple(c.id for c in clips), columns, {"codebook_size": 256.0}))
    return summarised(
        replace(run, clips=(*run.clips, *clips), metrics=(*run.metrics, _AGREEMENT), tables=(*run.tables, *tables))
    )


def save_exhibited(run: Run, folder: Path, clips: Sequence[str] = ("clip003", "clip007")) -> Evidence:
    """Writes a run's folder with exhibits of some clips, and what was heard of all; returns all of it."""
    names = [candidate.name for candidate in run.candidates]
    sounds: dict[str, bytes] = {}
    exhibits = Exhibits(
        tuple(
            Exhibit((f"worst speech.wer of fair: {place}.000",), (_shown(clip, recording, sounds),))
            for place, (clip, recording) in enumerate(zip(clips, RECORDINGS, strict=True))
        ),
        (
            Relabelling(
                "fair",
                *(pack_whole(np.array(row)) for row in ([7, 8, 5], [0, 1, 5], [9, 8, 2], [12, 9, 30])),
                tokens=400,
            ),
        ),
    )
    heard = tuple(
        Transcript(name, clip.id, clip.text, clip.text.replace("sentence", "sentences") + " indeed")
        for name in names
        for clip in run.clips
        if clip.clip_set == "speech"
    )
    save_exhibits(exhibits, sounds, folder)
    save_transcripts(heard, folder)
    save_run(run, folder)
    return Evidence(folder.name, run, exhibits, heard, folder)


def _shown(clip: str, recording: str, sounds: dict[str, bytes]) -> Shown:
    spec = MelSpec()
    front_end, vocoder = MelFrontEnd(spec), GriffinLim(spec, 2)
    waveform = load_waveform(
        Path(str(resources.files("vqbench.teachers.pocket") / "data/clips" / recording)), spec.sample_rate_hz
    )
    codes = np.random.default_rng(len(recording)).integers(0, 40, front_end.spec.n_frames(len(waveform)) // 4)
    takes = []
    for place, name in enumerate(SPEAKERS):
        mel = front_end(waveform) * (1 + 0.05 * place)
        sound = encode_waveform(vocoder(mel, length=len(waveform)) if place else waveform, spec.sample_rate_hz, name)
        key = sound_name(sound, "flac")
        sounds[key] = sound
        level_db = 10 * torch.log10(front_end.power(mel)) - MEL_FLOOR_DB
        levels = level_db.round().clamp(0, 255).to(torch.uint8).numpy()
        picture = Mel(*levels.shape, spec.frame_rate_hz, "decoder" if place else "sound", pack_whole(levels.ravel()))
        own = None if place == 0 else pack_whole(np.where(np.arange(len(codes)) % (place + 1), codes, 99))
        takes.append(Take(name, key, len(waveform) / spec.sample_rate_hz, picture, own))
    return Shown(clip, tuple(takes), pack_whole(codes), "the true tokenizer")
