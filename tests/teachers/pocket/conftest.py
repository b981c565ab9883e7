"""One tiny pocket TorToiSe, built through every stage for all tests that look at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from vqbench.judges.asr.recognizer import load_recognizer
from vqbench.judges.speaker.encoder import Resemblyzer
from vqbench.progress import Silent
from vqbench.training.pocket.evaluate import Judges
from vqbench.training.pocket.make import PACKAGE, make_pocket
from vqbench.training.pocket.plan import TINY


@pytest.fixture(scope="session")
def judges() -> Judges:
    """Those that `vqbench pocket build` calls by default."""
    return Judges(load_recognizer("faster-whisper", "tiny.en", 5, "clip", "cpu"), Resemblyzer("cpu"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, judges: Judges) -> Path:
    """The folder of a finished build; nobody may change it."""
    if shutil.which("flite") is None:
        pytest.skip("the tiny corpus is spoken by flite, which is not on the PATH")
    folder = tmp_path_factory.mktemp("pocket") / "tiny"
    make_pocket(TINY, folder, torch.device("cpu"), judges, Silent())
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The same folder, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def package(made: Path) -> Path:
    """What the build made to be shipped; nobody may change it."""
    return made / PACKAGE
