"""What a suite says of its metric group `downstream`: how the teacher's GPT is tuned to candidates, and then speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from vqbench.config.models import ConfigModel, Fault, Several, repeated
from vqbench.config.registered import JudgeName
from vqbench.config.source import DataSource, Sentences
from vqbench.config.training import FinetuneConfig

DOWNSTREAM = "downstream"
"""The group's name, and its section's."""

ZERO_SHOT = "zero-shot"
"""The reference row: the teacher as it is, without any candidate."""


class DownstreamConfig(ConfigModel):
    """For each candidate the teacher's GPT is tuned on the candidate's tokens, and the tuned teacher speaks: made once
    and kept in the cache. Everybody says the same sentences in the same voices by the same seeds."""

    finetune: FinetuneConfig
    """Speech with transcripts and speakers that the GPT is tuned on, and how."""

    n: int = Field(default=24, ge=2, le=10_000)
    """Sentences, each spoken once, the teacher's voices taking turns."""

    sentences: Sentences | None = None
    """Left out, those of `data.speech`, each in its own speaker's voice, and these recordings stand beside what is
    spoken, as they are and through the vocoder. Or `pocket`, the pocket TorToiSe's grammar, or a text file with one
    sentence a line."""

    voices: DataSource | None = None
    """Recordings of the speakers whose voices are taken; the teacher's own where it is left out."""

    enrolment: DataSource | None = None
    """Recordings of these speakers that what is spoken is compared with; those of `voices` are used for a speaker who
    has no others. Left out, those of `data.speech` where its sentences are said, the pocket TorToiSe's `test`
    recordings for its own voices, and `voices` for all others."""

    k: int = Field(default=1, ge=1, le=1024)
    """How many times the GPT writes each sentence; the one that the teacher's CLVP likes best is heard."""

    judges: Several[JudgeName] = Field(default=(), title="judge")
    """Who listens besides the ASR and the speaker encoder. `clvp`: the teacher's CLVP, how well speech fits its text,
    and how far it lies from the enrolment recordings; the teacher's VQVAE must be known. `mos`: DNSMOS, how clean it
    sounds (extra `judges`)."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Each judge once."""
        yield from repeated(data, "judges")


def needs(data: Mapping[str, Any], measured: Sequence[Any]) -> Iterator[Fault]:
    """Faults of a suite, as written, that measures `downstream` without saying by whom, or on what."""
    if DOWNSTREAM not in measured:
        return
    at = ("metrics", list(measured).index(DOWNSTREAM))
    if data.get("teacher") is None:
        yield Fault(at, "downstream needs a teacher whose GPT is tuned", fix="add `teacher: pocket`, or a folder")
    if data.get(DOWNSTREAM) is None:
        fix = "add `downstream: {finetune: {data: [{manifest: …}]}}`"
        yield Fault(at, "downstream needs speech that the GPT is tuned on", fix=fix)
