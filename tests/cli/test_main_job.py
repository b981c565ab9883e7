"""The main job on real human speech, by the verbs alone: train → run → compare → baseline → gate, and its bad days."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vqbench.audio.mel import MelSpec
from vqbench.cli import app
from vqbench.engine.cache import CACHE_VARIABLE
from vqbench.engine.systems import MelCandidate, Vocoded
from vqbench.files import sole_writer
from vqbench.records.packing import pack
from vqbench.records.run import Result, Run
from vqbench.records.store import load_run, save_run
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint

MODEL = "model: {hidden_dim: 32, codebook_size: 64, codebook_dim: 16, num_resnet_blocks: 1}\n"

GOOD = f"""\
name: good
{MODEL}
reconstruct:
  data: [{{corpus: tortoise-voices, split: train}}]
  steps: 120
  batch_size: 8
  crop_frames: 64
  learning_rate: 3.0e-3
  warmup_steps: 10
  codebook: {{kmeans_iterations: 5, decay: 0.9, restart_every: 5, restart_below: 0.1}}
  validate_every: 60
  validation_share: 0.1
  checkpoint_every: 40
"""

UNTRAINED = f"name: untrained\n{MODEL}"

N_CLIPS = 6

SUITE = f"""\
name: real
data: {{speech: {{corpus: tortoise-voices, split: test, limit: {N_CLIPS}}}}}
candidates:
  - {{name: good, checkpoint: ../trainings/good/checkpoint.safetensors}}
  - {{name: untrained, recipe: ../recipes/untrained.yaml}}
references: [vocoded]
metrics: [reconstruction, codebook]
vocoder: {{iterations: 4}}
interval: {{resamples: 200}}
baseline: ../baselines/main.json
gate:
  - {{rule: reconstruction.mel_l1 <= baseline * 1.05, candidates: [good]}}
  - {{rule: reconstruction.mr_stft <= baseline + 0.05, candidates: [good]}}
  - {{rule: codebook.share_used >= baseline - 5%, candidates: [good]}}
min_clips: 3
device: cpu
"""

MEL_L1 = "reconstruction.mel_l1 <= baseline * 1.05"

RUN = "run suites/real.yaml"


def vqbench(line: str) -> Any:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose suite was run once, into runs/first, and whose baseline is that run; its cache lies in it."""
    folder = tmp_path_factory.mktemp("workplace")
    for name, content in (("suites/real", SUITE), ("recipes/good", GOOD), ("recipes/untrained", UNTRAINED)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(content)
    (folder / "pyproject.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        patch.delenv("COLUMNS", raising=False)
        trained = vqbench("train recipes/good.yaml")
        assert trained.exit_code == 0, trained.output
        assert trained.stdout == "trainings/good/checkpoint.safetensors\n"
        first = vqbench(f"{RUN} -o runs/first")
        # Without a baseline nothing is decided.
        assert first.exit_code == 3, first.output
        assert "there is no baseline yet" in first.stderr
        assert vqbench("baseline save runs/first main").exit_code == 0
    yield folder


@pytest.fixture(autouse=True)
def standing_there(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv(CACHE_VARIABLE, str(workplace / "cache"))
    monkeypatch.delenv("COLUMNS", raising=False)


def figures(run: Run) -> dict[tuple[str, str], Result]:
    return {(result.candidate, result.metric): result for result in run.results}


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refuse(*arguments: object) -> None:
    pytest.fail("a clip was rendered again")


def outcomes(done: Any) -> dict[str, dict[str, Any]]:
    return {outcome["rule"]: outcome for outcome in json.loads(done.stdout)["outcomes"]}


def suite_with(name: str, *changes: tuple[str, str]) -> str:
    """Another suite beside the first one; gives the command that runs it."""
    text = SUITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path(f"suites/{name}.yaml").write_text(text)
    return f"run suites/{name}.yaml -o runs/{name}"


def candidate_with(name: str, change: Callable[[torch.nn.Module], None], mel_spec: MelSpec | None = None) -> str:
    """A suite whose candidate `good` has other weights or another front end; gives the command that runs it."""
    tokenizer = load_tokenizer(Path("trainings/good/checkpoint.safetensors"))
    change(tokenizer.dvae)
    save_checkpoint(Path(f"trainings/{name}.safetensors"), tokenizer.dvae, mel_spec or tokenizer.mel_spec, {})
    return suite_with(name, ("good/checkpoint.safetensors", f"{name}.safetensors"))


@torch.no_grad()
def worsen(dvae: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in dvae.decoder.parameters():
        weight += 0.5 * weight.std().nan_to_num() * torch.randn(weight.shape, generator=generator)


# ---- a good day


def test_the_trained_candidate_is_better_on_everything_that_has_a_direction(workplace: Path) -> None:
    run = load_run(workplace / "runs/first")
    found = figures(run)
    judged = [spec for spec in run.metrics if spec.higher_is_better is not None]
    assert {spec.group for spec in judged} == {"reconstruction", "codebook"}
    for spec in judged:
        good, untrained = found["good", spec.name], found["untrained", spec.name]
        assert good.n == untrained.n == N_CLIPS
        assert good.value is not None and untrained.value is not None
        assert (good.value > untrained.value) == spec.higher_is_better, spec.name
        assert good.value != untrained.value, spec.name


def test_the_best_of_every_column_is_marked_and_the_table_fits(workplace: Path) -> None:
    table = vqbench("report runs/first").stdout
    assert max(map(len, table.splitlines())) <= 100
    compared = json.loads(vqbench("compare runs/first --all --format json").stdout)
    best = {(figure["candidate"], figure["metric"]) for figure in compared["figures"] if figure["best"]}
    directed = {spec["name"] for spec in compared["metrics"] if spec["higher_is_better"] is not None}
    assert best == {("good", metric) for metric in directed}


def test_the_second_run_is_read_and_gives_the_same_figures(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MelCandidate, "render", refuse)
    monkeypatch.setattr(Vocoded, "render", refuse)
    done = vqbench(f"{RUN} -o runs/again")
    assert done.exit_code == 0, done.output
    assert "gate: pass" in done.stdout
    first, again = load_run(workplace / "runs/first"), load_run(workplace / "runs/again")
    assert (again.tables, again.results, again.candidates) == (first.tables, first.results, first.candidates)


def test_a_folder_that_another_suite_is_at_work_in_is_refused_and_left_as_it_is(workplace: Path) -> None:
    other = suite_with("shared", ("min_clips: 3", "min_clips: 2"))
    with sole_writer(Path("runs/shared")):
        Path("runs/shared/mine").write_text("half a run")
        done = vqbench(other)
        assert done.exit_code == 2 and "another process is at work in this folder" in done.stderr
        assert tree(Path("runs/shared")) == ["mine"]
    assert vqbench(other).exit_code == 0


def test_no_cache_measures_anew_and_gives_the_same_figures(workplace: Path) -> None:
    assert vqbench(f"{RUN} -o runs/anew --no-cache -c good").exit_code == 0
    first, anew = figures(load_run(workplace / "runs/first")), figures(load_run(workplace / "runs/anew"))
    for place, result in anew.items():
        assert result.value == pytest.approx(first[place].value, rel=1e-5), place


def test_a_against_a_differs_by_nothing(workplace: Path) -> None:
    shutil.copytree("runs/first", "runs/copy", dirs_exist_ok=True)
    compared = json.loads(vqbench("compare runs/first runs/copy --all --format json").stdout)["comparisons"]
    run = load_run(workplace / "runs/first")
    assert len(compared) == 2 * len(run.metrics)
    undirected = {metric.name for metric in run.metrics if metric.higher_is_better is None}
    for comparison in compared:
        assert comparison["n_pairs"] == N_CLIPS
        assert (comparison["delta"], comparison["ci_low"], comparison["ci_high"]) == (0, 0, 0), comparison
        tested = None if comparison["metric"] in undirected else 1
        assert (comparison["p_value"], comparison["p_holm"]) == (tested, tested), comparison


def test_a_against_a_passes_and_says_so_in_every_format(workplace: Path, tmp_path: Path) -> None:
    done = vqbench(f"gate runs/first --baseline main --json --junit {tmp_path}/g.xml --markdown {tmp_path}/g.md")
    assert done.exit_code == 0
    assert {outcome["status"] for outcome in outcomes(done).values()} == {"pass"}
    suite = ET.parse(tmp_path / "g.xml").getroot()
    assert {(one.get("failures"), one.get("tests")) for one in suite.iter("testsuite")} == {("0", "3")}
    assert len(list(suite.iter("testcase"))) == 3
    lines = (tmp_path / "g.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert lines[0].startswith("### gate: pass")
    assert len(rows) == 2 + 3
    assert len({row.count("|") for row in rows}) == 1


def test_the_answer_of_a_run_is_json_where_a_program_asks() -> None:
    done = vqbench(f"{RUN} -o runs/json --json --quiet")
    answer = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "")
    assert answer["suite"]["name"] == "real"
    assert {outcome["status"] for outcome in answer["gate"]["outcomes"]} == {"pass"}


def test_a_run_without_a_baseline_is_inconclusive_for_a_program_too() -> None:
    done = vqbench(f"{suite_with('alone', ('main.json', 'not-yet.json'))} --json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["gate"] is None


@pytest.mark.parametrize("suffix", ["html", "md", "csv", "json"])
def test_every_report_is_written(tmp_path: Path, suffix: str) -> None:
    assert vqbench(f"report runs/first --baseline main -o {tmp_path}/report.{suffix}").exit_code == 0
    assert "mel_l1" in (tmp_path / f"report.{suffix}").read_text()


def test_a_finished_training_is_found(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqbench.training.phases.optimize", refuse)
    before = (workplace / "trainings/good/checkpoint.safetensors").read_bytes()
    assert vqbench("train recipes/good.yaml").exit_code == 0
    assert (workplace / "trainings/good/checkpoint.safetensors").read_bytes() == before


# ---- a bad day


def test_a_worsened_candidate_fails_by_rule_figure_and_interval(workplace: Path, tmp_path: Path) -> None:
    done = vqbench(candidate_with("worse", worsen))
    assert done.exit_code == 1
    assert "gate: fail" in done.stdout
    done = vqbench(f"gate runs/worse --baseline main --json --junit {tmp_path}/g.xml")
    assert done.exit_code == 1
    found = outcomes(done)[MEL_L1]
    run, base = figures(load_run(workplace / "runs/worse")), figures(load_run(workplace / "runs/first"))
    value, was = (results["good", "reconstruction.mel_l1"].value for results in (run, base))
    assert value is not None and was is not None
    assert (found["candidate"], found["metric"], found["status"]) == ("good", "reconstruction.mel_l1", "fail")
    assert (found["value"], found["limit"]) == (pytest.approx(value), pytest.approx(1.05 * was))
    assert 0 < found["ci_low"] <= value - 1.05 * was <= found["ci_high"]
    shown = " ".join(vqbench("gate runs/worse --baseline main").stdout.split())
    for part in (MEL_L1, f"{value:.3f}", f"[{found['ci_low']:.3f}, {found['ci_high']:.3f}]"):
        assert part in shown
    failed = [
        case for case in ET.parse(tmp_path / "g.xml").getroot().iter("testcase") if case.find("failure") is not None
    ]
    assert any(MEL_L1 in "".join(case.attrib.values()) for case in failed)


@pytest.mark.parametrize("where", ["a result", "a row"])
def test_nan_in_a_result_is_refused(workplace: Path, tmp_path: Path, where: str) -> None:
    plain = json.loads((workplace / "runs/first/result.json").read_text())
    if where == "a result":
        plain["results"][0]["value"] = math.nan
    else:
        index = next(
            i
            for i, table in enumerate(plain["tables"])
            if (table["candidate"], table["group"]) == ("good", "reconstruction")
        )
        rows = len(plain["clips"]) - len(plain["tables"][index]["unscored"])
        plain["statistics"][f"{index}.mel_l1_sum"] = pack(np.full(rows, math.nan))
    (tmp_path / "result.json").write_text(json.dumps(plain))
    before = tree(tmp_path)
    for line in (
        f"gate {tmp_path} --baseline main --junit {tmp_path}/g.xml",
        f"gate runs/first --baseline {tmp_path}",
        f"compare runs/first {tmp_path}",
        f"baseline save {tmp_path} nan",
    ):
        done = vqbench(line)
        assert done.exit_code == 2, line
        assert "result.json" in done.stderr and "NaN" in done.stderr
    assert tree(tmp_path) == before


def without_table(run: Run, group: str) -> Run:
    tables = tuple(table for table in run.tables if (table.candidate, table.group) != ("good", group))
    results = tuple(r for r in run.results if not (r.candidate == "good" and r.metric.startswith(group)))
    return replace(run, tables=tables, results=results)


def test_a_missing_metric_never_passes(workplace: Path, tmp_path: Path) -> None:
    save_run(without_table(load_run(workplace / "runs/first"), "reconstruction"), tmp_path)
    ours = vqbench(f"gate {tmp_path} --baseline main --json")
    assert (ours.exit_code, outcomes(ours)[MEL_L1]["status"]) == (1, "fail")
    theirs = vqbench(f"gate runs/first --baseline {tmp_path} --json")
    assert (theirs.exit_code, outcomes(theirs)[MEL_L1]["status"]) == (3, "inconclusive")


def test_a_group_that_was_not_run_is_not_gated_on() -> None:
    assert vqbench(f"{RUN} -o runs/part -m codebook").exit_code == 0
    done = vqbench(f"gate runs/part --baseline main --rule '{MEL_L1}'")
    assert done.exit_code == 2
    assert "there is no metric 'reconstruction.mel_l1'" in done.stderr


def test_another_front_end_never_passes() -> None:
    norms = [1.0001 * norm for norm in MelSpec().norms]
    done = vqbench(f"{candidate_with('foreign', lambda dvae: None, MelSpec().with_norms(norms))} --json")
    assert done.exit_code == 3
    (outcome,) = (one for one in json.loads(done.stdout)["gate"]["outcomes"] if one["rule"] == MEL_L1)
    assert outcome["status"] == "inconclusive"
    assert "another mel front end" in outcome["reason"]


def test_too_few_clips_never_pass() -> None:
    done = vqbench(suite_with("few", ("min_clips: 3", f"min_clips: {N_CLIPS + 1}")))
    assert done.exit_code == 3
    assert f"too few clips: {N_CLIPS} of at least {N_CLIPS + 1}" in " ".join(done.stdout.split())


def test_other_clips_than_the_baselines_never_pass() -> None:
    done = vqbench(suite_with("other", (f"limit: {N_CLIPS}", f"limit: {N_CLIPS - 1}")))
    assert done.exit_code == 3
    assert "the baseline was measured on other clips" in " ".join(done.stdout.split())


# ---- a day that breaks off


def rows_in(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*.json") if path.parent.parent.name.startswith("rows-")}


def test_an_interrupted_run_leaves_whole_rows_and_the_same_command_goes_on(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("vqbench.engine.stages.listening.CLIPS_AT_ONCE", 2)
    render, rendered = MelCandidate.render, []
    bear = [4]  # clips until the user presses Ctrl-C

    def render_until_interrupted(self: MelCandidate, recordings: Any) -> Any:
        if len(rendered) + len(recordings) > bear[0]:
            raise KeyboardInterrupt
        rendered.extend(recording.clip.id for recording in recordings)
        return render(self, recordings)

    monkeypatch.setattr(MelCandidate, "render", render_until_interrupted)
    line = f"{RUN} -o {tmp_path}/out -c good"
    done = vqbench(line)
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr.endswith("interrupted: what is finished is kept, the same command resumes\n")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not list(tmp_path.rglob(".*"))
    kept = rows_in(tmp_path / "cache")
    assert len(kept) == N_CLIPS + 2 * 4  # of the vocoder, and of four clips in both groups

    bear[0] = 2 * N_CLIPS
    done = vqbench(line)
    assert done.exit_code == 0, done.output
    measured, heard = rendered[:N_CLIPS], rendered[N_CLIPS:]
    assert sorted(measured) == sorted(clip.id for clip in load_run(workplace / "runs/first").clips)
    assert 0 < len(set(heard)) == len(heard) < N_CLIPS  # the few that are kept to be heard
    assert kept < rows_in(tmp_path / "cache")
    resumed, first = figures(load_run(tmp_path / "out")), figures(load_run(workplace / "runs/first"))
    for place, result in resumed.items():
        assert result.value == pytest.approx(first[place].value, rel=1e-5), place


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqbench.training.reconstruct import ReconstructionObjective

    batches, steps, interrupted_at = ReconstructionObjective.batches, [], [100]

    def batches_until_interrupted(self: ReconstructionObjective, step: int, *rest: Any) -> Any:
        if step in interrupted_at:
            raise KeyboardInterrupt
        steps.append(step)
        return batches(self, step, *rest)

    monkeypatch.setattr(ReconstructionObjective, "batches", batches_until_interrupted)
    line = f"train recipes/good.yaml -o {tmp_path}/good"
    assert vqbench(line).exit_code == 130
    assert sorted(path.name for path in (tmp_path / "good").iterdir()) == ["reconstruct", "training.json"]
    left = {name for name in tree(tmp_path / "good/reconstruct") if not name.startswith("events.out.tfevents.")}
    assert left == {"best.safetensors", "log.csv", "state.pt"}
    steps.clear()
    interrupted_at.clear()
    assert vqbench(line).exit_code == 0
    assert steps == list(range(80, 120))
    assert (tmp_path / "good/checkpoint.safetensors").read_bytes() == (
        workplace / "trainings/good/checkpoint.safetensors"
    ).read_bytes()
