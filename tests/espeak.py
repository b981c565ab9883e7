"""Speech in many languages by the program espeak-ng, for tests; without it they are skipped by name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="spoken by espeak-ng, which is missing")

VOICES = {"zh": "cmn"}
"""Languages whose voice is not called by their code."""


def say(text: str, language: str, path: Path) -> Path:
    """Writes a WAV of a sentence, slowly spoken."""
    voice = VOICES.get(language, language)
    subprocess.run(["espeak-ng", "-v", voice, "-s", "140", "-w", str(path), text], check=True, capture_output=True)
    return path
