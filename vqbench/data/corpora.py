"""Corpora that vqbench finds by name, and the one way from a suite's data source to clips."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import replace
from importlib import resources
from pathlib import Path

from vqbench.config.source import DataSource
from vqbench.data.manifest import Clip, read_manifest, select
from vqbench.data.reading import read_clips
from vqbench.data.recordings import MAX_CLIP_S
from vqbench.errors import DataError, ManyErrors, VqbenchError, did_you_mean
from vqbench.languages import ENGLISH
from vqbench.registries import CORPORA

TORTOISE_VERSION = "3.0.0"
"""The tortoise-tts whose recordings `tortoise_voices.jsonl` lists."""


def load_clips(source: DataSource) -> list[Clip]:
    """Finds the clips of a data source; their recordings are there, and are the ones listed.

    Raises:
        DataError: for recordings that are missing or changed, and where no clip is left (several: ManyErrors).
    """
    if source.corpus is not None:
        clips = corpus_clips(source.corpus, source.split, source.limit)
    elif source.manifest is not None:
        clips = read_clips(
            source.manifest,
            format_name=source.format,
            split=source.split,
            limit=source.limit,
            max_clip_s=source.max_clip_s or MAX_CLIP_S,
        )
    else:
        raise DataError("the data source names neither a corpus nor a manifest")
    if source.language is not None:
        clips = [clip if clip.language else replace(clip, language=source.language) for clip in clips]
    if source.speakers is None:
        return clips
    found = {clip.speaker or "" for clip in clips}
    if missing := [name for name in source.speakers if name not in found]:
        raise DataError(
            f"there is no clip of the speaker {missing[0]!r}{did_you_mean(missing[0], found)}",
            where=str(source.manifest or source.corpus),
            expected=f"one of {', '.join(sorted(name for name in found if name))}",
        )
    return [clip for clip in clips if clip.speaker in source.speakers]


def corpus_clips(name: str, split: str | None = None, limit: int | None = None) -> list[Clip]:
    """Finds a corpus by its name.

    Args:
        name: of the registry `CORPORA`.
        split: only the clips of this split.
        limit: at most so many of them, the first ones.

    Raises:
        DataError: its recordings are missing or others, or no clip is left.
        ConfigError: there is no such corpus.
    """
    return select(list(CORPORA.load(name)()), split, limit, where=f"corpus {name}")


def pocket() -> list[Clip]:
    """What the pocket TorToiSe's four synthetic speakers say and none of its parts was trained on.

    Its splits are `train`, `test`, and `conditioning`, by which the teacher is told a voice.
    """
    with resources.as_file(resources.files("vqbench.teachers.pocket") / "data" / "clips.jsonl") as manifest:
        return _english(read_manifest(manifest))


def tortoise_voices() -> list[Clip]:
    """The audiobook voices that tortoise-tts ships, 26 clips (185 s) of 10 human speakers.

    No speaker is in both of its splits, `train` and `test`.

    Raises:
        DataError: tortoise-tts is not installed, or has other recordings.
    """
    voices = _tortoise_voices()
    with resources.as_file(resources.files("vqbench.data") / "tortoise_voices.jsonl") as manifest:
        try:
            return _english(read_manifest(manifest, folder=voices))
        except VqbenchError as error:
            faults = error.errors if isinstance(error, ManyErrors) else (error,)
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise _other_tortoise(voices, f"{faults[0].problem}{more}") from error


def _english(clips: list[Clip]) -> list[Clip]:
    return [replace(clip, language=ENGLISH) for clip in clips]


def _tortoise_voices() -> Path:
    """The folder of the recordings; tortoise is only looked up, since importing it takes seconds and more packages."""
    spec = importlib.util.find_spec("tortoise")
    if spec is None:
        raise DataError(
            "the corpus 'tortoise-voices' needs the package 'tortoise-tts', which is not installed",
            fix=f"pip install --no-deps tortoise-tts=={TORTOISE_VERSION}",
        )
    for folder in spec.submodule_search_locations or ():
        voices = Path(folder) / "voices"
        if voices.is_dir():
            return voices
    raise _other_tortoise(Path(spec.origin or "tortoise"), "the installed package 'tortoise' has no folder 'voices'")


def _other_tortoise(where: Path, problem: str) -> DataError:
    try:
        installed = f"version {importlib.metadata.version('tortoise-tts')} is installed"
    except importlib.metadata.PackageNotFoundError:
        installed = "it is not installed, but another package of the name 'tortoise' is"
    return DataError(
        problem,
        where=str(where),
        expected=f"the recordings of tortoise-tts {TORTOISE_VERSION}; {installed}",
        fix=f"pip install --force-reinstall --no-deps tortoise-tts=={TORTOISE_VERSION}",
    )
