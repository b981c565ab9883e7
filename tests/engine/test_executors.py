"""Wherever items are done, the figures are the same; and of a worker that dies others do what is left."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counted import Squares, computed, squares
from small_trainings import MODEL, write_chirps
from tiny_workers import employ

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import Suite, load_suite
from vqbench.data.manifest import read_manifest, write_manifest
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Cache
from vqbench.engine.executors import open_executor
from vqbench.engine.executors.crew import MAX_DEATHS
from vqbench.engine.executors.processes import ProcessCrew
from vqbench.engine.executors.worker import Opening
from vqbench.engine.runner import Outcome, run_suite
from vqbench.errors import DataError, ManyErrors, MissingExtraError, VqbenchError
from vqbench.progress import Silent
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

pytestmark = pytest.mark.skipif(
    not os.environ.get("VQBENCH_EXECUTORS"), reason="processes and Ray are tested where VQBENCH_EXECUTORS is set"
)

N = 12
EXPECTED = {number: number**2 for number in range(N)}

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        employ(patch)
        yield


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """All stages but timings: chirps, of which one cannot be read; two candidates, of which one is to be trained."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips = read_manifest(write_chirps(folder, n=15))[1:]
    for name, part in (("speech", clips[:6]), ("voices", clips[6:8]), ("train", clips[8:])):
        write_manifest(folder / f"{name}.jsonl", part)
    with (folder / "speech.jsonl").open("a") as stream:
        (folder / "damaged.wav").write_bytes(b"RIFF")
        stream.write('{"id": "damaged", "path": "damaged.wav", "duration_s": 1, "text": "no"}\n')
    model = {**MODEL, "codebook_size": 64}
    (folder / "two.yaml").write_text(json.dumps({"name": "two", "model": model}))
    torch.manual_seed(1)
    save_checkpoint(folder / "one.safetensors", DVAE(Dimensions(**model)), MelSpec(), {})
    content = {
        "name": "all",
        "teacher": "pocket",
        "data": {"speech": {"manifest": "speech.jsonl"}, "pairs": {"n": 3, "voices": {"manifest": "voices.jsonl"}}},
        "candidates": [{"name": "one", "checkpoint": "one.safetensors"}, {"name": "two", "recipe": "two.yaml"}],
        "reference": "one",
        "metrics": ["token_agreement", "reconstruction", "codebook", "downstream"],
        "downstream": {
            "n": 4,
            "voices": {"manifest": "voices.jsonl"},
            "finetune": {"data": [{"manifest": "train.jsonl"}], "steps": 2, "batch_size": 2},
        },
        "vocoder": {"iterations": 2},
        "interval": {"resamples": 100},
        "exhibits": {"drawn": 0, "worst": 0},
        "device": "cpu",
    }
    path = folder / "suite.yaml"
    path.write_text(json.dumps(content))
    return load_suite(path)


@pytest.fixture(scope="module")
def local(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    found = run_suite(suite, Cache(tmp_path_factory.mktemp("local")), Silent())
    groups = {table.group for table in found.run.tables}
    assert {"token_agreement", "reconstruction", "downstream", "downstream.learning"} <= groups
    # A chirp has no voice.
    assert all(table.row_ids for table in found.run.tables if table.group != "downstream.voice")
    return found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def same(one: Outcome, other: Outcome) -> None:
    assert one.run.tables == other.run.tables
    assert one.run.results == other.run.results
    assert one.run.clips == other.run.clips
    assert one.transcripts == other.transcripts


def test_processes_measure_the_same_bits(suite: Suite, local: Outcome, tmp_path: Path) -> None:
    same(run_suite(suite, Cache(tmp_path), Silent(), executor="processes", workers=2), local)


@needs_ray
def test_ray_measures_the_same_bits(suite: Suite, local: Outcome, nodes: Any, tmp_path: Path) -> None:
    same(run_suite(suite, Cache(tmp_path), Silent(), executor="ray"), local)


def test_a_killed_process_is_replaced_and_its_items_are_done(suite: Suite, tmp_path: Path) -> None:
    stage = Squares(tmp_path / "log", N, wait_s=0.02, deadly=(4, 2))
    bench = Bench(suite, Cache(tmp_path / "cache"), Silent(), {"systems": ()})
    with open_executor("processes", 2, bench, Silent()) as executor:
        assert squares(stage, tmp_path / "cache", executor) == EXPECTED
    done = computed(stage.log)
    assert sorted(number for number, _ in done) == [*range(N)]
    assert len({process for _, process in done}) >= 2


@needs_ray
def test_a_killed_actor_is_replaced_and_its_items_are_done(suite: Suite, nodes: Any, tmp_path: Path) -> None:
    stage = Squares(tmp_path / "log", N, wait_s=0.02, deadly=(4, 1))
    bench = Bench(suite, Cache(tmp_path / "cache"), Silent(), {"systems": ()})
    with open_executor("ray", 2, bench, Silent()) as executor:
        assert squares(stage, tmp_path / "cache", executor) == EXPECTED
    # Values of a batch come together, so what its worker had done is done again.
    assert sorted({number for number, _ in computed(stage.log)}) == [*range(N)]
    assert sorted(number for number, _ in computed(stage.log)) == sorted([*range(N), 3])


def test_an_item_of_which_every_worker_dies_ends_the_run(suite: Suite, tmp_path: Path) -> None:
    stage = Squares(tmp_path / "log", N, deadly=(4, MAX_DEATHS))
    bench = Bench(suite, Cache(tmp_path / "cache"), Silent(), {"systems": ()})
    with (
        open_executor("processes", 1, bench, Silent()) as executor,
        pytest.raises(DataError, match="3 workers died one after another, e"),
    ):
        squares(stage, tmp_path / "cache", executor)
    assert not [path for path in (tmp_path / "cache/claims").rglob("*") if path.is_file()]
    assert squares(stage, tmp_path / "cache") == EXPECTED


def test_other_packages_on_a_worker_are_refused(suite: Suite, tmp_path: Path) -> None:
    bench = Bench(suite, Cache(tmp_path / "cache"), Silent(), {"systems": ()})
    opening = Opening.of(bench)
    crew = ProcessCrew(replace(opening, versions={**opening.versions, "torch": "1.0"}), 1)
    try:
        with pytest.raises(DataError, match=r"a worker has other packages than the run: torch .*, not 1\.0"):
            squares(Squares(tmp_path / "log", N), tmp_path / "cache", crew)
    finally:
        crew.close()


def test_without_ray_its_extra_is_named(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    bench = Bench(suite, Cache(tmp_path / "cache"), Silent(), {"systems": ()})
    with pytest.raises(MissingExtraError, match=r"vqbench\[ray\]"), open_executor("ray", 1, bench, Silent()):
        pass


@pytest.mark.parametrize(
    "error",
    [
        DataError("a problem", where="here", expected="this", fix="do"),
        MissingExtraError("ray", "ray", "it"),
        ManyErrors([DataError("one"), DataError("two", where="there")]),
    ],
)
def test_errors_come_whole_from_other_processes(error: VqbenchError) -> None:
    import pickle

    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.__dict__.keys() == error.__dict__.keys()
