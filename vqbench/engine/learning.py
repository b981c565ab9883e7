"""Whether the GPT that was tuned on a candidate's tokens learnt them: held-out recordings, foretold by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.engine.assignment import Assignment, content_of
from vqbench.engine.cache import content_key
from vqbench.engine.downstream import lesson_of
from vqbench.engine.rows import Row, finite
from vqbench.errors import DataError
from vqbench.judging.learning import LATE_FALL
from vqbench.metrics.learning import TokenLearning, foretold_nats, unigram, unigram_nats
from vqbench.progress import Progress
from vqbench.records.rows import Measured
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.threads import one_thread
from vqbench.tokenizers.protocol import MelTokenizer, encode
from vqbench.training.finetune import count_tokens, late_fall

FORETELLING = "foretelling tokens"
"""The task that progress shows, two units a recording."""

_CACHED = "learning"


def learning_keys(digest: str, assignment: Assignment) -> dict[str, str]:
    """Names what comes of each held-out recording, by its id: asked of a GPT tuned to the candidate of this digest."""
    lesson = content_key(lesson_of(digest, assignment))
    asked = {"identity": dict(TokenLearning().identity), "lesson": lesson, "voices": content_of(assignment.voices)}
    return {
        name: content_key({**asked, "clip": [clip.sha256, clip.text, clip.speaker]})
        for name, clip in assignment.held_out.items()
    }


def course_of(folder: Path) -> dict[str, float]:
    """How a training went towards its end, as far as its log tells."""
    fall = late_fall(folder)
    return {} if fall is None else {LATE_FALL: fall}


@one_thread()
def foretell(
    tokenizer: MelTokenizer,
    tuned: TortoiseTeacher,
    clips: Mapping[str, Clip],
    assignment: Assignment,
    folder: Path,
    progress: Progress,
) -> dict[str, Row]:
    """Asks the tuned GPT, and the untuned one, for the candidate's tokens of held-out recordings.

    Args:
        tokenizer: the candidate.
        tuned: the teacher whose GPT was tuned on its tokens.
        clips: the recordings, by their ids.
        assignment: what was learnt.
        folder: of the training.
        progress: shows how far it is.

    Returns:
        a row a recording, or why there is none.
    """
    teacher = assignment.teacher
    counts = count_tokens(assignment.finetune, teacher, tokenizer, assignment.clips, folder, progress)
    frequencies = unigram(counts)
    front_end = MelFrontEnd(tokenizer.mel_spec)
    with teacher.gpt.loaded() as gpt:
        most = gpt.dimensions.max_mel_tokens
    rows: dict[str, Row] = {}
    read: dict[str, tuple[Tensor, Tensor]] = {}
    with progress.task(FORETELLING, 2 * len(clips)) as advance:
        for name, clip in clips.items():
            try:
                text, codes = teacher.encode(clip.text or ""), _codes(clip, tokenizer, front_end, most)
                read[name] = text.to(teacher.device), codes.to(teacher.device)
            except DataError as error:
                rows[name] = error
        found: dict[str, dict[str, float]] = {name: {} for name in read}
        for column, speaks in (("nats_before", teacher), ("nats", tuned)):
            voices = _voices(speaks, assignment)
            with speaks.gpt.loaded() as gpt:
                for name, (text, codes) in read.items():
                    found[name][column] = foretold_nats(gpt, voices[clips[name].speaker or ""], text, codes)
                    advance()
    for name, (_, codes) in read.items():
        cells = {**found[name], "nats_unigram": unigram_nats(frequencies, codes), "tokens": len(codes) + 1.0}
        rows[name] = finite(Measured(cells))
    return rows


def _codes(clip: Clip, tokenizer: MelTokenizer, front_end: MelFrontEnd, most: int) -> Tensor:
    """(L,) int64. One by one: no row depends on its neighbours."""
    with torch.inference_mode():
        (codes,) = encode(tokenizer, [front_end(load_clip(clip, front_end.spec.sample_rate_hz))])
    if len(codes) >= most:
        raise DataError(f"has {len(codes)} tokens, the GPT can write fewer than {most}")
    return codes.clone()


def _voices(teacher: TortoiseTeacher, assignment: Assignment) -> dict[str, Tensor]:
    """What its GPT hears of each speaker, (D,) each."""
    recordings: dict[str, list[Tensor]] = {}
    for clip in assignment.voices:
        recordings.setdefault(clip.speaker or "", []).append(load_clip(clip, SAMPLE_RATE_HZ))
    return teacher.heard_by_gpt(recordings)
