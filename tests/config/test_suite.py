"""Good suites and recipes: what is read, and what their digests depend on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from config_examples import RECIPE, SUITE
from pydantic import ValidationError

from vqbench.config.measuring import AsrConfig
from vqbench.config.recipe import Recipe, load_recipe
from vqbench.config.source import DataSource
from vqbench.config.suite import Suite, load_suite, select
from vqbench.records.store import load_run

ROOT = Path(__file__).parents[2]

SHORT_SUITE = """\
name: short
data: {speech: {corpus: tortoise-voices}}
candidates: [{name: official, checkpoint: dvae.pth}]
"""


def suite_of(project: Path, text: str) -> Suite:
    path = project / "suites/quick.yaml"
    path.write_text(text)
    return load_suite(path)


def test_everything_written_is_read(project: Path) -> None:
    suite = load_suite(project / "suites/quick.yaml")
    assert suite.path == project / "suites/quick.yaml"
    assert (suite.name, suite.seed, suite.min_clips, suite.allow_unscored, suite.device) == ("quick", 0, 10, 0, "auto")
    assert suite.data.speech == DataSource(corpus="tortoise-voices", split="test", limit=24)
    trained, official, brief = suite.candidates
    assert trained.checkpoint == project / "candidates/trained.safetensors"
    assert (official.checkpoint, official.mel_norms) == (project / "suites/dvae.pth", project / "suites/mel_stats.pth")
    assert (brief.checkpoint, brief.recipe) == (None, project / "recipes/brief.yaml")
    assert suite.throughput.batch_sizes == (1, 8)
    assert [(entry.rule, entry.candidates) for entry in suite.gate] == [
        ("speech.wer <= baseline + 0.05", ()),
        ("codebook.dead <= 80%", ("trained",)),
    ]


def test_a_folder_is_its_dvae_and_norms_may_be_tortoises(project: Path) -> None:
    file = suite_of(project, SHORT_SUITE.replace("dvae.pth", "../suites/dvae.pth, mel_norms: tortoise"))
    folder = suite_of(project, SHORT_SUITE.replace("dvae.pth", "../suites/, mel_norms: tortoise"))
    assert folder.candidates[0].checkpoint == file.candidates[0].checkpoint == project / "suites/dvae.pth"
    assert folder.candidates[0].mel_norms == Path("tortoise")
    assert folder.digest == file.digest


def test_defaults_are_those_of_the_documented_suite(project: Path) -> None:
    written, short = load_suite(project / "suites/quick.yaml"), suite_of(project, SHORT_SUITE)
    for name in ("seed", "references", "metrics", "asr", "throughput", "vocoder", "interval", "min_clips", "device"):
        assert getattr(short, name) == getattr(written, name), name
    assert short.gate == ()


def test_the_shipped_suites_hear_by_the_defaults() -> None:
    """Or figures of one page would not be those of another; `release` alone, for a GPU, has a larger ASR."""
    written = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "suites").glob("*.yaml")}
    hearing = {name: suite["asr"] for name, suite in written.items() if "speech" in suite["metrics"]}
    assert len(hearing) > 3
    assert {name for name, asr in hearing.items() if AsrConfig(**asr) != AsrConfig()} == {"release"}


@pytest.mark.parametrize(
    ("written", "method"),
    [("", "outer ends of the percentile and the BCa bootstrap"), ("method: bca, ", "BCa bootstrap")],
)
def test_a_run_keeps_which_interval_the_suite_asks_for(project: Path, written: str, method: str) -> None:
    suite = suite_of(project, SHORT_SUITE + f"seed: 7\ninterval: {{{written}unit: clip, resamples: 300}}\n")
    kept = suite.interval.record(suite.seed)
    assert kept.method.startswith(f"{method}, expanded for small n")
    assert kept.bootstrap == ("bca" if written else "outer")
    assert (kept.seed, kept.unit, kept.resamples, kept.confidence) == (7, "clip", 300, 0.95)


def test_digest_is_of_what_is_said_not_how(project: Path) -> None:
    digest = load_suite(project / "suites/quick.yaml").digest
    lines = SUITE.splitlines()
    reordered = "# the same suite\n" + "\n".join([*lines[-3:], *lines[:-3]]).replace("4.0", "4").replace(
        "tiny.en", '"tiny.en"'
    )
    assert len(digest) == 16
    assert suite_of(project, reordered).digest == digest
    assert suite_of(project, SUITE.replace("dvae.pth", "./dvae.pth")).digest == digest
    assert suite_of(project, SUITE.replace("window: clip", "window: full")).digest != digest


def test_what_is_kept_to_be_heard_changes_no_figure_and_so_no_digest(project: Path) -> None:
    plain = load_suite(project / "suites/quick.yaml")
    assert plain.exhibits.model_dump() == {"clips": (), "drawn": 1, "worst": 3, "sound": "flac"}
    other = suite_of(project, SUITE + "exhibits: {clips: [lj/1], drawn: 0, worst: 7, sound: opus}\n")
    assert other.exhibits.model_dump() == {"clips": ("lj/1",), "drawn": 0, "worst": 7, "sound": "opus"}
    assert other.digest == plain.digest
    # As it was before there was such a section.
    assert set(plain.model_dump()) == set(Suite.model_fields) - {"exhibits"}
    baseline = load_run(ROOT / "baselines/adapted.json")
    assert load_suite(ROOT / "suites/adapted.yaml").digest == baseline.suite.digest


@pytest.mark.parametrize(
    ("metrics", "left"),
    [
        ([], ("lj/1", "pairs/000003", "natural/lj/1", "downstream/lj/1")),
        (["codebook"], ("lj/1",)),
        (["codebook", "token_agreement"], ("lj/1", "pairs/000003", "natural/lj/1")),
        (["downstream"], ("lj/1", "downstream/lj/1")),
    ],
)
def test_clips_of_what_is_left_out_need_not_be_there(project: Path, metrics: list[str], left: tuple[str, ...]) -> None:
    suite = suite_of(
        project,
        """\
name: short
teacher: pocket
data: {speech: {corpus: tortoise-voices}, pairs: {n: 8}, natural: {corpus: tortoise-voices}}
candidates: [{name: official, checkpoint: dvae.pth}]
metrics: [token_agreement, codebook, downstream]
downstream: {n: 4, finetune: {data: [{corpus: pocket}], steps: 1}}
exhibits: {clips: [lj/1, pairs/000003, natural/lj/1, downstream/lj/1]}
""",
    )
    assert select(suite, metrics=metrics).exhibits.clips == left


def test_digest_does_not_depend_on_where_the_project_lies(project: Path) -> None:
    elsewhere = project.parent / "elsewhere"
    shutil.copytree(project, elsewhere)
    for load, name in ((load_suite, "suites/quick.yaml"), (load_recipe, "recipes/brief.yaml")):
        assert load(elsewhere / name).digest == load(project / name).digest


@pytest.mark.parametrize("name", ["on", "no", "y", "1_000", "2024-01-01", "1.2.3", "'1.0'", "0b1"])
def test_names_that_only_old_yaml_takes_for_something_else(project: Path, name: str) -> None:
    assert suite_of(project, SHORT_SUITE.replace("name: short", f"name: {name}")).name == name.strip("'")


@pytest.mark.parametrize("rate", ["6e-4", "6.0e-4", "0.0006", "6E-04", ".0006"])
def test_numbers_in_every_usual_notation(project: Path, rate: str) -> None:
    path = project / "recipes/brief.yaml"
    path.write_text(RECIPE.replace("6.0e-4", rate))
    assert load_recipe(path).reconstruct.learning_rate == pytest.approx(6e-4)


def test_anchors_and_aliases(project: Path) -> None:
    suite = suite_of(project, SHORT_SUITE.replace("dvae.pth", "&weights dvae.pth, mel_norms: *weights"))
    assert suite.candidates[0].mel_norms == suite.candidates[0].checkpoint


def test_windows_text_file(project: Path) -> None:
    path = project / "suites/quick.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SUITE.replace("\n", "\r\n").encode())
    assert load_suite(path).name == "quick"


def test_asr_model_is_a_name_unless_it_looks_like_a_path(project: Path) -> None:
    (project / "models/tiny").mkdir(parents=True)
    named = suite_of(project, SUITE.replace("tiny.en", "Systran/faster-whisper-tiny"))
    found = suite_of(project, SUITE.replace("tiny.en", "../models/tiny"))
    assert named.asr.model == "Systran/faster-whisper-tiny"
    assert found.asr.model == str(project / "models/tiny")


def test_models_are_frozen_and_check_what_code_gives_them(project: Path) -> None:
    suite = load_suite(project / "suites/quick.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        suite.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="expected exactly one of corpus, manifest"):
        DataSource()
    with pytest.raises(ValidationError, match="nothing to train on"):
        Recipe(name="brief", joint={"data": [{"corpus": "tortoise-voices"}], "guard": {"kind": "none"}})
    assert Recipe(name="untrained").path is None


def test_schema_tells_editors_what_each_key_means() -> None:
    for model in (Suite, Recipe):
        schema = model.model_json_schema()
        parts = [schema, *schema["$defs"].values()]
        fields = [item for part in parts for item in part.get("properties", {}).items()]
        assert [name for name, field in fields if not field.get("description")] == []
        json.dumps(schema)


def test_reading_a_suite_needs_no_torch(project: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
from vqbench.config.suite import load_suite
from vqbench.config.recipe import load_recipe
load_suite(Path({str(project / "suites/quick.yaml")!r}))
load_recipe(Path({str(project / "recipes/brief.yaml")!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


SLICED = """\
slices: {short: duration_s < 2, loud: 'snr_db >= 20 and language == "vi"', by: [language, speaker]}
gate:
  - speech.wer <= 0.1
  - {rule: speech.wer <= 0.2, slice: short}
  - {rule: codebook.dead <= 5%, slice: speaker=p225}
"""


def test_slices_are_read_and_rules_may_name_them(project: Path) -> None:
    suite = suite_of(project, SHORT_SUITE + SLICED)
    assert suite.slices.named == {"short": "duration_s < 2", "loud": 'snr_db >= 20 and language == "vi"'}
    assert suite.slices.by == ("language", "speaker")
    assert [entry.text for entry in suite.gate] == [
        "speech.wer <= 0.1",
        "speech.wer <= 0.2, slice short",
        "codebook.dead <= 5%, slice speaker=p225",
    ]
    part = select(suite, metrics=["speech"])
    assert part.slices == suite.slices
    assert [entry.slice for entry in part.gate] == [None, "short"]


def test_slices_are_part_of_a_suites_digest_and_none_are_not(project: Path) -> None:
    plain, none, by, short = (
        suite_of(project, SHORT_SUITE + more).digest
        for more in ("", "slices: {}\n", "slices: {by: [speaker]}\n", "slices: {short: duration_s < 2}\n")
    )
    assert plain == none
    assert len({plain, by, short}) == 3


def test_the_schema_describes_slices() -> None:
    schema = Suite.model_json_schema()
    slices = schema["$defs"]["SlicesConfig"]
    assert slices["additionalProperties"] == {"type": "string"}
    assert "a column of the manifest" in slices["description"]
    assert "makes a slice" in slices["properties"]["by"]["description"]
    assert "slice" in json.dumps(schema["$defs"]["GateEntry"])
