"""What an ASR heard, kept beside a run's figures so that people can read what the errors are."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vqbench.errors import DataError, ResultError
from vqbench.files import require_file, write_text
from vqbench.records.mapping import MappingError, from_plain
from vqbench.records.run import Run

TRANSCRIPTS_FILE = "transcripts.jsonl"

ANEW = "run the suite again: what is cached is not measured anew"
"""What to do where something beside a run's figures is damaged."""


@dataclass(frozen=True)
class Transcript:
    """What an ASR heard of one clip from one system, beside the reference; both normalised.

    Words stand apart; where the language is written without spaces, characters do, as they were counted.

    Attributes:
        hypothesis: all that was heard.
        counted: what of it counts, where that is less: a phrase that is heard again and again beyond the reference
            counts once too often.
    """

    candidate: str
    clip: str
    reference: str
    hypothesis: str
    counted: str | None = None


def save_transcripts(transcripts: Sequence[Transcript], folder: Path) -> None:
    """Writes `transcripts.jsonl`: one clip of one system a line."""
    lines = [
        json.dumps({key: value for key, value in asdict(transcript).items() if value is not None}, ensure_ascii=False)
        for transcript in transcripts
    ]
    write_text(folder / TRANSCRIPTS_FILE, "".join(f"{line}\n" for line in lines))


def load_transcripts(folder: Path, run: Run) -> tuple[Transcript, ...]:
    """Reads `transcripts.jsonl`; nothing where the run has none.

    Raises:
        ResultError: it is broken, or is not of this run.
    """
    file = folder / TRANSCRIPTS_FILE
    if not os.path.lexists(file):
        return ()
    try:
        require_file(file)
        lines = file.read_bytes().splitlines()
    except DataError as error:
        raise ResultError(error.problem, where=error.where, fix=ANEW) from error
    except OSError as error:
        raise ResultError(f"cannot be read: {error.strerror}", where=str(file)) from error
    clips = {clip.id for clip in run.clips}
    candidates = {candidate.name for candidate in run.candidates}
    transcripts = []
    for number, line in enumerate(lines, 1):
        try:
            transcript: Transcript = from_plain(Transcript, json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ResultError(f"this is no JSON: {error}", where=f"{file}:{number}", fix=ANEW) from error
        except MappingError as error:
            raise ResultError(error.problem, where=f"{file}:{number}", expected=error.expected, fix=ANEW) from error
        if transcript.clip not in clips or transcript.candidate not in candidates:
            raise ResultError("is of another run than the result beside it", where=f"{file}:{number}", fix=ANEW)
        transcripts.append(transcript)
    return tuple(transcripts)
