"""`pytest SUITE` and `pytest result.json`: what is collected, how verdicts show, and what pytest-benchmark gets."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import warnings
import weakref
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from builders import make_run, replace_table, table_of, without_clips

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import load_suite
from vqbench.data.corpora import corpus_clips, load_clips
from vqbench.engine.cache import CACHE_VARIABLE, Cache
from vqbench.engine.runner import Outcome, run_suite
from vqbench.engine.stages.timing import readable_waveforms
from vqbench.engine.timed import TimedCandidate, load_timed
from vqbench.errors import DataError
from vqbench.metrics.stages import STAGES
from vqbench.metrics.workloads import Workload
from vqbench.progress import Silent
from vqbench.records.run import GateRule, Run
from vqbench.records.slices import make_slices
from vqbench.records.store import load_run, save_baseline, save_run
from vqbench.stats.columns import Ragged
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

pytest_plugins = ["pytester"]

KEPT = "reconstruction.mel_l1 <= 100"
BROKEN = "codebook.dead <= 1%"
COMPARED = "reconstruction.mcd_db <= baseline * 1.02"

SIZES = (1, 2)
TIMED = [f"throughput.{stage}.b{size}" for size in SIZES for stage in STAGES]


def write_suite(folder: Path, name: str, **changes: object) -> Path:
    content: dict[str, object] = {
        "name": name,
        "data": {"speech": {"manifest": "clips.jsonl"}},
        "candidates": [{"name": name, "checkpoint": f"{name}.safetensors"} for name in ("one", "two")],
        "references": [],
        "metrics": ["reconstruction", "codebook"],
        "vocoder": {"iterations": 1},
        "interval": {"resamples": 200},
        "gate": [KEPT, {"rule": BROKEN, "candidates": ["one"]}, COMPARED],
        "min_clips": 2,
        # Untrained as they are, they may well write one code.
        "plausibility": {"constant_tokens": "off"},
        "device": "cpu",
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def timed(folder: Path, name: str, **changes: object) -> Path:
    throughput = {"batch_sizes": list(SIZES), "segment_s": 0.5, "repetitions": 3, "warmup": 1}
    return write_suite(folder, name, metrics=["throughput"], throughput=throughput, gate=[], **changes)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three human clips, two untrained candidates, and a cache and a baseline `main` from a run of them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    lines = []
    for clip in sorted(corpus_clips("tortoise-voices", "test"), key=lambda clip: clip.duration_s)[:3]:
        name = clip.id.replace("/", "-") + clip.path.suffix
        shutil.copy(clip.path, folder / name)
        lines.append({"id": clip.id, "path": name, "speaker": clip.speaker, "text": clip.text})
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        dvae = DVAE(Dimensions(codebook_size=64, codebook_dim=8, hidden_dim=16))
        save_checkpoint(folder / f"{name}.safetensors", dvae, MelSpec(), {})
    # This also imports all that runs inside this process will need: what pytester sees imported first it forgets again.
    run = run_suite(load_suite(write_suite(folder, "tiny")), Cache(folder / "cache"), Silent()).run
    save_baseline(run, "main", folder / "baselines")
    return folder


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.fixture
def there(project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as the folder that one stands in; what runs write into `runs` is taken away again."""
    monkeypatch.chdir(project)
    monkeypatch.setenv(CACHE_VARIABLE, str(project / "cache"))
    # Where these tests run side by side, the session that a test starts is still no worker: it may time.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    shutil.rmtree(project / "runs", ignore_errors=True)
    return project


def run_pytest(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    # The last two take a second of each session: they collect garbage, and are imported anew.
    without = [f"-pno:{name}" for name in ("cacheprovider", "unraisableexception", "hypothesispytest")]
    return pytester.runpytest_inprocess(*without, *arguments)


def collected(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    done = run_pytest(pytester, "--collect-only", "-q", *arguments)
    return [line for line in done.outlines if "::" in line]


def of(names: Sequence[str], *tests: str) -> list[str]:
    return [f"{name}::{test}" for name in names for test in tests]


# ---- suites


def test_each_rule_is_a_test_of_each_candidate(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny")
    done = run_pytest(pytester, "tiny.yaml", "-rA", "--junitxml=gate.xml")
    # Broken is a failure; undecided, here for want of a baseline, an error.
    done.assert_outcomes(passed=2 + 3, failed=1, errors=2)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines_random(
        [
            "FAILED tiny.yaml::one::codebook.dead <= 1% - Failed: *n = 3 clips*",
            "ERROR tiny.yaml::one::reconstruction.mcd_db <= baseline [*] 1.02 - *inconclusive: the rule needs a *",
        ]
    )
    done.stdout.fnmatch_lines(["*inconclusive: *write `baseline:` in the suite, or give one by --vqbench-baseline"])
    assert "PASSED tiny.yaml::two::reconstruction.mel_l1 <= 100" in done.outlines
    assert "Traceback" not in str(done.stdout)
    assert "items.py" not in str(done.stdout)

    cases = {(case.get("classname"), case.get("name")): case for case in ET.parse("gate.xml").iter("testcase")}
    assert set(cases) == {
        *((f"tiny.yaml.{name}", test) for name in ("one", "two") for test in (KEPT, COMPARED, "plausibility")),
        ("tiny.yaml.one", BROKEN),
        ("tiny.yaml", "plausibility"),
    }
    shown = {place: [child.tag for child in case] for place, case in cases.items()}
    assert shown["tiny.yaml.one", BROKEN] == ["properties", "failure"]
    assert shown["tiny.yaml.one", COMPARED] == ["error"]
    assert shown["tiny.yaml.two", KEPT] == ["properties"]
    (reason,) = (p.get("value", "") for p in cases["tiny.yaml.two", KEPT].iter("property"))
    assert "n = 3 clips" in reason


def test_the_suite_is_run_once_and_the_run_is_kept(
    there: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def counted(*arguments: object) -> Outcome:
        runs.append(arguments)
        warnings.warn("a library is old", stacklevel=1)
        return run_suite(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("vqbench.engine.runner.run_suite", counted)
    write_suite(there, "tiny")
    done = run_pytest(pytester, "tiny.yaml", "-W", "error")
    done.assert_outcomes(passed=5, failed=1, errors=2, warnings=1)
    assert len(runs) == 1
    (folder,) = (there / "runs").iterdir()
    assert folder.name.startswith("tiny-")
    run = load_run(folder)
    assert [candidate.name for candidate in run.candidates] == ["one", "two"]
    assert "tiny.yaml" in run.provenance["command"]
    assert (folder / "transcripts.md").is_file()

    run_pytest(pytester, "tiny.yaml", "-k", "nothing is called so")
    run_pytest(pytester, "tiny.yaml", "--collect-only")
    assert len(runs) == 1


def test_tests_are_chosen_as_ever(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny")
    assert collected(pytester, "tiny.yaml") == [
        "tiny.yaml::plausibility",
        *of(["tiny.yaml::one"], KEPT, BROKEN, COMPARED, "plausibility"),
        *of(["tiny.yaml::two"], KEPT, COMPARED, "plausibility"),
    ]
    assert collected(pytester, "tiny.yaml", "-k", "two and mel_l1") == [f"tiny.yaml::two::{KEPT}"]
    assert collected(pytester, "tiny.yaml::one", "-k", "codebook") == [f"tiny.yaml::one::{BROKEN}"]
    assert collected(pytester, f"tiny.yaml::two::{COMPARED}") == [f"tiny.yaml::two::{COMPARED}"]


@pytest.mark.parametrize("where", ["suite", "command line"])
def test_a_baseline_decides(there: Path, pytester: pytest.Pytester, where: str) -> None:
    given = ["--vqbench-baseline", "main"] if where == "command line" else []
    write_suite(there, "tiny", gate=[COMPARED], **({} if given else {"baseline": "baselines/main.json"}))
    done = run_pytest(pytester, "tiny.yaml", *given)
    done.assert_outcomes(passed=5)


def test_a_baseline_that_is_not_there_yet_is_named(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny", gate=[COMPARED], baseline="baselines/next.json")
    done = run_pytest(pytester, "tiny.yaml", "--vqbench-output", "out")
    done.assert_outcomes(passed=3, errors=2)
    command = "vqbench baseline save out/tiny NAME"
    done.stdout.fnmatch_lines([f"inconclusive: *{there / 'baselines/next.json'}; {command} makes one"])
    assert load_run(there / "out/tiny").suite.name == "tiny"
    shutil.rmtree(there / "out")


def test_an_unknown_baseline_is_told_before_anything_is_run(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny")
    done = run_pytest(pytester, "tiny.yaml", "--vqbench-baseline", "mian")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["*'mian' (did you mean 'main'?)"])
    assert not (there / "runs").exists()


def test_too_few_clips_never_look_green(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny", gate=[KEPT], min_clips=4)
    done = run_pytest(pytester, "tiny.yaml")
    done.assert_outcomes(passed=3, errors=2)
    done.stdout.fnmatch_lines(["inconclusive: *too few clips: 3 of at least 4*"])


def test_two_suites_at_once(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny", gate=[KEPT])
    write_suite(there, "other", gate=[BROKEN])
    done = run_pytest(pytester, "tiny.yaml", "other.yaml", "--vqbench-output", "runs")
    done.assert_outcomes(passed=5 + 3, failed=2)
    assert sorted(folder.name for folder in (there / "runs").iterdir()) == ["other", "tiny"]

    (there / "same.yaml").write_text((there / "tiny.yaml").read_text())
    done = run_pytest(pytester, "tiny.yaml", "same.yaml")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines([f"*same.yaml: its name is tiny, as that of {there / 'tiny.yaml'}", "*fix: rename *"])


def test_all_faults_of_a_suite_are_shown_at_once(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "bad", gate=["speech.wer < 1", "reconstruction.mel_l1 <= 1"], metrics=["speach"], min_clips=0)
    done = run_pytest(pytester, "bad.yaml")
    done.assert_outcomes(errors=1)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    shown = str(done.stdout)
    assert shown.count(f"{there / 'bad.yaml'}:") >= 3
    for fault in ("gate[0].rule", "did you mean 'speech'?", "min_clips"):
        assert fault in shown
    assert "Traceback" not in shown


def test_a_suite_without_anything_to_test_is_an_error(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny", gate=[])
    done = run_pytest(pytester, "tiny.yaml")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*tiny.yaml: there is nothing to test: no gate rules, no throughput"])


def test_what_keeps_a_suite_from_running_is_told_once(there: Path, pytester: pytest.Pytester) -> None:
    (there / "broken.safetensors").write_text("no")
    broken = [{"name": "one", "checkpoint": "broken.safetensors"}]
    write_suite(there, "tiny", candidates=broken, gate=[KEPT, BROKEN])
    done = run_pytest(pytester, "tiny.yaml", "-s")
    done.assert_outcomes(errors=4)
    shown = str(done.stdout)
    assert shown.count("broken.safetensors: ") == 1 + 1  # in the report, and in the summary of errors
    assert shown.count("\nthe run went wrong, as the first test that needed it says") == 3
    assert "Traceback" not in shown


def test_a_bug_keeps_its_traceback(there: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def bug(*arguments: object) -> Outcome:
        tries.append(arguments)
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("vqbench.engine.runner.run_suite", bug)
    write_suite(there, "tiny")
    done = run_pytest(pytester, "tiny.yaml")
    done.assert_outcomes(errors=8)
    assert len(tries) == 1
    done.stdout.fnmatch_lines(["Traceback *", "*in bug", "ZeroDivisionError: of ours"])
    assert "pluggy" not in str(done.stdout).partition("= ERRORS =")[2]


# ---- what is not ours


def test_a_file_that_nobody_named_is_left_alone(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny")
    save_run(make_run(gate=["speech.wer <= 1"]), there / "finished")
    (there / "test_own.py").write_text("def test_own(): pass\n")
    try:
        assert collected(pytester, ".") == collected(pytester) == ["test_own.py::test_own"]
        assert collected(pytester, "finished") == []
    finally:
        (there / "test_own.py").unlink()


def test_other_plugins_keep_their_yaml_and_no_linter_hides_a_suite(there: Path, pytester: pytest.Pytester) -> None:
    write_suite(there, "tiny", gate=[KEPT])
    (there / "theirs.yaml").write_text("steps: [one, two]\n")
    (there / "conftest.py").write_text(
        "import pytest\n"
        "class File(pytest.File):\n"
        "    def collect(self): yield Item.from_parent(self, name='theirs')\n"
        "class Item(pytest.Item):\n"
        "    def runtest(self): pass\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    if file_path.suffix == '.yaml': return File.from_parent(parent, path=file_path)\n"
    )
    try:
        assert collected(pytester, "theirs.yaml") == ["theirs.yaml::theirs"]
        assert f"tiny.yaml::one::{KEPT}" in collected(pytester, "tiny.yaml")
    finally:
        (there / "conftest.py").unlink()


def test_the_plugin_costs_other_projects_nothing() -> None:
    script = """if True:
        import sys, pytest
        before = set(sys.modules)
        import vqbench.pytest_plugin
        new = set(sys.modules) - before
        print(sorted(new & {"numpy", "pydantic", "yaml", "rich", "typer", "torch"}))
        print(sorted(name for name in new if name.startswith("vqbench.")))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n['vqbench.pytest_plugin', 'vqbench.pytest_plugin.warned']\n"


# ---- finished runs

WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "torchaudio", "soundfile", "scipy", "faster_whisper", "whisper", "jiwer")))
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def without_torch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, "-p", "no:cacheprovider", "-rA", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, encoding="utf-8")


RULES = ("speech.wer <= 0.9", "speech.wer <= 0.0001", "speech.speaker_similarity >= baseline - 0.02")


def test_a_finished_run_is_judged_without_torch(tmp_path: Path) -> None:
    run = make_run(gate=RULES, quality={"good": 1.0})
    save_run(run, tmp_path / "runs/quick")
    save_baseline(run, "main", tmp_path / "baselines")
    done = without_torch(tmp_path, "runs/quick/result.json", "--vqbench-baseline", "main")
    assert done.returncode == 1, done.stdout
    place = "runs/quick/result.json::good::"
    assert f"PASSED {place}{RULES[0]}" in done.stdout
    assert f"FAILED {place}{RULES[1]} - " in done.stdout
    assert f"PASSED {place}{RULES[2]}" in done.stdout
    done = without_torch(tmp_path, "runs/quick/result.json")
    assert f"ERROR {place}{RULES[2]} - " in done.stdout
    assert "inconclusive: the rule needs a baseline; give one by --vqbench-baseline" in done.stdout


def test_a_rule_on_a_slice_is_a_test_with_the_slices_name(tmp_path: Path) -> None:
    rules = [GateRule("speech.wer <= 0.9"), *(GateRule("speech.wer <= 0.9", (), name) for name in ("short", "none"))]
    run = make_run(gate=rules, quality={"good": 1.0}, n_clips=48)
    slices = make_slices({"short": "duration_s < 4", "none": "duration_s > 99"}, (), run.clips)
    save_run(replace(run, slices=slices), tmp_path / "run")
    done = without_torch(tmp_path, "run/result.json")
    for outcome, name in (("PASSED", ""), ("PASSED", ", slice short"), ("ERROR", ", slice none")):
        assert f"{outcome} run/result.json::good::speech.wer <= 0.9{name}" in done.stdout, done.stdout


def test_a_suite_says_what_running_it_needs(there: Path) -> None:
    write_suite(there, "tiny")
    done = without_torch(there, "tiny.yaml")
    assert "pip install 'vqbench[bench]'" in done.stdout
    assert "8 errors" in done.stdout
    assert "Traceback" not in done.stdout


def judged(pytester: pytest.Pytester, run: Run, *arguments: str) -> pytest.RunResult:
    save_run(run, pytester.path / "run")
    return run_pytest(pytester, "run/result.json", *arguments)


def test_clips_that_could_not_be_scored_fail(pytester: pytest.Pytester) -> None:
    run = make_run(gate=["speech.wer <= 1"], quality={"good": 1.0})
    table = without_clips(table_of(run, "good", "speech"), {"clip003": "it is \x1b[31mempty"})
    done = judged(pytester, replace_table(run, table))
    done.stdout.fnmatch_lines(["*clip003 (it is \ufffd[[]31mempty)*"])
    done.assert_outcomes(passed=2, failed=1)


def test_figures_that_cannot_be_believed_fail(pytester: pytest.Pytester) -> None:
    run = make_run(gate=["speech.wer <= 1"], quality={"good": 1.0, "fair": 2.0})
    table = table_of(run, "fair", "codebook")
    codes = table.columns["codes"]
    assert isinstance(codes, Ragged)
    constant = Ragged(np.full_like(codes.values, 7), codes.lengths)
    done = judged(pytester, replace_table(run, replace(table, columns={**table.columns, "codes": constant})))
    done.assert_outcomes(passed=4, failed=1)
    done.stdout.fnmatch_lines(["FAILED run/result.json::fair::plausibility - *(constant_tokens: fail)"])


def test_what_passes_and_yet_is_odd_or_open_is_told(pytester: pytest.Pytester) -> None:
    run = make_run(quality={"good": 1.0, "fair": 2.0})
    (wer,) = (r.value for r in run.results if (r.candidate, r.metric) == ("good", "speech.wer"))
    rule = f"speech.wer <= {wer}"
    suite = replace(run.suite, gate=(GateRule(rule, ("good", "fair")),), inconclusive="pass")
    candidates = [replace(c, front_end="mel-24000-100") if c.name == "fair" else c for c in run.candidates]
    done = judged(pytester, replace(run, suite=suite, candidates=tuple(candidates)))
    done.assert_outcomes(passed=4, failed=1)
    done.stdout.fnmatch_lines(["=* vqbench: passed, but =*"])
    told = [line for line in done.outlines if line.startswith("run/result.json::")]
    assert len(told) == 2
    assert told[0].startswith(f"run/result.json::good::{rule}: ")
    assert "holds the limit" in told[0]
    assert told[1].startswith("run/result.json::fair::plausibility: fair: ")
    assert told[1].endswith("(front_end: warn)")


def test_a_run_that_nothing_can_be_asked_of_is_an_error(pytester: pytest.Pytester) -> None:
    done = judged(pytester, make_run())
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*there is no rule to gate on*"])
    pytester.path.joinpath("run/result.json").write_text("{")
    done = run_pytest(pytester, "run/result.json")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*result.json*is not JSON*"])
    done = judged(pytester, make_run(gate=["speech.war <= 1", "speech.wer =< 1", "speech.wer <= baseline"]))
    done.stdout.fnmatch_lines(["*did you mean 'speech.wer'*"])
    done.stdout.fnmatch_lines(["*expected <= or >=*"])


# ---- throughput


def test_each_stage_is_a_benchmark(there: Path, pytester: pytest.Pytester) -> None:
    timed(there, "speed")
    storage = f"--benchmark-storage={there / 'storage'}"
    done = run_pytest(pytester, "speed.yaml", "--benchmark-json=speed.json", "--benchmark-autosave", storage)
    done.assert_outcomes(passed=2 * len(TIMED))
    entries = {entry["fullname"]: entry for entry in json.loads((there / "speed.json").read_text())["benchmarks"]}
    assert set(entries) == set(of(["speed.yaml::one", "speed.yaml::two"], *TIMED))
    digests = set()
    for name, entry in entries.items():
        _, candidate, group = name.split("::")
        assert (entry["name"], entry["group"]) == (candidate, f"speed: {group}")
        stats, facts = entry["stats"], entry["extra_info"]
        assert (stats["rounds"], stats["iterations"]) == (3, 1)
        assert facts["rtfx"] == pytest.approx(facts["audio_s"] / stats["mean"])
        assert facts["audio_s"] == 0.5 * int(group[-1])
        assert (facts["device"], facts["candidate"], facts["suite"]) == ("cpu", candidate, "speed")
        digests.add(facts["digest"])
    assert len(digests) == 2
    assert not (there / "runs").exists()

    done = run_pytest(pytester, "speed.yaml", "-k", "one and encode.b1", "--benchmark-compare", storage)
    done.assert_outcomes(passed=1, deselected=2 * len(TIMED) - 1)
    done.stdout.fnmatch_lines_random(
        ["*benchmark 'speed: throughput.encode.b1': 2 tests*", "one (NOW) *", "one (0001_*) *"]
    )


def test_a_stage_that_a_tokenizer_of_waveforms_does_not_have_is_skipped(there: Path, pytester: pytest.Pytester) -> None:
    timed(there, "coded", candidates=[{"name": "opus", "tokenizer": "opus"}])
    done = run_pytest(pytester, "coded.yaml", "-rs")
    done.assert_outcomes(passed=3 * len(SIZES), skipped=2 * len(SIZES))
    done.stdout.fnmatch_lines(["SKIPPED * opus has no such stage"])


def test_candidates_are_loaded_one_after_another_and_timed_as_the_suite_says(
    there: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[TimedCandidate]] = []
    runs: Counter[str] = Counter()

    def watched(work: Workload) -> Workload:
        def run() -> None:
            assert torch.is_inference_mode_enabled()
            runs[work.group] += 1
            work.run()

        return replace(work, run=run)

    def load(*arguments: object) -> TimedCandidate:
        gc.collect()
        assert not any(earlier() for earlier in seen)
        made = load_timed(*arguments)  # type: ignore[arg-type]
        made = replace(made, workloads={group: watched(work) for group, work in made.workloads.items()})
        seen.append(weakref.ref(made))
        return made

    monkeypatch.setattr("vqbench.engine.timed.load_timed", load)
    timed(there, "speed")
    run_pytest(pytester, "speed.yaml").assert_outcomes(passed=2 * len(TIMED))
    assert len(seen) == 2
    # Three repetitions and one to warm up, of each of the two.
    assert runs == dict.fromkeys(TIMED, 2 * (3 + 1))


def test_no_more_speech_is_read_than_is_timed(project: Path) -> None:
    clips = load_clips(load_suite(timed(project, "speed")).data.speech)
    every = readable_waveforms(clips, 22_050, 1e9)
    assert len(every) == 3
    first_s = len(every[0]) / MelSpec().sample_rate_hz
    for enough_s, n in ((0.1, 1), (first_s, 1), (first_s + 0.01, 2), (1000.0, 3)):
        some = readable_waveforms(clips, 22_050, enough_s)
        assert [len(waveform) for waveform in some] == [len(waveform) for waveform in every[:n]]


def test_the_stages_are_those_of_a_run(there: Path) -> None:
    run = run_suite(load_suite(timed(there, "speed")), Cache(there / "cache"), Silent()).run
    groups = {table.group for table in run.tables}
    assert groups == {*TIMED, "throughput.latency", "throughput.memory"}


@pytest.mark.parametrize(
    ("option", "outcomes"),
    [
        ("--benchmark-only", {"passed": 20, "skipped": 5}),
        ("--benchmark-skip", {"passed": 5, "skipped": 20}),
        ("--benchmark-disable", {"passed": 25}),
    ],
)
def test_options_of_pytest_benchmark_hold(
    there: Path, pytester: pytest.Pytester, option: str, outcomes: dict[str, int]
) -> None:
    timed(there, "speed")
    content = yaml.safe_load((there / "speed.yaml").read_text())
    content["gate"] = ["throughput.rtfx >= 0.0001"]
    (there / "speed.yaml").write_text(yaml.safe_dump(content))
    done = run_pytest(pytester, "speed.yaml", option)
    done.assert_outcomes(**outcomes)
    assert (there / "runs").exists() == (option != "--benchmark-only")


def test_without_pytest_benchmark_timings_are_skipped_by_name(there: Path, pytester: pytest.Pytester) -> None:
    timed(there, "speed")
    done = run_pytest(pytester, "-p", "no:benchmark", "speed.yaml", "-rs")
    done.assert_outcomes(skipped=2 * len(TIMED))
    done.stdout.fnmatch_lines(["SKIPPED * needs pytest-benchmark: pip install pytest-benchmark"])


def test_a_projects_own_fixtures_warnings_and_timeout_do_not_disturb(there: Path, pytester: pytest.Pytester) -> None:
    timed(there, "speed")
    (there / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.fixture(autouse=True, scope='module')\n"
        "def of_module(request): assert request.module is not None\n"
        "@pytest.fixture(autouse=True)\n"
        "def of_function(request, of_module): assert request.node.name.startswith('throughput')\n"
    )
    try:
        done = run_pytest(pytester, "speed.yaml", "-W", "error", "--strict-markers", "--timeout=0.001", "-k", "one")
        done.assert_outcomes(passed=len(TIMED), deselected=len(TIMED))
    finally:
        (there / "conftest.py").unlink()


def test_a_candidate_that_cannot_be_timed_is_an_error(
    there: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*arguments: object) -> None:
        raise DataError("no sound")

    monkeypatch.setattr("vqbench.engine.stages.timing.load_clip", unreadable)
    timed(there, "speed")
    done = run_pytest(pytester, "speed.yaml", "-W", "error", "-k", "one")
    done.assert_outcomes(errors=len(TIMED), deselected=len(TIMED))
    done.stdout.fnmatch_lines(["*speed.yaml: no clip can be read, so there is nothing to time"])
