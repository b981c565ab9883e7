import os
import subprocess
import sys

import pytest

ABSENT = (
    *("torch", "torchaudio", "tortoise", "transformers", "tokenizers", "safetensors"),
    *("whisper", "faster_whisper", "ctranslate2", "resemblyzer", "jiwer", "rapidfuzz"),
    *("soundfile", "soxr", "librosa"),
)

WITHOUT = f"""
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from vqbench.cli import main
main()
"""


def without_bench(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("line", "code", "shows"),
    [
        ("--help", 0, "compare"),
        ("compare --help", 0, "Example"),
        ("compare runs/quick main", 0, "same"),
        ("gate runs/quick --baseline main", 0, "gate: pass"),
        ("gate runs/worse --baseline main", 1, "gate: fail"),
        ("report runs/quick", 0, "speech"),
        ("report runs/quick --format html", 0, "<!doctype html>"),
        ("card runs/quick:good --baseline main", 0, "model-index"),
        ("compare runs/quick --power", 0, "clips"),
        ("baseline list", 0, "main"),
        ("schema suite", 0, "properties"),
    ],
)
def test_judging_needs_none_of_the_bench_extra(workplace, line, code, shows):
    done = without_bench(workplace, *line.split())
    assert done.returncode == code, done.stderr
    assert shows in done.stdout


def test_the_block_blocks():
    script = WITHOUT.replace("from vqbench.cli import main\nmain()", "import vqbench.audio.mel")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in done.stderr


def test_help_loads_nothing_heavy(workplace):
    script = (
        "import sys, vqbench.cli; print(sorted({'numpy', 'scipy', 'jinja2', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("verb", ["run", "train"])
def test_measuring_says_what_to_install(workplace, verb):
    (workplace / "untrained.yaml").write_text("name: untrained\n")
    (workplace / "suite.yaml").write_text(
        "name: suite\ndata: {speech: {corpus: tortoise-voices}}\n"
        "candidates: [{name: untrained, recipe: untrained.yaml}]\n"
    )
    done = without_bench(workplace, verb, "suite.yaml" if verb == "run" else "untrained.yaml")
    assert done.returncode == 2
    assert "pip install 'vqbench[bench]'" in done.stderr
    assert "Traceback" not in done.stderr
