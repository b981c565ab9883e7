"""Writes the tokens of recordings: a candidate's own, or those that it finds together with a teacher's GPT.

    tokens-00000.parquet, tokens-00001.parquet, …

One row a recording: `id, text, speaker, language, path, sha256, duration_s, codes (int32), fault`. Any parquet reader
opens them, one by one or as a data set. Each file says in its metadata who wrote the tokens, and is written whole or
not at all, so that an interrupted pass goes on.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.errors import DataError
from vqbench.files import require_writable, write_whole
from vqbench.progress import Progress
from vqbench.teachers.tortoise.decoding import Joining
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.threads import one_thread
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.training.labelling import Labeller, Transcribed, tell_voices

PER_FILE = 256
"""Recordings of a file: what an interruption costs at most."""

AT_ONCE = 32
"""Recordings that are read and encoded together."""

TOKENS_VERSION = 1
"""Raised whenever the same candidate and recordings would give other tokens."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("language", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("duration_s", pa.float64()),
        ("codes", pa.list_(pa.int32())),
        ("fault", pa.string()),
    ]
)

_METADATA = b"vqbench.tokens"


@dataclass(frozen=True)
class WrittenTokens:
    """What a pass over recordings came to.

    Attributes:
        n: recordings with tokens.
        faults: id → why there are none, of the others.
    """

    n: int
    faults: Mapping[str, str]


@dataclass(frozen=True)
class Helper:
    """A teacher whose GPT has a say.

    Attributes:
        teacher: it.
        joining: how its GPT and the encoder are weighed.
    """

    teacher: TortoiseTeacher
    joining: Joining


def write_tokens(
    clips: Sequence[Clip], tokenizer: DVAETokenizer, folder: Path, progress: Progress, helper: Helper | None = None
) -> WrittenTokens:
    """Writes the tokens of all recordings; files of the same recordings and settings that are there are kept.

    Args:
        clips: the recordings; with a helper, those without transcript or speaker have a fault instead of tokens.
        tokenizer: whose encoder listens.
        folder: for the files.
        progress: shows how far it is.
        helper: None leaves the encoder alone.

    Raises:
        DataError: nothing can be written there, or the folder holds other tokens.
        ConfigError: the GPT cannot write the candidate's codes.
    """
    settings: dict[str, Any] = {
        "version": TOKENS_VERSION,
        "tokenizer": tokenizer.digest,
        "codebook_size": tokenizer.codebook_size,
        "token_rate_hz": tokenizer.token_rate_hz,
        "teacher": helper and helper.teacher.digest,
        "joining": helper and asdict(helper.joining),
    }
    parts = [clips[at : at + PER_FILE] for at in range(0, len(clips), PER_FILE)]
    paths = [folder / f"tokens-{number:05d}.parquet" for number in range(len(parts))]
    require_writable(folder / "tokens")
    _require_own(folder, paths, settings)
    encoder = _Encoder(tokenizer, helper, clips, progress)
    faults: dict[str, str] = {}
    with progress.task("writing tokens", len(clips)) as advance:
        for path, part in zip(paths, parts, strict=True):
            found = _read(path, part, settings)
            if found is None:
                found = {}
                for at in range(0, len(part), AT_ONCE):
                    chunk = part[at : at + AT_ONCE]
                    with one_thread():
                        found.update(encoder.encode(chunk))
                    advance(len(chunk))
                write_whole(path, _content(part, found, settings))
            else:
                advance(len(part))
            faults.update((id_, why) for id_, why in found.items() if isinstance(why, str))
    return WrittenTokens(len(clips) - len(faults), faults)


class _Encoder:
    """Encodes recordings, alone or with a helper; what it needs of the helper is asked for when first needed."""

    def __init__(
        self, tokenizer: DVAETokenizer, helper: Helper | None, clips: Sequence[Clip], progress: Progress
    ) -> None:
        self._tokenizer, self._helper, self._clips, self._progress = tokenizer, helper, clips, progress
        self._front_end = MelFrontEnd(tokenizer.mel_spec)
        self._voices: dict[str, Tensor] | None = None

    def encode(self, clips: Sequence[Clip]) -> dict[str, Tensor | str]:
        """Of each recording, by id, its codes (L,) int64, or why there are none."""
        found: dict[str, Tensor | str] = {}
        read: list[tuple[Clip, Tensor]] = []
        for clip in clips:
            try:
                read.append((clip, load_clip(clip, self._front_end.spec.sample_rate_hz)))
            except DataError as error:
                found[clip.id] = error.problem
        # Like lengths together: less padding.
        read.sort(key=lambda one: len(one[1]))
        if self._helper is None:
            with torch.inference_mode():
                latents = self._tokenizer.latents([self._front_end(waveform) for _, waveform in read])
                written = self._tokenizer.quantize(latents)
            return found | {clip.id: codes.cpu() for (clip, _), codes in zip(read, written, strict=True)}
        return found | self._with_help(self._helper, read)

    def _with_help(self, helper: Helper, read: Sequence[tuple[Clip, Tensor]]) -> dict[str, Tensor | str]:
        if self._voices is None:
            known = [clip for clip in self._clips if clip.speaker and clip.text]
            self._voices = tell_voices(known, helper.teacher, self._progress)
        with helper.teacher.gpt.loaded() as gpt:
            most_s = gpt.dimensions.max_mel_tokens / self._tokenizer.token_rate_hz
        found: dict[str, Tensor | str] = {}
        asked: list[tuple[Transcribed, Tensor]] = []
        for clip, waveform in read:
            try:
                text = helper.teacher.encode(clip.text or "")
            except DataError as error:
                found[clip.id] = error.problem
                continue
            if not clip.text or not clip.speaker:
                found[clip.id] = "no transcript, or no speaker: the GPT is asked what is likely of a text in a voice"
            elif len(waveform) / self._front_end.spec.sample_rate_hz >= most_s:
                found[clip.id] = f"{clip.duration_s:.1f} s, longer than the {most_s:.1f} s that the GPT can write"
            else:
                asked.append((Transcribed(clip, text, text, self._voices[clip.speaker]), waveform))
        labeller = Labeller(self._tokenizer, helper.teacher, helper.joining)
        written = labeller.labels([waveform for _, waveform in asked], [one for one, _ in asked])
        return found | {one.clip.id: codes for (one, _), codes in zip(asked, written, strict=True)}


def _content(clips: Sequence[Clip], found: Mapping[str, Tensor | str], settings: Mapping[str, Any]) -> bytes:
    columns = {
        name: [getattr(clip, name) for clip in clips]
        for name in ("id", "text", "speaker", "language", "sha256", "duration_s")
    }
    columns["path"] = [str(clip.path) for clip in clips]
    made = [found[clip.id] for clip in clips]
    columns["codes"] = [None if isinstance(one, str) else one.tolist() for one in made]
    columns["fault"] = [one if isinstance(one, str) else None for one in made]
    table = pa.table(columns, schema=SCHEMA)
    said = {"settings": dict(settings), "sha256": _sum_of(table.to_pydict())}
    table = table.replace_schema_metadata({_METADATA: json.dumps(said, sort_keys=True)})
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    return content.getvalue()


def _read(path: Path, clips: Sequence[Clip], settings: Mapping[str, Any]) -> dict[str, Tensor | str] | None:
    """What a file holds; None where it is not there, damaged, or of other recordings."""
    try:
        said = _said(path)
        table = pq.read_table(path, page_checksum_verification=True).to_pydict()
        if said != {"settings": dict(settings), "sha256": _sum_of(table)}:
            return None
    except (OSError, ValueError, pa.ArrowException):
        return None
    if table["sha256"] != [clip.sha256 for clip in clips] or table["text"] != [clip.text for clip in clips]:
        return None
    return {
        id_: str(fault) if fault is not None else torch.tensor(codes)
        for id_, codes, fault in zip(table["id"], table["codes"], table["fault"], strict=True)
    }


def _said(path: Path) -> dict[str, Any]:
    metadata = pq.read_schema(path).metadata or {}
    said: dict[str, Any] = json.loads(metadata.get(_METADATA, b"{}"))
    return said


def _sum_of(columns: Mapping[str, Any]) -> str:
    """Of all rows: the sums of parquet's pages say nothing of their headers."""
    return hashlib.sha256(json.dumps({name: columns[name] for name in SCHEMA.names}).encode()).hexdigest()


def _require_own(folder: Path, paths: Sequence[Path], settings: Mapping[str, Any]) -> None:
    """One folder holds one candidate's tokens of one list of recordings."""
    for path in sorted(folder.glob("tokens-*.parquet")):
        try:
            other = _said(path).get("settings") != settings
        except (OSError, ValueError, pa.ArrowException):
            continue  # damaged, and made anew
        if other or path not in paths:
            raise DataError(
                "this folder holds tokens of another candidate, by other settings, or of more recordings",
                where=str(path),
                fix="choose another folder with -o, or remove this one",
            )
