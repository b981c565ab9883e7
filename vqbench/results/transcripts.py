"""What an ASR heard, kept beside a run's figures so that people can read what the errors are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vqbench.files import write_text

TRANSCRIPTS_FILE = "transcripts.jsonl"


@dataclass(frozen=True)
class Transcript:
    """What an ASR heard of one clip from one system, beside the reference; both normalised."""

    candidate: str
    clip: str
    reference: str
    hypothesis: str


def save_transcripts(transcripts: Sequence[Transcript], folder: Path) -> None:
    """Writes `transcripts.jsonl`: one clip of one system a line."""
    lines = [json.dumps(asdict(transcript), ensure_ascii=False) for transcript in transcripts]
    write_text(folder / TRANSCRIPTS_FILE, "".join(f"{line}\n" for line in lines))
