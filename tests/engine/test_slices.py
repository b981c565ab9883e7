"""Slices from a suite to a run: real clips, a real candidate, and the figures of these clips measured alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from builders import same_figure

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import load_suite, select
from vqbench.data.corpora import corpus_clips
from vqbench.data.manifest import Clip
from vqbench.engine.assignment import Assignment, find_slices
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.engine.speaking import SpokenLine
from vqbench.errors import ConfigError
from vqbench.judging.gate import gate
from vqbench.progress import Silent
from vqbench.records.check import check_run
from vqbench.records.run import ClipRecord, Run
from vqbench.records.store import load_run, save_run
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips from short to long, said to be in two languages; and an untrained candidate."""
    folder = tmp_path_factory.mktemp("sliced")
    (folder / "pyproject.toml").touch()
    lines = []
    for number, clip in enumerate(sorted(corpus_clips("tortoise-voices", "test"), key=lambda c: c.duration_s)[:6]):
        name = f"{number}{clip.path.suffix}"
        shutil.copy(clip.path, folder / name)
        line: dict[str, Any] = {"id": clip.id, "path": name, "speaker": clip.speaker, "text": clip.text}
        line |= {"language": "vi" if number % 2 else "en", "duration_s": clip.duration_s}
        lines.append(line)
    del lines[0]["speaker"]
    (folder / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "long.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[3:]))
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(codebook_size=64, codebook_dim=8, hidden_dim=16))
    save_checkpoint(folder / "small.safetensors", dvae, MelSpec(), {})
    return folder


def run_of(project: Path, manifest: str = "all.jsonl", **changes: object) -> Run:
    return run_suite(suite_of(project, manifest, **changes), Cache(project / "cache"), Silent()).run


def suite_of(project: Path, manifest: str = "all.jsonl", **changes: object) -> Any:
    content: dict[str, object] = {
        "name": "sliced",
        "data": {"speech": {"manifest": manifest}},
        "candidates": [{"name": "small", "checkpoint": "small.safetensors"}],
        "references": [],
        "metrics": ["reconstruction", "codebook"],
        "interval": {"resamples": 200},
        "exhibits": {"drawn": 0, "worst": 0},
        "min_clips": 2,
        "device": "cpu",
        **changes,
    }
    path = project / "sliced.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_suite(path)


RULE = {"rule": "reconstruction.mel_l1 <= 100", "slice": "long"}


def longest(project: Path) -> str:
    """Holds of the last three clips."""
    lines = (project / "all.jsonl").read_text().splitlines()
    return f"duration_s >= {json.loads(lines[3])['duration_s']}"


@pytest.fixture(scope="module")
def run(project: Path) -> Run:
    return run_of(project, slices={"long": longest(project), "by": ["speaker"]}, gate=[RULE])


def test_a_slice_has_the_figures_of_a_suite_of_its_clips_alone(project: Path, run: Run) -> None:
    alone = run_of(project, "long.jsonl")
    found = {(r.candidate, r.metric): r for r in run.slice_results if r.slice == "long"}
    expected = {(r.candidate, r.metric): replace(r, slice="long") for r in alone.results}
    assert found.keys() == expected.keys()
    assert all(same_figure(found[key], expected[key]) for key in found)
    assert len(found) > 5


def test_languages_are_told_apart_unasked_and_who_is_unknown_is_counted(run: Run) -> None:
    slices = {one.name: one for one in run.slices}
    assert len(slices["long"].clips) == len(slices["language=en"].clips) == len(slices["language=vi"].clips) == 3
    speakers = [one for one in run.slices if one.by == "speaker"]
    assert sum(len(one.clips) for one in speakers) == 5
    assert speakers[0].unknown == {"speech": {"speaker": 1}}


def test_the_run_is_whole_survives_the_store_and_is_judged_by_slice(run: Run, tmp_path: Path) -> None:
    check_run(run)
    save_run(run, tmp_path)
    assert load_run(tmp_path) == run
    (outcome,) = gate(load_run(tmp_path)).outcomes
    assert (outcome.rule, outcome.n) == ("reconstruction.mel_l1 <= 100, slice long", 3)


def test_without_slices_a_run_is_as_it_was(project: Path, run: Run) -> None:
    suite = suite_of(project, "all.jsonl")
    english = (project / "all.jsonl").read_text().replace('"vi"', '"en"')
    (project / "plain.jsonl").write_text(english)
    plain = run_of(project, "plain.jsonl")
    assert (plain.slices, plain.slice_results) == ((), ())
    assert plain.results == run.results
    assert select(suite, metrics=["codebook"]).slices == suite.slices


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slices": {"long": "n_word > 3"}}, "slices.long: no clip has a n_word (did you mean 'n_words'?)"),
        ({"gate": [{**RULE, "slice": "language=de"}]}, "there is no slice 'language=de' (did you mean 'language=en'?)"),
    ],
)
def test_what_no_clip_has_is_an_error_before_anything_is_measured(
    project: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        run_of(project, **changes)
    assert said in str(raised.value)
    assert "sliced.yaml" in str(raised.value)


def test_what_is_spoken_counts_by_the_recording_whose_sentence_it_is(project: Path) -> None:
    recording = Clip("a", Path("a.wav"), "0", 1.5, "hi", "ann", language="vi", columns=(("snr_db", "9"),))
    assignment: Any = SimpleNamespace(recordings={"downstream/a": recording}, language="en")
    known, other = (SpokenLine(f"downstream/{name}", "hi there", "ann", 0) for name in "ab")
    records = [Assignment._record(assignment, line, "digest") for line in (known, other)]
    assert records[0] == ClipRecord(
        "downstream/a", "digest", 0.0, "hi there", "ann", "downstream", "vi", {"snr_db": "9"}
    )
    assert records[1] == ClipRecord("downstream/b", "digest", 0.0, "hi there", "ann", "downstream", "en")
    suite = suite_of(project, slices={"short": "duration_s < 2"})
    # In two languages: each is a slice, too.
    short, *others = find_slices(suite, assignment, records)
    assert [one.name for one in others] == ["language=en", "language=vi"]
    assert short.clips == ("downstream/a",)
    assert short.unknown == {"downstream": {"duration_s": 1}}
