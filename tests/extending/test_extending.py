"""The module of docs/extending.md, installed as a package of its own: a suite names every part of it, and measures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/extending.md"
KINDS = {"tokenizers": "mulaw", "metrics": "loudness", "judges": "pauses", "teachers": "calm", "formats": "tabs"}

SUITE = """\
name: extended
teacher: calm
data:
  speech: {manifest: clips.tsv, format: tabs}
  pairs: {n: 2}
candidates:
  - {name: mine, tokenizer: mulaw}
  - {name: truth, checkpoint: pocket}
metrics: [token_agreement, loudness, bitrate, speech, reconstruction]
speech: {judges: [pauses]}
interval: {resamples: 100}
device: cpu
"""


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for packages, with the example installed in it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "example.py").write_text("\n\n".join(blocks("python")))
    info = folder / "vqbench_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vqbench-example\nVersion: 1.0\n")
    (toml,) = blocks("toml")
    (info / "entry_points.txt").write_text(re.sub(r'project\.entry-points\."([^"]+)"', r"\1", toml).replace('"', ""))
    return folder


def vqbench(site: Path, *arguments: object, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vqbench", *map(str, arguments)]
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)


def test_each_example_is_short() -> None:
    assert all(len(block.strip().splitlines()) < 40 for block in blocks("python"))


@pytest.mark.parametrize(("kind", "name"), list(KINDS.items()))
def test_each_is_listed_and_none_without_the_package(site: Path, kind: str, name: str) -> None:
    found = {one["name"]: one for one in json.loads(vqbench(site, "list", kind, "--json").stdout)}
    assert found[name]["own"] is False and len(found[name]["about"]) > 10
    without = vqbench(Path("/nowhere"), "list", kind)
    assert without.returncode == 0 and name not in without.stdout.split()


def test_a_suite_measures_all_of_them(site: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    clips = sorted((ROOT / "vqbench/teachers/pocket/data/clips").glob("*.flac"))[:3]
    lines = []
    for clip in clips:
        shutil.copy(clip, tmp_path / clip.name)
        lines.append(f"{clip.name}\tsomebody\tthe words do not matter here\n")
    (tmp_path / "clips.tsv").write_text("".join(lines))
    (tmp_path / "extended.yaml").write_text(SUITE)
    arguments = ("run", "extended.yaml", "-o", "run", "--json", "-q")
    done = vqbench(site, *arguments, at=tmp_path)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    figures = {(one["candidate"], one["metric"]): one["value"] for one in run["results"]}
    assert figures["mine", "bitrate.bits_per_second"] == pytest.approx(64_000, rel=0.01)
    # Eight bits a sample are as loud as the recording, but for what lies above 4 kHz.
    assert 0.7 < figures["mine", "loudness.gain"] < 1.05
    assert figures["original", "loudness.gain"] == 1.0
    assert 0 < figures["truth", "speech.longest_pause"] < 3
    assert figures["truth", "token_agreement.raw"] > 0.1
    assert figures["mine", "reconstruction.mcd_db"] > 0
    assert ("mine", "reconstruction.mel_l1") not in figures


def test_a_package_that_is_broken_is_named(site: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site, broken)
    (broken / "example.py").write_text("import no_such_module\n")
    (tmp_path / "suite.yaml").write_text(
        "name: a\ndata: {speech: {corpus: pocket, split: test, limit: 2}}\n"
        "candidates: [{name: mine, tokenizer: mulaw}]\nmetrics: [bitrate]\n"
    )
    done = vqbench(broken, "run", tmp_path / "suite.yaml", "-o", tmp_path / "run", "-q")
    assert done.returncode == 2
    assert "'mulaw' cannot be imported: No module named 'no_such_module'" in done.stderr
    assert "mulaw = example:MuLaw in vqbench.tokenizers" in done.stderr
